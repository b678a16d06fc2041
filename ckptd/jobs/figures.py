"""Ask the index for the figures of metrics, on the loop's thread and seldom; what others may read is a frozen value.

What changes with the index alone is asked only when the index changed: its file says so.  Counters count what came into the
audit since the start, whoever wrote it: the daemon, the process of a job, or a person's command.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path

from ckptd.health.figures import ArchiveFigures, Durations, Figures, JobFigures, PlaceFigures, Tally
from ckptd.index import figures as questions
from ckptd.index.following import TICK_SECONDS, Event, find_end, read_events
from ckptd.index.ledger import load_freezes
from ckptd.index.runs import load_running
from ckptd.index.store import Store
from ckptd.index.totals import read_findings
from ckptd.jobs.overview import JobView, list_jobs
from ckptd.jobs.registry import JOBS, JobEntry
from ckptd.jobs.schedule import find_timetables
from ckptd.model import Status
from ckptd.proof import TARGET_NAMES, Verdict
from ckptd.settings import Settings

#: Events of the audit that are counted under their name.
EVENTS = (
    "checkpoint.ready", "checkpoint.rejected", "checkpoint.missing", "checkpoint.replaced", "checkpoint.moved",
    "checkpoint.slimmed", "checkpoint.archived", "checkpoint.trashed", "checkpoint.purged", "checkpoint.restored",
    "retention.held", "scrub.rotten", "scrub.unreadable", "scrub.healed", "drill.finished", "drill.failed",
    "archive.written", "archive.damaged", "archive.missing", "trash.healed",
)  # fmt: skip
#: Findings of checkpoints that came, which are counted under their code.
FINDINGS = ("non-finite-weights",)
_EXPORTS = tuple(f"export.{verdict.value}" for verdict in Verdict)

#: Lines of the audit that are read at once; a burst is counted over several rounds.
MOST_EVENTS = 2_000
#: Also without a change of the index the jobs are looked at so often, seconds: one may have become overdue.
STALE_SECONDS = 300.0


class FigureReader:
    """Give figures; each call may ask the index.

    Threading: belongs to the loop.

    Args:
        settings: with the schedule.
        store: the index, of the daemon.
        state_dir: with the locks.
        wall: seconds since the epoch.
        monotonic: seconds that nobody sets.
        registry: the jobs there are.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        state_dir: Path,
        *,
        wall: Callable[[], float],
        monotonic: Callable[[], float],
        registry: tuple[JobEntry, ...] = JOBS,
    ) -> None:
        self._settings = settings
        self._store = store
        self._state_dir = state_dir
        self._wall = wall
        self._monotonic = monotonic
        self._registry = registry
        self._events = Tally(EVENTS)
        self._rejections = Tally(status.value for status in Status if status not in (Status.OK, Status.NEEDS_CODE))
        self._verdicts = Tally((target, verdict.value) for target in TARGET_NAMES for verdict in Verdict)
        self._findings = Tally(FINDINGS)
        self._durations = {entry.name: Durations() for entry in registry}
        self._audit: int | None = None
        self._run = 0
        self._ended: set[int] = set()
        self._stamp: object = None
        self._asked_at = -math.inf
        self._latest: Figures | None = None

    def read(self) -> Figures:
        """Give the figures of now.

        Raises:
            IndexUnavailableError: the index can't be asked just now; what was counted stays counted.
        """
        began, stamp = self._monotonic(), _stamp(self._store.file, self._wall())
        is_same = stamp is not None and stamp == self._stamp and began - self._asked_at < STALE_SECONDS
        if self._latest is not None and is_same:
            return self._latest
        if self._audit is None:
            self._begin()
        else:
            is_all = self._count_events(self._audit)
            self._count_runs()
            stamp = stamp if is_all else None
        self._latest = self._ask(self._wall(), began)
        self._stamp, self._asked_at = stamp, began
        return self._latest

    def _begin(self) -> None:
        """Count from here on: what lies behind is no event of today."""
        audit = self._store.ask(find_end)
        going_on = [run.id - 1 for run in self._store.ask(load_running)]
        self._run = min(going_on, default=self._store.ask(questions.find_last_run))
        runs = self._store.ask(questions.load_runs_after, self._run)
        self._ended = {run.id for run in runs if run.finished_at is not None}
        self._audit = audit

    def _ask(self, at: float, began: float) -> Figures:
        ask, succeeded = self._store.ask, self._store.ask(questions.find_last_successes)
        places = [PlaceFigures(*row) for row in ask(questions.sum_places)]
        views = list_jobs(self._settings, self._store, self._state_dir, at, self._registry)
        timetables = find_timetables(self._settings, self._registry)
        return Figures(
            at=at,
            places=places,
            rejected=ask(questions.count_rejected),
            rotten=ask(questions.count_rotten),
            exports=ask(questions.count_exports),
            archives=[ArchiveFigures(*row) for row in ask(questions.count_archives)],
            jobs=[_describe(view, succeeded.get(view.name), timetables[view.name].next_after) for view in views],
            durations=dict(self._durations),
            events=self._events.snapshot(),
            rejections=self._rejections.snapshot(),
            findings=self._findings.snapshot(),
            verdicts=self._verdicts.snapshot(),
            freezes=len(ask(load_freezes)),
            cost_seconds=self._monotonic() - began,
        )

    def _count_events(self, after: int) -> bool:
        """Count what came into the audit; give whether that was all of it."""
        events, upto = self._store.ask(read_events, after, (*EVENTS, *_EXPORTS), MOST_EVENTS)
        ready = (event for event in events if event.what == "checkpoint.ready" and not event.is_repetition)
        came = {(event.root or "", event.path or "") for event in ready}
        for payload in self._store.ask(questions.load_suspects, sorted(came)):
            for code in {code for code, _, _ in read_findings(payload)}:
                self._findings.add(code)
        for event in events:
            self._count(event)
        self._audit = upto
        return len(events) < MOST_EVENTS

    def _count(self, event: Event) -> None:
        self._events.add(event.what)
        if event.what == "checkpoint.rejected" and not event.is_repetition:
            self._rejections.add(str(event.why.get("status")))
        if event.what in _EXPORTS:
            self._verdicts.add((str(event.why.get("target")), event.what.partition(".")[2]))

    def _count_runs(self) -> None:
        """Add the runs that ended to the durations; those that go on are looked at again."""
        runs = self._store.ask(questions.load_runs_after, self._run)
        for run in runs:
            if run.finished_at is not None and run.id not in self._ended and run.job in self._durations:
                self._ended.add(run.id)
                self._durations[run.job] = self._durations[run.job].add(max(0.0, run.finished_at - run.started_at))
        going_on = [run.id - 1 for run in runs if run.finished_at is None]
        self._run = min(going_on, default=max((run.id for run in runs), default=self._run))
        self._ended = {number for number in self._ended if number > self._run}


def _describe(view: JobView, succeeded_at: float | None, next_after: Callable[[float], float | None]) -> JobFigures:
    last, ended = view.last, view.ended
    then = None if view.next_at is None else next_after(view.next_at)
    return JobFigures(
        job=view.name,
        outcome=None if ended is None else ended.outcome.value,
        is_running=last is not ended,
        started_at=None if last is None else last.started_at,
        seconds=None if ended is None or ended.finished_at is None else max(0.0, ended.finished_at - ended.started_at),
        succeeded_at=succeeded_at,
        next_at=view.next_at,
        interval_seconds=None if then is None or view.next_at is None else then - view.next_at,
        is_overdue=view.overdue_since is not None,
    )


def _stamp(file: Path | None, now: float) -> object:
    """Say as which files the index lies there; the same answer twice is the same index.  None where that says nothing.

    Args:
        file: of the index; None for a server.
        now: seconds since the epoch.  What was written this very moment may be written to once more without another time.
    """
    if file is None:
        return None
    try:
        seen = [os.stat(name) for name in (file, f"{file}-wal")]
    except OSError:  # without its log it is being opened or closed
        return None
    if any(abs(now - one.st_mtime) < TICK_SECONDS for one in seen):
        return None
    return [(one.st_ino, one.st_size, one.st_mtime_ns) for one in seen]
