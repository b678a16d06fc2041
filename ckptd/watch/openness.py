"""Ask whether somebody still writes to a file.

A read lease is the only question that the kernel answers for sure: it is refused with EAGAIN while anybody has the file
open for writing, mapped for writing included, whatever user, container or name it goes by.  It is asked on our own
read-only descriptor and given back at once.

Two things could go wrong in the microseconds between, and neither does harm.  A writer that opens the file then is held
in its `open` until we let go (or gets EWOULDBLOCK, when it asked with O_NONBLOCK).  And the kernel signals the holder of
a lease that is to be broken, by SIGIO, which ends a process that has no handler for it; so the signal is set to SIGURG
first, which every process ignores unless it says otherwise.  Source: fcntl(2), "Leases"; signal(7).

Where no lease can be had (another user's file without CAP_LEASE, file systems without leases) /proc may still show a
writer.  That it shows none proves nothing: other users' processes, other containers and other hosts are not seen.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path

from ckptd.model import Openness

#: Descriptors looked at in one pass over /proc, 2 to 15 µs each; what a machine has beyond that stays unknown.
MAX_DESCRIPTORS = 50_000

_INODE = re.compile(rb"^ino:\s*(\d+)$", re.MULTILINE)


def find_writer(fd: int, written_files: Callable[[], frozenset[int]] | None = None) -> Openness:
    """Say whether anybody has the regular file behind `fd` (opened O_RDONLY by us) open for writing.

    Args:
        fd: a descriptor without a lease of its own; it comes back without one.
        written_files: what /proc shows, asked only where no lease can be had: `find_written_files`, or a `RecentWriters`
            when many files are asked about; None leaves such files unknown.
    """
    try:
        fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        if error.errno == errno.EAGAIN:
            return Openness.OPEN
        return _ask_processes(fd, written_files)
    fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return Openness.CLOSED


def _ask_processes(fd: int, written_files: Callable[[], frozenset[int]] | None) -> Openness:
    if written_files is None:
        return Openness.UNKNOWN
    return Openness.OPEN if os.fstat(fd).st_ino in written_files() else Openness.UNKNOWN


def find_written_files(limit: int = MAX_DESCRIPTORS) -> frozenset[int]:
    """Give the inode numbers that processes we may look into have open for writing; incomplete by nature.

    Numbers alone, out of fdinfo (Linux 5.14 and newer), because a `stat` could hang on a dead share that is none of our
    business.  A namesake on another file system costs a wait and nothing else.
    """
    found: set[int] = set()
    for pid in _list_quietly("/proc"):
        if not pid.isdigit():
            continue
        descriptors = _list_quietly(f"/proc/{pid}/fd")
        limit -= len(descriptors)
        if limit < 0:
            break
        for number in descriptors:
            inode = _find_written(f"/proc/{pid}", number)
            if inode is not None:
                found.add(inode)
    return frozenset(found)


class RecentWriters:
    """Remember what /proc showed for a moment, so that asking about a thousand files walks /proc once.

    Args:
        clock: monotonic seconds.
        seconds: for how long one walk answers.
    """

    def __init__(self, clock: Callable[[], float], seconds: float = 1.0) -> None:
        self._clock = clock
        self._seconds = seconds
        self._at = float("-inf")
        self._files: frozenset[int] = frozenset()

    def __call__(self) -> frozenset[int]:
        """Give the files open for writing, not older than the seconds given."""
        if self._clock() - self._at > self._seconds:
            self._files, self._at = find_written_files(), self._clock()
        return self._files


def _find_written(process: str, number: str) -> int | None:
    try:
        # The write bit of the link itself says how the file was opened.  Source: proc_pid_fd(5).
        if not os.lstat(f"{process}/fd/{number}").st_mode & 0o200:
            return None
        info = Path(f"{process}/fdinfo/{number}").read_bytes()
    except OSError:
        return None
    inode = _INODE.search(info)
    return int(inode[1]) if inode else None


def _list_quietly(path: str) -> list[str]:
    try:
        return os.listdir(path)
    except OSError:
        return []
