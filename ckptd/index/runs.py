"""Runs of jobs as rows: the one truth about what ran when, and how it ended.

A row begins as `running` and ends as what came out.  A row that is `running` while nobody holds the job lock is of a process
that was killed; whoever holds the lock next calls it `interrupted`.  A row `scheduled` is no run: it says since when a job's
timetable is known, so that a time that is missed after that is known as missed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from sqlalchemy import Connection, RowMapping, delete, func, insert, select, update

from ckptd.index.tables import job_runs
from ckptd.model import Json
from ckptd.text import escape

#: Rows that are kept of each job; a job that runs each second would else fill the index.
MOST_RUNS = 1_000
_MOST_REASON = 4_000
_MOST_SUMMARY = 64_000
_MOST_TEXT = 1_000

_c = job_runs.c
_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


class RunOutcome(StrEnum):
    """What became of a run of a job."""

    SCHEDULED = "scheduled"
    RUNNING = "running"
    OK = "ok"
    HELD = "held"
    FAILED = "failed"
    INTERRUPTED = "interrupted"


#: Ends after which nothing has to be repeated.
COUNTING = (RunOutcome.OK, RunOutcome.HELD, RunOutcome.FAILED)
_UNFINISHED = (RunOutcome.SCHEDULED, RunOutcome.RUNNING)


@dataclass(frozen=True, slots=True)
class JobRun:
    """One run of a job.

    Attributes:
        id: grows with each run, whatever the clock said.
        run: the id that the audit has.
        scheduled_for: the time that it was for, seconds since the epoch; None when a person asked for it.
        started_at, finished_at: likewise; `finished_at` is None while it runs.
        reason: why it ended so, in one sentence; empty when all is well.  Of a `scheduled` row the line of the settings.
    """

    id: int
    job: str
    run: str
    scheduled_for: float | None
    started_at: float
    finished_at: float | None
    outcome: RunOutcome
    reason: str = ""
    summary: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class JobPast:
    """What is known of one job.

    Attributes:
        scheduled: when its timetable became known, and which one.
        counting: the last run that came to an end by itself.
        broken: runs that were interrupted since then, the latest first.
        running: the run that goes on, or whose process was killed.
        last: the latest run of all, whatever became of it.
    """

    scheduled: JobRun | None = None
    counting: JobRun | None = None
    broken: tuple[JobRun, ...] = ()
    running: JobRun | None = None
    last: JobRun | None = None


def add_run(connection: Connection, host: str, job: str, run: str, scheduled_for: float | None, now: float) -> int:
    """Write down that a run begins; its number."""
    row = {"host": host, "job": job, "run": run, "scheduled_for": scheduled_for, "started_at": now}
    row |= {"outcome": RunOutcome.RUNNING.value, "reason": "", "summary": "{}"}
    number = connection.execute(insert(job_runs).returning(_c.id), row).scalar_one()
    _forget_oldest(connection, host, job)
    return int(number)


def end_run(
    connection: Connection,
    host: str,
    number: int,
    outcome: RunOutcome,
    reason: str,
    summary: Mapping[str, Json],
    now: float,
) -> None:
    """Write down how a run ended; one that was called interrupted meanwhile stays so."""
    text = _encode(summary)
    if len(text) > _MOST_SUMMARY:
        text = _encode({"left_out": f"a summary of {len(text):,} characters"})
    values = {"outcome": outcome.value, "reason": escape(reason, _MOST_REASON), "summary": text, "finished_at": now}
    where = (_c.host == host, _c.id == number, _c.outcome == RunOutcome.RUNNING.value)
    connection.execute(update(job_runs).where(*where).values(**values))


def note_schedule(connection: Connection, host: str, job: str, text: str, now: float) -> None:
    """Write down that a job has this timetable from now on, unless that is known already."""
    last = _newest(connection, host, job, (RunOutcome.SCHEDULED,), 1)
    if last and last[0].reason == text[:_MOST_TEXT]:
        return
    row = {"host": host, "job": job, "run": "", "started_at": now, "finished_at": now}
    row |= {"outcome": RunOutcome.SCHEDULED.value, "reason": text[:_MOST_TEXT], "summary": "{}"}
    connection.execute(insert(job_runs), row)
    if last:
        connection.execute(delete(job_runs).where(_c.id == last[0].id))


def load_past(connection: Connection, host: str, job: str) -> JobPast:
    """Give what is known of one job."""
    scheduled = _newest(connection, host, job, (RunOutcome.SCHEDULED,), 1)
    counting = _newest(connection, host, job, COUNTING, 1)
    running = _newest(connection, host, job, (RunOutcome.RUNNING,), 1)
    last = _newest(connection, host, job, [one for one in RunOutcome if one is not RunOutcome.SCHEDULED], 1)
    after = counting[0].id if counting else 0
    broken = _newest(connection, host, job, (RunOutcome.INTERRUPTED,), 10, after=after)
    return JobPast(_first(scheduled), _first(counting), tuple(broken), _first(running), _first(last))


def load_running(connection: Connection, host: str) -> list[JobRun]:
    """Give the runs of all jobs that go on, or whose process was killed, the oldest first."""
    query = select(job_runs).where(_c.host == host, _c.outcome == RunOutcome.RUNNING.value).order_by(_c.id)
    return [_run_of(row) for row in connection.execute(query).mappings()]


def load_runs(connection: Connection, host: str, job: str | None, limit: int) -> list[JobRun]:
    """Give runs of one job or of all, the latest first."""
    query = select(job_runs).where(_c.host == host, _c.outcome != RunOutcome.SCHEDULED.value)
    if job is not None:
        query = query.where(_c.job == job)
    return [_run_of(row) for row in connection.execute(query.order_by(_c.id.desc()).limit(limit)).mappings()]


def _newest(
    connection: Connection, host: str, job: str, outcomes: Sequence[RunOutcome], limit: int, *, after: int = 0
) -> list[JobRun]:
    where = (_c.host == host, _c.job == job, _c.outcome.in_([one.value for one in outcomes]), _c.id > after)
    query = select(job_runs).where(*where).order_by(_c.id.desc()).limit(limit)
    return [_run_of(row) for row in connection.execute(query).mappings()]


def _first(runs: Sequence[JobRun]) -> JobRun | None:
    return runs[0] if runs else None


def _forget_oldest(connection: Connection, host: str, job: str) -> None:
    """Drop what is beyond `MOST_RUNS` of a job; what it counts from and what goes on is never among it."""
    mine = (_c.host == host, _c.job == job)
    oldest = select(_c.id).where(*mine).order_by(_c.id.desc()).offset(MOST_RUNS).limit(1).scalar_subquery()
    counting = select(func.max(_c.id)).where(*mine, _c.outcome.in_([one.value for one in COUNTING])).scalar_subquery()
    kept = [one.value for one in _UNFINISHED]
    where = (*mine, _c.id <= oldest, _c.id < func.coalesce(counting, 0), _c.outcome.not_in(kept))
    connection.execute(delete(job_runs).where(*where))


def _run_of(values: RowMapping) -> JobRun:
    summary = json.loads(str(values["summary"]))
    return JobRun(
        id=int(values["id"]),
        job=str(values["job"]),
        run=str(values["run"]),
        scheduled_for=_time(values["scheduled_for"]),
        started_at=float(values["started_at"]),
        finished_at=_time(values["finished_at"]),
        outcome=RunOutcome(values["outcome"]),
        reason=str(values["reason"]),
        summary=summary if isinstance(summary, dict) else {},
    )


def _time(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None
