"""When a job runs: the texts of the [schedule] table, checked and read."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ckptd.settings.cron import Cron, parse_cron
from ckptd.settings.units import parse_duration

_EVERY = re.compile(r"every\s+(.+)", re.IGNORECASE)
#: The longest interval, seconds: ten years.  A number of any length is a duration, and no calendar has its end.
_LONGEST_SECONDS = 3_660 * 86_400.0


@dataclass(frozen=True, slots=True)
class Never:
    """A job that runs when a person asks for it, and at no other time."""


@dataclass(frozen=True, slots=True)
class Every:
    """A job that runs at every multiple of an interval since 1970-01-01 UTC, whenever ckptd was started."""

    seconds: float


When = Never | Every | Cron


def parse_when(text: str) -> When:
    """Read a cron line, an interval ("every 6h") or nothing.

    Raises:
        ValueError: it is none of these, or a line that never fires.
    """
    text = " ".join(text.split())
    if not text:
        return Never()
    interval = _EVERY.fullmatch(text)
    if interval is None:
        return parse_cron(text)
    seconds = parse_duration(interval[1])
    if not isinstance(seconds, float) or not 1 <= seconds <= _LONGEST_SECONDS:
        raise ValueError("an interval is at least one second and at most ten years")
    return Every(seconds)


def check_when(text: str) -> str:
    """Pass what `parse_when` can read, its blanks put in order.

    Raises:
        ValueError: as `parse_when`.
    """
    parse_when(text)
    return " ".join(text.split())


def find_zone(name: str) -> dt.tzinfo:
    """Give a time zone by its name; "UTC" needs no list of zones, which a small system may not have.

    Raises:
        ValueError: this machine knows none of that name.
    """
    if name == "UTC":
        return dt.UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f'{name!r} is no time zone of this machine; write "UTC" or "Europe/Berlin"') from error


def check_time_zone(name: str) -> str:
    """Pass the name of a zone that this machine knows.

    Raises:
        ValueError: it knows none of that name.
    """
    find_zone(name)
    return name
