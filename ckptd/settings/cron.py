"""A cron line as the sets of numbers that it means, without a clock.

The meaning is that of cron(8) on Debian: 0 and 7 are Sunday, and where both the day of the month and the day of the week are
restricted, either is enough.  A field that begins with "*" does not restrict, even "*/2": then both have to fit.
Source: crontab(5), and entry.c and cron.c of Vixie cron, which decide by the first character.
"""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from typing import NamedTuple


class _Field(NamedTuple):
    """One of the five fields: what it is called, its least and greatest number, its names, and an example of a range."""

    title: str
    first: int
    last: int
    names: tuple[str, ...] = ()


MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")

_MINUTE = _Field("minute", 0, 59)
_HOUR = _Field("hour", 0, 23)
_DAY = _Field("day of the month", 1, 31)
_MONTH = _Field("month", 1, 12, MONTHS)
_WEEKDAY = _Field("day of the week", 0, 7, WEEKDAYS)

#: What cron takes instead of five fields; "@reboot" is no time.
NICKNAMES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}

_PART = re.compile(r"(?P<first>\*|\w+)(?:-(?P<last>\w+))?(?:/(?P<step>[0-9]{1,4}))?", re.ASCII)
#: Days in which every line that ever fires does: in 28 years each date falls on each day of the week, 29 February too.
_SOME_YEARS = (dt.date(2000, 1, 1), dt.date(2028, 1, 1))


@dataclass(frozen=True, slots=True)
class Cron:
    """What a cron line means.

    Attributes:
        minutes: of the day, sorted: 150 is 02:30.
        weekdays: 0 is Sunday.
        any_day: True when the day of the month and the day of the week have both to fit, as one of them does not restrict.
        is_hourly: True when every hour is meant, so that it follows the clock on the wall through every hour it shows.
    """

    text: str
    minutes: tuple[int, ...]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    any_day: bool
    is_hourly: bool

    def fits(self, day: dt.date) -> bool:
        """Say whether it fires on a date."""
        if day.month not in self.months:
            return False
        by_date, by_weekday = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return (by_date and by_weekday) if self.any_day else (by_date or by_weekday)


def parse_cron(text: str) -> Cron:
    """Read the five fields of a cron line, or a nickname such as "@daily".

    Raises:
        ValueError: it is no cron line, or never fires.
    """
    fields = NICKNAMES.get(text.lower(), text).split()
    if len(fields) != 5:
        raise ValueError(f'{text!r} has not the five fields of cron; write "30 3 * * *", "every 6h", or "" for never')
    minutes, hours = _parse_field(fields[0], _MINUTE), _parse_field(fields[1], _HOUR)
    days, months = _parse_field(fields[2], _DAY), _parse_field(fields[3], _MONTH)
    weekdays = frozenset(number % 7 for number in _parse_field(fields[4], _WEEKDAY))
    cron = Cron(
        text=text,
        minutes=tuple(sorted(60 * hour + minute for hour in hours for minute in minutes)),
        days=days,
        months=months,
        weekdays=weekdays,
        any_day=fields[2].startswith("*") or fields[4].startswith("*"),
        is_hourly=len(hours) == 24,
    )
    if not _ever_fires(cron):
        raise ValueError(f"{text!r} never fires: no such day is in the calendar")
    return cron


def _parse_field(text: str, field: _Field) -> frozenset[int]:
    numbers: set[int] = set()
    for part in text.split(","):
        numbers.update(_parse_part(part, field))
    return frozenset(numbers)


def _parse_part(text: str, field: _Field) -> range:
    found = _PART.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no {field.title}: write *, 5, 1-5, */2, or several of them with commas")
    if found["first"] == "*":
        if found["last"] is not None:
            raise ValueError(f"{text!r} is no {field.title}: a range has a number on both sides")
        first, last = field.first, field.last - (1 if field is _WEEKDAY else 0)  # "*/7" is Sunday once, not twice
    else:
        first = _parse_number(found["first"], field)
        last = first if found["last"] is None else _parse_number(found["last"], field)
        if found["step"] is not None and found["last"] is None:
            cure = f"{found['first']}-{field.last}/{found['step']}"
            raise ValueError(f"{text!r} is no {field.title}: a step needs a range, such as {cure}")
        if field is _WEEKDAY and last == 0 < first:
            last = 7  # "fri-sun" and "5-0": the week may end with its Sunday
    if first > last:
        cure = f"{found['first']}-{field.last},{field.first}-{found['last']}"
        raise ValueError(f"{text!r} is no {field.title}: the range ends before it begins; write {cure}")
    return range(first, last + 1, _parse_step(found["step"], last - first, text, field))


def _parse_step(text: str | None, width: int, part: str, field: _Field) -> int:
    """Read a step: one that is wider than its range would mean another interval than it says."""
    if text is None:
        return 1
    step = int(text)
    if not 1 <= step <= width:
        cure = f'; for an interval write "every {step}{"m" if field is _MINUTE else "h"}"' if field in (_MINUTE, _HOUR) else ""
        raise ValueError(f"{part!r} is no {field.title}: the step has to be 1 to {width}{cure if step else ''}")
    return step


def _parse_number(text: str, field: _Field) -> int:
    if text.lower() in field.names:
        return field.names.index(text.lower()) + (1 if field is _MONTH else 0)
    if not text.isdigit() or not field.first <= int(text[:4]) <= field.last or len(text) > 4:
        names = f", or {field.names[0]} to {field.names[-1]}" if field.names else ""
        raise ValueError(f"{text!r} is no {field.title}: write {field.first} to {field.last}{names}")
    return int(text)


def _ever_fires(cron: Cron) -> bool:
    if not cron.any_day or len(cron.days) == 31 or cron.days & set(range(1, 29)):
        # A weekday alone comes each week, and one of the first 28 days on every weekday some day.
        return True
    first, last = _SOME_YEARS
    return any(cron.fits(first + dt.timedelta(number)) for number in range((last - first).days))
