"""What is not as it should be, and when each group last got a checkpoint: what alerts ask the index now and then."""

from __future__ import annotations

import os
from typing import NamedTuple

from sqlalchemy import Connection, exists, func, select

from ckptd.index.archived import VERIFIED
from ckptd.index.tables import archives, checks, contents, places, traits
from ckptd.model import GONE_STATES, Status

_k, _p, _c, _t = checks.c, places.c, contents.c, traits.c
#: Bad outcomes of a reading.  Source: `policy.scrub.BAD`; a test holds them together.
BAD_OUTCOMES = ("rotten", "unreadable")
_GOOD = (Status.OK.value, Status.NEEDS_CODE.value)


class BadPlace(NamedTuple):
    """A checkpoint whose last reading found other bytes than it had, or none."""

    root: str
    path: str
    outcome: str


class BadRoot(NamedTuple):
    """How many such checkpoints a root has, and some of them, by path."""

    root: str
    files: int
    places: tuple[BadPlace, ...]


class BadArchive(NamedTuple):
    """An archive that is not whole; `state` is damaged or missing."""

    directory: str
    name: str
    state: str


class Arrival(NamedTuple):
    """When something with these names last came; `at` in seconds since the epoch.

    Attributes:
        path: of one of them, relative to its root.
    """

    model: str
    dataset: str | None
    architecture: str | None
    quantization: str | None
    stage: str | None
    path: str
    at: float


def load_bad_roots(connection: Connection, host: str, limit: int) -> list[BadRoot]:
    """Give the roots that have checkpoints which are there and not to be believed, with at most `limit` of each root's."""
    here = (_p.host == _k.host, _p.root == _k.root, _p.path == _k.path, _p.sha256 == _k.sha256)
    is_there = exists().where(*here, _p.state.not_in([state.value for state in GONE_STATES]))
    where = (_k.host == host, _k.outcome.in_(BAD_OUTCOMES), is_there)
    counts = select(_k.root, func.count()).select_from(checks).where(*where).group_by(_k.root).order_by(_k.root)
    some = select(_k.path, _k.outcome).where(*where).order_by(_k.path).limit(limit)
    found = []
    for root, count in connection.execute(counts).all():
        rows, name = connection.execute(some.where(_k.root == root)), os.fsdecode(root)
        places_of = tuple(BadPlace(name, os.fsdecode(path), outcome) for path, outcome in rows)
        found.append(BadRoot(name, int(count), places_of))
    return found


def load_bad_archives(connection: Connection, host: str) -> list[BadArchive]:
    """Give the archives that are not whole, by place."""
    c = archives.c
    query = select(c.directory, c.name, c.state).where(c.host == host, c.state != VERIFIED).order_by(c.directory, c.name)
    return [
        BadArchive(os.fsdecode(directory), os.fsdecode(name), state) for directory, name, state in connection.execute(query)
    ]


def load_arrivals(
    connection: Connection, host: str, confidence: float, *, by_path: bool = False, at: tuple[str, str] | None = None
) -> list[Arrival]:
    """Give when checkpoints of each model, data set and so on last came.

    A checkpoint came when it was first seen or last changed, whichever is later, but no later than it was read: what was read
    again (by a reindex) did not come again, and a clock of another machine may be ahead.  One that is gone by now, archived or
    removed, came all the same; one that was rejected did not.

    Args:
        connection: to read from.
        host: whose index.
        confidence: least confidence of the model's name, 0 to 1.
        by_path: give each place on its own, since the directory is part of its group.
        at: only this place (root, path).
    """
    is_sqlite = connection.dialect.name == "sqlite"
    later, earlier = (func.max, func.min) if is_sqlite else (func.greatest, func.least)
    came = func.max(earlier(_c.inspected_at, later(_p.first_seen_at, _p.mtime_ns / 1e9)))
    names = [_c.model_name, _c.dataset, _c.architecture, _c.quantization, _c.stage]
    query = (
        select(*names, func.max(_p.path), came)
        .select_from(places.join(contents, _c.key == _p.content).join(traits, _t.content == _c.key))
        .where(_p.host == host, _c.status.in_(_GOOD))
        .where(_c.model_name.is_not(None), _t.model_confidence >= confidence)
        .group_by(*names, *([_p.path] if by_path else []))
    )
    if at is not None:
        query = query.where(_p.root == os.fsencode(at[0]), _p.path == os.fsencode(at[1]))
    return [Arrival(*row[:5], os.fsdecode(row[5]), float(row[6])) for row in connection.execute(query)]
