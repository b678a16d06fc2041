"""Which databases the tests of this room run on: SQLite, and PostgreSQL where CKPTD_TEST_DATABASE names one to be emptied."""

from __future__ import annotations

import os
from pathlib import Path

from sqlalchemy import create_engine

from ckptd.index.store import Store

_SERVER = os.environ.get("CKPTD_TEST_DATABASE", "")
KINDS = ("sqlite", "server") if _SERVER else ("sqlite",)


def open_fresh(kind: str, directory: Path) -> Store:
    """Open an empty index; of a server everything in the database is thrown away before."""
    if kind == "sqlite":
        return Store.open(directory / "index.sqlite")
    engine = create_engine(_SERVER)
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP SCHEMA public CASCADE")
        connection.exec_driver_sql("CREATE SCHEMA public")
    engine.dispose()
    return Store.open(_SERVER)
