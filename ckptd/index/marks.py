"""What people said about checkpoints: pins, tags, aliases; and what ckptd made out of which content."""

from __future__ import annotations

import os
from typing import NamedTuple

from sqlalchemy import ColumnElement, Connection, delete, select

from ckptd.index.statements import put_rows
from ckptd.index.tables import derivations, marks

#: The kinds of marks.
PIN, TAG, ALIAS = "pin", "tag", "alias"
#: How ckptd came to put a content in its place.
SLIM, RESTORE = "slim", "restore"


class Mark(NamedTuple):
    """One pin, tag or alias.

    Attributes:
        kind: `PIN`, `TAG` or `ALIAS`.
        name: of the tag or the alias; "" for a pin.
        root, path: the place that was marked.
        sha256: of the content that lay there; None when it was never read to its end.
        at: seconds since the epoch.
        who: name of the user who said so.
    """

    kind: str
    name: str
    root: str
    path: str
    sha256: str | None
    at: float
    who: str


class Derivation(NamedTuple):
    """A content that ckptd put in its place and when: made out of another one (`SLIM`), or brought back (`RESTORE`)."""

    sha256: str
    source_sha256: str
    how: str
    at: float


def load_marks(connection: Connection, host: str) -> list[Mark]:
    """Give every mark, by kind, name and place."""
    c = marks.c
    query = select(c.kind, c.name, c.root, c.path, c.sha256, c.at, c.who).where(c.host == host)
    rows = connection.execute(query.order_by(c.kind, c.name, c.root, c.path))
    return [Mark(row.kind, row.name, os.fsdecode(row.root), os.fsdecode(row.path), row.sha256, row.at, row.who) for row in rows]


def put_mark(connection: Connection, host: str, mark: Mark) -> None:
    """Write a mark down.  An alias names one content: whatever it named before, it names no more."""
    if mark.kind == ALIAS:
        connection.execute(delete(marks).where(marks.c.host == host, marks.c.kind == ALIAS, marks.c.name == mark.name))
    row = mark._asdict() | {"host": host, "root": os.fsencode(mark.root), "path": os.fsencode(mark.path)}
    put_rows(connection, marks, [row])


def drop_marks(connection: Connection, host: str, kind: str, name: str | None, root: str, path: str, sha256: str | None) -> int:
    """Take marks back that speak of a place or of the content there; how many.

    Args:
        connection: inside of a transaction.
        host: whose marks.
        kind: of the marks.
        name: of the tag or alias; None for all of the kind.
        root: of the place.
        path: of the place, relative to its root.
        sha256: of the content there.
    """
    c = marks.c
    speaks: ColumnElement[bool] = (c.root == os.fsencode(root)) & (c.path == os.fsencode(path))
    if sha256 is not None:
        speaks = speaks | (c.sha256 == sha256)
    where = [c.host == host, c.kind == kind, speaks]
    if name is not None:
        where.append(c.name == name)
    return int(connection.execute(delete(marks).where(*where)).rowcount)


def load_derivations(connection: Connection, host: str) -> list[Derivation]:
    """Give what was made out of what."""
    c = derivations.c
    return [
        Derivation(*row)
        for row in connection.execute(select(c.sha256, c.source_sha256, c.how, c.at).where(c.host == host).order_by(c.at))
    ]


def put_derivation(connection: Connection, host: str, derivation: Derivation) -> None:
    """Write down what a content was made of."""
    put_rows(connection, derivations, [derivation._asdict() | {"host": host}])


def note_restored(connection: Connection, host: str, sha256: str, at: float) -> None:
    """Write down that somebody wanted a content back: the policy lets it be for as long as a new one."""
    put_derivation(connection, host, Derivation(sha256, sha256, RESTORE, at))
