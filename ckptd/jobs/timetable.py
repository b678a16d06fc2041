"""When a job is due, as times on the clock of the machine: a cron line or an interval, in a zone, through both days of DST.

A cron line speaks of the clock on the wall.  Each time that it names comes once: one that the clock skips in spring comes with
the first moment after the gap, one that the clock shows twice in autumn comes the first time.  A line that names every hour
follows the wall instead: it comes whenever the clock shows its minute, twice in autumn and not in the gap, so that it runs in
each hour that really passes.
"""

from __future__ import annotations

import bisect
import datetime as dt
import math
from collections.abc import Iterator
from dataclasses import dataclass

from ckptd.settings.cron import Cron
from ckptd.settings.when import Every, Never, When, find_zone, parse_when

_DAY = dt.timedelta(days=1)
#: More than a clock on the wall was ever set back since 1970; Antarctica/Casey was by 3 h.
_LONGEST_REPEAT_HOURS = 4
#: Dates looked at before it is said that none fits: 29 February on a given weekday comes after 40 years at the latest.
_MOST_DAYS = 41 * 366


@dataclass(frozen=True, slots=True)
class Timetable:
    """The times of one job.

    Attributes:
        text: as the settings have it.
        when: what it means.
        zone: in which a cron line is meant.
    """

    text: str
    when: When
    zone: dt.tzinfo

    @classmethod
    def of(cls, text: str, zone: str) -> Timetable:
        """Read a line of the settings.

        Raises:
            ValueError: the settings did not check it.
        """
        return cls(text, parse_when(text), find_zone(zone))

    def next_after(self, after: float) -> float | None:
        """Give the first time later than `after`, seconds since the epoch; None when there is none."""
        try:
            match self.when:
                case Never():
                    return None
                case Every(seconds):
                    return _next_multiple(after, seconds)
                case Cron() as cron if cron.is_hourly:
                    return _next_shown(cron, self.zone, after)
                case Cron() as cron:
                    return _next_named(cron, self.zone, after)
        except (OverflowError, ValueError, OSError):  # a clock that stands beyond the end of the calendar
            return None

    def previous_at(self, at: float) -> float | None:
        """Give the last time that is not later than `at`, seconds since the epoch; None when there is none."""
        try:
            match self.when:
                case Never():
                    return None
                case Every(seconds):
                    return math.floor(at / seconds) * seconds
                case Cron() as cron if cron.is_hourly:
                    return _previous_shown(cron, self.zone, at)
                case Cron() as cron:
                    return _previous_named(cron, self.zone, at)
        except (OverflowError, ValueError, OSError):
            return None


def next_after(when: str, zone: str, after: float) -> float | None:
    """Give the first time later than `after`, seconds since the epoch, of a line of the settings."""
    return Timetable.of(when, zone).next_after(after)


def previous_before(when: str, zone: str, before: float) -> float | None:
    """Give the last time earlier than `before`, seconds since the epoch, of a line of the settings."""
    return Timetable.of(when, zone).previous_at(math.nextafter(before, -math.inf))


def _next_multiple(after: float, seconds: float) -> float:
    number = math.floor(after / seconds) + 1
    return number * seconds if number * seconds > after else (number + 1) * seconds


# — lines with certain hours: each time that they name, once —


def _next_named(cron: Cron, zone: dt.tzinfo, after: float) -> float | None:
    wall = _wall_at(zone, after)
    for day in _days(cron, wall.date(), _DAY):
        first = 0 if day != wall.date() else bisect.bisect_left(cron.minutes, _minute(wall))
        for minute in cron.minutes[first:]:
            at = _instant(zone, _at_minute(day, minute))
            if at > after:
                return at
    return None


def _previous_named(cron: Cron, zone: dt.tzinfo, before: float) -> float | None:
    wall = _wall_at(zone, before) + dt.timedelta(hours=_LONGEST_REPEAT_HOURS)
    for day in _days(cron, wall.date(), -_DAY):
        last = len(cron.minutes) if day != wall.date() else bisect.bisect_right(cron.minutes, _minute(wall))
        for minute in reversed(cron.minutes[:last]):
            at = _instant(zone, _at_minute(day, minute))
            if at <= before:
                return at
    return None


# — lines with every hour: whenever the wall shows their minute —


def _next_shown(cron: Cron, zone: dt.tzinfo, after: float) -> float | None:
    at = math.floor(after / 60) * 60.0 + 60
    while True:
        wall = _wall_at(zone, at)
        if not cron.fits(wall.date()):
            if wall.hour >= _LONGEST_REPEAT_HOURS:  # else the wall may yet be set back to the day before
                day = next(_days(cron, wall.date(), _DAY), None)
                if day is None:
                    return None
                at = max(at, _whole_minute(zone, day) - 60 - 3600 * _LONGEST_REPEAT_HOURS)
        elif _minute(wall) in cron.minutes:
            return at
        at += 60


def _previous_shown(cron: Cron, zone: dt.tzinfo, before: float) -> float | None:
    at = math.floor(before / 60) * 60.0
    while True:
        wall = _wall_at(zone, at)
        if not cron.fits(wall.date()):
            if wall.hour < 24 - _LONGEST_REPEAT_HOURS:
                day = next(_days(cron, wall.date(), -_DAY), None)
                if day is None:
                    return None
                at = min(at, _whole_minute(zone, day + _DAY) + 60 + 3600 * _LONGEST_REPEAT_HOURS)
        elif _minute(wall) in cron.minutes:
            return at
        at -= 60


def _whole_minute(zone: dt.tzinfo, day: dt.date) -> float:
    return math.floor(_instant(zone, _at_minute(day, 0)) / 60) * 60.0


# — dates and the clock on the wall —


def _days(cron: Cron, start: dt.date, step: dt.timedelta) -> Iterator[dt.date]:
    """Give the dates on which a line fires, from `start` on or back."""
    day = start
    for _ in range(_MOST_DAYS):
        if cron.fits(day):
            yield day
        day += step


def _wall_at(zone: dt.tzinfo, at: float) -> dt.datetime:
    """Give what the clock on the wall shows, without its zone."""
    return dt.datetime.fromtimestamp(at, zone).replace(tzinfo=None)


def _minute(wall: dt.datetime) -> int:
    return wall.hour * 60 + wall.minute


def _at_minute(day: dt.date, minute: int) -> dt.datetime:
    return dt.datetime(day.year, day.month, day.day, minute // 60, minute % 60)  # noqa: DTZ001 — what a wall shows has no zone


def _instant(zone: dt.tzinfo, wall: dt.datetime) -> float:
    """Give when the clock first shows a time, or, where it skips it, the first moment after the gap."""
    first = wall.replace(tzinfo=zone, fold=0).timestamp()
    if _wall_at(zone, first) == wall:
        return first
    # In a gap, the offset before it gives a time behind it, and the offset after it one before it.
    before, behind = int(wall.replace(tzinfo=zone, fold=1).timestamp()), int(first)
    offset = dt.datetime.fromtimestamp(behind, zone).utcoffset()
    while behind - before > 1:
        middle = (before + behind) // 2
        if dt.datetime.fromtimestamp(middle, zone).utcoffset() == offset:
            behind = middle
        else:
            before = middle
    return float(behind)
