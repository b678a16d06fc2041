"""The journal: what no checkpoint says, line by line, so that the index can be thrown away.

One JSON object a line in `journal.jsonl` of the state directory, only ever added to.  A batch is one write and one sync; a
kill in the middle of it costs that batch and nothing before or after it.
"""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from ckptd.errors import StorageError
from ckptd.storage.faults import storage_error

NAME = "journal.jsonl"
#: Bytes of the longest line that is believed; a path has at most 4,096, and what is longer was written by nobody of ours.
MOST_LINE_BYTES = 1 << 20

# No link: in a root that others can write to, somebody may put one in the place of the directory.
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_APPEND = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY

# Made once: `json.dumps` with arguments of its own makes an encoder for each line.
_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


class Journal:
    """The journal of one state directory.

    Threading: one writer, which holds the lock of the state directory.
    """

    def __init__(self, state_dir: Path) -> None:
        self._state_dir = state_dir

    def append(self, lines: Sequence[Mapping[str, Any]]) -> None:
        """Write lines down for good; bytes of paths that are no UTF-8 survive as lone surrogates.

        Raises:
            StorageError: the disk said no; nothing of these lines counts, and all of them may be appended again.
        """
        if not lines:
            return
        data = b"".join([_encode(line).encode("ascii") + b"\n" for line in lines])
        directory = _open_directory(self._state_dir)
        try:
            _append(directory, data)
        except OSError as error:
            raise _trouble("write the journal", directory, error) from error
        finally:
            os.close(directory)

    def replay(self) -> Iterator[dict[str, Any]]:
        """Give every line that was written, oldest first; a torn or broken one is passed over.

        Raises:
            StorageError: the journal is there and can't be read.
        """
        directory = _open_directory(self._state_dir)
        try:
            with open(_open(directory, _READ), "rb") as file:
                yield from _read_lines(file)
        except FileNotFoundError:
            return
        except OSError as error:
            raise _trouble("read the journal", directory, error) from error
        finally:
            os.close(directory)


def _append(directory: int, data: bytes) -> None:
    fd = _open(directory, _APPEND)
    try:
        end = os.fstat(fd).st_size
        if end and os.pread(fd, 1, end - 1) != b"\n":  # a kill left half a line: it gets an end, so that ours has a beginning
            data = b"\n" + data
        try:
            _write_all(fd, data)
            os.fdatasync(fd)
        except OSError:
            _take_back(fd, end, len(data))
            raise
    finally:
        os.close(fd)
    if end == 0:
        os.fsync(directory)


def _write_all(fd: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:  # once, but for a disk that is getting full: then the second call says why
        rest = rest[os.write(fd, rest) :]


def _take_back(fd: int, end: int, most: int) -> None:
    """Cut off what a failed batch left, unless somebody else wrote behind it; the next batch closes off what stays."""
    try:
        if end < os.fstat(fd).st_size <= end + most:
            os.ftruncate(fd, end)
    except OSError:
        pass


def _read_lines(file: BinaryIO) -> Iterator[dict[str, Any]]:
    whole = True
    while line := file.readline(MOST_LINE_BYTES):
        began, whole = whole, line.endswith(b"\n")
        if not began or (not whole and len(line) == MOST_LINE_BYTES):
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            yield value


def _open_directory(state_dir: Path) -> int:
    try:
        return os.open(state_dir, _DIRECTORY)
    except OSError as error:
        why = os.strerror(error.errno or 0)
        raise StorageError("open the state directory", path=state_dir, why=why, cure="see `ckptd doctor`") from error


def _open(directory: int, flags: int) -> int:
    fd = os.open(NAME, flags, 0o600, dir_fd=directory)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    return fd


def _trouble(what: str, directory: int, error: OSError) -> StorageError:
    trouble = storage_error(what, directory, NAME, error)
    if error.errno in (errno.ELOOP, errno.EINVAL, errno.EISDIR, errno.ENXIO):
        cure = "look at what lies there and move it away; ckptd makes a new one"
        return StorageError(what, path=trouble.path, why="it is no regular file", cure=cure)
    return trouble
