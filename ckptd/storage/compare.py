"""Tell whether a file is still the one that was read, and whether somebody is about to change it."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import signal
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from ckptd.model import Identity


def fingerprint(expected: Identity | str) -> str:
    """Give 64 hex digits for an expectation: the digest itself, or one of the identity without its ctime."""
    return expected if isinstance(expected, str) else hashlib.sha256(repr(tuple(expected[:4])).encode()).hexdigest()


def is_expected(dir_fd: int, name: str, expected: Identity | str) -> bool:
    """Tell whether a regular file is the one expected (by digest or identity) and no writer has it open."""
    try:
        with _opened(dir_fd, name) as fd:
            now = os.fstat(fd)
            if not stat.S_ISREG(now.st_mode) or has_writer(fd):
                return False
            if isinstance(expected, Identity):
                return Identity.of(now)[:4] == expected[:4]  # a rename changes the ctime
            return _hash(fd) == expected
    except OSError:
        return False  # a link, a socket, not ours to read: nothing that was expected


def is_same_entry(dir_fd: int, name: str, put: Identity) -> bool:
    """Tell whether an entry of any type, readable or not, is the one that was put there, and unchanged."""
    return Identity.of(os.stat(name, dir_fd=dir_fd, follow_symlinks=False))[:4] == put[:4]


def is_being_written(dir_fd: int, name: str) -> bool:
    """Tell whether somebody has an entry open for writing, as far as the kernel says it."""
    try:
        with _opened(dir_fd, name) as fd:
            return stat.S_ISREG(os.fstat(fd).st_mode) and has_writer(fd)
    except OSError:
        return False


def has_writer(fd: int) -> bool:
    """Tell whether somebody has this file open for writing, as far as the kernel says it.

    A read lease is given only where nobody has.  It says nothing of a file of another user (EACCES), unless we have
    CAP_LEASE, nor on network file systems; there False means "not known".
    """
    try:
        # Whoever opens the file for writing while we hold the lease has the kernel signal us: SIGIO would end the process.
        fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except BlockingIOError:
        return True
    except OSError:
        return False
    fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return False


def digest_of(dir_fd: int, name: str) -> str | None:
    """Give the SHA-256 of a regular file in hex, no link followed; None when there is no such file.

    Raises:
        OSError: it can't be read.
    """
    try:
        with _opened(dir_fd, name) as fd:
            return _hash(fd) if stat.S_ISREG(os.fstat(fd).st_mode) else None
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ELOOP, errno.ENXIO):
            return None
        raise


@contextmanager
def _opened(dir_fd: int, name: str) -> Iterator[int]:
    fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=dir_fd)
    try:
        yield fd
    finally:
        os.close(fd)


def _hash(fd: int) -> str:
    digest = hashlib.sha256()
    while block := os.read(fd, 1 << 20):
        digest.update(block)
    return digest.hexdigest()
