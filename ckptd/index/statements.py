"""Rows written many at a time: each statement is compiled once, and then only tuples go to the database.

SQLAlchemy's own way from a dictionary to a row costs more than the row does.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection, Dialect, Table, case

from ckptd.index.tables import (
    alerts,
    checks,
    cursors,
    derivations,
    exports,
    freezes,
    groupings,
    marks,
    outbox,
    outputs,
    places,
    recipes,
    roots,
)

Row = dict[str, Any]


def insert_rows(connection: Connection, table: Table, rows: Sequence[Row]) -> None:
    """Add rows of a table; one whose key exists already stays as it is.  All rows have the same columns."""
    if rows:
        sql, values_of = _compiled_insert(connection.dialect, table, tuple(rows[0]))
        connection.exec_driver_sql(sql, [values_of(row) for row in rows])


def put_rows(connection: Connection, table: Table, rows: Sequence[Row]) -> None:
    """Add rows of a table or bring those up to date whose key exists.  All rows have the same columns."""
    if rows:
        sql, values_of = _compiled_put(connection.dialect, table, tuple(rows[0]))
        connection.exec_driver_sql(sql, [values_of(row) for row in rows])


#: What makes a row the same one, and what it keeps from its first time.
_KEYS = {
    places: ("host", "root", "path"),
    outputs: ("host", "root", "path"),
    roots: ("host", "root"),
    exports: ("host", "root", "path", "target"),
    recipes: ("host", "group_name"),
    marks: ("host", "kind", "name", "root", "path"),
    derivations: ("host", "sha256", "source_sha256"),
    groupings: ("host", "root", "path"),
    checks: ("host", "root", "path"),
    freezes: ("host", "name"),
    cursors: ("host", "name"),
    alerts: ("host", "kind", "subject"),
    outbox: ("host", "channel", "message"),
}
_KEPT = {places: ("first_seen_at",)}


@functools.lru_cache(maxsize=32)
def _compiled_insert(dialect: Dialect, table: Table, columns: tuple[str, ...]) -> tuple[str, Callable[[Row], Any]]:
    return _compiled(dialect, _insert(dialect, table).on_conflict_do_nothing(), columns)


@functools.lru_cache(maxsize=32)
def _compiled_put(dialect: Dialect, table: Table, columns: tuple[str, ...]) -> tuple[str, Callable[[Row], Any]]:
    statement, key = _insert(dialect, table), _KEYS[table]
    fixed = (*key, *_KEPT.get(table, ()))
    changed = {name: statement.excluded[name] for name in columns if name not in fixed}
    if "state_since" in changed:
        same = table.c.state == statement.excluded.state
        changed["state_since"] = case((same, table.c.state_since), else_=statement.excluded.state_since)
    return _compiled(dialect, statement.on_conflict_do_update(index_elements=key, set_=changed), columns)


def _insert(dialect: Dialect, table: Table) -> Any:
    # Only the one that is talked to is loaded: that of PostgreSQL would be 2 MiB of each daemon with SQLite (measured).
    return importlib.import_module(f"sqlalchemy.dialects.{dialect.name}").insert(table)


def _compiled(dialect: Dialect, statement: Any, columns: tuple[str, ...]) -> tuple[str, Callable[[Row], Any]]:
    compiled = statement.compile(dialect=dialect, column_keys=list(columns))
    if compiled.positional:
        return str(compiled), itemgetter(*compiled.positiontup)
    return str(compiled), lambda row: row
