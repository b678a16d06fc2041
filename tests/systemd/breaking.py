"""`ckptd run` with a schedule that falls silent on SIGUSR1, as one that hangs does; all else goes on."""

from __future__ import annotations

import signal
import sys

from ckptd import daemon
from ckptd.cli import main


class FragileDaemon(daemon.Daemon):
    """A daemon whose schedule can be stopped from outside."""

    def run(self) -> daemon.Course | None:
        signal.signal(signal.SIGUSR1, lambda *_: self._schedule.pause())
        return super().run()


if __name__ == "__main__":
    daemon.PATIENCE_SECONDS = 1.0
    daemon.Daemon = FragileDaemon  # type: ignore[misc]
    sys.exit(main(sys.argv[1:]))
