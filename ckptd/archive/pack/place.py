"""The directory `pack` beside the archives, in which their objects lie, and the lock on it."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from ckptd.archive.interface import ArchiveError
from ckptd.storage.faults import place_of

DIRECTORY_NAME = "pack"
#: Of an object file: its id in hex.
OBJECT_FILE_NAME = re.compile(r"(?P<id>[0-9a-f]{32})\.objects")

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
#: What flock answers where directories can't be locked.  Source: flock(2); NFS emulates it by a lock that wants write access.
_NO_LOCKS = frozenset((errno.EBADF, errno.EINVAL, errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP))


def object_file_name(file_id: bytes) -> str:
    """Give the name of an object file; made of hex digits, whatever an archive says the id is."""
    return f"{file_id.hex()}.objects"


@contextmanager
def opened_place(directory: int) -> Iterator[int]:
    """Open the directory of the objects, which may be no link.

    Raises:
        OSError: it isn't there, or no directory.
    """
    fd = os.open(DIRECTORY_NAME, _DIRECTORY, dir_fd=directory)
    try:
        yield fd
    finally:
        os.close(fd)


@contextmanager
def found_place(directory: int) -> Iterator[int | None]:
    """Open the directory of the objects for one who reads; None where it is missing, or a link."""
    try:
        fd = os.open(DIRECTORY_NAME, _DIRECTORY, dir_fd=directory)
    except OSError:
        yield None
        return
    try:
        yield fd
    finally:
        os.close(fd)


def make_place(directory: int) -> None:
    """Make the directory of the objects where it is missing, with the permission bits of the one that it lies in.

    Raises:
        OSError: the disk says no.
    """
    try:
        os.mkdir(DIRECTORY_NAME, stat.S_IMODE(os.fstat(directory).st_mode), dir_fd=directory)
    except FileExistsError:
        return
    os.fsync(directory)


@contextmanager
def locked(place: int) -> Iterator[None]:
    """Hold the objects for as long as archives are written, or objects are collected.

    Where the file system can't lock a directory, the lock of the jobs has to do.

    Raises:
        ArchiveError: another process has it.
    """
    try:
        fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        why = "another process writes an archive here, or collects what archives left"
        raise ArchiveError(
            "work on the archives", path=place_of(place, ""), why=why, cure="try again when it is done"
        ) from None
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
    try:
        yield
    finally:
        try:
            fcntl.flock(place, fcntl.LOCK_UN)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
