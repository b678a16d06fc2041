"""What the policy has to remember: which group a content was taken for, what went, and what stands still until confirmed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import NamedTuple

from sqlalchemy import Connection, delete, func, select

from ckptd.index.statements import Row, insert_rows, put_rows
from ckptd.index.tables import checks, freezes, groupings, places, removals
from ckptd.model import GONE_STATES, PlaceState


class Grouping(NamedTuple):
    """The group that a content at a place was taken for, and what was decided about it last.

    Attributes:
        group: None where its model was not known surely enough.
        decided: action and codes of the reasons ("keep last best"); None before the first time.
    """

    root: str
    path: str
    sha256: str
    group: str | None
    decided: str | None = None


class Gone(NamedTuple):
    """A checkpoint that a policy took away.

    Attributes:
        action: "archive" or "trash".
        at: seconds since the epoch.
    """

    root: str
    path: str
    sha256: str | None
    group: str | None
    size_bytes: int
    action: str
    at: float


class Check(NamedTuple):
    """When a place was last read again; `outcome` is "ok", "rotten", "changed", "unreadable" or "unfinished"."""

    root: str
    path: str
    sha256: str
    at: float
    outcome: str


def load_groupings(connection: Connection, host: str) -> dict[tuple[str, str], Grouping]:
    """Give the group of each place as it was written down: (root, path) → grouping."""
    c = groupings.c
    found = {}
    query = select(c.root, c.path, c.sha256, c.group_name, c.decided).where(c.host == host)
    for root, path, sha256, group, decided in connection.execute(query):
        one = Grouping(os.fsdecode(root), os.fsdecode(path), sha256, group, decided)
        found[one.root, one.path] = one
    return found


def put_groupings(connection: Connection, host: str, new: list[Grouping]) -> None:
    """Write groups down."""
    rows: list[Row] = [
        {
            "host": host,
            "root": os.fsencode(one.root),
            "path": os.fsencode(one.path),
            "sha256": one.sha256,
            "group_name": one.group,
            "decided": one.decided,
        }
        for one in new
    ]
    put_rows(connection, groupings, rows)


def load_gone(connection: Connection, host: str, since: float) -> list[Gone]:
    """Give what went since a time, in seconds since the epoch."""
    c = removals.c
    query = select(c.root, c.path, c.sha256, c.group_name, c.size, c.action, c.at).where(c.host == host, c.at >= since)
    return [
        Gone(os.fsdecode(row.root), os.fsdecode(row.path), row.sha256, row.group_name, row.size, row.action, row.at)
        for row in connection.execute(query.order_by(c.id))
    ]


def add_gone(connection: Connection, host: str, gone: Gone) -> None:
    """Write down that a checkpoint went."""
    row: Row = {"host": host, "root": os.fsencode(gone.root), "path": os.fsencode(gone.path), "sha256": gone.sha256}
    row |= {"group_name": gone.group, "size": gone.size_bytes, "action": gone.action, "at": gone.at}
    insert_rows(connection, removals, [row])


def drop_gone(connection: Connection, host: str, root: str, path: str) -> None:
    """Forget that a checkpoint went: it is back."""
    c = removals.c
    connection.execute(delete(removals).where(c.host == host, c.root == os.fsencode(root), c.path == os.fsencode(path)))


def load_freezes(connection: Connection, host: str) -> dict[str, str]:
    """Give why jobs that take something away stand still: name → why; empty in good times."""
    rows = connection.execute(select(freezes.c.name, freezes.c.why).where(freezes.c.host == host))
    return {row.name: row.why for row in rows}


def put_freeze(connection: Connection, host: str, name: str, why: str, at: float) -> None:
    """Let nothing be taken away until somebody says so."""
    put_rows(connection, freezes, [{"host": host, "name": name, "why": why, "at": at}])


def drop_freezes(connection: Connection, host: str) -> None:
    """Let things be taken away again."""
    connection.execute(delete(freezes).where(freezes.c.host == host))


def load_checks(connection: Connection, host: str) -> dict[tuple[str, str], Check]:
    """Give when each place was last read again: (root, path) → check."""
    c = checks.c
    found = {}
    for row in connection.execute(select(c.root, c.path, c.sha256, c.at, c.outcome).where(c.host == host)):
        one = Check(os.fsdecode(row.root), os.fsdecode(row.path), row.sha256, row.at, row.outcome)
        found[one.root, one.path] = one
    return found


def put_check(connection: Connection, host: str, check: Check) -> None:
    """Write down that a place was read again."""
    row = check._asdict() | {"host": host, "root": os.fsencode(check.root), "path": os.fsencode(check.path)}
    put_rows(connection, checks, [row])


def find_states(connection: Connection, host: str, root: str) -> Mapping[str, str]:
    """Give the places of a root that ckptd took away itself: path → state."""
    c = places.c
    taken = [state.value for state in GONE_STATES if state is not PlaceState.MISSING]
    query = select(c.path, c.state).where(c.host == host, c.root == os.fsencode(root), c.state.in_(taken))
    return {os.fsdecode(path): state for path, state in connection.execute(query)}


def find_places_of(connection: Connection, host: str, sha256: str) -> list[tuple[str, str]]:
    """Give where a content lies now: (root, path)."""
    c, gone = places.c, [state.value for state in GONE_STATES]
    query = select(c.root, c.path).where(c.host == host, c.sha256 == sha256, c.state.not_in(gone)).order_by(c.root, c.path)
    return [(os.fsdecode(root), os.fsdecode(path)) for root, path in connection.execute(query)]


def count_places(connection: Connection, host: str, root: str) -> int:
    """Count the checkpoints of a root that are there."""
    c, gone = places.c, [state.value for state in GONE_STATES]
    query = select(func.count()).where(c.host == host, c.root == os.fsencode(root), c.state.not_in(gone))
    return int(connection.scalar(query) or 0)
