"""Sizes and durations as people write them: "2GiB", "10m"; and back."""

from __future__ import annotations

import math
import re

_SIZES = {
    "": 1,
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "tb": 10**12,
    "kib": 1 << 10,
    "mib": 1 << 20,
    "gib": 1 << 30,
    "tib": 1 << 40,
}
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}

SIZE_PATTERN = r"^\s*\d+(\.\d+)?\s*([kKmMgGtT][iI]?)?[bB]?\s*$"
DURATION_PATTERN = r"^\s*(\d+(\.\d+)?\s*(ms|s|m|h|d|w)\s*)+$"


def parse_size(value: object) -> object:
    """Read "2GiB", "500 MB" or a plain number of bytes; what is no text passes unchanged.

    Raises:
        ValueError: a text that is no size.
    """
    if isinstance(value, bool):
        raise ValueError('is a size: a number of bytes or a text like "2GiB"')  # noqa: TRY004 — what pydantic collects
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", value)
    if match is None or match[2].lower() not in _SIZES:
        raise ValueError(f'{value!r} is not a size; write a number of bytes or "2GiB", "500MB"')
    return int(float(match[1]) * _SIZES[match[2].lower()]) if "." in match[1] else int(match[1]) * _SIZES[match[2].lower()]


def parse_duration(value: object) -> object:
    """Read "10m", "1h30m", "500ms" or a plain number of seconds; what is no text passes unchanged.

    Raises:
        ValueError: a text that is no duration, or no finite number.
    """
    if isinstance(value, bool):
        raise ValueError('is a duration: a number of seconds or a text like "10m"')  # noqa: TRY004 — what pydantic collects
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("must be a finite number of seconds")
    if not isinstance(value, str):
        return value
    if re.fullmatch(r"\s*\d+(\.\d+)?\s*", value):
        return float(value)
    if re.fullmatch(DURATION_PATTERN, value) is None:
        raise ValueError(f'{value!r} is not a duration; write a number of seconds or "10m", "1h30m", "2d"')
    return sum(float(number) * _SECONDS[unit] for number, unit in re.findall(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|w)", value))
