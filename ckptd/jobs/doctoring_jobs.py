"""Look at the jobs: which failed, which did not run though its time came, and whether roots can be kept for one ckptd."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from ckptd.index.runs import RunOutcome
from ckptd.jobs.checks import Check, Patient, bad, good, opened_index
from ckptd.jobs.holding import find_unlockable
from ckptd.jobs.overview import JobView, list_jobs
from ckptd.model import Severity
from ckptd.settings import Settings
from ckptd.storage.access import Account
from ckptd.storage.lock import is_held


def check_jobs(patient: Patient) -> Iterator[Check]:
    """Check how the jobs stand; nothing about runs where there is no index yet."""
    yield from _check_locks(patient.settings, patient.state_dir, patient.find_account())
    with opened_index(patient) as store:
        if store is None:
            return
        views = list_jobs(patient.settings, store, patient.state_dir, patient.now)
    is_running = is_held(patient.state_dir)
    for view in views:
        yield _check_job(view, is_running=is_running)


def _check_locks(settings: Settings, state_dir: Path, account: Account) -> Iterator[Check]:
    for root, why in find_unlockable(state_dir, settings.roots, account.may):
        message = f"no lock can be kept there, so that a second ckptd would not be noticed: {why}"
        yield bad(f"root {root}", message, "let the daemon's user write there", Severity.WARNING)


def _check_job(view: JobView, *, is_running: bool) -> Check:
    name, last = f"job {view.name}", view.last
    if view.overdue_since is not None:
        cure = f"look for job.* in the log of `ckptd run`, or run it now: `ckptd jobs run {view.name}`"
        if not is_running:
            cure = f"start `ckptd run`, which makes up for it, or run it now: `ckptd jobs run {view.name}`"
        return bad(name, f"it did not run when its time came, {_say_time(view.overdue_since)}", cure)
    if last is None:
        return good(name, f"it never ran; {_say_next(view)}")
    when = f"the run of {_say_time(last.started_at)}"
    match last.outcome:
        case RunOutcome.FAILED:
            cure = f"see to the reason, then `ckptd jobs run {view.name}`"
            return bad(name, f"{when} failed: {last.reason}", cure)
        case RunOutcome.HELD:
            return bad(name, f"{when} waits for a person: {last.reason}", "see the reason; it says how", Severity.WARNING)
        case RunOutcome.INTERRUPTED:
            cure = f"`ckptd run` repeats it by itself; `ckptd jobs run {view.name}` does so now"
            return bad(name, f"{when} was interrupted: {last.reason}", cure, Severity.WARNING)
        case RunOutcome.RUNNING:
            return good(name, f"it runs since {_say_time(last.started_at)}")
        case _:
            return good(name, f"{when} was well; {_say_next(view)}")


def _say_next(view: JobView) -> str:
    return "it has no schedule" if view.next_at is None else f"next {_say_time(view.next_at)}"


def _say_time(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(at))
