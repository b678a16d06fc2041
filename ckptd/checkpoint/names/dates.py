"""Dates in file names: only what is a date of this century and of the last years, as precise as it was written."""

from __future__ import annotations

import datetime
import re
from typing import NamedTuple

_YEARS = range(2000, 2100)


class Dated(NamedTuple):
    """A date, the part of the name it took, and how sure the reading is."""

    iso: str
    start: int
    end: int
    confidence: float


_DATE_TIME = re.compile(
    r"(?<![0-9])(?P<y>20[0-9]{2})(?P<a>[-_.]?)(?P<m>[01][0-9])(?P=a)(?P<d>[0-3][0-9])"
    r"(?:(?:[T _.@-]{1,2}|__|_at_)?(?P<h>[0-2][0-9])(?P<b>[-_:.h]?)(?P<n>[0-5][0-9])(?:(?P=b)(?P<s>[0-5][0-9]))?(?P<z>Z?))?"
    r"(?![0-9])"
)
#: The same without a time of day: tried where what follows the date is no time.
_DATE = re.compile(r"(?<![0-9])(?P<y>20[0-9]{2})(?P<a>[-_.]?)(?P<m>[01][0-9])(?P=a)(?P<d>[0-3][0-9])(?![0-9])")
_UNIX = re.compile(r"(?<![0-9.])(1[0-9]{9})(?:[0-9]{3}|\.[0-9]{1,7})?(?![0-9.])")
#: Six digits are a date at the begin of a name or of its last part only; elsewhere they are as well a step.
_SHORT = re.compile(
    r"(?:^|(?<=[_-]))([12][0-9])([01][0-9])([0-3][0-9])(?:[-_]([0-2][0-9])([0-5][0-9])([0-5][0-9])?)?(?=[-_]|$)"
)
_BACKWARD = re.compile(
    r"(?<![0-9.])(?:([0-3]?[0-9])([-_.])([0-3]?[0-9])\2(20[0-9]{2})|([0-3][0-9])([0-3][0-9])(20[0-9]{2}))"
    r"(?:[-_T]([0-2][0-9])[-:]?([0-5][0-9])(?:[-:]?([0-5][0-9]))?)?(?![0-9.])"
)
_MONTHS = {name: n for n, name in enumerate("jan feb mar apr may jun jul aug sep oct nov dec".split(), 1)}
_MONTH = "(?P<m>[Jj]an|[Ff]eb|[Mm]ar|[Aa]pr|[Mm]ay|[Jj]un|[Jj]ul|[Aa]ug|[Ss]ep|[Oo]ct|[Nn]ov|[Dd]ec)[a-z]{0,6}"
_NAMED = (
    re.compile(rf"(?<![0-9])(?P<d>[0-3]?[0-9])[-_ ]?{_MONTH}[-_ ,]{{0,2}}(?P<y>20[0-9]{{2}})(?![0-9])"),
    re.compile(rf"(?<![A-Za-z]){_MONTH}[-_ ]?(?P<d>[0-3]?[0-9])[-_ ,]{{1,2}}(?P<y>20[0-9]{{2}})(?![0-9])"),
    re.compile(rf"(?<![0-9])(?P<y>20[0-9]{{2}})[-_ ]?{_MONTH}[-_ ]?(?P<d>[0-3]?[0-9])(?![0-9])"),
)
#: time.asctime: "Mon_Nov_18_13-27-27_2024".
_ASCTIME = re.compile(
    rf"(?<![A-Za-z])(?:[MTWFS][a-z]{{2}}[-_ ])?{_MONTH}[-_ ]{{1,2}}(?P<d>[0-3]?[0-9])"
    r"[-_ ](?P<h>[0-2][0-9])[-_:](?P<n>[0-5][0-9])[-_:](?P<s>[0-5][0-9])[-_ ](?P<y>20[0-9]{2})(?![0-9])"
)
#: TensorBoard's run names ("Aug16_18-50-45") and MM_DD_HH_MM: a day without its year.
_BOARD = re.compile(
    rf"(?<![A-Za-z]){_MONTH}(?P<d>[0-3][0-9])[-_](?P<h>[0-2][0-9])-(?P<n>[0-5][0-9])-(?P<s>[0-5][0-9])(?![0-9])"
)
_YEARLESS = re.compile(r"(?<![0-9A-Za-z])([01][0-9])_([0-3][0-9])_([0-2][0-9])_([0-5][0-9])$")
_DIGITS = re.compile(r"[0-9]")


def find_date(stem: str) -> Dated | None:
    """Find the first date in a name without its suffix."""
    if len(_DIGITS.findall(stem)) < 6:
        return None
    for find in (_find_full, _find_unix, _find_named, _find_backward, _find_short, _find_yearless):
        found = find(stem)
        if found is not None:
            return found
    return None


def _find_full(stem: str) -> Dated | None:
    for match in _DATE_TIME.finditer(stem):
        day = _day(match["y"], match["m"], match["d"])
        if day is None:
            continue
        time = _time(match["h"], match["n"], match["s"]) if match["h"] else None
        if match["h"] and time is None:
            plain = _DATE.match(stem, match.start())
            return Dated(day, plain.start(), plain.end(), 0.9) if plain else None
        return Dated(f"{day}T{time}{match['z']}" if time else day, match.start(), match.end(), 0.9)
    for match in _DATE.finditer(stem):
        day = _day(match["y"], match["m"], match["d"])
        if day is not None:
            return Dated(day, match.start(), match.end(), 0.9)
    return None


def _find_unix(stem: str) -> Dated | None:
    match = _UNIX.search(stem)
    if match is None:
        return None
    moment = datetime.datetime.fromtimestamp(int(match[1]), datetime.UTC)
    return Dated(f"{moment:%Y-%m-%dT%H:%M:%SZ}", match.start(), match.end(), 0.8)


def _find_named(stem: str) -> Dated | None:
    for pattern in _NAMED:
        match = pattern.search(stem)
        if match is not None:
            day = _day(match["y"], str(_MONTHS[match["m"].lower()]), match["d"])
            if day is not None:
                return Dated(day, match.start(), match.end(), 0.9)
    match = _ASCTIME.search(stem)
    day = _day(match["y"], str(_MONTHS[match["m"].lower()]), match["d"]) if match is not None else None
    if match is not None and day is not None:
        time = _time(match["h"], match["n"], match["s"])
        return Dated(f"{day}T{time}" if time else day, match.start(), match.end(), 0.9)
    match = _BOARD.search(stem)
    if match is not None and _day("2024", str(_MONTHS[match["m"].lower()]), match["d"]):
        time = _time(match["h"], match["n"], match["s"])
        if time:
            return Dated(f"{_MONTHS[match['m'].lower()]:02}-{match['d']}T{time}", match.start(), match.end(), 0.6)
    return None


def _find_backward(stem: str) -> Dated | None:
    """Find a date that ends with its year; 03-04-2024 is a day of March or of April, and so it is none."""
    match = _BACKWARD.search(stem)
    if match is None:
        return None
    first, second, year = (match[1], match[3], match[4]) if match[4] else (match[5], match[6], match[7])
    one, two = int(first), int(second)
    if one > 12 >= two:
        day = _day(year, second, first)
    elif two > 12 >= one or one == two:
        day = _day(year, first, second)
    else:
        day = None
    if day is None:
        return None
    time = _time(match[8], match[9], match[10]) if match[8] else None
    return Dated(f"{day}T{time}" if time else day, match.start(), match.end(), 0.7)


def _find_short(stem: str) -> Dated | None:
    for match in _SHORT.finditer(stem):
        if match.start() > 0 and match.end() < len(stem):
            continue
        if match.start() > 0 and stem[: match.start()].rstrip("_-=").lower().endswith(
            ("step", "steps", "iter", "iters", "iteration", "model", "ckpt", "checkpoint", "it")
        ):
            continue
        day = _day(f"20{match[1]}", match[2], match[3])
        if day is not None and match[1] >= "15":
            time = _time(match[4], match[5], match[6]) if match[4] else None
            return Dated(
                f"{day}T{time}" if time else day, match.start(), match.end() if time or not match[4] else match.start() + 6, 0.6
            )
    return None


def _find_yearless(stem: str) -> Dated | None:
    match = _YEARLESS.search(stem)
    if match is None or _day("2024", match[1], match[2]) is None or int(match[3]) > 23:
        return None
    return Dated(f"{match[1]}-{match[2]}T{match[3]}:{match[4]}", match.start(), match.end(), 0.5)


def _day(year: str, month: str, day: str) -> str | None:
    try:
        found = datetime.date(int(year), int(month), int(day))
    except ValueError:
        return None
    return found.isoformat() if found.year in _YEARS else None


def _time(hour: str, minute: str, second: str | None) -> str | None:
    if int(hour) > 23:
        return None
    return f"{hour}:{minute}:{second}" if second else f"{hour}:{minute}"
