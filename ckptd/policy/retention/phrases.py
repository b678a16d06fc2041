"""Numbers as words, for the reasons in a plan."""

from __future__ import annotations

from collections.abc import Iterable

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
_SPANS = ((86400, "day"), (3600, "hour"), (60, "minute"))


def say_size(size_bytes: int) -> str:
    """Write a size in binary units: 1536 → "1.5 KiB"."""
    value, unit = float(size_bytes), 0
    while value >= 1023.95 and unit < len(_UNITS) - 1:
        value, unit = value / 1024, unit + 1
    return f"{size_bytes} B" if unit == 0 else f"{value:.1f} {_UNITS[unit]}"


def say_span(seconds: float) -> str:
    """Write a span of time in the largest unit that leaves no rest: 86400 → "1 day", 5400 → "90 minutes"."""
    for span, unit in _SPANS:
        if seconds >= span and seconds % span == 0:
            return say_count(int(seconds // span), unit)
    return f"{seconds:g} second" + ("" if seconds == 1 else "s")


def say_count(count: int, noun: str) -> str:
    """Write how many: "1 checkpoint", "1,200 checkpoints"."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def say_names(names: Iterable[str]) -> str:
    """Write names behind each other, at most three: "a, b, c and 4 more"."""
    first, rest = (every := list(names))[:3], len(every) - 3
    return ", ".join(first) + (f" and {rest} more" if rest > 0 else "")
