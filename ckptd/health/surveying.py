"""A thread that may wait: one measures the disks, another one writes the file for node_exporter, and alerts have theirs.

A share that does not answer holds its thread and nothing else; that the last word of the first grows old is a metric.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable

#: How long is waited for the thread at the end; one that waits for a dead share is left to the end of the process.
_END_SECONDS = 0.5


class Surveyor:
    """Call something again and again in a thread of its own.

    Args:
        work: does it; what it raises ends nothing and is handed to `tell`.
        seconds: between two calls.
        tell: given the trouble, or None when there is none any more; not called again for the same trouble.
    """

    def __init__(self, work: Callable[[], None], seconds: float, tell: Callable[[str | None], None]) -> None:
        self._work = work
        self._seconds = seconds
        self._tell = tell
        self._trouble: str | None = None
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="health-survey", daemon=True)

    def start(self) -> None:
        """Begin; the first call comes at once."""
        self._thread.start()

    def end(self) -> None:
        """End after the call that goes on; nobody waits for that."""
        self._ending.set()

    def close(self) -> None:
        """End after the call that goes on, and wait a moment for it."""
        self.end()
        if self._thread.is_alive():
            self._thread.join(_END_SECONDS)

    def _run(self) -> None:
        while not self._ending.is_set():
            self._call()
            self._ending.wait(self._seconds)

    def _call(self) -> None:
        trouble = None
        try:
            self._work()
        except Exception as error:  # noqa: BLE001 — whatever it is, the next call may do better, and it is told
            trouble = str(error) or type(error).__name__
        if trouble != self._trouble:
            self._trouble = trouble
            self._tell(trouble)


class Seldom:
    """Keep an answer that is dear to get, and get it again after a while.

    Args:
        ask: gets it.
        seconds: how long it is kept.
        monotonic: seconds that nobody sets.
    """

    def __init__(
        self, ask: Callable[[], dict[str, int]], seconds: float, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._ask = ask
        self._seconds = seconds
        self._monotonic = monotonic
        self._at = -math.inf
        self._answer: dict[str, int] = {}

    def get(self) -> dict[str, int]:
        """Give the answer, not older than that."""
        now = self._monotonic()
        if now - self._at >= self._seconds:
            self._answer, self._at = self._ask(), now
        return self._answer
