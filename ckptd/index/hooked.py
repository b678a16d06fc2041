"""Commands of hooks that are to be run, as rows, each of which speaks of a row of the audit; and where each hook began."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import NamedTuple

from sqlalchemy import Connection, delete, select

from ckptd.index.following import Cursor, Event, event_of, find_end
from ckptd.index.statements import insert_rows, put_rows
from ckptd.index.tables import audit, cursors, hook_runs

_c, _s = hook_runs.c, cursors.c


class HookRun(NamedTuple):
    """One command to be run.

    Attributes:
        audit: number of the row that it is run for; they grow, which is the order.
        hook: digest of the hook's settings.
    """

    audit: int
    hook: str


def add_hook_runs(connection: Connection, host: str, runs: Iterable[HookRun]) -> None:
    """Write down that commands are to be run."""
    insert_rows(connection, hook_runs, [{"host": host, **run._asdict()} for run in runs])


def load_hook_runs(connection: Connection, host: str, after: int = 0) -> list[tuple[HookRun, Event]]:
    """Give what is to be run, the oldest first, each with its row of the audit.

    Args:
        connection: to read from.
        host: whose.
        after: only what is for later rows of the audit than this.
    """
    query = select(_c.hook, audit).join(audit, audit.c.id == _c.audit).where(_c.host == host, _c.audit > after)
    rows = connection.execute(query.order_by(_c.audit, _c.hook))
    return [(HookRun(row.id, row.hook), event_of(row)) for row in rows]


def drop_hook_runs(connection: Connection, host: str, runs: Iterable[HookRun]) -> None:
    """Forget commands that have ended."""
    for run in runs:
        connection.execute(delete(hook_runs).where(_c.host == host, _c.audit == run.audit, _c.hook == run.hook))


def begin_hooks(
    connection: Connection, host: str, follower: str, hooks: Collection[str], cursor: Cursor, now: float
) -> dict[str, int]:
    """Say from which row of the audit on each hook is run, and forget the hooks that there are no more.

    One that is new, or whose settings are other ones, begins at the end of the audit, however far that was followed.

    Args:
        connection: inside of a transaction.
        host: whose.
        follower: under its name and that of the hook it is written down.
        hooks: digests of their settings.
        cursor: of the follower; where an older ckptd wrote down no beginnings, its hooks were there by then.
        now: seconds since the epoch.
    """
    mine = (_s.host == host, _s.name.like(f"{follower}/%"))
    known = {row.name: int(row.audit) for row in connection.execute(select(_s.name, _s.audit).where(*mine))}
    names = {f"{follower}/{hook}": hook for hook in hooks}
    end = find_end(connection, host) if known else cursor.audit
    new = [{"host": host, "name": name, "audit": end, "since": now} for name in names if name not in known]
    put_rows(connection, cursors, new)
    connection.execute(delete(cursors).where(*mine, _s.name.not_in(names)))
    return {hook: known.get(name, end) for name, hook in names.items()}


def keep_hooks(connection: Connection, host: str, hooks: Collection[str]) -> int:
    """Forget what was to be run for hooks that there are no more; how many."""
    return int(connection.execute(delete(hook_runs).where(_c.host == host, _c.hook.not_in(hooks))).rowcount)
