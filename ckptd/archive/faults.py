"""Turn what the operating system says about an archive into a sentence with a cure; the one edge of this room."""

from __future__ import annotations

import errno
import os
from types import TracebackType

from ckptd.archive.interface import ArchiveError
from ckptd.storage.faults import place_of

_NO_RIGHT = "give the user that runs ckptd the right to write in the directory of the archives"
_CURES = {
    errno.ENOSPC: "free some space there, or set archive.directory to another disk; it is tried again",
    errno.EDQUOT: "the quota of the user that runs ckptd is used up: raise it or free some space; it is tried again",
    errno.EROFS: "the file system is mounted read-only: mount it writable, or set archive.directory to another one",
    errno.EACCES: _NO_RIGHT,
    errno.EPERM: _NO_RIGHT,
    errno.EFBIG: "the limit on file sizes (ulimit -f) of the user that runs ckptd is too small, or the file system's: set "
    "archive.max_bytes below it",
    errno.EOPNOTSUPP: "this file system can neither rename without replacing nor make hard links: set archive.directory to "
    "another one",
    errno.EEXIST: "it is left as it is; the next run takes another name",
    errno.ELOOP: "it is a link, and links are not followed here",
    errno.EIO: "the disk reports an error: look at the kernel's log",
    errno.ESTALE: "the network file system lost its server's file handle: mount it again",
}


def archive_error(what: str, directory: int, name: str, error: OSError) -> ArchiveError:
    """Make the error that a person reads out of the one that the kernel gave."""
    why = os.strerror(error.errno) if error.errno else str(error)
    return ArchiveError(what, path=place_of(directory, name), why=why, cure=_CURES.get(error.errno or 0, ""))


class translated:  # noqa: N801 — a context manager, like the one of `ckptd.storage.faults`
    """Raise `ArchiveError` in place of any `OSError` of the block."""

    __slots__ = ("directory", "name", "what")

    def __init__(self, what: str, directory: int, name: str) -> None:
        self.what = what
        self.directory = directory
        self.name = name

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if isinstance(error, OSError):
            raise archive_error(self.what, self.directory, self.name, error) from error
