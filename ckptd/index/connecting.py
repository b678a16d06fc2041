"""Connections to the database, and how a transaction begins on them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, create_engine, event

#: How long a writer waits for another one, milliseconds.
_BUSY_MS = 5_000
#: In WAL mode a command reads while the daemon writes; after a power cut the last commits may be gone, never torn.
_PRAGMAS = (f"busy_timeout={_BUSY_MS}", "journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON")
_LOOKING_PRAGMAS = (f"busy_timeout={_BUSY_MS}", "query_only=ON")


def sqlite_url(file: Path, mode: str = "rw") -> URL:
    """Give the address of a SQLite file that exists: SQLite itself makes none, wherever a swapped directory may lead it.

    Args:
        file: the index.
        mode: "rw", or "ro" for who writes nothing.
    """
    path = quote(os.fsencode(os.path.abspath(file)))
    return URL.create("sqlite", database=f"file:{path}", query={"mode": mode, "uri": "true"})


def open_engine(where: str | URL) -> Engine:
    """Make an engine; nothing is opened yet.

    The execution option `begin` says how a transaction begins on SQLite: "BEGIN" is the default, "BEGIN IMMEDIATE" is for
    one that will write, so that it waits for another writer here and not half-way, and "" is for what takes none.  Without
    the option `waits` it waits for no other writer.
    """
    engine = create_engine(where)
    if engine.dialect.name == "sqlite":
        is_read_only = isinstance(where, URL) and where.query.get("mode") == "ro"
        event.listen(engine, "connect", partial(_prepare_sqlite, _LOOKING_PRAGMAS if is_read_only else _PRAGMAS))
        event.listen(engine, "begin", _begin_sqlite)
        event.listen(engine, "checkin", _wait_again)
    return engine


def _prepare_sqlite(pragmas: Sequence[str], connection: Any, _record: Any) -> None:
    # Python's driver begins a transaction at the first change of a row and never at that of a table: a kill would leave half
    # a migration.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in pragmas:
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    options = connection.get_execution_options()
    if not options.get("waits", True):
        connection.info["is_hasty"] = True
        connection.exec_driver_sql("PRAGMA busy_timeout=0")
    statement = options.get("begin", "BEGIN")
    if statement:
        connection.exec_driver_sql(statement)


def _wait_again(connection: Any, record: Any) -> None:
    """Let the next one who gets this connection wait for other writers."""
    if connection is not None and record.info.pop("is_hasty", False):
        connection.execute(f"PRAGMA busy_timeout={_BUSY_MS}")
