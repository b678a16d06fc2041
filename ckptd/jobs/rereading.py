"""Read the bytes of a file again, from the disk and not from the memory, and leave no trace of it in its times.

Only a regular file is opened, and only the one that the index knows: everything else is no matter of rot.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from ckptd.errors import CkptdError
from ckptd.model import Identity, RawIdentity
from ckptd.policy.scrub import Outcome, is_hopeless
from ckptd.storage.beneath import open_beneath

#: Read at a time; between two of them somebody may stop it.
BLOCK_BYTES = 1 << 20
#: The kernel writes out what was changed after 30 seconds, looking every 5; a younger file is synced first, for what is not on
#: the disk yet can't be read from there.  Source: vm.dirty_expire_centisecs and vm.dirty_writeback_centisecs in proc(5).
_WRITEBACK_SECONDS = 120.0
#: What a path answers that does not lead to a file any more: gone, or through a link.
_ELSEWHERE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EXDEV})
#: What says that somebody took our rights, and not that the disk is failing.
_NO_RIGHT = frozenset({errno.EACCES, errno.EPERM})

_LOOK = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY

#: Told how many bytes of a file were read; it raises to stop.
Pace = Callable[[int], None]


class StoppedError(CkptdError):
    """Somebody asked this process to end; what was not done is done by the next run."""

    permanent = False


class SlowError(Exception):
    """A file takes longer than it may."""


class Reread(NamedTuple):
    """What became of one reading.

    Attributes:
        outcome: OK when it was read to its end, whatever its digest is; never ROTTEN.
        sha256: of its bytes; None unless OK.
        done_bytes: how many were read.
        why: one phrase; empty when OK.
        is_broken: the disk failed; False too where only a right is missing.
    """

    outcome: Outcome
    sha256: str | None = None
    done_bytes: int = 0
    why: str = ""
    is_broken: bool = False


def make_pace(size_bytes: int, limit_seconds: float, clock: Callable[[], float], stop: Callable[[], bool]) -> Pace:
    """Give what watches over the reading of one file, from now on.

    Args:
        size_bytes: of the file.
        limit_seconds: how long it may take.
        clock: monotonic seconds.
        stop: True once the process is to end.
    """
    began = clock()

    def pace(done_bytes: int) -> None:
        check_stop(stop)
        if is_hopeless(size_bytes, done_bytes, clock() - began, limit_seconds):
            raise SlowError

    return pace


def check_stop(stop: Callable[[], bool]) -> None:
    """Raise when this process is to end.

    Raises:
        StoppedError: it is.
    """
    if stop():
        raise StoppedError("the job was told to stop", why="what is not done yet is done by the next run")


def read_again(root_fd: int, path: str, identity: RawIdentity, now: float, pace: Pace) -> Reread:
    """Read the file that lies at a path below a root, if it is the one that is known.

    Args:
        root_fd: of the root.
        path: relative to it.
        identity: of the known file; another number of the device and another ctime make no other file.
        now: seconds since the epoch.
        pace: see `Pace`.

    Raises:
        StoppedError: `pace` said so.
    """
    try:
        fd = open_known(root_fd, path, identity)
    except OSError as error:
        return _refused(error, 0)
    try:
        return _read(fd, root_fd, path, identity, now, pace)
    finally:
        os.close(fd)


def open_known(root_fd: int, path: str, identity: RawIdentity) -> int:
    """Open the known file that lies at a path, so that reading it changes no time of it; nothing else is opened.

    Raises:
        OSError: ENOENT when another file lies there, else as `open_beneath`.
    """
    _look(root_fd, path, identity)
    try:
        fd = open_beneath(root_fd, path, _READ | os.O_NOATIME)
    except PermissionError:  # another user's file, which may still be ours to read
        fd = open_beneath(root_fd, path, _READ)
    try:
        _compare(os.fstat(fd), identity)
    except OSError:
        os.close(fd)
        raise
    return fd


def hash_file(fd: int, size_bytes: int, now: float, pace: Pace) -> str:
    """Give the SHA-256 of so many bytes of a file, in hex, reading them from the disk; the position of `fd` is not used.

    Raises:
        OSError: the disk said no; ENODATA when the file is shorter.
    """
    forget(fd, now)
    return digest_of(fd, size_bytes, pace)


def digest_of(fd: int, size_bytes: int, pace: Pace) -> str:
    """Give the SHA-256 of so many bytes of a file, in hex, from wherever they are; else as `hash_file`."""
    with suppress(OSError):
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_SEQUENTIAL)
    digest, block, at = hashlib.sha256(), memoryview(bytearray(BLOCK_BYTES)), 0
    while at < size_bytes:
        pace(at)
        got = os.preadv(fd, [block[: size_bytes - at]], at)
        if not got:
            raise OSError(errno.ENODATA, "it became shorter")
        digest.update(block[:got])
        with suppress(OSError):  # what was read here is of no use to anybody else's memory
            os.posix_fadvise(fd, at, got, os.POSIX_FADV_DONTNEED)
        at += got
    return digest.hexdigest()


def forget(fd: int, now: float) -> None:
    """Drop what the memory holds of a file, so that the disk is asked; where the kernel can't, it is read as it is."""
    with suppress(OSError):
        if now - os.fstat(fd).st_mtime < _WRITEBACK_SECONDS:
            os.fdatasync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)


def _read(fd: int, root_fd: int, path: str, identity: RawIdentity, now: float, pace: Pace) -> Reread:
    done = 0

    def count(done_bytes: int) -> None:
        nonlocal done
        done = done_bytes
        pace(done_bytes)

    try:
        sha256 = hash_file(fd, identity[2], now, count)
        _look(root_fd, path, identity)  # by its name: what was renamed over it is seen as well as what was written into it
    except SlowError:
        return Reread(Outcome.UNFINISHED, None, done, "reading it takes longer than a run may take")
    except OSError as error:
        return _judge(root_fd, path, identity, error, done)
    return Reread(Outcome.OK, sha256, identity[2])


def _judge(root_fd: int, path: str, identity: RawIdentity, error: OSError, done: int) -> Reread:
    """Tell a disk that fails from a file that somebody took away or cut while it was read."""
    try:
        _look(root_fd, path, identity)
    except OSError as changed:
        return _refused(changed, done)
    return _refused(error, done)


def _refused(error: OSError, done: int) -> Reread:
    why = error.strerror or str(error)
    if error.errno in _ELSEWHERE:
        return Reread(Outcome.CHANGED, None, done, why)
    return Reread(Outcome.UNREADABLE, None, done, why, error.errno not in _NO_RIGHT)


def _look(root_fd: int, path: str, identity: RawIdentity) -> None:
    """See whether the known file lies at a path, without opening it: the reader of a FIFO lets its writer go on.

    Raises:
        OSError: ENOENT when another file lies there, else as `open_beneath`.
    """
    fd = open_beneath(root_fd, path, _LOOK)
    try:
        _compare(os.fstat(fd), identity)
    finally:
        os.close(fd)


def _compare(seen: os.stat_result, identity: RawIdentity) -> None:
    if not stat.S_ISREG(seen.st_mode) or Identity.of(seen)[1:4] != identity[1:4]:
        raise OSError(errno.ENOENT, "another file lies there than was read before")
