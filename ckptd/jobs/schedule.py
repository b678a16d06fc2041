"""What is done by the clock, kept by APScheduler: it only puts mail into the inbox, the loop does the work.

The jobs live in memory: which run was missed follows from the index, not from a pickled job store.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from typing import Any

from ckptd.jobs.inbox import Inbox
from ckptd.jobs.registry import JOBS, JobEntry
from ckptd.jobs.timetable import Timetable
from ckptd.settings import Settings


def find_timetables(settings: Settings, registry: tuple[JobEntry, ...] = JOBS) -> dict[str, Timetable]:
    """Give the timetable of each job that the settings know, in the order of the registry."""
    schedule = settings.schedule
    return {
        entry.name: Timetable.of(getattr(schedule, entry.name), schedule.time_zone)
        for entry in registry
        if hasattr(schedule, entry.name)
    }


def _go_on() -> None:
    """Let the clock go on."""


def _guard(inbox: Inbox, beat: Callable[[], None]) -> None:
    beat()
    inbox.guard()


def start_schedule(
    inbox: Inbox,
    roots: int,
    *,
    reconcile_seconds: float,
    guard_seconds: float,
    timetables: Collection[Timetable] = (),
    beat: Callable[[], None] = _go_on,
) -> Any:
    """Start the clock's thread; `shutdown(wait=False)` of the result ends it.

    It counts by the time of day, so it is started again when somebody sets the clock.

    Args:
        inbox: where each due job is announced.
        roots: how many roots there are; each is reconciled.
        reconcile_seconds: interval of the full rescan.
        guard_seconds: interval of the look at the roots themselves.
        timetables: of the jobs; each of their times is announced.
        beat: called by the clock's thread with each look at the roots: it lives.
    """
    from apscheduler.executors.debug import DebugExecutor  # late: a scan needs no clock
    from apscheduler.schedulers.background import BackgroundScheduler

    from ckptd.jobs.schedule_triggers import SteadyTrigger, TimetableTrigger

    logging.getLogger("apscheduler").setLevel(logging.WARNING)
    # coalesce and the grace of None: after a sleep of the machine one run is enough, and it is never skipped.  What is called
    # only puts mail, so the clock's own thread can do it, where a pool would keep ten.
    scheduler = BackgroundScheduler(
        timezone="UTC",
        executors={"default": DebugExecutor()},
        job_defaults={"coalesce": True, "misfire_grace_time": None, "max_instances": 1},
    )
    scheduler.add_job(_guard, SteadyTrigger(guard_seconds), args=(inbox, beat), id="guard")
    for root in range(roots):
        scheduler.add_job(inbox.rescan, SteadyTrigger(reconcile_seconds), args=(root, "schedule"), id=f"reconcile-{root}")
    for number, timetable in enumerate(timetables):
        scheduler.add_job(inbox.jobs, TimetableTrigger(timetable), id=f"job-{number}")
    scheduler.start()
    return scheduler
