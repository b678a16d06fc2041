"""Where the loop is looked at from: it makes the `Standing` that everybody else reads."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass

from ckptd import __version__
from ckptd.errors import IndexUnavailableError
from ckptd.jobs.clockwork import Clockwork
from ckptd.jobs.engine import Engine
from ckptd.jobs.reading import Place
from ckptd.jobs.standing import Phase, Sign, Standing
from ckptd.jobs.watching import Watching

#: More files than these on their way, and none is looked at for its age: it would cost more than it tells.
_MOST_AGES = 10_000


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What the loop knows beside its stages.

    Attributes:
        phase: what it is about.
        signs: of its parts.
        paused_until: seconds since the epoch.
        settings_at: when the settings were read, seconds since the epoch.
        settings_problem: why the last reload was refused.
    """

    phase: Phase
    signs: tuple[Sign, ...]
    paused_until: float | None
    settings_at: float
    settings_problem: str | None


class Vantage:
    """Look at the stages and say how they stand.

    Threading: belongs to the loop.

    Args:
        engine: the stages.
        watching: the roots.
        clockwork: the jobs.
        now: monotonic seconds.
        wall: seconds since the epoch.
    """

    def __init__(
        self,
        engine: Engine,
        watching: Watching,
        clockwork: Clockwork,
        *,
        now: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        self._engine = engine
        self._watching = watching
        self._clockwork = clockwork
        self._now = now
        self._wall = wall
        self._since: dict[Place, float] = {}
        self._finished_before = 0
        self._counted = -1

    def look(self, around: Circumstances) -> Standing:
        """Say how the daemon stands."""
        engine, job = self._engine, self._clockwork.running
        ingest, waiting = engine.ingest, engine.ingest.waiting
        counts = asdict(ingest.counts)
        finished = sum(counts.values())
        if not waiting:
            self._finished_before = finished
            self._count_files(finished)
        return Standing(
            at=self._wall(),
            phase=around.phase,
            version=__version__,
            pid=os.getpid(),
            started_at=engine.started_at,
            roots=self._watching.standings(),
            signs=around.signs,
            waiting=waiting,
            unfinished=ingest.unfinished,
            oldest_waiting_seconds=self._find_oldest(waiting),
            exporting=engine.exporting.waiting,
            workers=len(engine.reading.pids),
            job=None if job is None else job[0],
            job_started_at=None if job is None else job[1],
            counts={**counts, "exported": engine.exporting.verified},
            done=finished - self._finished_before,
            unwritten=ingest.unwritten,
            has_reconciled=self._watching.has_reconciled,
            paused_until=around.paused_until,
            settings_at=around.settings_at,
            settings_problem=around.settings_problem,
        )

    def _count_files(self, finished: int) -> None:
        """Ask how many files each root has, once after each time that something was done."""
        if finished == self._counted:
            return
        try:
            for root in self._engine.roots:
                root.files = self._engine.store.load_root(root.path)[1]
        except IndexUnavailableError:  # whoever writes says so
            return
        self._counted = finished

    def _find_oldest(self, waiting: int) -> float | None:
        """Say how long the oldest file has been on its way, as far as these looks saw it."""
        now = self._now()
        if not waiting:
            self._since = {}
            return None
        if waiting <= _MOST_AGES:
            self._since = {place: self._since.get(place, now) for place in self._engine.ingest.places}
        elif not self._since:
            self._since = {(-1, ""): now}
        return now - min(self._since.values(), default=now)
