"""The last checkpoint of each of the most recent hours, days, weeks, months and years that have one.

A period is one of the calendar of a time zone, so that a day has 23 or 25 hours twice a year, and the hour that an autumn night
has twice is two hours.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo

from ckptd.policy.retention.codes import ReasonCode
from ckptd.policy.retention.draft import Draft
from ckptd.policy.retention.facts import Fact
from ckptd.policy.retention.ordering import find_saved_at
from ckptd.policy.retention.plan import Reason
from ckptd.policy.retention.rules import Policy

Period = tuple[int, ...]

#: What a calendar can hold in every zone: from 0001-01-02 to 9999-12-30, seconds since the epoch.
_FIRST, _LAST = -62_135_510_400.0, 253_402_128_000.0


def _hour(at: datetime) -> Period:
    return at.year, at.month, at.day, at.hour, at.fold


def _day(at: datetime) -> Period:
    return at.year, at.month, at.day


def _week(at: datetime) -> Period:
    year, week, _ = at.isocalendar()
    return year, week


def _month(at: datetime) -> Period:
    return at.year, at.month


def _year(at: datetime) -> Period:
    return (at.year,)


def make_windows(policy: Policy) -> Callable[[Sequence[Draft]], None]:
    """Give what keeps the last of each period among the good checkpoints of one group, given in their order."""
    zone = ZoneInfo(policy.time_zone)
    rules: list[tuple[int, Callable[[datetime], Period], Reason]] = [
        (count, period, Reason(code, f"the last of its {noun}, of the latest {count:,} that have one"))
        for count, period, code, noun in (
            (policy.keep_hourly, _hour, ReasonCode.HOURLY, "hour"),
            (policy.keep_daily, _day, ReasonCode.DAILY, "day"),
            (policy.keep_weekly, _week, ReasonCode.WEEKLY, "week"),
            (policy.keep_monthly, _month, ReasonCode.MONTHLY, "month"),
            (policy.keep_yearly, _year, ReasonCode.YEARLY, "year"),
        )
        if count > 0
    ]

    def keep(good: Sequence[Draft]) -> None:
        if not rules:
            return
        times = [_read_calendar(draft.fact, zone) for draft in good]
        for count, period, reason in rules:
            last = {period(at): draft for at, draft in zip(times, good, strict=True)}
            for key in sorted(last, reverse=True)[:count]:
                last[key].weak += (reason,)

    return keep


def _read_calendar(fact: Fact, zone: tzinfo) -> datetime:
    at = find_saved_at(fact)
    if at == fact.dated_at and at % 86400 == 0:
        zone = UTC  # a date without a time of day is that date everywhere
    return datetime.fromtimestamp(min(max(at, _FIRST), _LAST), zone)
