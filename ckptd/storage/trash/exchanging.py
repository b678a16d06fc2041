"""Put a smaller file in the place of a checkpoint and the original into the trash; the name never lacks a file.

The new file gets its name in the entry first; then the two change places.  What came out is compared, and where somebody saved
in between, the newest save goes back to the name.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager

from ckptd.errors import StorageError
from ckptd.model import Finding, Identity, Openness
from ckptd.storage import kernel
from ckptd.storage.sharing import take_sharing
from ckptd.storage.state import open_trash_dir
from ckptd.storage.temporary import discard, new_temporary_name
from ckptd.storage.trash.contents import State
from ckptd.storage.trash.entries import OpenEntry, make_entry, remove_entry, set_state, write_intent
from ckptd.storage.trash.holding import Hold
from ckptd.storage.trash.manifest import Manifest, Replacing
from ckptd.storage.trash.moving import CLOSED_ONLY, check_openness, find_change, kept_aside, rename_out
from ckptd.storage.trash.putting import keep, manifest_of, trashed_file
from ckptd.storage.trash.refusals import Refusal, RefusedError, said_no
from ckptd.storage.trash.sources import Source, Wanted, open_source
from ckptd.storage.trash.values import Removal, Replaced, Replacement

_NAMELESS = os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC
_CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
#: What open(O_TMPFILE) answers where there are no files without a name.  Source: open(2).
_NO_NAMELESS = frozenset({errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT, errno.ENOSYS})
#: Saves that may fall into the microseconds between our exchanges before we stop and keep both files.
_MOST_ROUNDS = 16
_REPLACE = "put a smaller file in place of a checkpoint"


@contextmanager
def replacement_file(root_fd: int) -> Iterator[int]:
    """Give a file to write a replacement into, empty and on the file system of the trash; it is gone when the block ends.

    It has no name, so that a kill leaves nothing of it; where the file system can't do that, a hidden one in the trash.

    Raises:
        StateDirError: the trash is not ours alone.
        StorageError: the disk said no.
    """
    trash_fd = open_trash_dir(root_fd)
    hidden = ""
    try:
        try:
            fd = os.open(".", _NAMELESS, 0o600, dir_fd=trash_fd)
        except OSError as error:
            if error.errno not in _NO_NAMELESS:
                raise said_no(_REPLACE, ".", error) from error
            hidden = new_temporary_name()
            fd = os.open(hidden, _CREATE, 0o600, dir_fd=trash_fd)
        try:
            yield fd
        finally:
            os.close(fd)
    finally:
        if hidden:
            discard(trash_fd, hidden)
        os.close(trash_fd)


def exchange(
    root_fd: int, removal: Removal, replacement: Replacement, *, accept: Collection[Openness] = CLOSED_ONLY
) -> Replaced:
    """Let a smaller file and a checkpoint change places; the checkpoint lies in the trash then.

    The new file has the group, the permission bits and the mtime of the checkpoint before it gets its name.

    Args:
        root_fd: a readable descriptor of the root.
        removal: the checkpoint that goes; its companions stay with the name.
        replacement: the new file, whole and proved.
        accept: as in `put`.

    Raises:
        RefusedError: as `put`; UNSUPPORTED where the file system can't exchange two names.
        StateDirError: the trash is not ours alone.
        StorageError: the disk said no; the checkpoint is in its place, or the message says that it lies in the trash.
    """
    with ExitStack() as opened:
        trash_fd = open_trash_dir(root_fd)
        opened.callback(os.close, trash_fd)
        wanted = Wanted("checkpoint", removal.path, removal.identity, removal.sha256)
        source = opened.enter_context(open_source(root_fd, trash_fd, wanted))
        findings = _finish_replacement(replacement.fd, source)
        ours = Identity.of(os.fstat(replacement.fd))
        manifest = manifest_of(
            removal, trashed_file("checkpoint", source, set()), replacement=Replacing(replacement.sha256, ours)
        )
        entry = opened.enter_context(make_entry(trash_fd, removal.removed_at, removal.path))
        _exchange(entry, manifest, source, replacement.fd, accept)
        placed = _seal(entry, source, ours)
        frees = source.seen.st_blocks * 512 if source.seen.st_nlink == 1 else 0
        return Replaced(entry.name, removal.path, placed, findings, frees)


def _finish_replacement(fd: int, source: Source) -> tuple[Finding, ...]:
    try:
        findings = take_sharing(fd, source.seen)
        os.utime(fd, ns=(source.seen.st_atime_ns, source.seen.st_mtime_ns))
        os.fsync(fd)
    except OSError as error:
        raise said_no(_REPLACE, source.path, error) from error
    return findings


def _exchange(entry: OpenEntry, manifest: Manifest, source: Source, fd: int, accept: Collection[Openness]) -> None:
    stored = manifest.checkpoint.stored
    try:
        write_intent(entry, manifest)
        _name_replacement(entry, stored, source, fd)
        with Hold(source.fd) as hold:
            check_openness(hold, source, accept)
            _swap(entry, stored, source)
            refused = find_change(entry.fd, stored, source, hold)
            if refused is not None:
                assert manifest.replacement is not None
                swap_back(entry, stored, source, manifest.replacement.identity)
                raise refused
    except RefusedError as error:
        if error.refusal is Refusal.KEPT_ASIDE:
            keep(entry)
        else:
            _undo(entry, stored, manifest)
        raise
    except StorageError:
        _undo(entry, stored, manifest)
        raise


def _name_replacement(entry: OpenEntry, stored: str, source: Source, fd: int) -> None:
    try:
        # A link to what a descriptor stands for: by way of /proc every user may make one, AT_EMPTY_PATH wants a capability.
        os.link(f"/proc/self/fd/{fd}", stored, dst_dir_fd=entry.fd, follow_symlinks=True)
        os.fsync(entry.fd)
    except OSError as error:
        raise said_no(_REPLACE, source.path, error) from error


def _swap(entry: OpenEntry, stored: str, source: Source) -> None:
    try:
        kernel.rename_between(entry.fd, stored, source.dir_fd, source.name, kernel.RENAME_EXCHANGE)
    except kernel.Unsupported as error:
        why = "this file system can't exchange two names, and to replace one without that could lose somebody's save"
        cure = "leave slim out of policy.ladder"
        raise RefusedError(Refusal.UNSUPPORTED, _REPLACE, path=source.path, why=why, cure=cure) from error
    except OSError as error:
        raise said_no(_REPLACE, source.path, error) from error


def _undo(entry: OpenEntry, stored: str, manifest: Manifest) -> None:
    """Remove an entry whose new file did not come into place, or came back; never anything but that file."""
    with contextlib.suppress(OSError):
        if is_replacement(entry, stored, manifest):
            os.unlink(stored, dir_fd=entry.fd)
    remove_entry(entry)


def is_replacement(entry: OpenEntry, stored: str, manifest: Manifest) -> bool:
    """Tell whether what lies in an entry is the file of ours that was to take the place of the original.

    Raises:
        OSError: nothing lies there.
    """
    return manifest.replacement is not None and _is_same(entry.fd, stored, manifest.replacement.identity)


def _is_same(dir_fd: int, name: str, expected: Identity) -> bool:
    here = os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
    return stat.S_ISREG(here.st_mode) and Identity.of(here)[1:4] == expected[1:4]


def swap_back(entry: OpenEntry, stored: str, source: Source, ours: Identity) -> None:
    """Put what came out of a place back, and let anything that was saved there since win over it.

    After each exchange the entry holds what was in place a moment ago.  Is that what was put there last, the work is done; else
    it is newer, and goes back in turn.  A save that another one replaced meanwhile is kept, not removed.

    Args:
        entry: open and locked.
        stored: name in it of what came out.
        source: the place.
        ours: the new file, as it was put in place; it is in the entry afterwards, or nowhere.

    Raises:
        RefusedError: KEPT_ASIDE when the entry holds somebody's save now.
    """
    last = ours
    try:
        for _ in range(_MOST_ROUNDS):
            coming = Identity.of(os.stat(stored, dir_fd=entry.fd, follow_symlinks=False))
            try:
                kernel.rename_between(entry.fd, stored, source.dir_fd, source.name, kernel.RENAME_EXCHANGE)
            except FileNotFoundError:  # ours was removed meanwhile
                if _renamed_back(entry, stored, source):
                    return
                continue
            if _is_same(entry.fd, stored, last):
                break
            last = coming
    except OSError as error:
        raise kept_aside(entry, source.path, error) from error
    if not _is_same(entry.fd, stored, ours):
        raise kept_aside(entry, source.path, FileExistsError())


def _renamed_back(entry: OpenEntry, stored: str, source: Source) -> bool:
    try:
        rename_out(entry.fd, stored, source.dir_fd, source.name)
    except FileExistsError:
        return False
    return True


def _seal(entry: OpenEntry, source: Source, ours: Identity) -> Identity:
    try:
        set_state(entry, State.INTENT, State.TRASHED)
        os.fsync(entry.fd)
        os.fsync(source.dir_fd)
        now = Identity.of(os.stat(source.name, dir_fd=source.dir_fd, follow_symlinks=False))  # the exchange changed its ctime
    except FileNotFoundError:
        return ours
    except OSError as error:
        told = said_no(_REPLACE, source.path, error)
        why = f"the original lies in the trash as {entry.name}, but that is not safe from a power cut: {told.why}"
        raise StorageError(told.what, path=told.path, why=why, cure=told.cure) from error
    return now if now[:4] == ours[:4] else ours
