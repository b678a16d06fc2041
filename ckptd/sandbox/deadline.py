"""How long one file may take: a short limit for its structure, then as long as its bytes keep coming."""

from __future__ import annotations

from ckptd.errors import WorkerError
from ckptd.sandbox.limits import Limits

#: Progress that renews a deadline: with 20 s at least for each, a reader above 50 kB/s is never late.
RENEW_BYTES = 1 << 20


class Deadline:
    """The clock of one file.

    Attributes:
        at: when it is late, on the caller's clock.
    """

    __slots__ = ("_done_bytes", "_limits", "_size_bytes", "at")

    def __init__(self, limits: Limits, size_bytes: int, now: float) -> None:
        self._limits = limits
        self._size_bytes = size_bytes
        self._done_bytes = -1
        self.at = now + limits.structure_seconds

    def note_progress(self, done_bytes: int, now: float) -> None:
        """Renew: always the first time (the structure is read), then for each `RENEW_BYTES` of the file."""
        done = max(0, min(done_bytes, self._size_bytes))
        if self._done_bytes < 0 or done >= self._done_bytes + RENEW_BYTES:
            self._done_bytes = done
            self.at = now + self._limits.base_seconds + (self._size_bytes - done) / self._limits.bytes_per_second

    def late(self) -> WorkerError:
        """Say what took too long."""
        if self._done_bytes < 0:
            why = f"reading the structure took longer than {self._limits.structure_seconds:g} seconds"
        else:
            why = f"reading stopped after {self._done_bytes} of {self._size_bytes} bytes"
        return WorkerError("a worker was ended", why=why)
