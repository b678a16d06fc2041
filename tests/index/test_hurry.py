"""Transactions of who has no time: they wait for no other writer, and the next one waits as ever."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from ckptd.errors import IndexUnavailableError
from ckptd.index.ledger import load_freezes, put_freeze


def patience(connection, _host):
    return connection.exec_driver_sql("PRAGMA busy_timeout").scalar()


@pytest.mark.parametrize("is_locked", [False, True])
def test_who_ends_waits_for_nobody_who_writes(sqlite_store, is_locked):
    """A daemon that was told to end has ten seconds for all it has to do."""
    before = sqlite_store.ask(patience)
    with closing(sqlite3.connect(sqlite_store.file, isolation_level=None)) as holder:
        if is_locked:
            holder.execute("BEGIN IMMEDIATE")
            with pytest.raises(IndexUnavailableError), sqlite_store.batch(waits=False):
                pass
            holder.execute("ROLLBACK")
        else:
            with sqlite_store.batch(waits=False) as batch:
                assert batch.tell(patience) == 0
                batch.tell(put_freeze, "x", "why", 1.0)
            assert sqlite_store.ask(load_freezes) == {"x": "why"}
    with sqlite_store.batch() as batch:
        assert batch.tell(patience) == before > 0
    assert sqlite_store.ask(patience) == before
