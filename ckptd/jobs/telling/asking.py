"""What the slow look asks: of jobs, disks, archives, rot and groups.  It reads the index and `statvfs`, and nothing else."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection

from ckptd.index.ledger import load_freezes
from ckptd.index.runs import load_past
from ckptd.index.troubles import load_bad_archives, load_bad_places
from ckptd.jobs.engine import Engine
from ckptd.jobs.histories import make_history
from ckptd.jobs.schedule import find_timetables
from ckptd.jobs.telling.states import Disk, States, find_disk_states, find_job_states, find_kept_states
from ckptd.notify.message import MOST_EXAMPLES, bounded
from ckptd.policy.due import find_due, find_overdue
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
        if is_paused:
            del states["job-overdue"]  # not asked about: what was late before is neither told again nor as over
        return states

    def _ask_kept(self) -> States:
        store = self._engine.store
        bad, count = store.ask(load_bad_places, MOST_EXAMPLES)
        return find_kept_states(bad, count, store.ask(load_bad_archives))

    def _ask_disks(self, low: Collection[str]) -> States:
        least = max(self._settings.notify.free_bytes, self._settings.policy.free_bytes or 0)
        return find_disk_states(self._find_disks(), least, low)

    def _find_disks(self) -> list[Disk]:
        """Give what is free on each disk once, by the first of ours that lies there."""
        places = [root.path for root in self._engine.roots if root.incident is None]
        places += [os.fspath(self._engine.state_dir)]
        if self._settings.archive.directory is not None:
            places.append(os.path.abspath(self._settings.archive.directory))
        disks: dict[int, Disk] = {}
        for place in places:
            try:
                device, room = os.stat(place).st_dev, os.statvfs(place)
            except OSError:  # what is wrong with it is another alert
                continue
            disks.setdefault(device, Disk(bounded(place), room.f_bavail * room.f_frsize))
        return list(disks.values())

    def _watch_clock(self, now: float) -> None:
        """Notice that the clock was set, or that the machine slept: what was missed meanwhile is due now, and not late."""
        offset = now - self._monotonic()
        step, self._offset = offset - self._offset, offset
        if abs(step) > _CLOCK_STEP_SECONDS:
            self._since = now
