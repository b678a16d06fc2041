"""Ask whether anybody has a file open, reader or writer, and keep it so while it is moved.

A write lease is given by the kernel only while nobody else has the file open or mapped, and whoever opens it from then on waits
until we let go: so between the question and the rename nothing can happen to the file, and what was wanted meanwhile is known.
We let go within microseconds.  The kernel signals the holder of a lease that somebody waits for, by SIGIO, which would end
the process; so the signal is set to SIGURG first, which is ignored.  Source: fcntl(2), "Leases"; signal(7).

Where no lease can be had (another user's file without CAP_LEASE, network file systems), /proc may show who has it open.  That
it shows nobody proves nothing.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import signal
from types import TracebackType
from typing import Self

from ckptd.model import Openness

#: Descriptors looked at in one pass over /proc, 2 to 15 µs each; what a machine has beyond that stays unknown.
MAX_DESCRIPTORS = 50_000

_INODE = re.compile(rb"^ino:\s*(\d+)$", re.MULTILINE)


class Hold:
    """Hold a file still, as far as the kernel lets us.

    Attributes:
        openness: whether anybody else has it open, for reading or writing.

    Args:
        fd: a descriptor of ours on a regular file, the only one that this process has on it.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._is_leased = False
        self.openness = Openness.UNKNOWN

    def __enter__(self) -> Self:
        try:
            fcntl.fcntl(self._fd, fcntl.F_SETSIG, signal.SIGURG)
            fcntl.fcntl(self._fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        except OSError as error:
            is_open = error.errno == errno.EAGAIN or os.fstat(self._fd).st_ino in find_open_files()
            self.openness = Openness.OPEN if is_open else Openness.UNKNOWN
        else:
            self._is_leased = True
            self.openness = Openness.CLOSED
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._is_leased:
            fcntl.fcntl(self._fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)

    def is_wanted(self) -> bool:
        """Tell whether somebody tried to open it since we hold it; he waits for us."""
        return self._is_leased and fcntl.fcntl(self._fd, fcntl.F_GETLEASE) != fcntl.F_WRLCK


def find_open_files(limit: int = MAX_DESCRIPTORS) -> frozenset[int]:
    """Give the inode numbers that other processes we may look into have open or mapped; incomplete by nature.

    Numbers alone, because a `stat` could hang on a dead share that is none of our business.  A namesake on another file system
    costs a wait and nothing else.
    """
    found: set[int] = set()
    for pid in _list_quietly("/proc"):
        if not pid.isdigit() or int(pid) == os.getpid():
            continue
        descriptors = _list_quietly(f"/proc/{pid}/fdinfo")
        limit -= len(descriptors)
        if limit < 0:
            break
        for number in descriptors:
            found.update(map(int, _INODE.findall(_read_quietly(f"/proc/{pid}/fdinfo/{number}"))))
        found.update(_mapped(_read_quietly(f"/proc/{pid}/maps")))
    return frozenset(found)


def _mapped(maps: bytes) -> set[int]:
    """Give the inodes of a table of mappings.  Source: proc_pid_maps(5): the fifth column, 0 for memory without a file."""
    columns = [line.split(None, 5) for line in maps.splitlines()]
    return {int(column[4]) for column in columns if len(column) > 5 and column[4] != b"0"}


def _list_quietly(path: str) -> list[str]:
    try:
        return os.listdir(path)
    except OSError:
        return []


def _read_quietly(path: str) -> bytes:
    try:
        with open(path, "rb") as file:  # noqa: PTH123 — a thousand of them; a Path for each costs more than the read
            return file.read()
    except OSError:
        return b""
