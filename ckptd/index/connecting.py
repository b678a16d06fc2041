"""Connections to the database, and how a transaction begins on them."""

from __future__ import annotations

import os
import sqlite3
import time
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
#: How long between two tries to change to WAL mode, seconds; the programs that meet there hold each other up for milliseconds.
_PAUSE = 0.01


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
        _set(cursor, pragma)
    cursor.close()


def _set(cursor: Any, pragma: str) -> None:
    """Set a pragma; where another program holds the file and SQLite itself doesn't wait for it, this does.

    A fresh index changes to WAL mode by a read lock that becomes a write lock.  Of two programs that do so at once SQLite
    refuses one immediately, whatever its busy_timeout, because each could wait for the other's read lock for ever.  Source:
    sqlite3BtreeBeginTrans in SQLite's btree.c, which calls the busy handler only for who holds nothing yet; by measurement
    8 of 400 openings were refused, by four threads at a time.

    Raises:
        sqlite3.OperationalError: the file is held still after the time that any writer waits; or what else SQLite says.
    """
    until = time.monotonic() + _BUSY_MS / 1_000
    while True:
        try:
            cursor.execute(f"PRAGMA {pragma}")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() >= until:
                raise
            time.sleep(_PAUSE)
        else:
            return


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
