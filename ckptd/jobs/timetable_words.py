"""A timetable in words: "03:30 every day (UTC)", "minute 30 of every hour on Saturdays (UTC)", "every 6 h"."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from ckptd.settings.cron import Cron
from ckptd.settings.when import Every, Never, When

_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"))
_WEEKDAYS = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
_MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
#: Times that are named one by one.
_MOST_TIMES = 4


def describe_when(when: When, zone: str) -> str:
    """Say when a job runs; `zone` is the name of the one that a cron line is meant in."""
    match when:
        case Never():
            return "never by itself"
        case Every(seconds):
            return f"every {_duration(seconds)}"
        case Cron():
            return f"{f'{_times(when)} {_days(when)}'.rstrip()} ({zone})"


def _duration(seconds: float) -> str:
    for size, unit in _UNITS:
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:g} s"


def _times(cron: Cron) -> str:
    minutes = sorted({minute % 60 for minute in cron.minutes})
    if len(cron.minutes) <= _MOST_TIMES:
        return _join([f"{minute // 60:02d}:{minute % 60:02d}" for minute in cron.minutes])
    hours = "of every hour" if cron.is_hourly else f"of the hours {_numbers({minute // 60 for minute in cron.minutes})}"
    if len(minutes) == 60:
        return f"every minute {hours}"
    step = _step(minutes)
    if step:
        return f"every {step} minutes {hours}"
    return f"minute {_numbers(minutes)} {hours}"


def _days(cron: Cron) -> str:
    dates = "" if len(cron.days) == 31 else f"on day {_numbers(cron.days)}"
    weekdays = "" if len(cron.weekdays) == 7 else _weekdays(cron.weekdays)
    months = "" if len(cron.months) == 12 else f" in {_join(_MONTHS[month - 1] for month in sorted(cron.months))}"
    if dates and not months:
        months = " of every month"
    if not dates and not weekdays:
        days = "every day" if months or not cron.is_hourly else ""
        return f"{days}{months}"
    if not dates:
        return f"on {weekdays}{months}"
    if not weekdays:
        return f"{dates}{months}"
    both = f"on {weekdays}" if cron.any_day else f"and on {weekdays}"
    if len(cron.months) == 12:
        return f"{dates} of every month, {'but only ' if cron.any_day else ''}{both}"
    return f"{dates}{', but only' if cron.any_day else ''} {both},{months}"


def _weekdays(days: Collection[int]) -> str:
    week = [day for day in (1, 2, 3, 4, 5, 6, 0) if day in days]  # Monday first, as a row of working days reads
    names = [f"{_WEEKDAYS[day]}s" for day in week]
    if len(week) > 2 and [day or 7 for day in week] == list(range(week[0], week[0] + len(week))):
        return f"{names[0]} to {names[-1]}"
    return _join(names)


def _step(numbers: Sequence[int]) -> int:
    """Give the step of minutes that go through the whole hour in equal steps; 0 for others."""
    step = numbers[1] - numbers[0] if len(numbers) > 1 else 0
    return step if step and 60 % step == 0 and list(numbers) == list(range(0, 60, step)) else 0


def _numbers(numbers: Collection[int]) -> str:
    """Write numbers with their ranges and steps: "1-5, 7", "0, 2 … 22"."""
    ordered = sorted(numbers)
    step = ordered[1] - ordered[0] if len(ordered) > _MOST_TIMES else 0
    if step > 1 and ordered == list(range(ordered[0], ordered[-1] + 1, step)):
        return f"{ordered[0]}, {ordered[1]} … {ordered[-1]}"
    parts: list[list[int]] = []
    for number in ordered:
        if parts and number == parts[-1][-1] + 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ", ".join(str(part[0]) if len(part) == 1 else f"{part[0]}-{part[-1]}" for part in parts)


def _join(words: Iterable[str]) -> str:
    return ", ".join(words)
