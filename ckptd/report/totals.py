"""Count everything in one lean pass over the rows of `index.totals`: sums, parts, the largest files, arrivals by day.

The costly part of a hundred thousand rows is Python's own.  So a row is added to two small tables of combinations, and each
part is summed from those afterwards; texts that come again and again are read once.
"""

from __future__ import annotations

import heapq
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ckptd.model import Kind, Status
from ckptd.report.dating import Births, Months
from ckptd.report.described import UNDESCRIBED, Description, weigh_dtypes
from ckptd.report.facts import File, Totals
from ckptd.report.shares import Breakdown, Share, Sums, break_down, break_down_by_time

#: Files in the list of the largest, and in that of those that want a look.
MOST_FILES = 20
MOST_TROUBLES = 50
#: Statuses that want a look, the worst first.
TROUBLES = (
    Status.UNSAFE.value, Status.DAMAGED.value, Status.FAILED.value, Status.UNREADABLE.value, Status.NOT_A_CHECKPOINT.value,
)  # fmt: skip
_RANKS = {status: rank for rank, status in enumerate(TROUBLES)}
#: Contents whose weights stay when the optimizer's state is taken out.
_SLIMMABLE = Kind.CHECKPOINT.value

Arrivals = dict[tuple[bytes, int], int]
_Row = tuple[Any, ...]


class Troubled(NamedTuple):
    """A checkpoint that wants a look; `content` is the key of its description."""

    root: str
    path: str
    status: str
    size_bytes: int
    content: str


class Equals(NamedTuple):
    """One content in several files; hard links are one file."""

    sha256: str
    files: int
    size_bytes: int


@dataclass(slots=True)
class Counted:
    """What one pass gave.

    Attributes:
        statuses: parts by status.
        troubled: the worst first; `trouble_files` counts all, with `non_finite_files` of them.
        equals: contents in several files, the most wasteful first.
        arrivals: (root, day since the epoch) → bytes that came on that day.
        files: (dev, ino) of every file → its size; hard links share one.
    """

    totals: Totals = field(default_factory=Totals)
    largest: tuple[File, ...] = ()
    roots: Breakdown = field(default_factory=Breakdown)
    models: Breakdown = field(default_factory=Breakdown)
    datasets: Breakdown = field(default_factory=Breakdown)
    months: Breakdown = field(default_factory=Breakdown)
    kinds: Breakdown = field(default_factory=Breakdown)
    dtypes: Breakdown = field(default_factory=Breakdown)
    statuses: tuple[Share, ...] = ()
    troubled: tuple[Troubled, ...] = ()
    trouble_files: int = 0
    non_finite_files: int = 0
    equals: tuple[Equals, ...] = ()
    arrivals: Arrivals = field(default_factory=dict)
    files: dict[tuple[int, int], int] = field(default_factory=dict)


@dataclass(slots=True)
class _Tables:
    """What the rows are added to.

    Attributes:
        find: gives the description of a key.
        subjects: by model and dataset.
        forms: by root, month, kind and status.
        dtypes: JSON of the dtypes → files.
        digests: content → size of its first file.
        repeated: content → files, of those in more than one.
        largest: a heap of (size, order, row).
        troubled: (rank, order, row).
    """

    find: Callable[[Any, Description], Description]
    subjects: dict[tuple[str | None, str | None], Sums] = field(default_factory=dict)
    forms: dict[tuple[bytes, str, str | None, str | None], Sums] = field(default_factory=dict)
    dtypes: dict[str, int] = field(default_factory=dict)
    digests: dict[str, int] = field(default_factory=dict)
    repeated: dict[str, int] = field(default_factory=dict)
    largest: list[tuple[int, int, _Row]] = field(default_factory=list)
    troubled: list[tuple[int, int, _Row]] = field(default_factory=list)
    files: dict[tuple[int, int], int] = field(default_factory=dict)
    arrivals: Arrivals = field(default_factory=dict)
    links: int = 0


def count(rows: Iterable[_Row], descriptions: Mapping[str, Description], births: Births, months: Months) -> Counted:
    """Count every row of `index.totals.walk_present`."""
    tables = _Tables(descriptions.get)
    _read_all(rows, tables, births, months)
    return _sum_up(tables)


def _read_all(rows: Iterable[_Row], tables: _Tables, births: Births, months: Months) -> None:
    """Add each row to the tables; the one loop that is written for speed and not for its looks."""
    subjects, forms, dtypes, digests = tables.subjects, tables.forms, tables.dtypes, tables.digests
    repeated, files, arrivals, find = tables.repeated, tables.files, tables.arrivals, tables.find
    day_of, month_of, least = births.day, months.month, -1
    for number, row in enumerate(rows):
        root, _, sha256, dev, ino, size, mtime_ns, first_seen_at, content = row
        status, kind, model, dataset, date, text, optimizer, is_finite = find(content, UNDESCRIBED)
        subject = subjects.get((model, dataset))
        if subject is None:
            subject = subjects[model, dataset] = [0, 0, 0, 0]
        month = month_of(date, mtime_ns)
        form = forms.get((root, month, kind, status))
        if form is None:
            form = forms[root, month, kind, status] = [0, 0, 0, 0]
        subject[0] += 1
        form[0] += 1
        if not is_finite or status in _RANKS:
            tables.troubled.append((_RANKS.get(status, len(_RANKS)), -size, row))  # type: ignore[arg-type]  # None is no rank
        file = (dev, ino)
        if file in files:
            tables.links += 1
            continue
        files[file] = size
        if sha256 in digests:
            repeated[sha256] = repeated.get(sha256, 1) + 1
        elif sha256 is not None:
            digests[sha256] = size
        subject[1] += size
        form[1] += size
        key = (root, day_of(root, first_seen_at, mtime_ns))
        arrivals[key] = arrivals.get(key, 0) + size
        dtypes[text] = dtypes.get(text, 0) + 1
        if optimizer:
            subject[2] += optimizer
            form[2] += optimizer
            form[3] += 1
        if size > least:
            least = _push(tables.largest, (size, -number, row))


def _sum_up(tables: _Tables) -> Counted:
    subjects, forms, find = tables.subjects, tables.forms, tables.find
    kinds, statuses = _by(forms, 2), _by(forms, 3)
    equals = [Equals(sha256, files, tables.digests[sha256]) for sha256, files in tables.repeated.items()]
    largest = sorted(tables.largest, key=lambda one: one[:2], reverse=True)
    tables.troubled.sort(key=lambda one: (one[0], one[1], one[2][:2]))
    return Counted(
        totals=_sum_all(kinds, len(tables.digests), tables.links),
        largest=tuple(_file(row, find(row[8], UNDESCRIBED)) for _, _, row in largest),
        roots=break_down({os.fsdecode(root): sums for root, sums in _by(forms, 0).items()}),
        models=break_down(_by(subjects, 0)),
        datasets=break_down(_by(subjects, 1)),
        months=break_down_by_time({month or None: sums for month, sums in _by(forms, 1).items()}),
        kinds=break_down(kinds),
        dtypes=weigh_dtypes(tables.dtypes),
        statuses=break_down(statuses).rows,
        troubled=tuple(_troubled(row, find(row[8], UNDESCRIBED)) for _, _, row in tables.troubled[:MOST_TROUBLES]),
        trouble_files=len(tables.troubled),
        non_finite_files=sum(not find(row[8], UNDESCRIBED).is_finite for _, _, row in tables.troubled),
        equals=tuple(sorted(equals, key=lambda one: ((1 - one.files) * one.size_bytes, one.sha256))),
        arrivals=tables.arrivals,
        files=tables.files,
    )


def _by(sums: Mapping[tuple[Any, ...], Sums], place: int) -> dict[Any, Sums]:
    """Add up what has the same value at one place of its key."""
    found: dict[Any, Sums] = {}
    for key, some in sums.items():
        known = found.setdefault(key[place], [0, 0, 0, 0])
        for index, number in enumerate(some):
            known[index] += number
    return found


def _sum_all(kinds: Mapping[str | None, Sums], contents: int, links: int) -> Totals:
    files, size, optimizer, optimizer_files = (sum(sums[place] for sums in kinds.values()) for place in range(4))
    slim = kinds.get(_SLIMMABLE, [0, 0, 0, 0])
    return Totals(files, contents, size, links, optimizer_files, optimizer, slim[3], slim[2])


def _troubled(row: _Row, description: Description) -> Troubled:
    return Troubled(os.fsdecode(row[0]), os.fsdecode(row[1]), description.status or "", row[5], row[8])


def _push(largest: list[tuple[int, int, _Row]], one: tuple[int, int, _Row]) -> int:
    """Keep the largest, of equals the first; give the size that is to be beaten next."""
    if len(largest) < MOST_FILES:
        heapq.heappush(largest, one)
        return -1 if len(largest) < MOST_FILES else largest[0][0]
    heapq.heapreplace(largest, one)
    return largest[0][0]


def _file(row: _Row, description: Description) -> File:
    return File(
        root=os.fsdecode(row[0]),
        path=os.fsdecode(row[1]),
        size_bytes=row[5],
        modified_at=row[6] / 1e9,
        status=description.status,
        kind=description.kind,
        model=description.model,
        dataset=description.dataset,
        optimizer_bytes=description.optimizer_bytes,
    )
