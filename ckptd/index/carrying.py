"""What a new index takes over from the old one: how far the audit was followed, alerts, messages and commands that wait.

No checkpoint and no journal says any of it.  The audit itself stays behind; the numbers of the new one go on behind the old
ones, so that no row is ever named like another, and these rows come along:

- those that commands wait for, under their own numbers, so that a command that is run again gets the same id;
- those that a follower had not looked at yet, behind all that the reindex wrote: they are its news, and the reindex is not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Table, select

from ckptd.index.following import find_end
from ckptd.index.statements import Row, insert_rows
from ckptd.index.tables import alerts, audit, cursors, hook_runs, outbox

#: What is taken over as it is.
_TAKEN = (alerts, outbox, hook_runs)


@dataclass(frozen=True, slots=True)
class Followed:
    """All of it.

    Attributes:
        cursors: rows, their numbers those of the old audit.
        tables: rows by the name of their table.
        kept: rows of the audit that keep their numbers.
        late: rows of the audit that somebody has not looked at yet, in order.
    """

    cursors: Sequence[Row]
    tables: Mapping[str, Sequence[Row]]
    kept: Sequence[Row]
    late: Sequence[Row]


def load_followed(connection: Connection, host: str) -> Followed:
    """Read it out of the old index."""
    end = find_end(connection, host)
    known = _load(connection, cursors, cursors.c.host == host)
    behind = min((row["audit"] for row in known if "/" not in row["name"]), default=end)
    waited_for = select(hook_runs.c.audit).where(hook_runs.c.host == host)
    return Followed(
        cursors=known,
        tables={table.name: _load(connection, table, table.c.host == host) for table in _TAKEN},
        kept=_load(connection, audit, (audit.c.id == end) | audit.c.id.in_(waited_for)),  # the last one is where numbers go on
        late=_load(connection, audit, audit.c.id > behind),
    )


def begin_carrying(connection: Connection, host: str, followed: Followed) -> None:
    """Write into a new index what is to be there before anything else; its numbers begin behind."""
    end = find_end(connection, host)
    insert_rows(connection, audit, [row for row in followed.kept if row["id"] > end])


def end_carrying(connection: Connection, host: str, followed: Followed) -> None:
    """Write the rest into the new index when all else is there: what it has by now is nobody's news."""
    end = find_end(connection, host)
    insert_rows(connection, audit, [{name: row[name] for name in row if name != "id"} for row in followed.late])
    for table in _TAKEN:
        insert_rows(connection, table, followed.tables[table.name])
    numbers = [row["id"] for row in followed.late]
    moved = [{**row, "audit": end + sum(number <= row["audit"] for number in numbers)} for row in followed.cursors]
    insert_rows(connection, cursors, moved)


def _load(connection: Connection, table: Table, where: Any) -> list[Row]:
    order = list(table.primary_key.columns)
    return [dict(row) for row in connection.execute(select(table).where(where).order_by(*order)).mappings()]
