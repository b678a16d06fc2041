"""Which roots are to be looked at as a whole, and not too often: a rescan rests for three times as long as it took."""

from __future__ import annotations

from collections.abc import Callable, Iterator

#: After a rescan the next one waits this many times as long as it took: one doubt after another costs a quarter of a core.
REST = 3.0


class Rescans:
    """Keep the wishes for rescans, one for each root.

    Threading: belongs to the loop.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._wanted: dict[int, tuple[float, str]] = {}
        self._rested_at: dict[int, float] = {}
        self._began_at: dict[int, float] = {}

    def want(self, number: int, why: str, *, delay: float = 0.0) -> None:
        """Ask for a rescan; the first reason counts, the earliest time too."""
        at = self._clock() + delay
        before = self._wanted.get(number)
        self._wanted[number] = (at, why) if before is None else (min(at, before[0]), before[1])

    def next_due(self) -> float | None:
        """Say when the next rescan may begin."""
        return min((max(at, self._rested_at.get(number, at)) for number, (at, _) in self._wanted.items()), default=None)

    def take(self) -> Iterator[tuple[int, str]]:
        """Give the roots whose time has come, each with the reason."""
        for number in [*self._wanted]:
            at, why = self._wanted[number]
            now = self._clock()
            if now >= max(at, self._rested_at.get(number, at)):
                del self._wanted[number]
                self._began_at[number] = now
                yield number, why

    def finished(self, number: int) -> None:
        """Note that a rescan is over."""
        now = self._clock()
        self._rested_at[number] = now + REST * (now - self._began_at.get(number, now))
