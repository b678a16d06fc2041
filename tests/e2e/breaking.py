"""A daemon that is real until it gets SIGUSR1, which stops one part of it: CKPTD_SOAK_BREAK names it.

`python -m tests.e2e.breaking run …` is `ckptd run …`.  Its patience is a second, so that tests need none.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import Any

broken = threading.Event()


def break_observer() -> None:
    """Let the thread that reads the kernel's events go to sleep for ever, at its next event."""
    from ckptd.watch.source import Source

    handle = Source.handle_event

    def stop(self: Source, event: Any) -> None:
        if broken.is_set():
            threading.Event().wait()
        handle(self, event)

    Source.handle_event = stop


def break_scheduler() -> None:
    """Let the schedule announce nothing any more."""
    from ckptd import daemon

    start = daemon.start_schedule
    schedules: list[Any] = []

    def keep(*args: Any, **options: Any) -> Any:
        schedules.append(start(*args, **options))
        return schedules[-1]

    daemon.start_schedule = keep
    signal.signal(signal.SIGUSR2, lambda *_: [schedule.pause() for schedule in schedules])


def break_pool() -> None:
    """Let nobody end the workers that are idle or late."""
    from ckptd.sandbox.pool import Pool

    tick = Pool.tick
    Pool.tick = lambda self, now: None if broken.is_set() else tick(self, now)


def break_control() -> None:
    """Let the thread that hears people end at their next word."""
    from ckptd.control.listening import Listener

    accept = Listener._accept

    def stop(self: Listener) -> None:
        if broken.is_set():
            raise SystemExit
        accept(self)

    Listener._accept = stop


def break_loop() -> None:
    """Let the loop stand still in the middle of its round."""
    signal.signal(signal.SIGUSR2, lambda *_: threading.Event().wait())


def main() -> int:
    """Run a daemon whose part stops on purpose."""
    from ckptd import daemon
    from ckptd.cli import main as ckptd
    from ckptd.jobs.watching import Watching

    part = os.environ["CKPTD_SOAK_BREAK"]
    if part == "observer":
        Watching.__init__.__kwdefaults__["patience_seconds"] = 1.0
    else:
        daemon.PATIENCE_SECONDS = 1.0
    globals()[f"break_{part}"]()

    def stop(_number: int, _frame: Any) -> None:
        broken.set()
        os.kill(os.getpid(), signal.SIGUSR2)

    if signal.getsignal(signal.SIGUSR2) == signal.SIG_DFL:
        signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    signal.signal(signal.SIGUSR1, stop)
    return ckptd(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
