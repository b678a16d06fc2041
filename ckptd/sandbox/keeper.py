"""A zygote as its nursery sees it: how it is started, what it is sent, how it ended."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Sequence

from ckptd.errors import WorkerError
from ckptd.sandbox.child import Launched, launch, read_last_words
from ckptd.sandbox.deadline import Allowance
from ckptd.sandbox.ending import describe_exit

#: For libraries: no home, whose configuration they would read and into which they would write caches; a name for which nobody
#: asks /etc/passwd; and no telemetry of onnxruntime, a thread from its import on, with a database in the home.
#: Source: onnxruntime 1.32, core/platform/telemetry_1ds.cc.
_ENVIRONMENT = {
    "HOME": "/nonexistent",
    "USER": "ckptd",
    "LOGNAME": "ckptd",
    "LANG": "C.UTF-8",
    "ORT_DISABLE_TELEMETRY": "1",
}


class Keeper:
    """One zygote.

    Attributes:
        is_ready: True once it said so.
        allowance: the time for its start.
        events: what its channel is registered for in the selector.
        error: why it was let go; None when its exit status has to say it.
    """

    def __init__(self, launched: Launched, start_seconds: float, now: float) -> None:
        self.process, self.channel, self._words = launched
        self.allowance = Allowance(start_seconds, self.process.pid, now)
        self.is_ready = False
        self.events = 0
        self.error: WorkerError | None = None
        self._sent_fds: list[int] = []

    def send(self, line: bytes, fds: Sequence[int]) -> None:
        """Send a line with descriptors, which are closed when they are on their way."""
        self._sent_fds += fds
        self.channel.send(line, fds)
        self._close_sent()

    def flush(self) -> None:
        """Send what waits, as far as its channel takes it."""
        self.channel.flush()
        self._close_sent()

    def _close_sent(self) -> None:
        if not self.channel.wants_write:
            for fd in self._sent_fds:
                os.close(fd)
            self._sent_fds.clear()

    def kill(self) -> None:
        """End it and all its jobs, which can't leave its group."""
        with contextlib.suppress(ProcessLookupError):
            # Not collected yet, so the number is still its own.
            os.killpg(self.process.pid, signal.SIGKILL)

    def has_ended(self) -> bool:
        """Collect it if it has ended; only after `kill`, since its number is free then."""
        return self.process.poll() is not None

    def wait(self, seconds: float) -> None:
        """Collect it, waiting no longer than that."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(seconds)

    def describe_end(self) -> WorkerError:
        """Say why it is gone."""
        return self.error or describe_exit(self.process.returncode, killed=False, words=read_last_words(self._words))

    def close(self) -> None:
        """Close every descriptor of the nursery's side."""
        self.channel.close()
        self._close_sent()
        self._words.close()


def open_keeper(command: Sequence[str], start_seconds: float, now: float) -> Keeper:
    """Start a zygote.

    Raises:
        WorkerError: the operating system could not.
    """
    return Keeper(launch(command, _ENVIRONMENT), start_seconds, now)
