"""The questions of people: records by name, by filter, in an order, and the best of each group."""

from __future__ import annotations

import difflib
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Row, Select, case, false, func, or_, select

from ckptd.errors import UsageError, WorkerError
from ckptd.index.filters import Filter
from ckptd.index.payload import damaged_inspection, inspection_of
from ckptd.index.tables import contents, metrics, places, unsigned
from ckptd.model import GONE_STATES, Identity, PlaceState, Record, Status
from ckptd.text import escape

__all__ = ["SORT_KEYS", "Filter", "find_best", "find_named", "find_sorted", "is_sort_key", "select_records"]

_c, _p = contents.c, places.c
_PRESENT = _p.state.not_in([state.value for state in GONE_STATES])
_READABLE = (Status.OK.value, Status.NEEDS_CODE.value)
#: Values in one statement; SQLite takes at most 32,766.
_CHUNK = 500
#: A digest is meant by no less than so many of its digits.
_LEAST_DIGITS = 6

_changed_last = case((_p.mtime_ns > _p.first_seen_at * 1e9, _p.mtime_ns), else_=_p.first_seen_at * 1e9)

#: What a list can be sorted by, beside metrics.
SORT_KEYS: dict[str, ColumnElement[Any]] = {
    "path": _p.path,
    "id": _p.id,
    "name": func.lower(_c.model_name),
    "model": func.lower(_c.model_name),
    "dataset": func.lower(_c.dataset),
    "arch": func.lower(_c.architecture),
    "architecture": func.lower(_c.architecture),
    "status": _c.status,
    "state": _p.state,
    "kind": _c.kind,
    "container": _c.container,
    "epoch": _c.epoch,
    "step": _c.step,
    "date": _c.date,
    "age": -_changed_last,
    "modified": _p.mtime_ns,
    "first_seen": _p.first_seen_at,
    "inspected": _c.inspected_at,
    "size": _p.size,
    "parameters": _c.parameters,
    "quantization": _c.quantization,
    "stage": _c.stage,
    "sha256": _p.sha256,
}


def is_sort_key(sort: str) -> bool:
    """Say whether a list can be sorted by this field; everything else is a metric or a mistake."""
    return _field(sort) in SORT_KEYS


def _field(sort: str) -> str:
    return sort.lower().replace("-", "_")


def select_records(
    connection: Connection, host: str, where: Filter, root: bytes | None = None, *, with_copies: bool = True
) -> list[Record]:
    """Give the records that fit a condition, whole: with their tensors one by one and their layers."""
    query = _records(host, whole=True).where(where)
    if root is not None:
        query = query.where(_p.root == root)
    return _read(connection, host, query.order_by(_p.path, _p.id), with_copies=with_copies)


def find_sorted(
    connection: Connection, host: str, wanted: Filter | None, *, sort: str, reverse: bool, limit: int | None
) -> list[Record]:
    """Give records in an order, without their tensors one by one and their layers.

    What has no value to sort by comes last, whichever way round; of equals the first by path comes first.

    Raises:
        UsageError: nothing is sorted by that.
    """
    key = _sort_key(connection, sort)
    query = _records(host, whole=False).order_by((key.desc() if reverse else key.asc()).nulls_last(), _p.path, _p.id)
    if wanted is not None:
        query = query.where(wanted)
    if limit is not None:
        query = query.limit(limit)
    return _read(connection, host, query)


def find_named(connection: Connection, host: str, name: str) -> list[Record]:
    """Give the records that a name means by its strictest meaning: id, path, file name, stem, beginning of the digest.

    Of several, those whose files are there go before those whose files are gone.
    """
    for numbers in _meanings(connection, host, name):
        if numbers:
            found = select_records(connection, host, _p.id.in_(numbers[:_CHUNK]))
            return [record for record in found if record.state not in GONE_STATES] or found
    return []


def find_best(connection: Connection, host: str, names: Sequence[str], *, mode: str, group: str | None) -> list[Record]:
    """Give the best record of each (model, dataset), the best of all first; equals all.

    Like is compared with like: of a group the first of `names` that any of its records has counts, and the others take no
    part.  A file whose model is not known is a group of its own.

    Args:
        connection: to read from.
        host: whose places.
        names: canonical metrics, the most telling first.
        mode: "min" or "max".
        group: "model" or "model/dataset": only these; None for all.
    """
    candidates = _candidates(connection, host, names)
    if group is not None:
        wanted = group.lower()
        candidates = [one for one in candidates if wanted in one.called]
    groups: dict[tuple[Any, ...], list[_Candidate]] = {}
    for one in candidates:
        groups.setdefault(one.group, []).append(one)
    sign = 1 if mode == "max" else -1
    best: dict[int, float] = {}
    for members in groups.values():
        name = min((one.name for one in members), key=names.index)
        values = {one.place: sign * one.value for one in members if one.name == name}
        most = max(values.values())
        best |= {place: value for place, value in values.items() if value == most}
    found = _select_numbered(connection, host, list(best))
    return sorted(found, key=lambda record: -best[record.id])


class _Candidate(NamedTuple):
    place: int
    model: str | None
    dataset: str | None
    name: str
    value: float

    @property
    def group(self) -> tuple[Any, ...]:
        return (self.place,) if self.model is None else (self.model, self.dataset)

    @property
    def called(self) -> tuple[str, ...]:
        model = (self.model or "").lower()
        return (model, f"{model}/{(self.dataset or '').lower()}") if model else ()


def _candidates(connection: Connection, host: str, names: Sequence[str]) -> list[_Candidate]:
    query = (
        select(_p.id, _c.model_name, _c.dataset, metrics.c.name, metrics.c.value)
        .join(contents, _c.key == _p.content)
        .join(metrics, metrics.c.content == _c.key)
        .where(_p.host == host, _p.state == PlaceState.READY.value, _c.status.in_(_READABLE), metrics.c.name.in_(names))
    )
    found = [_Candidate(*row) for row in connection.execute(query)]
    return [one for one in found if math.isfinite(one.value)]


def _sort_key(connection: Connection, sort: str) -> ColumnElement[Any]:
    key = SORT_KEYS.get(_field(sort))
    if key is not None:
        return key
    known = list(connection.scalars(select(metrics.c.name).distinct()))
    if sort not in known:
        near = difflib.get_close_matches(sort.lower(), [*SORT_KEYS, *known], n=1, cutoff=0.6)
        why = "nothing is sorted by that" + (f'; did you mean "{escape(near[0])}"?' if near else "")
        cure = f"one of {', '.join(SORT_KEYS)}"
        metric_names = ", ".join(escape(name, 40) for name in sorted(known)[:20])
        raise UsageError("sort", path=escape(sort), why=why, cure=cure + (f"; or a metric: {metric_names}" if known else ""))
    value = select(metrics.c.value).where(metrics.c.content == _c.key, metrics.c.name == sort)
    return value.correlate(contents).scalar_subquery()


def _meanings(connection: Connection, host: str, name: str) -> Iterator[list[int]]:
    """Give the ids for each meaning, the strictest first."""
    if re.fullmatch(r"[0-9]{1,18}", name):
        yield list(connection.scalars(select(_p.id).where(_p.host == host, _p.id == int(name))))
    yield list(connection.scalars(select(_p.id).where(_p.host == host, or_(false(), *_paths(connection, host, name)))))
    known = [(number, os.fsdecode(path)) for number, path in connection.execute(select(_p.id, _p.path).where(_p.host == host))]
    yield [number for number, path in known if path.rpartition("/")[2] == name]
    yield [number for number, path in known if name in _stems(path)]
    if re.fullmatch(rf"[0-9a-fA-F]{{{_LEAST_DIGITS},64}}", name):
        low = name.lower()
        # "g" comes after every hexadecimal digit
        query = select(_p.id).where(_p.host == host, _p.sha256 >= low, _p.sha256 < low + "g")
        yield list(connection.scalars(query))


def _paths(connection: Connection, host: str, name: str) -> Iterator[ColumnElement[bool]]:
    """Give the places that a path can mean: below any root, or below the one with which it begins."""
    try:
        path = os.fsencode(name)
    except UnicodeEncodeError:  # half a surrogate pair, which no path has
        return
    yield _p.path == path
    if path.startswith(b"/"):
        for root in connection.scalars(select(_p.root).distinct().where(_p.host == host)):
            above = bytes(root).rstrip(b"/") + b"/"
            if path.startswith(above):
                yield (_p.root == root) & (_p.path == path[len(above) :])


def _stems(path: str) -> Iterable[str]:
    """Give the names of a file without its ending: of `a/b.pth.tar` b.pth and b, and the same below a."""
    stem = path
    while "." in stem.rpartition("/")[2].lstrip("."):
        stem = stem.rpartition(".")[0]
        yield stem
        yield stem.rpartition("/")[2]
        if not path.endswith(".tar") or path.count(".", len(stem)) > 1:
            return


def _records(host: str, *, whole: bool) -> Select[Any]:
    details = (_c.details,) if whole else ()
    columns = (_p.id, _p.root, _p.path, _p.state, _p.dev, _p.ino, _p.size, _p.mtime_ns, _p.ctime_ns, _p.sha256)
    return (
        select(*columns, _p.first_seen_at, _c.inspected_at, _c.payload, *details)
        .select_from(places.outerjoin(contents, _c.key == _p.content))
        .where(_p.host == host)
    )


def _select_numbered(connection: Connection, host: str, numbers: Sequence[int]) -> list[Record]:
    found: list[Record] = []
    for start in range(0, len(numbers), _CHUNK):
        found += select_records(connection, host, _p.id.in_(numbers[start : start + _CHUNK]))
    return sorted(found, key=lambda record: (record.path, record.id))


def _read(connection: Connection, host: str, query: Select[Any], *, with_copies: bool = True) -> list[Record]:
    rows = connection.execute(query).all()
    digests = {row.sha256 for row in rows if row.sha256 is not None} if with_copies else set[str]()
    copies = _find_copies(connection, host, digests)
    return [_record(row, copies) for row in rows]


def _find_copies(connection: Connection, host: str, digests: Iterable[str]) -> dict[str, list[tuple[int, str]]]:
    """Give, for each digest, the places where it lies now."""
    found: dict[str, list[tuple[int, str]]] = {}
    wanted = sorted(digests)
    query = select(_p.sha256, _p.id, _p.path).where(_p.host == host, _PRESENT).order_by(_p.path)
    for start in range(0, len(wanted), _CHUNK):
        for digest, number, path in connection.execute(query.where(_p.sha256.in_(wanted[start : start + _CHUNK]))):
            found.setdefault(digest, []).append((number, os.fsdecode(path)))
    return found


def _record(row: Row[Any], copies: Mapping[str, list[tuple[int, str]]]) -> Record:
    path = os.fsdecode(row.path)
    identity = Identity(unsigned(row.dev), unsigned(row.ino), int(row.size), int(row.mtime_ns), int(row.ctime_ns))
    inspection = None
    if row.payload is not None:
        try:
            inspection = inspection_of(row.payload, getattr(row, "details", None), path, identity)
        except WorkerError:
            inspection = damaged_inspection(path, identity)
    return Record(
        id=row.id,
        root=os.fsdecode(row.root),
        path=path,
        state=PlaceState(row.state),
        identity=identity,
        sha256=row.sha256,
        inspection=inspection,
        first_seen_at=float(row.first_seen_at),
        inspected_at=None if row.inspected_at is None else float(row.inspected_at),
        copies=tuple(other for number, other in copies.get(row.sha256 or "", ()) if number != row.id),
    )
