"""How the jobs stand: when each runs, how it ran last, and which did not run though its time came."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from ckptd.index.runs import JobPast, JobRun, RunOutcome, load_past
from ckptd.index.store import Store
from ckptd.jobs.histories import make_history
from ckptd.jobs.holding import find_job_holder
from ckptd.jobs.registry import JOBS, JobEntry
from ckptd.jobs.schedule import find_timetables
from ckptd.jobs.timetable import Timetable
from ckptd.jobs.timetable_words import describe_when
from ckptd.policy.due import find_due, find_overdue
from ckptd.settings import Settings
from ckptd.storage.lock import is_held, read_holder


@dataclass(frozen=True, slots=True)
class JobView:
    """How one job stands; times in seconds since the epoch.

    Attributes:
        schedule: as the settings have it; empty for never.
        words: the same for people, with the zone of a cron line.
        last: its latest run, whatever became of it; None when it never ran.
        ended: the latest of those that ended, or were broken off: `last` but where that goes on.
        next_at: its next time; None when there is none.
        overdue_since: the time that passed without a run; None when none did for so long that it matters.
    """

    name: str
    description: str
    schedule: str
    words: str
    last: JobRun | None
    next_at: float | None
    overdue_since: float | None
    ended: JobRun | None = None


def list_jobs(
    settings: Settings, store: Store, state_dir: Path, now: float, registry: tuple[JobEntry, ...] = JOBS
) -> list[JobView]:
    """Say how each job that the settings know stands, in the order of the registry."""
    timetables = find_timetables(settings, registry)
    pasts = {name: store.ask(load_past, name) for name in timetables}
    holder = find_job_holder(state_dir, settings.roots)
    running = "" if holder is None else holder.job
    overdue = _find_overdue(settings, timetables, pasts, state_dir, now, running)
    zone = settings.schedule.time_zone
    return [
        JobView(
            name=entry.name,
            description=entry.description,
            schedule=timetable.text,
            words=describe_when(timetable.when, zone),
            last=_as_it_is(pasts[entry.name], is_alive=entry.name == running),
            next_at=timetable.next_after(now),
            overdue_since=overdue.get(entry.name),
            ended=_find_ended(pasts[entry.name], is_alive=entry.name == running),
        )
        for entry in registry
        if (timetable := timetables.get(entry.name)) is not None
    ]


def _find_overdue(
    settings: Settings,
    timetables: Mapping[str, Timetable],
    pasts: Mapping[str, JobPast],
    state_dir: Path,
    now: float,
    running: str,
) -> dict[str, float]:
    histories = {name: make_history(past, is_alive=name == running) for name, past in pasts.items()}
    known = {
        name: history if history.known_at is not None or history.done_at is not None else replace(history, known_at=now)
        for name, history in histories.items()
    }
    # A daemon that runs has not to make up for what was missed before, where the settings say so.
    since = _find_start(state_dir)
    look = find_due(timetables, known, now, since, settings.schedule.catch_up)
    return {late.job: late.since for late in find_overdue(look, now, since)}


def _find_start(state_dir: Path) -> float:
    """Say since when a daemon runs, seconds since the epoch; 0 when none does, or when it does not say."""
    if not is_held(state_dir):
        return 0.0
    try:
        return datetime.fromisoformat(str((read_holder(state_dir) or {}).get("started_at"))).timestamp()
    except ValueError:
        return 0.0


def _find_ended(past: JobPast, *, is_alive: bool) -> JobRun | None:
    """Give the latest run that ended or was broken off."""
    last = _as_it_is(past, is_alive=is_alive)
    if last is None or last.outcome is not RunOutcome.RUNNING:
        return last
    return past.broken[0] if past.broken else past.counting


def _as_it_is(past: JobPast, *, is_alive: bool) -> JobRun | None:
    """Give the latest run; one that says it goes on while nobody runs the job was broken off."""
    last = past.last
    if last is None or last.outcome is not RunOutcome.RUNNING or is_alive:
        return last
    return replace(last, outcome=RunOutcome.INTERRUPTED, reason="its process ended before it did")
