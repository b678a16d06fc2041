"""What is done by the clock, kept by APScheduler: it only puts mail into the inbox, the loop does the work.

The jobs live in memory: which run was missed follows from the index, not from a pickled job store.
"""

from __future__ import annotations

import logging
from typing import Any

from ckptd.jobs.inbox import Inbox


def start_schedule(inbox: Inbox, roots: int, *, reconcile_seconds: float, guard_seconds: float) -> Any:
    """Start the clock's thread; `shutdown(wait=False)` of the result ends it.

    Args:
        inbox: where each due job is announced.
        roots: how many roots there are; each is reconciled.
        reconcile_seconds: interval of the full rescan.
        guard_seconds: interval of the look at the roots themselves.
    """
    from apscheduler.schedulers.background import BackgroundScheduler  # late: a scan needs no clock

    logging.getLogger("apscheduler").setLevel(logging.WARNING)
    # coalesce and the grace of None: after a sleep of the machine one run is enough, and it is never skipped.
    scheduler = BackgroundScheduler(
        timezone="UTC", job_defaults={"coalesce": True, "misfire_grace_time": None, "max_instances": 1}
    )
    scheduler.add_job(inbox.guard, "interval", seconds=guard_seconds, id="guard")
    for root in range(roots):
        scheduler.add_job(inbox.rescan, "interval", seconds=reconcile_seconds, args=(root, "schedule"), id=f"reconcile-{root}")
    scheduler.start()
    return scheduler
