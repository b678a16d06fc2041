"""Commands of hooks that are to be run, as rows; each speaks of a row of the audit."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import NamedTuple

from sqlalchemy import Connection, delete, select

from ckptd.index.following import Event, event_of
from ckptd.index.statements import insert_rows
from ckptd.index.tables import audit, hook_runs

_c = hook_runs.c


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


def keep_hooks(connection: Connection, host: str, hooks: Collection[str]) -> int:
    """Forget what was to be run for hooks that there are no more; how many."""
    return int(connection.execute(delete(hook_runs).where(_c.host == host, _c.hook.not_in(hooks))).rowcount)
