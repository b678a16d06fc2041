"""How much of the machine another process got, and whether it wants more."""

from __future__ import annotations

import time
from pathlib import Path

#: Source: linux/posix-timers.h: the clock of a process is its number, inverted, above three bits; 2 is its run time.
_CPUCLOCK_SCHED = 2


def cpu_seconds(pid: int) -> float | None:
    """Tell how long a process has run on a processor, or None where nobody knows.  It costs one system call."""
    try:
        return time.clock_gettime((~pid << 3) | _CPUCLOCK_SCHED)
    except (AttributeError, OSError, OverflowError):
        return None


def wants_cpu(pid: int) -> bool:
    """Tell whether a process is running or waits for nothing but a processor: one of its threads does.

    The first one alone won't do: it sleeps while one that hashes beside it waits for its turn.
    """
    try:
        threads = list(Path(f"/proc/{pid}/task").iterdir())
    except OSError:
        return False
    return any(map(_is_runnable, threads))


def _is_runnable(thread: Path) -> bool:
    try:
        stat = (thread / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:  # it has ended
        return False
    return stat.rpartition(") ")[2].startswith("R")
