"""What is known of each content, out of the rows of `index.totals.walk_contents`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from ckptd.checkpoint.globals import ITEM_BYTES, PACKED
from ckptd.index.totals import read_findings
from ckptd.report.shares import Breakdown, Sums, break_down

#: Code of the finding.
NON_FINITE = "non-finite-weights"

_OPTIMIZER = ',"optimizer_bytes":'
#: More elements than 64 bits can count are none.
_MOST_DIGITS = 20


class Description(NamedTuple):
    """What a description says.

    Attributes:
        dtypes: JSON that says how many elements there are of each dtype; "" where it can't be read.
        is_finite: False when weights hold NaN or infinity.
    """

    status: str | None = None
    kind: str | None = None
    model: str | None = None
    dataset: str | None = None
    date: str | None = None
    dtypes: str = ""
    optimizer_bytes: int = 0
    is_finite: bool = True


UNDESCRIBED = Description()


def describe(rows: Iterable[tuple[Any, ...]]) -> dict[str, Description]:
    """Read every row of `index.totals.walk_contents`: key → description."""
    found = {}
    known: dict[str, str] = {}
    new = tuple.__new__
    for key, status, kind, model, dataset, date, head, suspect in rows:
        dtypes, optimizer = split_head(head)
        dtypes = known.setdefault(dtypes, dtypes)
        is_finite = suspect is None or all(finding[0] != NON_FINITE for finding in read_findings(suspect))
        found[key] = new(Description, (status, kind, model, dataset, date, dtypes, optimizer, is_finite))
    return found


def split_head(head: str) -> tuple[str, int]:
    """Take the JSON of the dtypes and the bytes of the optimizer's state out of the beginning of a description.

    Text out of a file can't look like it: nothing but ckptd's own words comes before, and JSON escapes quotes.
    """
    start = head.find('"dtypes":{') + 9
    end = head.find(_OPTIMIZER, start)
    if start < 9 or end < 0:
        return "", 0
    after = end + len(_OPTIMIZER)
    number = head[after : head.find(",", after)]
    return head[start:end], int(number) if number.isdecimal() else 0


def weigh_dtypes(texts: Mapping[str, int]) -> Breakdown:
    """Turn elements into bytes; what the engine knows no size of has none.

    Args:
        texts: the JSON that says how many elements a file has of each dtype → files.
    """
    parts: dict[str | None, Sums] = {}
    for text, files in texts.items():
        words = text.split('"')  # {"float32":12,"int64":3} without a parser: there may be a hundred thousand
        for dtype, number in zip(words[1::2], words[2::2], strict=False):
            elements = number[1:-1]
            if elements.isdecimal() and len(elements) < _MOST_DIGITS:
                part = parts.setdefault(dtype, [0, 0, 0])
                part[0] += files
                part[1] += files * -(-int(elements) * ITEM_BYTES.get(dtype, 0) // PACKED.get(dtype, 1))
    return break_down(parts)
