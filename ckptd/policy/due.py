"""Which jobs are due: from their timetables and what is known of their runs; nothing else is remembered.

A job has a time behind it up to which everything is settled: the end of its last run that counts.  If its timetable has a time
after that and not later than now, it is due, once, however many such times there are.  So what was missed while nothing ran is
made up for once, and a run that was broken off is repeated.

The clock may lie.  What a run wrote down under a clock that was ahead is in the future once the clock is right again; it is
not waited for.  `since` is the moment from which the clock is believed: the start, or when it was last set.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from ckptd.policy.retry import find_next_try

#: A job that waits longer than that for its turn is an alert.
OVERDUE_SECONDS = 3_600.0


class Timetable(Protocol):
    """When a job is to run.  Times are seconds since the epoch."""

    def next_after(self, after: float) -> float | None:
        """Give the first time later than `after`."""

    def previous_at(self, at: float) -> float | None:
        """Give the last time not later than `at`."""


@dataclass(frozen=True, slots=True)
class History:
    """What is known of the runs of one job; times in seconds since the epoch.

    Attributes:
        known_at: since when its timetable is known to somebody who keeps it; None when that begins just now.
        done_at: when its last run ended that counts: whatever came out, it came to an end by itself.
        done_for: the time that that run was for; None when a person asked for it.
        running_at: when a run began that still goes on; None when none does.
        broken: how many runs were broken off since `done_at`.
        broken_at: when the last of those began.
        broken_for: the time that it was for.
    """

    known_at: float | None = None
    done_at: float | None = None
    done_for: float | None = None
    running_at: float | None = None
    broken: int = 0
    broken_at: float | None = None
    broken_for: float | None = None


@dataclass(frozen=True, slots=True)
class Due:
    """A job whose time has come.

    Attributes:
        job: its name.
        slot: the time that it is for, the last one that came.
        first: the first time since its last run; earlier than `slot` when several came.
        is_late: True when it makes up for what was missed before `since`.
    """

    job: str
    slot: float
    first: float
    is_late: bool


@dataclass(frozen=True, slots=True)
class Passed:
    """A time that came while the run before still went on: it is left out.

    Attributes:
        first: the first time that came since that run began.
        running_at: when it began.
    """

    job: str
    slot: float
    first: float
    running_at: float


@dataclass(frozen=True, slots=True)
class Overdue:
    """A job that did not run for too long after its time.

    Attributes:
        since: the time that it missed first.
        is_running: True when an older run of it still goes on, False when none began.
    """

    job: str
    since: float
    is_running: bool


@dataclass(frozen=True, slots=True)
class Look:
    """What a look at the clock found.

    Attributes:
        due: in the order in which they are to run, the one that waits longest first; equals as they were given.
        passed: times that are left out.
        next_at: the next time of any job; None when none has one.
        retry_at: when a run that was broken off may be repeated; None when none waits for that.
    """

    due: tuple[Due, ...] = ()
    passed: tuple[Passed, ...] = ()
    next_at: float | None = None
    retry_at: float | None = None


def find_due(
    timetables: Mapping[str, Timetable],
    histories: Mapping[str, History],
    now: float,
    since: float,
    catch_up: Literal["once", "skip"] = "once",
) -> Look:
    """Say which jobs are to run now.

    Args:
        timetables: by job, in the order in which jobs run that became due at the same time.
        histories: by job; one without has never run.
        now: what the clock says.
        since: from when it is believed; never later than `now`.
        catch_up: what happens to times before `since`: "once" makes up for them by one run, "skip" leaves them out.
    """
    found = [_judge(job, one, histories.get(job, History()), now, since, catch_up) for job, one in timetables.items()]
    upcoming = [at for one in timetables.values() if (at := one.next_after(now)) is not None]
    return Look(
        due=tuple(sorted((one for one in found if isinstance(one, Due)), key=lambda one: one.first)),
        passed=tuple(one for one in found if isinstance(one, Passed)),
        next_at=min(upcoming, default=None),
        retry_at=min((one for one in found if isinstance(one, float)), default=None),
    )


def find_overdue(look: Look, now: float, since: float) -> tuple[Overdue, ...]:
    """Give the jobs that are late by more than `OVERDUE_SECONDS`; before `since` nobody could have run them."""
    waiting = [Overdue(one.job, one.first, is_running=False) for one in look.due]
    waiting += [Overdue(one.job, one.first, is_running=True) for one in look.passed]
    return tuple(one for one in waiting if now - max(one.since, min(since, now)) > OVERDUE_SECONDS)


def _judge(
    job: str, timetable: Timetable, history: History, now: float, since: float, catch_up: str
) -> Due | Passed | float | None:
    """Say what is so with one job: due, left out, when it may be repeated, or nothing."""
    slot = timetable.previous_at(now)
    settled = _find_settled(history, now, since)
    if catch_up == "skip":
        settled = max(settled, since)
    if slot is None or slot <= settled or slot == history.done_for:
        return None
    if history.running_at is not None:
        if slot <= history.running_at:
            return None
        return Passed(job, slot, timetable.next_after(history.running_at) or slot, history.running_at)
    not_before = _find_retry(history, slot, now)
    if not_before > now:
        return not_before if math.isfinite(not_before) else None
    return Due(job, slot, min(timetable.next_after(settled) or slot, slot), is_late=slot <= since)


def _find_settled(history: History, now: float, since: float) -> float:
    """Say up to when there is nothing to do; what lies in the future was written under a clock that was ahead."""
    times = [at for at in (history.known_at, history.done_at) if at is not None]
    settled = max(times, default=since)
    return settled if settled <= now else since


def _find_retry(history: History, slot: float, now: float) -> float:
    """Say when a run that was broken off may be repeated; infinity when it may not, and its next time is waited for."""
    if not history.broken or history.broken_at is None or history.broken_at > now:
        return now
    if history.broken_for is None or slot > history.broken_for:
        return now
    at = find_next_try(history.broken, history.broken_at)
    return math.inf if at is None else at
