"""How much lay on each file system at the end of each day: out of what came and what went."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, timedelta
from typing import Any

from ckptd.model import PlaceState
from ckptd.report.dating import DAY_SECONDS, Births
from ckptd.report.facts import Series

#: Days that a series goes back at most; what lay there before is in its first number.
MOST_DAYS = 5 * 366
_EPOCH = date(1970, 1, 1)

Changes = dict[tuple[bytes, int], int]


def add_gone(
    changes: Changes, rows: Iterable[tuple[Any, ...]], births: Births, present: Mapping[tuple[int, int], int]
) -> Changes:
    """Add what came and went again to what came on each day.

    What lies in the trash still takes its room until it is purged.

    Args:
        changes: (root, day) → bytes that came; changed and returned.
        rows: of `index.totals.walk_gone`.
        births: says when a file came.
        present: (dev, ino) → size of each file that is there: another name of one of these takes no room of its own.
    """
    for root, state, dev, ino, size, mtime_ns, first_seen_at, since in rows:
        if present.get((dev, ino)) == size:
            continue
        came, went = births.day(root, first_seen_at, mtime_ns), int(since // DAY_SECONDS)
        if went < came:
            continue
        changes[root, came] = changes.get((root, came), 0) + size
        if state != PlaceState.TRASHED:
            changes[root, went] = changes.get((root, went), 0) - size
    return changes


def build_series(changes: Iterable[tuple[int, int]], now: float) -> Series:
    """Sum changes up, day by day until today.

    Args:
        changes: (day since the epoch, bytes that came on it), in any order.
        now: seconds since the epoch; what is dated later counts today.
    """
    today = int(now // DAY_SECONDS)
    by_day: dict[int, int] = {}
    for day, size in changes:
        kept = min(max(day, today - MOST_DAYS), today)
        by_day[kept] = by_day.get(kept, 0) + size
    if not by_day:
        return Series()
    first, level, levels = min(by_day), 0, []
    for day in range(first, today + 1):
        level += by_day.get(day, 0)
        levels.append(max(level, 0))
    return Series(day_name(first), tuple(levels))


def day_name(day: int) -> str:
    """Write a day since the epoch as ISO 8601."""
    return (_EPOCH + timedelta(days=day)).isoformat()


def day_number(name: str) -> int:
    """Read what `day_name` wrote."""
    return (date.fromisoformat(name) - _EPOCH).days
