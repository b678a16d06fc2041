"""Turn what the operating system says about a file into a sentence with a cure; the one edge of this room."""

from __future__ import annotations

import errno
import os
import stat
from types import TracebackType

from ckptd.errors import StorageError

_CURES = {
    errno.ENOSPC: "free some space on this file system; it is tried again",
    errno.EDQUOT: "the quota of the user that runs ckptd is used up: raise it or free some space; it is tried again",
    errno.EROFS: "the file system is mounted read-only: mount it writable, or set sidecar.enabled = false",
    errno.EACCES: "give the user that runs ckptd the right to write in this directory",
    errno.EPERM: "give the user that runs ckptd the right to write in this directory",
    errno.ENAMETOOLONG: "shorten the file's name",
    errno.EFBIG: "the limit on file sizes (ulimit -f) of the user that runs ckptd is too small",
    errno.EOPNOTSUPP: "this file system can neither rename without replacing nor make hard links, so nothing is written here: "
    "set sidecar.enabled = false, or keep the checkpoints elsewhere",
    errno.EIO: "the disk reports an error: look at the kernel's log",
    errno.ESTALE: "the network file system lost its server's file handle: mount it again",
}


class NameTakenError(StorageError):
    """A file of this name exists already; it was not touched."""

    permanent = True


def place_of(dir_fd: int, name: str) -> str:
    """Give the path of an entry of an open directory as the kernel spells it now; only for messages."""
    try:
        return f"{os.readlink(f'/proc/self/fd/{dir_fd}')}/{name}"
    except OSError:
        return name


def storage_error(what: str, dir_fd: int, name: str, error: OSError) -> StorageError:
    """Make the error that a person reads out of the one that the kernel gave."""
    cure = _CURES.get(error.errno or 0, "")
    if error.errno in (errno.EPERM, errno.EACCES) and _is_sticky(dir_fd):
        cure = "the directory is sticky, so that only a file's owner replaces it: chmod -t it, or let its owner do it"
    return StorageError(what, path=place_of(dir_fd, name), why=os.strerror(error.errno or 0), cure=cure)


class translated:  # noqa: N801 — a context manager, written as a class: on the way of every file, at a third of the cost
    """Raise `StorageError` in place of any `OSError` of the block."""

    __slots__ = ("dir_fd", "name", "what")

    def __init__(self, what: str, dir_fd: int, name: str) -> None:
        self.what = what
        self.dir_fd = dir_fd
        self.name = name

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if isinstance(error, OSError):
            raise storage_error(self.what, self.dir_fd, self.name, error) from error


def _is_sticky(dir_fd: int) -> bool:
    try:
        return bool(os.fstat(dir_fd).st_mode & stat.S_ISVTX)
    except OSError:
        return False
