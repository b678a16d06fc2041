"""Bring checkpoints back out of the trash or an archive; nothing is ever overwritten."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from ckptd.archive.formats import find_format
from ckptd.errors import StorageError, UsageError
from ckptd.index.archived import MISSING, Archived, ArchivedMember, find_members_named, load_archives, load_members
from ckptd.index.marks import note_restored
from ckptd.jobs.archiving import is_there, open_archive_dir
from ckptd.jobs.purging import Back as Restored
from ckptd.jobs.purging import list_trash, restore_entry
from ckptd.jobs.registry import JobContext
from ckptd.jobs.roots import WatchedRoot
from ckptd.metadata.names import full_name, own_name, stem_name
from ckptd.model import GONE_STATES, Json
from ckptd.storage.beneath import entry_name, open_beneath, split_relative
from ckptd.storage.faults import NameTakenError, translated
from ckptd.storage.scratch import free_bytes
from ckptd.storage.sharing import take_sharing
from ckptd.storage.temporary import discard, new_temporary_name, rename_new
from ckptd.text import escape

__all__ = ["Restored", "restore_checkpoint"]

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_NAMELESS = os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def restore_checkpoint(context: JobContext, name: str, *, to: str | None = None, archive: str | None = None) -> list[Restored]:
    """Bring back what a name means, with its metadata file.

    What still lies in the trash comes from there, unless an archive is named or a directory is given.

    Args:
        context: what a job works with; the caller holds the job lock.
        name: a path, a file name, or the beginning of a digest.
        to: directory that it is restored into, made when it is not there; None for where it lay.
        archive: name of the archive to take it from.

    Raises:
        UsageError: nothing or several things are called that.
        CkptdError: it can't be restored; nothing was changed.
    """
    if to is None and archive is None:
        waiting = [one for one in list_trash(context) if one.path is not None and _means(name, one.path, one.sha256)]
        if len(waiting) == 1:
            return [restore_entry(context, waiting[0].entry)]
    member, holder = _choose(context, name, archive)
    if context.only_of is not None:  # an archive does not say whose a file was
        cure = "an administrator may"
        raise UsageError("restore a checkpoint", path=escape(name), why="you may bring back only out of the trash", cure=cure)
    return _restore_member(context, holder, member, to)


def _means(name: str, path: str, sha256: str | None) -> bool:
    file = path.rpartition("/")[2]
    is_digest = len(name) >= 6 and (sha256 or "").startswith(name.lower())
    return name in (path, file, file.rpartition(".")[0]) or is_digest


def _choose(context: JobContext, name: str, archive: str | None) -> tuple[ArchivedMember, Archived]:
    archives = {one.id: one for one in context.store.ask(load_archives)}
    if archive is not None and archive not in {one.name for one in archives.values()}:
        raise UsageError("find an archive", path=escape(archive), why="there is none of that name", cure="see `ckptd archives`")
    named = [one for one in context.store.ask(find_members_named, name) if archive in (None, archives[one.archive].name)]
    found = _find_reachable(context, archives, named)
    whole = [member for member in found if not member.is_lost]
    if not found and any(record.state not in GONE_STATES for record in context.store.find_named(name)):
        raise UsageError("restore a checkpoint", path=escape(name), why="it lies in its place, and no archive has it")
    if not whole:
        why = "no archive has it" if not found else "the archive that had it is damaged there"
        raise UsageError("restore a checkpoint", path=escape(name), why=why, cure="see `ckptd archives` and `ckptd trash ls`")
    exact = [member for member in whole if name in (member.path, f"{member.root}/{member.path}")] or whole
    if len({(member.root, member.path, member.sha256) for member in exact}) > 1:
        names = ", ".join(dict.fromkeys(f"{escape(member.path)} ({member.sha256[:12]})" for member in exact[:10]))
        raise UsageError("restore a checkpoint", path=escape(name), why=f"this names several: {names}", cure="give a digest")
    return exact[0], archives[exact[0].archive]  # the newest archive comes first


def _find_reachable(
    context: JobContext, archives: Mapping[int, Archived], members: Sequence[ArchivedMember]
) -> list[ArchivedMember]:
    """Leave out what lies in archives that are missing.

    What no other archive has is looked for once more: their disk may have been mounted again since.
    """
    missing = {number for number, archive in archives.items() if archive.state == MISSING}
    known = {member.sha256 for member in members if member.archive not in missing and not member.is_lost}
    return [
        member
        for member in members
        if member.archive not in missing or (member.sha256 not in known and is_there(context, archives[member.archive]))
    ]


def _restore_member(context: JobContext, archive: Archived, member: ArchivedMember, to: str | None) -> list[Restored]:
    root = next((root for root in context.roots if root.path == member.root), None)
    if to is None and root is None:
        cure = "say --to DIR"
        raise UsageError("restore a checkpoint", path=member.path, why=f"its root {member.root} is none of ours", cure=cure)
    if to is None and root is not None and root.incident is not None:
        absence = f"its root {member.root} is not to be believed just now: {root.incident}"
        raise StorageError("restore a checkpoint", path=member.path, why=absence, cure="bring it back, or say --to DIR")
    companions = [one for one in context.store.ask(load_members, archive.id) if _goes_with(one, member)]
    restored: list[Restored] = []
    with _target(root, member.path, to) as (directory, shown):
        times = _read_times(archive)
        for one in (member, *companions):
            file = one.path.rpartition("/")[2]
            try:
                _fetch(archive, one, directory, file, times.get(one.name, time.time_ns()))
            except NameTakenError as error:
                if one is member:
                    raise
                restored[0] = Restored(
                    restored[0].path, restored[0].source, restored[0].sha256, f"{file} was there already and stays: {error.why}"
                )
                continue
            if one is member:
                restored.append(Restored(f"{shown}/{file}", archive.name, one.sha256))
    now = context.now()
    context.journal.append(
        [{"event": "restored", "root": member.root, "path": member.path, "sha256": member.sha256, "to": to, "at": now}]
    )
    with context.store.batch() as batch:
        batch.tell(note_restored, member.sha256, now)
        why: dict[str, Json] = {"archive": archive.name}
        if to is not None:
            why["to"] = to
        batch.audit("checkpoint.restored", member.root, member.path, member.sha256, now=now, why=why, job="archive")
    context.log.info("checkpoint.restored", root=member.root, path=member.path, digest=member.sha256, archive=archive.name)
    return restored


def _read_times(archive: Archived) -> dict[str, int]:
    """Give the mtimes that the manifest states: member → nanoseconds since the epoch."""
    with open_archive_dir(Path(archive.directory)) as archives:
        manifest = find_format(archive.format).read_manifest(archives, archive.name)
    return {entry.name: entry.mtime_ns for entry in manifest.entries}


def _goes_with(one: ArchivedMember, checkpoint: ArchivedMember) -> bool:
    """Say whether a member is a sidecar of a checkpoint, by its name."""
    if one.what != "sidecar" or one.root != checkpoint.root:
        return False
    directory, _, file = checkpoint.path.rpartition("/")
    prefix = f"{directory}/" if directory else ""
    return one.path in (prefix + full_name(file), prefix + own_name(file), prefix + stem_name(file))


@contextmanager
def _target(root: WatchedRoot | None, path: str, to: str | None) -> Iterator[tuple[int, str]]:
    """Open the directory that a checkpoint is restored into, and name it for people; what is missing of it is made."""
    if to is not None:
        place = Path(os.path.abspath(to))
        try:
            place.mkdir(parents=True, exist_ok=True)
            fd = os.open(place, _DIRECTORY)
        except OSError as error:
            raise StorageError("restore into a directory", path=place, why=os.strerror(error.errno or 0)) from error
        shown = str(place)
    else:
        assert root is not None
        fd, shown = _make_parents(root, split_relative(path)[:-1])
    try:
        yield fd, shown
    finally:
        os.close(fd)


def _make_parents(root: WatchedRoot, parts: Sequence[bytes]) -> tuple[int, str]:
    fd = os.open(".", _DIRECTORY, dir_fd=root.handle.fd)
    done = b""
    try:
        for part in parts:
            with suppress(FileExistsError):
                os.mkdir(part, 0o777, dir_fd=fd)
            done = done + b"/" + part
            below = open_beneath(root.handle.fd, done[1:], _DIRECTORY)
            os.close(fd)
            fd = below
    except OSError as error:
        os.close(fd)
        path = Path(root.path, os.fsdecode(done[1:]))
        raise StorageError("make a directory", path=path, why=os.strerror(error.errno or 0)) from error
    return fd, os.path.join(root.path, os.fsdecode(done[1:])) if parts else root.path


def _fetch(archive: Archived, member: ArchivedMember, directory: int, name: str, mtime_ns: int) -> None:
    """Write a member into a file without a name, compare its digest, and only then give it its own name."""
    with translated("restore a checkpoint", directory, name):
        entry_name(name)
        _refuse_taken(directory, name)
        if free_bytes(directory) < member.size_bytes:
            why = f"there is no room for its {member.size_bytes:,} bytes"
            raise StorageError("restore a checkpoint", path=name, why=why, cure="free some space, or say --to another disk")
        fd, hidden = _open_hidden(directory)
        try:
            with open_archive_dir(Path(archive.directory)) as archives:
                find_format(archive.format).restore(archives, archive.name, member.name, fd)
            take_sharing(fd, os.fstat(directory))
            os.utime(fd, ns=(mtime_ns, mtime_ns))
            os.fsync(fd)
            if hidden is None:
                os.link(f"/proc/self/fd/{fd}", name, dst_dir_fd=directory, follow_symlinks=True)
            else:
                rename_new(directory, hidden, name)
        except FileExistsError:
            _refuse_taken(directory, name)
            raise
        finally:
            os.close(fd)
            if hidden is not None:
                discard(directory, hidden)
        os.fsync(directory)


def _open_hidden(directory: int) -> tuple[int, str | None]:
    """Make a file that no kill leaves behind; where the file system can't, one under a hidden name that a sweep knows."""
    try:
        return os.open(".", _NAMELESS, 0o600, dir_fd=directory), None
    except OSError:
        hidden = new_temporary_name()
        return os.open(hidden, _NEW, 0o600, dir_fd=directory), hidden


def _refuse_taken(directory: int, name: str) -> None:
    try:
        os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return
    cure = "move it away, or say --to another directory"
    raise NameTakenError("restore a checkpoint", path=name, why="a file of this name lies there", cure=cure)
