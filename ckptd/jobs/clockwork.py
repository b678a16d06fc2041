"""The daemon's side of jobs: what is due is started, one at a time, each in a process of its own; the loop never waits for it.

The timetables and the rows of job_runs say what is due (`policy.due`); nothing is remembered here that a restart would miss.
A mail of the schedule only says that it is time to look.
"""

from __future__ import annotations

import os
import selectors
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import structlog

from ckptd.errors import IndexUnavailableError, WorkerError
from ckptd.index.runs import JobPast, RunOutcome, add_run, end_run, load_past, note_schedule
from ckptd.index.store import Store
from ckptd.jobs.histories import make_history
from ckptd.jobs.holding import JobHolder, find_job_holder
from ckptd.jobs.running.launching import LOOK_SECONDS, Errand, JobChild
from ckptd.jobs.timetable import Timetable
from ckptd.policy.due import OVERDUE_SECONDS, Due, Look, find_due, find_overdue
from ckptd.policy.retry import BACK_OFF_SECONDS, find_next_try
from ckptd.sandbox.ending import describe_exit
from ckptd.settings import Settings

_log = structlog.get_logger()

#: How long a person's own `ckptd jobs run` is waited for before the next look, seconds.
HELD_PAUSE_SECONDS = 15.0
#: How long a job has to end in good order when the daemon ends, which is owed within 10 seconds.
END_SECONDS = 6.0
#: How long the index is left alone that could not be asked, seconds.
INDEX_PAUSE_SECONDS = 5.0
_NEVER = float("inf")
#: A step of the clock that counts as one, seconds; what NTP slews between two looks is far less.
_CLOCK_STEP_SECONDS = 1.0
#: Exit statuses of a job's process that need no word of ours: it wrote down what became of it, or another one holds the lock.
_HELD_BY_OTHERS = 4

#: Starts a process; a test brings one that starts something else.
Launch = Callable[[Errand], JobChild]


class RunningJob(NamedTuple):
    """A job that goes on while its clockwork is exchanged: its process, what it is for, the last row before it, its start."""

    child: JobChild
    slot: Due | None
    last_id: int
    started_at: float


class Clockwork:
    """Start jobs when they are due.

    Threading: belongs to the loop.

    Args:
        settings: schedule and everything a job needs.
        store: the index, of the daemon.
        state_dir: with the index and the locks.
        index: file name of the index.
        timetables: by job, in the order in which jobs run that became due at the same time.
        selector: of the loop.
        set_again: called when the clock was set, so that whoever waits for a time waits anew.
        wall: seconds since the epoch.
        monotonic: seconds that nobody sets.
        launch: starts the process of a job.
        adopted: what another clockwork of this process left running.

    Attributes:
        is_paused: no job is started; one that runs goes on.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        state_dir: Path,
        index: str,
        timetables: dict[str, Timetable],
        selector: selectors.BaseSelector,
        *,
        set_again: Callable[[], None],
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        launch: Launch = JobChild,
        adopted: RunningJob | None = None,
    ) -> None:
        self.is_paused = False
        self._settings = settings
        self._store = store
        self._state_dir = state_dir
        self._index = index
        self._timetables = timetables
        self._selector = selector
        self._set_again = set_again
        self._wall = wall
        self._monotonic = monotonic
        self._launch = launch
        self._since = wall()
        self._offset = self._since - monotonic()
        self._wanted = True
        self._next_at = _NEVER
        self._pause_until = monotonic()
        self._noted = False
        self._child: JobChild | None = None
        self._slot: Due | None = None
        self._last_id = 0
        self._started_at = 0.0
        if adopted is not None:
            self._child, self._slot, self._last_id, self._started_at = adopted
            self._watch_child(self._child)
        self._recoveries = 0
        self._recovery_at = -_NEVER
        self._told: dict[tuple[str, str], float] = {}

    @property
    def running(self) -> tuple[str, float] | None:
        """Say which job runs and since when, seconds since the epoch; None while none does."""
        return None if self._child is None else (self._child.job or "recovery", self._started_at)

    def release(self) -> RunningJob | None:
        """Let go of the job that runs, for the next clockwork of this process; this one is of no use any more."""
        child, self._child = self._child, None
        if child is None:
            return None
        if child.exit_fd >= 0:
            self._selector.unregister(child.exit_fd)
        return RunningJob(child, self._slot, self._last_id, self._started_at)

    def resume(self) -> None:
        """Start jobs again, and look at once for those that became due meanwhile."""
        self.is_paused, self._wanted = False, True

    def next_due(self) -> float | None:
        """Say when `step` has something to do that nobody announces; monotonic seconds."""
        is_unseen = self._child is not None and self._child.exit_fd < 0
        at = min(self._pause_until, self._monotonic() + LOOK_SECONDS if is_unseen else _NEVER)
        return None if at == _NEVER else at

    def step(self, announced: bool = False) -> None:
        """Collect a job that ended, and start what is due.

        Args:
            announced: True when the schedule says that the time of a job has come.
        """
        self._watch_clock()
        try:
            self._collect()
            now = self._wall()
            if announced or self._wanted or now >= self._next_at or self._monotonic() >= self._pause_until:
                self._wanted, self._next_at = False, _NEVER
                self._look(now)
        except IndexUnavailableError as error:
            self._pause_until = self._monotonic() + INDEX_PAUSE_SECONDS
            if self._is_news("index", "", 0.0):
                _log.warning("job.delayed", job=None, scheduled_for=None, reason=str(error))

    def stop(self) -> None:
        """End the job that runs, in good order if it can; it is repeated after the next start."""
        child = self._child
        if child is None:
            return
        status = child.end(END_SECONDS)
        _log.info("job.stopped", job=child.job, status=status)
        self._forget_child(child)

    def _look(self, now: float) -> None:
        self._note_schedule(now)
        pasts = {job: self._store.ask(load_past, job) for job in self._timetables}
        holder = None if self._child is not None else find_job_holder(self._state_dir, self._settings.roots)
        histories = {job: make_history(past, is_alive=self._is_alive(job, holder)) for job, past in pasts.items()}
        look = find_due(self._timetables, histories, now, self._since, self._settings.schedule.catch_up)
        self._tell(look, holder, now)
        self._plan_next_look(look, holder, now)
        if self._child is not None or holder is not None or self.is_paused:
            return
        if self._has_broken(pasts) and self._monotonic() >= self._recovery_at:
            self._start(None, 0)
        elif look.due:
            last = pasts[look.due[0].job].last
            self._start(look.due[0], 0 if last is None else last.id)

    def _plan_next_look(self, look: Look, holder: JobHolder | None, now: float) -> None:
        """Say when to look again: at the next time of a job, which is announced, and when one that waits is an alert."""
        waiting = [one.first for one in look.due] + [one.first for one in look.passed]
        late = [first + OVERDUE_SECONDS + 1 for first in waiting]
        times = [at for at in (look.next_at, *late) if at is not None and at > now]
        self._next_at = min(times, default=_NEVER)
        waits = [] if look.retry_at is None else [look.retry_at - now]
        if holder is not None:  # its end is told by nobody, be it a good one or not
            waits.append(HELD_PAUSE_SECONDS)
        self._pause_until = self._monotonic() + min(waits, default=_NEVER)

    def _is_alive(self, job: str, holder: JobHolder | None) -> bool:
        """Say whether a row that says it runs is to be believed: who holds the lock says so too."""
        return (holder is not None and holder.job == job) or (self._child is not None and self._child.job == job)

    def _has_broken(self, pasts: dict[str, JobPast]) -> bool:
        return any(past.running is not None for past in pasts.values())

    def _start(self, due: Due | None, last_id: int) -> None:
        job, slot = (None, None) if due is None else (due.job, due.slot)
        errand = Errand(os.getpid(), job, slot, self._state_dir, self._index, self._settings)
        self._slot, self._last_id = due, last_id
        if due is not None and due.is_late:
            _log.info("job.caught_up", job=due.job, missed_since=due.first, scheduled_for=due.slot)
        try:
            self._child = self._launch(errand)
        except WorkerError as error:
            self._note_failed_start(str(error), RunOutcome.INTERRUPTED)
            return
        self._started_at = self._wall()
        self._watch_child(self._child)

    def _watch_child(self, child: JobChild) -> None:
        if child.exit_fd >= 0:
            self._selector.register(child.exit_fd, selectors.EVENT_READ, lambda: None)

    def _collect(self) -> None:
        child = self._child
        if child is None:
            return
        status = child.poll()
        if status is None:
            return
        self._forget_child(child)
        self._wanted = True
        if child.job is None:
            self._recoveries = 0 if status == 0 else self._recoveries + 1
            at = find_next_try(self._recoveries, self._monotonic()) if self._recoveries else -_NEVER
            self._recovery_at = self._monotonic() + BACK_OFF_SECONDS[-1] if at is None else at
        elif status == _HELD_BY_OTHERS:
            self._wanted, self._pause_until = False, self._monotonic() + HELD_PAUSE_SECONDS
        elif status != 0:
            self._note_end(child, status)

    def _note_end(self, child: JobChild, status: int) -> None:
        """Say what a process could not say itself: how it was ended, or why it never began."""
        last = self._store.ask(load_past, child.job).last
        has_row = last is not None and last.id > self._last_id
        if has_row and last is not None and last.outcome is not RunOutcome.RUNNING:
            return
        why = describe_exit(status, killed=False).why
        _log.warning("job.ended", job=child.job, reason=why)
        if not has_row:
            outcome = RunOutcome.INTERRUPTED if status < 0 else RunOutcome.FAILED
            self._note_failed_start(f"it could not begin: its process {why}; the log says more", outcome)

    def _note_failed_start(self, reason: str, outcome: RunOutcome) -> None:
        due, now = self._slot, self._wall()
        if due is None:
            self._recoveries += 1
            self._recovery_at = self._monotonic() + BACK_OFF_SECONDS[-1]
            return
        with self._store.batch() as batch:
            number = batch.tell(add_run, due.job, self._store.run, due.slot, now)
            batch.tell(end_run, number, outcome, reason, {}, now)
        _log.error("job.failed", job=due.job, run=self._store.run, reason=reason)
        self._pause_until = self._monotonic() + BACK_OFF_SECONDS[0]

    def _forget_child(self, child: JobChild) -> None:
        if child.exit_fd >= 0:
            self._selector.unregister(child.exit_fd)
        child.close()
        self._child = None

    def _tell(self, look: Look, holder: JobHolder | None, now: float) -> None:
        for passed in look.passed:
            if self._is_news("skipped", passed.job, passed.running_at):
                reason = "the run before still goes on"
                _log.warning("job.skipped", job=passed.job, scheduled_for=passed.slot, reason=reason)
        for due in look.due:
            if holder is not None and self._is_news("delayed", due.job, due.first):
                _log.info("job.delayed", job=due.job, scheduled_for=due.slot, reason=holder.words)
        for late in find_overdue(look, now, self._since):
            if self._is_news("overdue", late.job, late.since):
                reason = "an older run of it still goes on" if late.is_running else "no run of it began"
                _log.error("job.overdue", job=late.job, scheduled_for=late.since, reason=reason)

    def _is_news(self, what: str, job: str, at: float) -> bool:
        """Say whether something was not told yet, and remember that it is now."""
        is_new = self._told.get((what, job)) != at
        self._told[what, job] = at
        return is_new

    def _note_schedule(self, now: float) -> None:
        """Write down since when the timetables are known, so that what is missed after that is known as missed."""
        if self._noted:
            return
        zone = self._settings.schedule.time_zone
        with self._store.batch() as batch:
            for job, timetable in self._timetables.items():
                batch.tell(note_schedule, job, f"{timetable.text} ({zone})", now)
        self._noted = True

    def _watch_clock(self) -> None:
        """Notice that the clock was set: what waits for a time waits anew, and what was missed is looked at anew."""
        now = self._wall()
        offset = now - self._monotonic()
        step, self._offset = offset - self._offset, offset
        if abs(step) < _CLOCK_STEP_SECONDS:
            return
        _log.warning("daemon.clock_moved", seconds=round(step, 3))
        self._since, self._wanted = now, True
        self._set_again()
