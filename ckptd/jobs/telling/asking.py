"""What the slow look asks: of jobs, disks, archives and rot.  It reads the index and what was measured, and nothing else."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection

from ckptd.index.ledger import load_freezes
from ckptd.index.runs import load_past
from ckptd.index.troubles import load_bad_archives, load_bad_roots
from ckptd.jobs.engine import Engine
from ckptd.jobs.histories import make_history
from ckptd.jobs.schedule import find_timetables
from ckptd.jobs.telling.disks import DiskWatch
from ckptd.jobs.telling.states import States, find_disk_states, find_job_states, find_kept_states
from ckptd.notify.message import MOST_EXAMPLES
from ckptd.policy.due import OVERDUE_SECONDS, find_due, find_overdue
from ckptd.settings import Settings

#: A step of the clock after which nobody could have run what was due before, seconds.
_CLOCK_STEP_SECONDS = 60.0


class Asking:
    """Ask what is so now.

    Args:
        settings: schedule, least room, archives.
        engine: the index and the roots.
        wall: seconds since the epoch.
        monotonic: seconds that nobody sets.
    """

    def __init__(
        self, settings: Settings, engine: Engine, *, wall: Callable[[], float], monotonic: Callable[[], float]
    ) -> None:
        self._settings = settings
        self._engine = engine
        self._wall = wall
        self._monotonic = monotonic
        self._timetables = find_timetables(settings)
        self._since = engine.started_at
        self._offset = wall() - monotonic()
        self._disks = DiskWatch(_find_places(settings, engine), settings.notify.look_seconds / 2, monotonic)

    @property
    def since(self) -> float:
        """Say from when the clock is believed, and nobody told us to begin nothing: the start, as a rule."""
        return self._since

    def close(self) -> None:
        """End what measures."""
        self._disks.close()

    def ask(self, job: str | None, low: Collection[str], *, is_paused: bool = False) -> States:
        """Give the states.

        Args:
            job: that runs just now.
            low: disks that were said to have too little room, by their name in the alert.
            is_paused: the daemon was told to begin nothing; then no job is late, and what comes meanwhile is due at its end.

        Raises:
            IndexUnavailableError: the index can't be asked just now.
        """
        return self._ask_jobs(job, is_paused=is_paused) | self._ask_kept() | self._ask_disks(low)

    def _ask_jobs(self, running: str | None, *, is_paused: bool) -> States:
        store, now = self._engine.store, self._wall()
        self._watch_clock(now)
        if is_paused:
            self._since = now
        pasts = {job: store.ask(load_past, job) for job in self._timetables}
        histories = {job: make_history(past, is_alive=job == running) for job, past in pasts.items()}
        look = find_due(self._timetables, histories, now, self._since, self._settings.schedule.catch_up)
        states = find_job_states(pasts, find_overdue(look, now, self._since), store.ask(load_freezes))
        # Since a start, a pause or a step of the clock nobody is late for an hour, and who was before has not run by that.
        is_young = now - self._since <= OVERDUE_SECONDS and bool(look.due or look.passed)
        if is_paused or is_young:
            del states["job-overdue"]  # not asked about: what was late before is neither told again nor as over
        return states

    def _ask_kept(self) -> States:
        store = self._engine.store
        return find_kept_states(store.ask(load_bad_roots, MOST_EXAMPLES), store.ask(load_bad_archives))

    def _ask_disks(self, low: Collection[str]) -> States:
        least = max(self._settings.notify.free_bytes, self._settings.policy.free_bytes or 0)
        measured = self._disks.find(but=[root.path for root in self._engine.roots if root.incident is not None])
        return find_disk_states(measured.disks, least, low, measured.silent)

    def _watch_clock(self, now: float) -> None:
        """Notice that the clock was set, or that the machine slept: what was missed meanwhile is due now, and not late."""
        offset = now - self._monotonic()
        step, self._offset = offset - self._offset, offset
        if abs(step) > _CLOCK_STEP_SECONDS:
            self._since = now


def _find_places(settings: Settings, engine: Engine) -> list[str]:
    """Give where something of ours lies, in the order in which it names a disk."""
    places = [*(root.path for root in engine.roots), os.fspath(engine.state_dir)]
    archives = settings.archive.directory
    return places if archives is None else [*places, os.path.abspath(archives)]
