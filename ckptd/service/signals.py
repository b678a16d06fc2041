"""Signals of the service manager: SIGTERM and SIGINT end the process, in time whatever stands in the way; SIGHUP is a wish."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType

#: The end comes within so long, seconds, in good order or not: 10 are owed.
MOST_STOP_SECONDS = 9.5
_ENDS = frozenset({signal.SIGTERM, signal.SIGINT})


def take_signals(stop: Callable[[], None], reread: Callable[[], None]) -> None:
    """Call `stop` for a signal that ends the process, and `reread` for SIGHUP; both only note."""

    def end(_number: int, _frame: FrameType | None) -> None:
        stop()
        _set_end()

    def hang_up(_number: int, _frame: FrameType | None) -> None:
        reread()

    for number in _ENDS:
        signal.signal(number, end)
    signal.signal(signal.SIGHUP, hang_up)


def hear_signals() -> None:
    """Have a thread hear of the end as well: a handler of Python waits for the loop to leave SQLite, which may take seconds."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    os.register_at_fork(after_in_child=lambda: signal.set_wakeup_fd(-1))  # else a signal to a child would end this process

    def hear() -> None:
        while not _ENDS & set(os.read(reader, 64)):
            pass
        _set_end()

    threading.Thread(target=hear, name="ckptd-end", daemon=True).start()


def _set_end() -> None:
    """Let SIGALRM end the process, as a kill would, which costs nothing: a share may be dead, or a thread hang."""
    if not signal.getitimer(signal.ITIMER_REAL)[0]:
        signal.setitimer(signal.ITIMER_REAL, MOST_STOP_SECONDS)
