"""Move one user's file into an entry or out of it, and take back what turns out to be another one.

Into the trash: the file is opened and compared, held still (holding.py), renamed, and compared once more.  What was swapped in
between goes back to its place, and where that is taken by now, the entry keeps it.  Out of it: never over anything.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Collection
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from ckptd.model import Identity, Openness
from ckptd.storage import kernel
from ckptd.storage.beneath import open_parent_beneath
from ckptd.storage.trash.entries import OpenEntry
from ckptd.storage.trash.holding import Hold
from ckptd.storage.trash.manifest import ManifestError, check_path
from ckptd.storage.trash.refusals import Refusal, RefusedError, said_no

#: What an operation accepts unless its caller says otherwise.
CLOSED_ONLY: Collection[Openness] = (Openness.CLOSED,)

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_BLOCK_BYTES = 1 << 20
_PUT = "put a file into the trash"
#: What link() answers where there are no hard links, or none to what is no file.  Source: link(2); FUSE passes ENOSYS on.
_NO_LINKS = frozenset({errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL})


@dataclass(frozen=True, slots=True)
class Wanted:
    """A file that is to be moved, as the caller knows it; `sha256` None is found out."""

    what: str
    path: str
    identity: Identity
    sha256: str | None


class Source:
    """A user's file in its place, open and found to be the one that is wanted.

    Attributes:
        dir_fd: of its directory.
        name: its name there.
        path: relative to the root.
        fd: of the file, to read; the only one that we have on it.
        seen: what it looked like.
        sha256: of its content, as the caller said or as it was read.
    """

    def __init__(self, path: str, dir_fd: int, name: str) -> None:
        self.path, self.dir_fd, self.name, self.fd = path, dir_fd, name, -1
        self.seen: os.stat_result
        self.sha256 = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close both descriptors."""
        if self.fd >= 0:
            os.close(self.fd)
        os.close(self.dir_fd)


def open_source(root_fd: int, trash_fd: int, wanted: Wanted) -> Source:
    """Open a user's file below its root and see that it is the one that was decided on.

    Raises:
        RefusedError: it is not; its refusal says why.
        StorageError: the disk said no.
    """
    path = wanted.path
    try:
        dir_fd, name = open_parent_beneath(root_fd, checked_path(_PUT, path))
    except OSError as error:
        raise said_no(_PUT, path, error) from error
    source = Source(path, dir_fd, name)
    try:
        _fill(source, trash_fd, wanted)
    except OSError as error:
        source.close()
        raise said_no(_PUT, path, error) from error
    except BaseException:
        source.close()
        raise
    return source


def checked_path(what: str, path: str) -> str:
    """Pass a path below the root and outside of `.ckptd`.

    Raises:
        RefusedError: it is none.
    """
    try:
        return check_path(path)
    except ManifestError:
        raise RefusedError(Refusal.OWN_STATE, what, path=path, why="it lies in ckptd's own directory") from None
    except OSError:
        raise RefusedError(Refusal.NOT_A_FILE, what, path=path, why="it is no path below the root") from None


def _fill(source: Source, trash_fd: int, wanted: Wanted) -> None:
    # By their directories: on overlays a file bears another device number than its directory.
    if os.fstat(source.dir_fd).st_dev != os.fstat(trash_fd).st_dev:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
    if not stat.S_ISREG(os.stat(source.name, dir_fd=source.dir_fd, follow_symlinks=False).st_mode):
        raise RefusedError(Refusal.NOT_A_FILE, _PUT, path=source.path, why="it is no regular file")
    source.fd = os.open(source.name, _READ, dir_fd=source.dir_fd)
    source.seen = os.fstat(source.fd)
    if not stat.S_ISREG(source.seen.st_mode):
        raise RefusedError(Refusal.NOT_A_FILE, _PUT, path=source.path, why="it is no regular file")
    seen = Identity.of(source.seen)
    if (seen.ino, seen.size_bytes, seen.mtime_ns) != (
        wanted.identity.ino,
        wanted.identity.size_bytes,
        wanted.identity.mtime_ns,
    ):
        raise _changed(source.path)
    if wanted.sha256 is not None and seen.ctime_ns == wanted.identity.ctime_ns:
        source.sha256 = wanted.sha256
        return
    # A chmod or a new hard link changes the ctime, and so does who rewrites a file and sets its mtime back: the bytes decide.
    source.sha256 = digest_of(source.fd)
    if source.sha256 != (wanted.sha256 or source.sha256) or Identity.of(os.fstat(source.fd)) != seen:
        raise _changed(source.path)


def digest_of(fd: int) -> str:
    """Give the SHA-256 of an open file in hex, from its first byte; the offset stays what it is."""
    digest, offset, block = hashlib.sha256(), 0, bytearray(_BLOCK_BYTES)
    view = memoryview(block)
    while count := os.preadv(fd, [block], offset):
        digest.update(view[:count])
        offset += count
    return digest.hexdigest()


def move_in(entry: OpenEntry, stored: str, source: Source, accept: Collection[Openness]) -> None:
    """Move a file into an entry; the directories are not synced.

    Args:
        entry: one without anything named `stored`.
        stored: the name that the file gets.
        source: from `open_source`.
        accept: what may be known about whether others have it open.

    Raises:
        RefusedError: it changed or is open; it is in its place, but for KEPT_ASIDE.
        StorageError: the disk said no; it is in its place.
    """
    with Hold(source.fd) as hold:
        check_openness(hold, source, accept)
        try:
            _rename_in(source, entry.fd, stored)
        except OSError as error:
            raise said_no(_PUT, source.path, error) from error
        refused = find_change(entry.fd, stored, source, hold)
        if refused is not None:
            _give_back(entry, stored, source)
            raise refused


def check_openness(hold: Hold, source: Source, accept: Collection[Openness]) -> None:
    """See that nobody has the file open, and that it did not change until it was held.

    Raises:
        RefusedError: somebody has, or it did.
    """
    if hold.openness not in accept:
        raise open_elsewhere(_PUT, source.path, hold.openness)
    if Identity.of(os.fstat(source.fd)) != Identity.of(source.seen):
        raise _changed(source.path)


def open_elsewhere(what: str, path: str, openness: Openness) -> RefusedError:
    """Say that a file is open, or may be."""
    if openness is Openness.OPEN:
        return RefusedError(
            Refusal.OPEN, what, path=path, why="a process has it open", cure="it is tried again at the next run"
        )
    why = "nobody can say whether a process has it open: it is another user's, or lies on a network file system"
    cure = "give ckptd CAP_LEASE, or run it as the user whose files these are"
    return RefusedError(Refusal.OPENNESS_UNKNOWN, what, path=path, why=why, cure=cure)


def find_change(entry_fd: int, stored: str, source: Source, hold: Hold) -> RefusedError | None:
    """Compare what came into the entry with what was wanted; None when it is that, and nobody asked for it meanwhile.

    Raises:
        StorageError: the disk said no; the entry has it.
    """
    try:
        here = os.stat(stored, dir_fd=entry_fd, follow_symlinks=False)
    except OSError as error:
        raise said_no(_PUT, source.path, error) from error
    if not stat.S_ISREG(here.st_mode) or Identity.of(here)[:4] != Identity.of(source.seen)[:4]:
        return _changed(source.path)
    return open_elsewhere(_PUT, source.path, Openness.OPEN) if hold.is_wanted() else None


def _changed(path: str) -> RefusedError:
    why = "it is not the file that was decided on: somebody changed or replaced it since"
    return RefusedError(Refusal.CHANGED, _PUT, path=path, why=why, cure="it is looked at again at the next run")


def _rename_in(source: Source, entry_fd: int, stored: str) -> None:
    try:
        kernel.rename_between(source.dir_fd, source.name, entry_fd, stored, kernel.RENAME_NOREPLACE)
    except kernel.Unsupported:
        # The entry is ours alone, locked, and has nothing of this name: there is nothing to be replaced.
        os.rename(source.name, stored, src_dir_fd=source.dir_fd, dst_dir_fd=entry_fd)


def _give_back(entry: OpenEntry, stored: str, source: Source) -> None:
    try:
        rename_out(entry.fd, stored, source.dir_fd, source.name)
    except OSError as error:
        raise kept_aside(entry, source.path, error) from error


def kept_aside(entry: OpenEntry, path: str, error: OSError) -> RefusedError:
    """Say that a file could not go back to its place and where it is."""
    taken = isinstance(error, FileExistsError)
    why = "it was saved while it was moved, and " + (
        "once more since" if taken else f"could not go back to its place ({os.strerror(error.errno or 0)})"
    )
    cure = f"nothing is lost: the earlier of the two is kept in the trash as {entry.name}; compare them" if taken else ""
    cure = cure or f"nothing is lost: it is kept in the trash as {entry.name}; restore it from there"
    return RefusedError(Refusal.KEPT_ASIDE, _PUT, path=path, why=why, cure=cure)


def rename_out(entry_fd: int, stored: str, dir_fd: int, name: str) -> None:
    """Move something out of an entry, never over anything.

    Raises:
        FileExistsError: something has that name.
        OSError: EOPNOTSUPP where the file system offers no way to do it safely, else as `rename`.
    """
    try:
        kernel.rename_between(entry_fd, stored, dir_fd, name, kernel.RENAME_NOREPLACE)
    except kernel.Unsupported:
        # A link is as safe: it fails when the name exists.  In the entry, which is ours alone, it can be removed by its name.
        try:
            os.link(stored, name, src_dir_fd=entry_fd, dst_dir_fd=dir_fd, follow_symlinks=False)
        except OSError as error:
            if error.errno in _NO_LINKS:
                raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP), name) from error
            raise
        os.unlink(stored, dir_fd=entry_fd)


def make_parent(root_fd: int, path: str) -> tuple[int, str, list[str]]:
    """Open the directory of a path below the root, and make what is missing of it, no link followed.

    What is made gets group, owner (when root) and bits of the directory that it is in, so that people can work there.

    Returns:
        The descriptor, the last part, and the paths that were made, outermost first.

    Raises:
        OSError: as `open_beneath`; nothing that was made is left.
    """
    parts, made = path.split("/"), list[str]()
    held = os.dup(root_fd)
    try:
        for index, part in enumerate(parts[:-1]):
            try:
                below = os.open(part, _DIRECTORY, dir_fd=held)
            except FileNotFoundError:
                below = _make_directory(held, part)
                made.append("/".join(parts[: index + 1]))
            os.close(held)
            held = below
    except BaseException:
        os.close(held)
        remove_made(root_fd, made)
        raise
    return held, parts[-1], made


def _make_directory(parent: int, name: str) -> int:
    like = os.fstat(parent)
    os.mkdir(name, 0o700, dir_fd=parent)
    fd = os.open(name, _DIRECTORY, dir_fd=parent)
    try:
        now = os.fstat(fd)
        owner = like.st_uid if os.geteuid() == 0 else -1
        mode = stat.S_IMODE(like.st_mode) | 0o700
        if now.st_gid != like.st_gid or owner not in (-1, now.st_uid):
            try:
                os.fchown(fd, owner, like.st_gid)
            except OSError:
                mode &= ~0o2070  # the bits were meant for a group that it could not get
        os.fchmod(fd, mode)
        os.fsync(parent)
    except BaseException:
        os.close(fd)
        raise
    return fd


def remove_made(root_fd: int, made: list[str]) -> None:
    """Remove directories that were made for nothing, innermost first; one that is in use by now stays."""
    for path in reversed(made):
        try:
            dir_fd, name = open_parent_beneath(root_fd, path)
        except OSError:
            return
        try:
            os.rmdir(name, dir_fd=dir_fd)
        except OSError:
            return
        finally:
            os.close(dir_fd)
