"""Parts of all checkpoints, such as those of one model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

#: Rows of a breakdown that a report holds; nobody reads on, and a root may hold a hundred thousand models.
MOST_ROWS = 200

#: [files, bytes, bytes of the optimizer's state, files with such].
Sums = list[int]


@dataclass(frozen=True, slots=True)
class Share:
    """A part of all checkpoints: those of one model, or of one month.

    Attributes:
        name: None for those of which it is not known.
        files: names, hard links too.
        size_bytes: lengths of the files; of hard links the first counts.
        optimizer_bytes: how many of these belong to optimizer state.
    """

    name: str | None
    files: int
    size_bytes: int
    optimizer_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Breakdown:
    """All checkpoints by one quality.

    Attributes:
        rows: the largest first; months in their order.
        names: how many there are in all.
        others: what `rows` leaves out; None when nothing.
    """

    rows: tuple[Share, ...] = ()
    names: int = 0
    others: Share | None = None


def break_down(parts: Mapping[str | None, Sums]) -> Breakdown:
    """Order parts by bytes, the largest first, and sum up what is beyond the first ones."""
    shares = [Share(name, *part[:3]) for name, part in parts.items()]
    shares.sort(key=lambda share: (-share.size_bytes, -share.files, share.name is None, share.name or ""))
    return cut(shares, MOST_ROWS, names=len(shares))


def cut(shares: Sequence[Share], most: int, *, names: int, others: Share | None = None) -> Breakdown:
    """Keep the first shares and add the rest to `others`."""
    rest = [*shares[most:], *([others] if others else [])]
    if not rest:
        return Breakdown(tuple(shares), names, None)
    summed = Share(
        None, sum(one.files for one in rest), sum(one.size_bytes for one in rest), sum(one.optimizer_bytes for one in rest)
    )
    return Breakdown(tuple(shares[:most]), names, summed)


def break_down_by_time(parts: Mapping[str | None, Sums]) -> Breakdown:
    """Order parts by their names, which are times, and sum up what is before the last ones."""
    shares = [Share(name, *part[:3]) for name, part in parts.items()]
    shares.sort(key=lambda share: share.name or "", reverse=True)
    newest = cut(shares, MOST_ROWS, names=len(shares))
    return Breakdown(newest.rows[::-1], newest.names, newest.others)
