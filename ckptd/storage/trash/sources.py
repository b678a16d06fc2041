"""A user's file in its place, opened without following links and compared with what was decided on."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from ckptd.model import Identity
from ckptd.storage.beneath import open_parent_beneath
from ckptd.storage.trash.manifest import ManifestError, check_path
from ckptd.storage.trash.refusals import Refusal, RefusedError, said_no

#: What is being done, in messages.
PUT = "put a file into the trash"

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_BLOCK_BYTES = 1 << 20


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
        dir_fd, name = open_parent_beneath(root_fd, checked_path(PUT, path))
    except OSError as error:
        raise said_no(PUT, path, error) from error
    source = Source(path, dir_fd, name)
    try:
        _fill(source, trash_fd, wanted)
    except OSError as error:
        source.close()
        raise said_no(PUT, path, error) from error
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
        raise RefusedError(Refusal.NOT_A_FILE, PUT, path=source.path, why="it is no regular file")
    source.fd = os.open(source.name, _READ, dir_fd=source.dir_fd)
    source.seen = os.fstat(source.fd)
    if not stat.S_ISREG(source.seen.st_mode):
        raise RefusedError(Refusal.NOT_A_FILE, PUT, path=source.path, why="it is no regular file")
    seen = Identity.of(source.seen)
    if (seen.ino, seen.size_bytes, seen.mtime_ns) != (
        wanted.identity.ino,
        wanted.identity.size_bytes,
        wanted.identity.mtime_ns,
    ):
        raise changed(source.path)
    if wanted.sha256 is not None and seen.ctime_ns == wanted.identity.ctime_ns:
        source.sha256 = wanted.sha256
        return
    # A chmod or a new hard link changes the ctime, and so does who rewrites a file and sets its mtime back: the bytes decide.
    source.sha256 = digest_of(source.fd)
    if source.sha256 != (wanted.sha256 or source.sha256) or Identity.of(os.fstat(source.fd)) != seen:
        raise changed(source.path)


def changed(path: str) -> RefusedError:
    """Say that a file is another one by now."""
    why = "it is not the file that was decided on: somebody changed or replaced it since"
    return RefusedError(Refusal.CHANGED, PUT, path=path, why=why, cure="it is looked at again at the next run")


def digest_of(fd: int) -> str:
    """Give the SHA-256 of an open file in hex, from its first byte; the offset stays what it is."""
    digest, offset, block = hashlib.sha256(), 0, bytearray(_BLOCK_BYTES)
    view = memoryview(block)
    while count := os.preadv(fd, [block], offset):
        digest.update(view[:count])
        offset += count
    return digest.hexdigest()
