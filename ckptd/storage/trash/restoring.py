"""Give back what lies in the trash, and never over anything."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from contextlib import ExitStack

from ckptd.errors import StorageError
from ckptd.storage.state import find_trash_dir
from ckptd.storage.trash.contents import Contents, State, read_contents
from ckptd.storage.trash.entries import OpenEntry, open_entry, remove_entry
from ckptd.storage.trash.manifest import Manifest, TrashedFile
from ckptd.storage.trash.moving import rename_out
from ckptd.storage.trash.notes import forget_restoring, note_restoring
from ckptd.storage.trash.parents import make_parent, remove_made
from ckptd.storage.trash.refusals import Refusal, RefusedError, said_no
from ckptd.storage.trash.sources import checked_path, digest_of
from ckptd.storage.trash.values import Left, Restored
from ckptd.text import escape

_RESTORE = "restore a file from the trash"
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY


def restore(root_fd: int, entry: str, to: str | None = None, *, even_if_damaged: bool = False) -> Restored:
    """Give a checkpoint back to its place, or to another one below the root, and its companions beside it.

    Missing directories are made again.  The checkpoint goes first.  A companion whose place is taken stays in the entry and is
    named; an entry that holds nothing any more is removed.

    Args:
        root_fd: a readable descriptor of the root.
        entry: its name.
        to: path for the checkpoint, relative to the root; None is where it came from.  A companion that lay beside it lies
            beside it again, and what changes in the name changes in its own too ("a_metadata.json" comes back as
            "b_metadata.json" for "b.pth").
        even_if_damaged: give back bytes that are not those that were put in, too.

    Raises:
        RefusedError: TAKEN when something lies there, DAMAGED, NO_ENTRY, BUSY, UNFINISHED, BROKEN; nothing was moved.
        StateDirError: the trash is not ours alone.
        StorageError: the disk said no; the checkpoint is in the entry, or in its place.
    """
    with ExitStack() as opened:
        trash_fd = find_trash_dir(root_fd)
        if trash_fd is None:
            raise RefusedError(Refusal.NO_ENTRY, _RESTORE, path=entry, why="this root has no trash")
        opened.callback(os.close, trash_fd)
        here = opened.enter_context(open_entry(trash_fd, entry))
        contents, manifest = _read(here)
        targets = _find_targets(manifest, contents, to)
        damaged = find_damaged(here, contents)
        if manifest.checkpoint.path in damaged and not even_if_damaged and contents.state is not State.KEPT:
            raise _damaged(entry, manifest.checkpoint)
        return give_back(root_fd, here, contents, targets, damaged)


def _read(entry: OpenEntry) -> tuple[Contents, Manifest]:
    try:
        contents = read_contents(entry.fd)
    except OSError as error:
        raise said_no(_RESTORE, entry.name, error) from error
    if contents.manifest is None:
        cure = f"take the files out of .ckptd/trash/{entry.name} by hand"
        raise RefusedError(Refusal.BROKEN, _RESTORE, path=entry.name, why=contents.problem, cure=cure)
    if contents.state not in (State.TRASHED, State.KEPT) or contents.is_restoring:
        why = "something that ckptd did with it was interrupted"
        cure = "try again: every job and `ckptd trash` put that right first"
        raise RefusedError(Refusal.UNFINISHED, _RESTORE, path=entry.name, why=why, cure=cure)
    if not contents.stored:
        raise RefusedError(Refusal.GONE, _RESTORE, path=entry.name, why="nothing is in it any more")
    return contents, contents.manifest


def _find_targets(manifest: Manifest, contents: Contents, to: str | None) -> dict[str, str]:
    """Say where each file of an entry goes; the checkpoint first."""
    old = manifest.checkpoint.path
    new = old if to is None else checked_path(_RESTORE, to)
    present = [file for file in manifest.files if file.stored in contents.stored]
    return {file.stored: new if file is manifest.checkpoint else _beside(file.path, old, new) for file in present}


def _beside(path: str, old: str, new: str) -> str:
    """Move the path of a companion as its checkpoint moves from `old` to `new`."""
    directory, _, name = path.rpartition("/")
    old_directory, _, old_name = old.rpartition("/")
    new_directory, _, new_name = new.rpartition("/")
    if directory != old_directory or old == new:
        return path
    for was, becomes in ((old_name, new_name), (_stem(old_name), _stem(new_name))):
        if name.startswith(was):
            name = becomes + name[len(was) :]
            break
    return f"{new_directory}/{name}" if new_directory else name


def _stem(name: str) -> str:
    return os.path.splitext(name)[0]


def find_damaged(entry: OpenEntry, contents: Contents) -> tuple[str, ...]:
    """Read all files of an entry and give the paths of those whose bytes are not what was put in.

    Raises:
        StorageError: one of them can't be read.
    """
    damaged = []
    for stored, file in contents.stored.items():
        try:
            fd = os.open(stored, _READ, dir_fd=entry.fd)
            try:
                is_whole = digest_of(fd) == file.sha256
            finally:
                os.close(fd)
        except OSError as error:
            raise said_no(_RESTORE, file.path, error) from error
        if not is_whole:
            damaged.append(file.path)
    return tuple(damaged)


def _damaged(entry: str, file: TrashedFile) -> RefusedError:
    why = "its bytes are not those that were put into the trash: the disk lost some, or somebody changed it there"
    cure = f"another copy or an archive may have it whole; as it is it lies in .ckptd/trash/{entry}"
    return RefusedError(Refusal.DAMAGED, _RESTORE, path=file.path, why=why, cure=cure)


def give_back(
    root_fd: int, entry: OpenEntry, contents: Contents, targets: Mapping[str, str], damaged: tuple[str, ...] = ()
) -> Restored:
    """Move files out of an entry, never over anything, and remove it when nothing is left in it.

    Args:
        root_fd: of the root.
        entry: open and locked.
        contents: of it.
        targets: name in the entry → path relative to the root, in the order in which they go.
        damaged: paths of files that are known to have other bytes.

    Raises:
        RefusedError: TAKEN when the checkpoint's place is; nothing was moved.
        StorageError: the disk said no about the checkpoint; nothing was moved.
    """
    assert contents.manifest is not None
    first = contents.manifest.checkpoint.stored
    made, back, left = list[str](), dict[str, str](), list[Left]()
    note_restoring(entry, targets)
    for stored, target in targets.items():
        try:
            made += _move_out(root_fd, entry, stored, target)
        except StorageError as error:
            if stored == first:
                forget_restoring(entry)
                raise
            left.append(Left(target, error.why))
        else:
            back[stored] = target
    _sync(entry, back)
    forget_restoring(entry)
    came = tuple([contents.stored[stored].path for stored in back])
    return Restored(
        entry=entry.name,
        path=back.get(first),
        companions=tuple([target for stored, target in back.items() if stored != first]),
        left=tuple(left),
        damaged=tuple([path for path in came if path in damaged]),
        directories=tuple(made),
        is_gone=remove_entry(entry),
    )


def _move_out(root_fd: int, entry: OpenEntry, stored: str, target: str) -> list[str]:
    """Move one file to its place; the directories that were made for it."""
    made = list[str]()
    try:
        dir_fd, name, made = make_parent(root_fd, target)
        try:
            rename_out(entry.fd, stored, dir_fd, name)
            os.fsync(dir_fd)
        finally:
            os.close(dir_fd)
    except FileExistsError as error:
        remove_made(root_fd, made)
        why = "something lies there already, and nothing is ever overwritten"
        cure = "move that away, or restore it to another place"
        raise RefusedError(Refusal.TAKEN, _RESTORE, path=target, why=why, cure=cure) from error
    except OSError as error:
        remove_made(root_fd, made)
        if error.errno == errno.EXDEV:
            why = "that is another file system than the trash of the root"
            cure = "restore it to a place beside where it came from, and copy it from there"
            raise RefusedError(Refusal.OTHER_FILE_SYSTEM, _RESTORE, path=target, why=why, cure=cure) from error
        raise said_no(_RESTORE, target, error) from error
    return made


def _sync(entry: OpenEntry, back: Mapping[str, str]) -> None:
    try:
        os.fsync(entry.fd)
    except OSError as error:
        told = said_no(_RESTORE, entry.name, error)
        where = ", ".join(escape(path) for path in back.values())
        why = f"it is back ({where}), but that is not safe from a power cut: {told.why}"
        raise StorageError(_RESTORE, path=told.path, why=why, cure=told.cure) from error
