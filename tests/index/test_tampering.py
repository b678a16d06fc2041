"""An index somebody wrote to by hand: a listing goes on, and what cannot go on says what to do."""

from __future__ import annotations

import sqlite3

import pytest
from sqlalchemy.exc import DBAPIError

from ckptd.index.store import IndexBrokenError, Store
from ckptd.model import Metadata, Status
from tests.index.making import NOW, ROOT, digest, fill, find, identity, inspection


def tamper(store, *statements):
    with sqlite3.connect(store.file) as connection:
        for statement, *values in statements:
            connection.execute(statement, values)
    connection.close()


PAYLOADS = {
    "nothing": "",
    "no json": "{",
    "another type": "[1, 2]",
    "another shape": '{"path": 1}',
    "null": "null",
    "deep": "[" * 100_000,
    "bytes": b"\xff\xfe",
    "number": 17,
    "nan": '{"path": NaN}',
}


@pytest.mark.parametrize("column", ["payload", "details"])
@pytest.mark.parametrize("value", PAYLOADS.values(), ids=PAYLOADS)
def test_a_damaged_payload_is_a_finding_and_costs_no_other_row(sqlite_store, column, value):
    """Its row says `failed` and how to cure it, the other rows are as they were, and the file is read again."""
    fill(sqlite_store, {"a.pth": inspection("a", metrics={"accuracy": 0.5}), "b.pth": inspection("b")})
    tamper(sqlite_store, (f"UPDATE contents SET {column} = ? WHERE sha256 = ?", value, digest("a")))
    assert find(sqlite_store) == ["a.pth", "b.pth"]
    record = sqlite_store.find_record(ROOT, "a.pth")
    assert record.inspection.status is Status.FAILED
    ((finding,)) = record.inspection.findings
    assert finding.code == "record-damaged"
    assert "ckptd reindex" in finding.message
    assert sqlite_store.find_record(ROOT, "b.pth").inspection.status is Status.OK
    assert identity(1) not in sqlite_store.find_contents([identity(1), identity(2)])
    assert [found.path for found in sqlite_store.best(["accuracy"], mode="max", group=None)] == ["a.pth"]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE places SET state = 'dreaming'",
        "UPDATE places SET path = 7",
        "UPDATE places SET root = 1.5",
        "UPDATE places SET ino = 'many'",
        "UPDATE places SET first_seen_at = 'long ago'",
        "DROP TABLE contents",
        "ALTER TABLE places DROP COLUMN shown",
    ],
)
def test_a_row_that_makes_no_sense_is_a_broken_index(sqlite_store, statement):
    """One error with the cure, no traceback, whatever is asked."""
    fill(sqlite_store, {"a.pth": inspection()})
    tamper(sqlite_store, ("PRAGMA foreign_keys = OFF",), (statement,))
    asks = (
        lambda: sqlite_store.records(None, sort="path", reverse=False, limit=None),
        lambda: sqlite_store.load_places(ROOT),
        lambda: sqlite_store.find_record(ROOT, "a.pth"),
        lambda: sqlite_store.find_contents([identity(1)]),
        lambda: sqlite_store.find_named("a"),
        lambda: fill(sqlite_store, {"a.pth": inspection("other")}),
    )
    errors = [error for error in map(trouble_of, asks) if error is not None]
    assert errors
    assert all("ckptd reindex" in error.cure and error.path == str(sqlite_store.file) for error in errors)


def trouble_of(ask):
    try:
        ask()
    except IndexBrokenError as error:
        return error
    return None


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit SET what = 'nothing'",
        "DELETE FROM audit",
        "INSERT OR REPLACE INTO audit SELECT * FROM audit LIMIT 1",
        "UPDATE OR REPLACE audit SET id = id + 1",
    ],
)
def test_the_audit_can_be_neither_changed_nor_shortened(sqlite_store, statement):
    """The database itself refuses it."""
    fill(sqlite_store, {"a.pth": inspection(), "b.pth": inspection()})
    with sqlite3.connect(sqlite_store.file) as connection:
        before = connection.execute("SELECT * FROM audit").fetchall()
        with pytest.raises(sqlite3.DatabaseError, match="append-only"):
            connection.execute(statement)
        assert connection.execute("SELECT * FROM audit").fetchall() == before
    connection.close()
    with pytest.raises(DBAPIError, match="append-only"), sqlite_store.engine.begin() as own:
        own.exec_driver_sql(statement)


def test_every_event_is_in_the_audit(store):
    """What, when, which digest, which job and run, why."""
    with store.batch() as batch:
        batch.record_ready(ROOT, "a.pth", identity(1), inspection("a"), now=NOW)
        batch.record_output(ROOT, "a_metadata.json", digest("x"), "sidecar", now=NOW + 1)
        batch.record_moved(ROOT, "a.pth", "b.pth", identity(1), now=NOW + 2)
        batch.record_missing(ROOT, "b.pth", now=NOW + 3)
        batch.record_ready(ROOT, "c.pth", identity(2), inspection("c", Status.UNSAFE), now=NOW + 4)
    with store.engine.connect() as connection:
        rows = connection.exec_driver_sql("SELECT what, at, root, path, sha256, job, run, why FROM audit ORDER BY id").all()
    root, common = ROOT.encode(), ("ingest", store.run)
    assert [tuple(row) for row in rows] == [
        ("checkpoint.ready", NOW, root, b"a.pth", digest("a"), *common, '{"status": "ok"}'),
        ("sidecar.written", NOW + 1, root, b"a_metadata.json", digest("x"), *common, "{}"),
        ("checkpoint.moved", NOW + 2, root, b"b.pth", None, *common, '{"from": "a.pth"}'),
        ("checkpoint.missing", NOW + 3, root, b"b.pth", None, *common, "{}"),
        ("checkpoint.rejected", NOW + 4, root, b"c.pth", digest("c"), *common, '{"status": "unsafe"}'),
    ]


def test_hostile_words_are_values_and_never_sql(store):
    """Quotes, comments and statements in everything that a file says."""
    evil = "'); DROP TABLE places; --\x00\x1b[2J\udcff\ud800"
    said = inspection(
        model_name=evil,
        dataset=evil,
        architecture=evil,
        quantization=evil,
        stage=evil,
        date=evil,
        metrics={evil: 0.5},
        hyperparameters={evil: evil, "nested": {evil: 1}},
        spellings={evil: evil},
    )
    fill(store, {"a.pth": said})
    assert store.find_record(ROOT, "a.pth").inspection.metadata == said.metadata
    assert find(store, "model~DROP and hp.nested.x=1 or dataset~'; --'") == ["a.pth"]


def test_more_than_anybody_writes_is_cut_where_it_is_asked_for_and_nowhere_else(store):
    """A thousand hyperparameters, names of kilobytes: kept in the payload; of the columns a bounded part."""
    many = {f"key{number}": number for number in range(1000)}
    said = inspection(model_name="m" * 16_000, metrics={"x" * 5000: 1.0, "x" * 5001: 2.0}, hyperparameters=many)
    fill(store, {"a.pth": said})
    assert store.find_record(ROOT, "a.pth").inspection.metadata == Metadata(
        model_name="m" * 16_000, metrics={"x" * 5000: 1.0, "x" * 5001: 2.0}, hyperparameters=many
    )
    assert find(store, "hp.key5=5") == ["a.pth"]


def test_the_index_is_for_its_user_alone(tmp_path):
    """0600, and its companions with it."""
    store = Store.open(tmp_path / "index.sqlite")
    fill(store, {"a.pth": inspection()})
    assert {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {
        "index.sqlite": 0o600,
        "index.sqlite-wal": 0o600,
        "index.sqlite-shm": 0o600,
    }
    store.close()
