"""How long one file may take: a short limit for its structure, then as long as its bytes keep coming.

The limits are wall-clock time, since a read from a dead share uses none else.  But a worker steps back behind everything on
the machine, so one that waits for nothing but a processor, and got less than half of its time, is given more: a machine that
is busy with training must not make good files fail.
"""

from __future__ import annotations

from collections.abc import Callable

from ckptd.errors import WorkerError
from ckptd.sandbox.limits import Limits
from ckptd.sandbox.usage import cpu_seconds, wants_cpu

#: Progress that renews a deadline: with 20 s at least for each, a reader above 50 kB/s is never late.
RENEW_BYTES = 1 << 20
#: How often a worker that gets no processor is given its time once more.
MAX_EXTENSIONS = 9


class Allowance:
    """Seconds that a process may take, given once more when it got no processor.

    Attributes:
        at: when it is late, on the caller's clock; ask `extend` before acting on it.
    """

    __slots__ = ("_allowed", "_cpu", "_extensions", "_pid", "at")

    def __init__(self, seconds: float, pid: int, now: float) -> None:
        self._pid = pid
        self._extensions = 0
        self._allow(seconds, now)

    def extend(
        self,
        now: float,
        used: Callable[[int], float | None] = cpu_seconds,
        wants: Callable[[int], bool] = wants_cpu,
    ) -> bool:
        """Give a process that did not get the processor its time once more; False when it had its chance."""
        before, after = self._cpu, used(self._pid)
        if before is None or after is None or self._extensions >= MAX_EXTENSIONS:
            return False
        if after - before >= self._allowed / 2 or not wants(self._pid):
            return False
        self._extensions += 1
        self.at = now + self._allowed
        return True

    def _allow(self, seconds: float, now: float) -> None:
        self._allowed = seconds
        self._cpu = cpu_seconds(self._pid)
        self.at = now + seconds


class Deadline(Allowance):
    """The clock of one file in the hands of one process."""

    __slots__ = ("_done_bytes", "_limits", "_size_bytes")

    def __init__(self, limits: Limits, size_bytes: int, pid: int, now: float) -> None:
        self._limits = limits
        self._size_bytes = size_bytes
        self._done_bytes = -1
        super().__init__(limits.structure_seconds, pid, now)

    def note_progress(self, done_bytes: int, now: float) -> None:
        """Renew: always the first time (the structure is read), then for each `RENEW_BYTES` of the file."""
        done = max(0, min(done_bytes, self._size_bytes))
        if self._done_bytes < 0 or done >= self._done_bytes + RENEW_BYTES:
            self._done_bytes = done
            left = (self._size_bytes - done) / self._limits.bytes_per_second
            self._allow(self._limits.base_seconds + left, now)

    def late(self) -> WorkerError:
        """Say what took too long."""
        if self._done_bytes < 0:
            why = f"reading the structure took longer than {self._limits.structure_seconds:g} seconds"
        else:
            why = f"reading stopped after {self._done_bytes} of {self._size_bytes} bytes"
        return WorkerError("a worker was ended", why=why)
