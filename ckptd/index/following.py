"""Follow the audit: what came since the last look, by a cursor that is kept in the index.

Numbers of rows grow, and SQLite has one writer at a time, so that a row which is committed later has the higher number: none
is ever passed over.  At its first start a follower begins at the end: history is no news.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, delete, func, select

from ckptd.index.statements import put_rows
from ckptd.index.tables import audit, cursors
from ckptd.model import Json

_a, _c = audit.c, cursors.c
#: More than a tick of the clock by which file systems note times.  Source: CONFIG_HZ is 100 at the least.
TICK_SECONDS = 0.1
#: Rows that say nothing new of a file, by their `how`: known, to be tried again, or known as it lies there but for what people
#: say of it.
_REPETITIONS = ("recalled", "retried", "described")


class Event(NamedTuple):
    """One row of the audit.

    Attributes:
        at: seconds since the epoch.
        why: what else was written down; empty where somebody wrote something else there by hand.
    """

    id: int
    at: float
    what: str
    root: str | None
    path: str | None
    sha256: str | None
    job: str
    run: str
    why: Mapping[str, Json]

    @property
    def key(self) -> str:
        """Name the row as no other is named, in any index: numbers begin anew with a new index, and go back with a copy of it.

        The run is of the process that wrote it, and random.
        """
        return f"{self.run}-{self.id}"

    @property
    def is_repetition(self) -> bool:
        """Say whether nothing came, was saved again, or moved; who acts on it would act on its own traces for ever."""
        return self.why.get("how") in _REPETITIONS


class Cursor(NamedTuple):
    """How far a follower has come.

    Attributes:
        audit: number of the last row that it looked at.
        since: when it began, seconds since the epoch.
    """

    audit: int
    since: float


class Pulse:
    """Say whether the index may have changed, by its write-ahead log: a look at an idle index costs a `stat` and no question.

    Args:
        file: of the index; None for a server, which may always have changed.
        wall: seconds since the epoch.
    """

    def __init__(self, file: Path | None, wall: Callable[[], float] = time.time) -> None:
        self._log = None if file is None else f"{file}-wal"
        self._wall = wall
        self._seen: tuple[int, int, int] | None = None
        self._is_unsure = True

    def has_beaten(self) -> bool:
        """Say whether anybody may have written since the last time; asked before a look, so that none is missed."""
        if self._log is None:
            return True
        try:
            status = os.stat(self._log)
        except OSError:  # it is made anew by whoever opens it
            self._is_unsure = True
            return True
        seen = (status.st_ino, status.st_size, status.st_mtime_ns)
        may = self._is_unsure or seen != self._seen
        self._seen = seen
        # Two writes within one tick of the kernel's clock have the same time: what is that young is looked at once more.
        self._is_unsure = abs(self._wall() - status.st_mtime) < TICK_SECONDS
        return may


def load_cursor(connection: Connection, host: str, name: str) -> Cursor | None:
    """Give the cursor of a follower; None for one that is new."""
    row = connection.execute(select(_c.audit, _c.since).where(_c.host == host, _c.name == name)).first()
    return None if row is None else Cursor(int(row.audit), float(row.since))


def begin_following(connection: Connection, host: str, name: str, now: float) -> Cursor:
    """Give the cursor of a follower; one that is new begins at the end of the audit."""
    known = load_cursor(connection, host, name)
    if known is not None:
        return known
    cursor = Cursor(find_end(connection, host), now)
    put_cursor(connection, host, name, cursor)
    return cursor


def put_cursor(connection: Connection, host: str, name: str, cursor: Cursor) -> None:
    """Write down how far a follower has come."""
    put_rows(connection, cursors, [{"host": host, "name": name, **cursor._asdict()}])


def keep_cursors(connection: Connection, host: str, names: Collection[str]) -> None:
    """Forget the followers that nobody wants any more: one that comes back a month later begins at the end again.

    What belongs to a follower bears its name before a slash, and stays or goes with it.
    """
    parts = [_c.name.not_like(f"{name}/%") for name in names]
    connection.execute(delete(cursors).where(_c.host == host, _c.name.not_in(names), *parts))


def find_end(connection: Connection, host: str) -> int:
    """Give the number of the last row of the audit."""
    del host  # the audit is of all
    return int(connection.scalar(select(func.max(_a.id))) or 0)


def read_events(connection: Connection, host: str, after: int, wanted: Collection[str], limit: int) -> tuple[list[Event], int]:
    """Give what came after a row, the oldest first, and the number of the row up to which that is all.

    Args:
        connection: to read from.
        host: whose index.
        after: number of the last row that is known.
        wanted: names of events.
        limit: so many at most; what is beyond it comes with the next question.
    """
    end = find_end(connection, host)
    query = select(audit).where(_a.id > after, _a.id <= end, _a.what.in_(wanted)).order_by(_a.id).limit(limit)
    found = [event_of(row) for row in connection.execute(query)]
    return found, found[-1].id if len(found) == limit else max(end, after)


def event_of(row: Row[Any]) -> Event:
    """Give a row of the audit as a value."""
    root, path = (None if name is None else os.fsdecode(name) for name in (row.root, row.path))
    return Event(row.id, float(row.at), row.what, root, path, row.sha256, row.job, row.run, _read_why(row.why))


def _read_why(text: str) -> Mapping[str, Json]:
    try:
        why = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return why if isinstance(why, dict) else {}
