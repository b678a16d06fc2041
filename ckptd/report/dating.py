"""When a file came, and of which month it is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

#: What lies in a root when ckptd first looks was not made that day: for files first seen within so long, mtimes tell when.
FIRST_LOOK_SECONDS = 86_400.0
#: PyTorch's first release came in September 2016; an mtime before says nothing (archives unpack files with 0).
OLDEST_SECONDS = datetime(2016, 1, 1, tzinfo=UTC).timestamp()
DAY_SECONDS = 86_400.0

_MONTH = re.compile(r"(20[1-9][0-9])-(0[1-9]|1[0-2])")
_HOUR_NS = 3_600_000_000_000


class Births:
    """Says on which day a file came to its root, in days since the epoch (UTC).

    Args:
        first_looks: root → when the first file of it was seen.
    """

    def __init__(self, first_looks: Mapping[bytes, float]) -> None:
        self._until = {root: at + FIRST_LOOK_SECONDS for root, at in first_looks.items()}

    def day(self, root: bytes, first_seen_at: float, mtime_ns: int) -> int:
        """Give the day: that of the first sight, or for what ckptd found there at its own arrival, that of the mtime."""
        if first_seen_at <= self._until.get(root, 0.0):
            modified_at = mtime_ns / 1e9
            if OLDEST_SECONDS <= modified_at < first_seen_at:
                return int(modified_at // DAY_SECONDS)
        return int(first_seen_at // DAY_SECONDS)


class Months:
    """Says in which month a file was made, "2026-11": by the date in its content or its name, else by its mtime.

    Args:
        zone: in which a month begins.
        now: seconds since the epoch; no month after it is believed.
    """

    def __init__(self, zone: ZoneInfo, now: float) -> None:
        self._zone = zone
        self._last = f"{datetime.fromtimestamp(now, zone):%Y-%m}"
        self._by_hour: dict[int, str] = {}
        self._by_date: dict[str, str] = {}

    def month(self, date: str | None, mtime_ns: int) -> str:
        """Give the month; "" where neither says anything that can be true."""
        if date is not None:
            stated = self._by_date.get(date)
            if stated is None:
                stated = self._by_date[date] = date[:7] if date[:7] <= self._last and _MONTH.match(date) else ""
            if stated:
                return stated
        hour = mtime_ns // _HOUR_NS
        month = self._by_hour.get(hour)
        if month is None:
            month = self._by_hour[hour] = self._of_hour(hour)
        return month

    def _of_hour(self, hour: int) -> str:
        seconds = hour * 3_600.0
        if seconds < OLDEST_SECONDS - DAY_SECONDS:
            return ""
        try:
            month = f"{datetime.fromtimestamp(seconds, self._zone):%Y-%m}"
        except (OverflowError, OSError, ValueError):  # years beyond any calendar
            return ""
        return month if month <= self._last else ""
