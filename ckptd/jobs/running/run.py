"""Run one job in this process: under the lock, written down before and after, with what was broken off before put in order."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from ckptd.errors import CkptdError, IndexUnavailableError
from ckptd.index.runs import JobRun, RunOutcome, add_run, end_run, load_running
from ckptd.index.store import Store
from ckptd.jobs.holding import hold_jobs, leave_to_others
from ckptd.jobs.registry import JOBS, JobContext, JobEntry, JobOutcome, find_job
from ckptd.jobs.roots import open_roots
from ckptd.model import Json
from ckptd.settings import Settings
from ckptd.storage.journal import Journal
from ckptd.storage.lock import is_held
from ckptd.storage.state import ensure_state_dir
from ckptd.text import escape
from ckptd.watch.wanted import compile_wanted

_log = structlog.get_logger()

#: How long the end of a run is written down again when the index can't be written, seconds between tries.  A run whose end
#: stays unwritten counts as interrupted and is repeated.
_PAUSES = (1.0, 2.0, 5.0, 10.0)
_LEVELS = {RunOutcome.OK: "info", RunOutcome.HELD: "warning", RunOutcome.FAILED: "error", RunOutcome.INTERRUPTED: "warning"}
_EVENTS = {
    RunOutcome.OK: "job.finished",
    RunOutcome.HELD: "job.held",
    RunOutcome.FAILED: "job.failed",
    RunOutcome.INTERRUPTED: "job.interrupted",
}


@dataclass(frozen=True, slots=True)
class JobPlace:
    """Where jobs run.

    Attributes:
        state_dir: holds the index, the journal and the lock.
        index: file name of the index in it.
        registry: the jobs there are.
        now: seconds since the epoch; the clock of the jobs.
    """

    settings: Settings
    state_dir: Path
    index: str
    registry: tuple[JobEntry, ...] = JOBS
    now: Callable[[], float] = time.time


def run_job(place: JobPlace, name: str, stop: Callable[[], bool], *, scheduled_for: float | None = None) -> JobRun:
    """Run a job now and give its run as it is written down.

    Args:
        place: where.
        name: of the job.
        stop: True once this process is to end.
        scheduled_for: the time that the run is for, seconds since the epoch; None when a person asks for it.

    Raises:
        UsageError: there is no such job.
        AlreadyRunningError: a job runs already, in this or another process.
        CkptdError: a root, the index or the lock can't be opened; nothing was run.
    """
    entry = find_job(name, place.registry)
    with open_context(place, name, stop) as context:
        _recover(place, context)
        return _run(entry, context, scheduled_for)


def recover_jobs(place: JobPlace, stop: Callable[[], bool]) -> list[JobRun]:
    """Put in order what was broken off, and give the runs that were.

    Raises:
        AlreadyRunningError: a job runs just now.
        CkptdError: a root, the index or the lock can't be opened.
    """
    with open_context(place, "recovery", stop) as context:
        return _recover(place, context)


@contextmanager
def open_context(place: JobPlace, name: str, stop: Callable[[], bool]) -> Iterator[JobContext]:
    """Take the job lock and open what a job works with, for as long as the block lasts.

    A root that is not there just now, or that another ckptd looks after, has an incident, and the job leaves it out.

    Args:
        place: where.
        name: what the lock says is run; a verb that does a job's work by hand gives its own.
        stop: True once this process is to end.

    Raises:
        AlreadyRunningError: another process runs a job; the message names both.
        CkptdError: a root, the index or the lock can't be opened.
    """
    settings = place.settings
    wanted = compile_wanted(settings.suffixes, settings.ignore)
    with ExitStack() as stack:
        state_dir = ensure_state_dir(place.state_dir)
        open_store = Store.open_as_it_is if is_held(state_dir) else Store.open  # the daemon's index is the daemon's to change
        store = stack.enter_context(closing(open_store(state_dir / place.index)))
        roots = stack.enter_context(open_roots(settings.roots, wanted, store))
        leave_to_others(state_dir, roots)
        stack.enter_context(hold_jobs(state_dir, roots, name))
        yield JobContext(settings, store, Journal(state_dir), roots, state_dir, place.now, store.run, stop, _log)


def _recover(place: JobPlace, context: JobContext) -> list[JobRun]:
    """Call each run interrupted that still says it goes on: we hold the lock, so nobody works on it."""
    broken = context.store.ask(load_running)
    for job in dict.fromkeys(run.job for run in broken):
        trouble = ""
        try:
            for entry in place.registry:
                if entry.name == job:
                    entry.recover(context)
        except Exception as error:  # noqa: BLE001 — one job's trouble must not keep the others from running for ever
            trouble = f"; putting it in order failed: {_describe(error)}"
            _log.error("job.failed", job=job, run=context.run_id, reason=trouble[2:], exc_info=_traceback(error))
        for run in broken:
            if run.job == job:
                reason = f"its process ended before it did{trouble}"
                _end(context, run.id, RunOutcome.INTERRUPTED, reason, {})
                _log.warning("job.interrupted", job=job, run=run.run, started_at=run.started_at, reason=reason)
    return broken


def _run(entry: JobEntry, context: JobContext, scheduled_for: float | None) -> JobRun:
    started_at, began = context.now(), time.monotonic()
    with context.store.batch() as batch:
        number = batch.tell(add_run, entry.name, context.run_id, scheduled_for, started_at)
    _log.info("job.started", job=entry.name, run=context.run_id, scheduled_for=scheduled_for)
    found, trace = _call(entry, context)
    outcome = RunOutcome(found.outcome)
    finished_at = _end(context, number, outcome, found.reason, found.summary)
    seconds = round(time.monotonic() - began, 3)
    values: dict[str, Any] = {"job": entry.name, "run": context.run_id, "seconds": seconds, **_shown(found)}
    getattr(_log, _LEVELS[outcome])(_EVENTS[outcome], **values, **({"exc_info": trace} if trace else {}))
    return JobRun(
        number, entry.name, context.run_id, scheduled_for, started_at, finished_at, outcome, found.reason, found.summary
    )


def _call(entry: JobEntry, context: JobContext) -> tuple[JobOutcome, BaseException | None]:
    """Call the job; whatever it raises is how it ended, for the next one has to run all the same."""
    try:
        if context.stop():
            return JobOutcome("interrupted", {}, "it was told to stop before it began"), None
        return entry.load()(context), None
    except Exception as error:  # noqa: BLE001 — a fault is the outcome of a run, and no end without a word
        if context.stop() and isinstance(error, CkptdError):
            return JobOutcome("interrupted", {}, _describe(error)), None
        return JobOutcome("failed", {}, _describe(error)), _traceback(error)


def _end(context: JobContext, number: int, outcome: RunOutcome, reason: str, summary: Mapping[str, Json]) -> float:
    """Write down how a run ended, and give when; another process may write to the index just now."""
    for pause in (*_PAUSES, None):
        finished_at = context.now()
        try:
            with context.store.batch() as batch:
                batch.tell(end_run, number, outcome, reason, summary, finished_at)
        except IndexUnavailableError:
            if pause is None:
                raise
            time.sleep(pause)
        else:
            break
    return finished_at


def _shown(found: JobOutcome) -> dict[str, Any]:
    return {"summary": dict(found.summary)} | ({"reason": found.reason} if found.reason else {})


def _describe(error: Exception) -> str:
    return str(error) if isinstance(error, CkptdError) else escape(f"{type(error).__name__}: {error}", 1_000)


def _traceback(error: Exception) -> BaseException | None:
    """Give the error where its traceback helps: a fault of ours, and not what a disk or a person did."""
    return None if isinstance(error, CkptdError) else error
