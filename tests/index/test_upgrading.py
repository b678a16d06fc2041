"""From each released schema to the newest: rows as that release wrote them, a copy beside, whatever comes in between."""

from __future__ import annotations

import os
import platform
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from ckptd.errors import IndexUnavailableError
from ckptd.index import backing_up, migrate
from ckptd.index.archived import load_archives, load_members
from ckptd.index.ledger import load_checks
from ckptd.index.marks import load_marks
from ckptd.index.migrate import REVISIONS, NewerIndexError
from ckptd.index.runs import load_runs
from ckptd.index.store import Store
from tests.index.test_open import fill_up

#: Dumps of indexes that `ckptd scan`, and what else there was, of each release made; a new schema gets its own before the
#: next one is begun: `sqlite3 index.sqlite .dump`, the name of the host replaced by @HOST@.
RELEASED = Path(__file__).parents[1] / "data" / "indexes"
ROOT = "/srv/trained_models"

released = pytest.mark.parametrize("revision", REVISIONS[:-1])


def rows(file):
    """Give every row of every table of a SQLite file, by the names of its columns; the version is left out."""
    found = {}
    with closing(sqlite3.connect(file)) as connection:
        connection.row_factory = sqlite3.Row
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in set(tables) - {"alembic_version", "sqlite_sequence"}:
            found[table] = [dict(row) for row in connection.execute(f"SELECT * FROM {table} ORDER BY rowid")]
    return found


def read_revision(file):
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return connection.execute("SELECT version_num FROM alembic_version").fetchone()[0]


@pytest.fixture
def make(tmp_path):
    """Give a function that puts an index there as a release left it."""

    def make(revision, directory=tmp_path):
        file = directory / "index.sqlite"
        dump = (RELEASED / f"{revision}.sql").read_text().replace("@HOST@", platform.node())
        with closing(sqlite3.connect(file)) as connection:
            connection.executescript(dump)
        return file

    return make


@released
def test_every_released_schema_comes_to_the_newest_with_its_rows(make, revision):
    """No value of an old column is another one, and the copy has all of them under the old schema."""
    file = make(revision)
    before = rows(file)
    assert len(before["places"]) == 2, "the dump is that of a release, and holds something"
    Store.open(file).close()
    assert read_revision(file) == REVISIONS[-1]
    after = rows(file)
    for table, old in before.items():
        shared = [{column: row[column] for column in old[0]} for row in after[table]] if old else after[table]
        assert shared == old, table
    copy = backing_up.backup_path(file, revision)
    assert read_revision(copy) == revision
    assert rows(copy) == before
    assert copy.stat().st_mode & 0o777 == 0o600
    assert [name for name in os.listdir(file.parent) if name.endswith(".tmp")] == []


@released
def test_the_newest_program_answers_out_of_what_every_release_wrote(make, revision):
    """Its rows are not only there, they are understood: records, exports, marks, archives, runs."""
    with closing(Store.open(make(revision))) as store:
        assert set(store.load_places(ROOT)) == {"BiLSTM_ECG_acc87_20250102.pth", "runs/CNN_digits_epoch3.pth"}
        (record,) = store.find_named("CNN_digits_epoch3")
        assert record.inspection is not None
        assert dict(record.inspection.metadata.metrics) == {"accuracy": 0.9}
        assert store.own_outputs(ROOT)
        assert store.check_integrity() is None
        if revision >= "0002":
            assert [export.target for export in store.load_exports(ROOT, record.path)] == ["safetensors"]
        if revision >= "0003":
            assert {mark.kind for mark in store.ask(load_marks)} == {"pin", "tag", "alias"}
            (archive,) = store.ask(load_archives)
            assert len(store.ask(load_members, archive.id)) == archive.members == 2
            assert len(store.ask(load_checks)) == 2
            assert {run.job for run in store.ask(load_runs, None, 10)} == {"scrub", "retention", "drill"}


#: Opens an index and kills itself before the statement of the given number that changes something.
KILLED = """
import os, signal, sys
from pathlib import Path
from sqlalchemy import Engine, event
from ckptd.index.store import Store
from tests.index.test_open import fill_up

left = int(sys.argv[2])

@event.listens_for(Engine, "before_cursor_execute")
def count(connection, cursor, statement, *_):
    global left
    if statement.lstrip().upper().startswith(("CREATE", "ALTER", "UPDATE", "INSERT", "VACUUM", "DROP", "DELETE")):
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1

@event.listens_for(Engine, "commit")
def commit(connection):
    global left
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)

Store.open(Path(sys.argv[1])).close()
"""


@released
def test_a_kill_at_any_statement_costs_a_repetition(make, revision, tmp_path):
    """The index is of the old schema or of the new one, never between; the next start finishes, with a whole copy beside."""
    original = rows(make(revision))
    step = 0
    while True:
        directory = tmp_path / f"{step}"
        directory.mkdir()
        file = make(revision, directory)
        done = subprocess.run([sys.executable, "-c", KILLED, file, str(step)], timeout=60)
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL
        assert read_revision(file) == revision
        Store.open(file).close()
        assert read_revision(file) == REVISIONS[-1]
        assert rows(backing_up.backup_path(file, revision)) == original
        assert [name for name in os.listdir(directory) if name.endswith(".tmp")] == []
        step += 3  # some 30 statements; each third is enough, and the last is the commit's
    assert step > 3


def test_a_kill_while_the_copy_is_made_leaves_nothing_that_looks_like_one(make, tmp_path, monkeypatch):
    """What a killed maker left is cleared away, for on a full disk its room is needed."""
    file = make(REVISIONS[0])
    dead = subprocess.Popen(["true"])
    dead.wait()
    left = tmp_path / f".index.sqlite.{REVISIONS[0]}.bak.{dead.pid}.tmp"
    living = tmp_path / f".index.sqlite.{REVISIONS[0]}.bak.{os.getppid()}.tmp"
    left.write_bytes(b"half")
    living.write_bytes(b"of a program that runs")
    Store.open(file).close()
    assert not left.exists()
    assert living.exists()


@pytest.mark.root
def test_a_full_disk_stops_the_upgrade_before_it_began(make, tmp_path):
    """One sentence says what to do; the index is byte for byte as it was, and with room again all is well."""
    place = tmp_path / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", place], check=True)
    try:
        file = make(REVISIONS[0], place)
        with closing(sqlite3.connect(file)) as connection:  # else the first opening makes it so, and changes a byte
            connection.execute("PRAGMA journal_mode=WAL")
        before = file.read_bytes()
        fill_up(place / "ballast")
        with (place / "ballast").open("r+b") as ballast:
            ballast.truncate(ballast.seek(0, 2) - 48 * 1024)  # for what SQLite keeps beside the file while it is open
        with pytest.raises(IndexUnavailableError, match="keep a copy of the index before its schema is changed") as caught:
            Store.open(file)
        assert "\n" not in str(caught.value)
        assert "full" in str(caught.value) or "No space" in str(caught.value)
        assert "make room" in caught.value.cure
        assert file.read_bytes() == before
        assert sorted(os.listdir(place)) == ["ballast", "index.sqlite"]
        (place / "ballast").unlink()
        Store.open(file).close()
        assert read_revision(file) == REVISIONS[-1]
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def test_two_programs_that_upgrade_at_once_keep_the_older_copy(make, monkeypatch):
    """The second must not put what the first made of it in the place of what was there before."""
    file = make(REVISIONS[0])
    original = rows(file)
    copy = backing_up._copy

    def overtaken(engine, to):
        monkeypatch.setattr(backing_up, "_copy", copy)
        program = f"from ckptd.index.store import Store; Store.open({str(file)!r}).close()"
        subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
        copy(engine, to)

    monkeypatch.setattr(backing_up, "_copy", overtaken)
    Store.open(file).close()
    assert read_revision(file) == REVISIONS[-1]
    assert rows(backing_up.backup_path(file, REVISIONS[0])) == original


def test_the_way_back_is_the_copy(make, monkeypatch):
    """The older program refuses the newer index; with the copy in its place it finds everything as it left it."""
    old, new = REVISIONS[-2], REVISIONS[-1]
    file = make(old)
    original = rows(file)
    Store.open(file).close()
    monkeypatch.setattr(migrate, "REVISIONS", REVISIONS[:-1])  # what the older program knows
    with pytest.raises(NewerIndexError, match=f"{new} is newer than this program") as caught:
        Store.open(file)
    assert caught.value.exit_status == 5
    file.rename(file.with_name(f"index.sqlite.{new}"))
    for ending in ("-wal", "-shm"):
        file.with_name(file.name + ending).unlink(missing_ok=True)
    file.write_bytes(backing_up.backup_path(file, old).read_bytes())
    with closing(Store.open(file)) as store:
        assert len(store.load_places(ROOT)) == 2
    assert rows(file) == original
    monkeypatch.setattr(migrate, "REVISIONS", REVISIONS)
    Store.open(file).close()  # and on again, over the copy of the first time
    assert read_revision(file) == new
    assert rows(backing_up.backup_path(file, old)) == original
