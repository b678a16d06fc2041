"""Numbers, sizes, times and names as people read them."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping

from ckptd.model import Json
from ckptd.text import escape


def format_time(seconds: float | None) -> str:
    """Write a time since the epoch as local date and minute; "-" for none, and for one that no calendar has."""
    if seconds is None:
        return "-"
    try:
        return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))
    except (OverflowError, OSError, ValueError):
        return "-"


def format_number(value: float) -> str:
    """Write a metric: four significant digits, whole numbers with separators."""
    if isinstance(value, int) or (value.is_integer() and abs(value) < 1e15):
        return f"{int(value):,}"
    return f"{value:.4g}"


def format_duration(seconds: float) -> str:
    """Write how long something took: "0.42 s", "3 min 05 s"."""
    if seconds < 60:
        return f"{seconds:.2f} s"
    return f"{int(seconds) // 60} min {int(seconds) % 60:02d} s"


def format_value(value: Json, limit: int = 80) -> str:
    """Write a value out of a file on one line, escaped and cut."""
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case int() | float():
            return format_number(value)
        case str():
            return escape(value, limit)
        case list():
            return escape("[" + ", ".join(format_value(item, limit) for item in value) + "]", limit)
        case _:
            return escape("{" + ", ".join(f"{key}: {format_value(item, limit)}" for key, item in value.items()) + "}", limit)


def format_metrics(metrics: Mapping[str, float], limit: int = 3) -> str:
    """Write the first metrics as "accuracy 0.87, f1 0.85"."""
    shown = [f"{escape(name, 40)} {format_number(value)}" for name, value in list(metrics.items())[:limit]]
    return ", ".join(shown) + (" …" if len(metrics) > limit else "") or "-"


def plural(count: int, one: str, many: str | None = None) -> str:
    """Write a count with its noun: "1 file", "2 files"."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def is_terminal(stream: object = None) -> bool:
    """True when `stream`, or stdout, is a terminal."""
    isatty = getattr(sys.stdout if stream is None else stream, "isatty", None)
    return bool(isatty and isatty())
