"""What the policy wants to know of a job's runs, out of the rows that the index has of them."""

from __future__ import annotations

from ckptd.index.runs import JobPast
from ckptd.policy.due import History


def make_history(past: JobPast, *, is_alive: bool) -> History:
    """Give the history of one job.

    Args:
        past: its rows.
        is_alive: whether a row that says it runs is to be believed: somebody holds the job lock.  Else the run was broken off.
    """
    broken, running = past.broken, past.running
    if running is not None and not is_alive:
        broken, running = (running, *broken), None
    latest = broken[0] if broken else None
    return History(
        known_at=None if past.scheduled is None else past.scheduled.started_at,
        done_at=None if past.counting is None else past.counting.finished_at,
        done_for=None if past.counting is None else past.counting.scheduled_for,
        running_at=None if running is None else running.started_at,
        broken=len(broken),
        broken_at=None if latest is None else latest.started_at,
        broken_for=None if latest is None else latest.scheduled_for,
    )
