"""Opening an index: new, old, newer, broken, full, locked, killed half-way."""

from __future__ import annotations

import os
import platform
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine

from ckptd.errors import IndexUnavailableError
from ckptd.index import connecting, migrate
from ckptd.index.migrate import REVISIONS, NewerIndexError
from ckptd.index.store import IndexBrokenError, Store
from ckptd.index.tables import metadata
from tests.index.making import NOW, ROOT, export, fill, find, identity, inspection
from tests.storage.mounts import tmpfs

MIGRATIONS = Path(migrate.__file__).parent / "migrations"


def execute(file, *statements):
    with sqlite3.connect(file) as connection:
        found = [connection.execute(statement).fetchall() for statement in statements]
    connection.close()
    return found[-1]


@contextmanager
def opened(path):
    store = Store.open(path)
    try:
        yield store
    finally:
        store.close()


def test_a_fresh_index_is_empty_and_answers_everything(store):
    """Before the first file nothing is an error but a name to sort by."""
    assert store.load_root(ROOT) == (None, 0)
    assert store.load_places(ROOT) == {}
    assert store.find_place(ROOT, "a.pth") is None
    assert store.find_record(ROOT, "a.pth") is None
    assert find(store) == find(store, "accuracy>0") == []
    assert store.find_named("a") == store.best(["accuracy"], mode="max", group=None) == []
    assert store.own_outputs(ROOT) == {}
    assert store.check_integrity() is None


def test_what_is_written_is_there_after_a_restart(tmp_path):
    """Closed and opened again, and the file alone is enough once it is finished."""
    with opened(tmp_path / "index.sqlite") as store:
        fill(store, {"a.pth": inspection()})
        before = store.find_record(ROOT, "a.pth")
        store.finish()
        (tmp_path / "alone.sqlite").write_bytes((tmp_path / "index.sqlite").read_bytes())
    for name in ("index.sqlite", "alone.sqlite"):
        with opened(tmp_path / name) as again:
            assert again.find_record(ROOT, "a.pth") == before


def test_an_exception_in_a_batch_writes_nothing_of_it(store):
    """Not even what was flushed on the way."""
    with suppress(ZeroDivisionError), store.batch() as batch:
        batch.record_ready(ROOT, "a.pth", identity(1), inspection(), now=NOW)
        batch.flush()
        raise ZeroDivisionError
    assert find(store) == []


def test_the_migrations_make_the_tables_that_the_program_uses(store):
    """Nothing that Alembic could find to change, and no revision that the program does not know."""
    with store.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
        assert context.get_current_revision() == REVISIONS[-1]
    script = ScriptDirectory(str(MIGRATIONS))
    assert [revision.revision for revision in reversed(list(script.walk_revisions()))] == list(REVISIONS)


OPENERS = [Store.open, Store.open_as_it_is, Store.open_to_look]


@pytest.mark.parametrize("open_it", OPENERS, ids=lambda opener: opener.__name__)
def test_a_file_is_its_hosts_whatever_the_host_is_called_by_now(tmp_path, monkeypatch, open_it):
    """The daemon, a job and the doctor find the rows that were written under another name; people are told today's."""
    file = tmp_path / "index.sqlite"
    monkeypatch.setattr(platform, "node", lambda: "first")
    with opened(file) as store:
        fill(store, {"a.pth": inspection()})
        store.save_root(ROOT, "id")
    monkeypatch.setattr(platform, "node", lambda: "second")
    with closing(open_it(file)) as store:
        assert (store.host, store.owner) == ("second", "first")
        assert store.knows_roots()
        assert store.load_root(ROOT) == ("id", 1)
        assert find(store) == ["a.pth"]


def test_what_is_written_under_another_name_is_found_again_under_the_first(tmp_path, monkeypatch):
    """However often it changes, all rows stand under one."""
    for number, name in enumerate(("first", "second", "third", "first")):
        monkeypatch.setattr(platform, "node", lambda name=name: name)
        with opened(tmp_path / "index.sqlite") as store:
            fill(store, {f"{number}.pth": inspection(str(number))})
            store.save_root(ROOT, "id")
    assert execute(tmp_path / "index.sqlite", "SELECT DISTINCT host FROM places") == [("first",)]
    assert execute(tmp_path / "index.sqlite", "SELECT count(*) FROM places") == [(4,)]


def test_of_several_hosts_each_has_its_own(tmp_path, monkeypatch):
    """A file in which more than one wrote, as an older ckptd did after another name: a third one begins anew."""
    for name in ("first", "second"):
        monkeypatch.setattr(platform, "node", lambda name=name: name)
        with opened(tmp_path / "index.sqlite") as store:
            store.owner = name
            store.save_root(ROOT, name)
    for name, expected in (("first", "first"), ("second", "second"), ("third", None)):
        monkeypatch.setattr(platform, "node", lambda name=name: name)
        with opened(tmp_path / "index.sqlite") as store:
            assert store.owner == name
            assert store.load_root(ROOT) == (expected, 0)
            assert store.knows_roots() == (expected is not None)


def test_on_a_server_each_host_has_its_own(tmp_path, monkeypatch):
    """There are many, and one that comes second is not the first; here with SQLite behind the address."""
    for name in ("first", "second"):
        monkeypatch.setattr(platform, "node", lambda name=name: name)
        with opened(f"sqlite:///{tmp_path}/server.sqlite") as store:
            assert (store.owner, store.knows_roots()) == (name, False)
            store.save_root(ROOT, name)
            assert store.load_root(ROOT) == (name, 0)


def test_an_index_of_a_newer_program_is_left_alone(tmp_path):
    """A clear error, and not a byte is changed."""
    file = tmp_path / "index.sqlite"
    Store.open(file).close()
    execute(file, "UPDATE alembic_version SET version_num = '9999'")
    before = file.read_bytes()
    with pytest.raises(NewerIndexError, match="9999 is newer than this program") as caught:
        Store.open(file)
    assert "ckptd reindex" in caught.value.cure
    assert file.read_bytes() == before


def test_no_way_leads_back_to_an_older_schema():
    """A downgrade is no migration: what it dropped would be gone."""
    script = ScriptDirectory(str(MIGRATIONS))
    assert not any(hasattr(revision.module, "downgrade") for revision in script.walk_revisions())


def test_an_older_index_is_brought_up_to_date_and_kept_beside(tmp_path, monkeypatch):
    """The upgrade runs once; a copy of what was there before has its revision in its name."""
    file = tmp_path / "index.sqlite"
    with opened(file) as store:
        fill(store, {"a.pth": inspection()})
    later = tmp_path / "migrations"
    later.mkdir()
    (later / "versions").mkdir()
    for place in (MIGRATIONS / "env.py", *(MIGRATIONS / "versions").glob("v*.py")):
        (later / place.relative_to(MIGRATIONS)).write_text(place.read_text())
    (later / "versions" / "next.py").write_text(
        f"from alembic import op\nimport sqlalchemy as sa\nrevision, down_revision = '9998', {REVISIONS[-1]!r}\n"
        "def upgrade():\n    op.add_column('places', sa.Column('colour', sa.Text))\n"
    )
    monkeypatch.setattr(migrate, "REVISIONS", (*REVISIONS, "9998"))
    monkeypatch.setattr(migrate, "SCRIPTS", str(later))
    with opened(file) as store:
        assert find(store) == ["a.pth"]
    assert execute(file, "SELECT colour FROM places") == [(None,)]
    copy = tmp_path / f"index.sqlite.{REVISIONS[-1]}.bak"
    assert execute(copy, "SELECT version_num FROM alembic_version") == [(REVISIONS[-1],)]
    assert copy.stat().st_mode & 0o777 == 0o600


def open_as_first(file):
    """Make an index of schema 0001, as the first program did, with rows in it."""
    engine = connecting.open_engine(f"sqlite:///{file}")
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with engine.execution_options(begin="BEGIN IMMEDIATE").begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
    engine.dispose()
    with opened(file.with_name("newest.sqlite")) as store:
        fill(store, {"a.pth": inspection("a", metrics={"accuracy": 0.5}), "b.pth": inspection("b")})
        with store.batch() as batch:
            batch.record_output(ROOT, "a_metadata.json", "1" * 64, "sidecar", now=NOW)
        host = store.owner
        store.finish()
    with sqlite3.connect(file) as connection:
        connection.execute("ATTACH ? AS newest", [str(file.with_name("newest.sqlite"))])
        for table in ("contents", "metrics", "hyperparameters", "places", "audit"):
            connection.execute(f"INSERT INTO {table} SELECT * FROM newest.{table}")
        values = (host, os.fsencode(ROOT), b"a_metadata.json", "1" * 64, "sidecar", NOW)
        connection.execute("INSERT INTO outputs VALUES (?, ?, ?, ?, ?, ?)", values)
    connection.close()


def test_an_index_of_the_first_schema_comes_through_with_its_rows(tmp_path):
    """Checkpoints, outputs and audit are as they were, exports can be written, and the old file lies beside."""
    file = tmp_path / "index.sqlite"
    open_as_first(file)
    with opened(file) as store:
        assert find(store, "accuracy>0.4") == ["a.pth"]
        assert store.find_record(ROOT, "b.pth").inspection == replace(inspection("b"), path="b.pth", identity=identity(2))
        assert store.own_outputs(ROOT) == {"a_metadata.json": "1" * 64}
        assert store.load_own_exports(ROOT) == {}
        assert store.load_exports(ROOT, "a.pth") == []
        with store.batch() as batch:
            batch.record_export(ROOT, "a.pth", export(), now=NOW)
        assert store.load_exports(ROOT, "a.pth") == [export()]
    assert execute(file, "SELECT count(*) FROM audit WHERE what = 'checkpoint.ready'") == [(2,)]
    assert execute(tmp_path / "index.sqlite.0001.bak", "SELECT version_num FROM alembic_version") == [("0001",)]


def test_a_migration_that_fails_leaves_nothing_half_done(tmp_path):
    """All tables or none: the next start can try again."""
    file = tmp_path / "index.sqlite"
    execute(file, "CREATE TABLE roots (x)")
    with pytest.raises(IndexBrokenError, match="already exists"):
        Store.open(file)
    assert execute(file, "SELECT name FROM sqlite_master WHERE type = 'table'") == [("roots",)]


def fill_up(file):
    with file.open("wb", buffering=0) as ballast, suppress(OSError):
        while ballast.write(b"\0" * 4096):
            pass


JUNK = {
    "text": b"this is no database, and long enough to be looked at as one " * 100,
    "zeros": b"\0" * 8192,
    "half a header": b"SQLite format 3\0" + b"\xff" * 4096,
}


@pytest.mark.parametrize("content", JUNK.values(), ids=JUNK)
def test_a_file_that_is_no_index_is_broken(tmp_path, content):
    """With the cure; the file stays as it was for whoever wants to look."""
    file = tmp_path / "index.sqlite"
    file.write_bytes(content)
    with pytest.raises(IndexBrokenError) as caught:
        Store.open(file)
    assert "ckptd reindex" in caught.value.cure
    assert file.read_bytes() == content


def test_damage_in_the_middle_is_found(tmp_path):
    """Pages overwritten: the check says so, and reading ends in a clear error and not in a traceback."""
    file = tmp_path / "index.sqlite"
    with opened(file) as store:
        fill(store, {f"{n}.pth": inspection(str(n)) for n in range(300)})
        store.finish()
    data = bytearray(file.read_bytes())
    half = len(data) // 8192 * 4096  # the schema is whole, else the file can't even be opened
    data[half:] = b"\xa5" * (len(data) - half)
    file.write_bytes(data)
    with opened(file) as store:
        assert store.check_integrity() is not None
        with pytest.raises(IndexBrokenError) as caught:
            find(store)
    assert "ckptd reindex" in caught.value.cure


def test_a_reader_does_not_wait_for_a_writer(tmp_path):
    """It sees what was committed before, and the new rows once they are."""
    with opened(tmp_path / "index.sqlite") as writer, opened(tmp_path / "index.sqlite") as reader:
        fill(writer, {"a.pth": inspection()})
        with writer.batch() as batch:
            batch.record_ready(ROOT, "b.pth", identity(2), inspection("b"), now=NOW)
            batch.flush()
            assert find(reader) == ["a.pth"]
        assert find(reader) == ["a.pth", "b.pth"]


def test_a_second_look_in_one_process_costs_no_row(tmp_path):
    """A command opens it, and the job that it runs opens it again: who ends meanwhile leaves the write-ahead log to them."""
    file = tmp_path / "index.sqlite"
    with opened(file) as store, opened(file):
        fill(store, {"a.pth": inspection("a")})
        end = f"from ckptd.index.store import Store; one = Store.open({str(file)!r}); one.save_root('/r', 'id'); one.close()"
        subprocess.run([sys.executable, "-c", end], check=True, timeout=60)
        assert (tmp_path / "index.sqlite-wal").exists()
        fill(store, {"b.pth": inspection("b")})
    with opened(file) as store:
        assert find(store) == ["a.pth", "b.pth"]


def test_who_may_not_make_an_index_makes_none(tmp_path):
    """Not even an empty file; the sentence says who does."""
    with pytest.raises(IndexUnavailableError, match=r"index.sqlite: it is not there \(start ckptd again") as caught:
        Store.open_as_it_is(tmp_path / "index.sqlite")
    assert not caught.value.permanent
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("kind", ["link", "pipe", "directory"])
def test_what_is_no_file_is_not_opened(tmp_path, kind):
    """A link leads to what its maker likes, a pipe would be waited for."""
    file = tmp_path / "index.sqlite"
    {"link": lambda: file.symlink_to("elsewhere"), "pipe": lambda: os.mkfifo(file), "directory": file.mkdir}[kind]()
    for open_it in OPENERS:
        with pytest.raises(IndexUnavailableError, match="Invalid argument"):
            open_it(file)
    assert os.listdir(tmp_path) == ["index.sqlite"]


@pytest.mark.root
@pytest.mark.parametrize("mode", [0o000, 0o200, 0o400])
def test_an_index_that_may_not_be_written_is_refused_at_once(tmp_path, monkeypatch, mode):
    """And not in the middle of the work, when a row is to be written."""
    file = tmp_path / "index.sqlite"
    Store.open(file).close()
    for path in (file, tmp_path):
        os.chown(path, 65534, 65534)
    file.chmod(mode)
    monkeypatch.chdir(tmp_path)
    for open_it in (Store.open, Store.open_as_it_is):
        os.seteuid(65534)
        try:
            with pytest.raises(IndexUnavailableError, match="Permission denied"):
                open_it("index.sqlite")
        finally:
            os.seteuid(0)


@pytest.mark.root
def test_an_index_on_a_disk_that_became_read_only_is_told_as_that(tmp_path):
    """It is no matter of rights, and perhaps the disk is dying."""
    with tmpfs(tmp_path / "state") as place:
        Store.open(place / "index.sqlite").close()
        subprocess.run(["mount", "-o", "remount,ro", place], check=True)
        with pytest.raises(IndexUnavailableError, match="Read-only file system"):
            Store.open(place / "index.sqlite")


def test_two_programs_may_open_a_fresh_index_at_once(tmp_path):
    """One makes the tables, the other waits."""
    errors = []

    def open_it():
        try:
            Store.open(tmp_path / "index.sqlite").close()
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=open_it) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


def test_a_fresh_index_is_waited_for_while_another_program_changes_its_mode(tmp_path):
    """SQLite refuses that at once, however long it may wait for other locks: whoever came second did not start."""
    file = tmp_path / "index.sqlite"
    file.touch(0o600)
    holder = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
    holder.execute("BEGIN IMMEDIATE")
    release = threading.Timer(0.3, holder.execute, ["ROLLBACK"])
    release.start()
    try:
        Store.open(file).close()
    finally:
        release.join()
        holder.close()
    assert Store.is_newest(file)


def test_a_fresh_index_that_another_program_keeps_is_not_waited_for_forever(tmp_path, monkeypatch):
    """Then it is told as any other lock is, and another start may have it."""
    monkeypatch.setattr(connecting, "_BUSY_MS", 50)
    file = tmp_path / "index.sqlite"
    file.touch(0o600)
    with closing(sqlite3.connect(file, isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(IndexUnavailableError, match="locked") as caught:
            Store.open(file)
        assert not caught.value.permanent
    Store.open(file).close()


@pytest.mark.root
def test_only_locks_are_waited_for(tmp_path, monkeypatch):
    """No time makes room on a disk that is full, and a daemon that starts says so at once."""

    def sleep(_seconds):
        pytest.fail("waited for room, as if it were a lock")

    with tmpfs(tmp_path / "state", size="256k") as place:
        file = place / "index.sqlite"
        file.touch(0o600)
        with suppress(OSError), (place / "ballast").open("wb", buffering=0) as ballast:
            while ballast.write(bytes(4096)):
                pass
        monkeypatch.setattr(connecting.time, "sleep", sleep)
        with pytest.raises(IndexUnavailableError, match="full"):
            Store.open(file)


def test_a_locked_index_is_worth_another_try(tmp_path, monkeypatch):
    """Somebody else holds the write lock: unavailable, said so, and well again afterwards."""
    monkeypatch.setattr(connecting, "_PRAGMAS", ("busy_timeout=10", *connecting._PRAGMAS[1:]))
    with opened(tmp_path / "index.sqlite") as store:
        holder = sqlite3.connect(tmp_path / "index.sqlite", isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(IndexUnavailableError, match="locked") as caught:
            fill(store, {"a.pth": inspection()})
        assert not caught.value.permanent
        holder.execute("ROLLBACK")
        holder.close()
        fill(store, {"a.pth": inspection()})
        assert find(store) == ["a.pth"]


def test_an_index_that_is_read_by_others_is_not_finished(tmp_path, monkeypatch):
    """A reindex must not take a file whose last rows are still beside it."""
    monkeypatch.setattr(connecting, "_PRAGMAS", ("busy_timeout=10", *connecting._PRAGMAS[1:]))
    with opened(tmp_path / "index.sqlite") as store:
        reader = sqlite3.connect(tmp_path / "index.sqlite", isolation_level=None)
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM places").fetchall()
        fill(store, {"a.pth": inspection()})
        with pytest.raises(IndexUnavailableError, match="another process reads it"):
            store.finish()
        reader.close()
        store.finish()


def test_a_directory_that_is_not_there_is_unavailable(tmp_path):
    """With the path and a cure."""
    with pytest.raises(IndexUnavailableError, match="No such file") as caught:
        Store.open(tmp_path / "gone" / "index.sqlite")
    assert caught.value.path == str(tmp_path / "gone" / "index.sqlite")
    assert caught.value.cure


@pytest.mark.parametrize("name", ["odd ?#% name", os.fsdecode(b"no-utf8-\xff"), "a&mode=ro"])
def test_any_directory_can_hold_an_index(tmp_path, name):
    """Its name is a path and no part of a URL."""
    directory = tmp_path / name
    directory.mkdir()
    with opened(directory / "index.sqlite") as store:
        fill(store, {"a.pth": inspection()})
    assert "index.sqlite" in os.listdir(directory)


@pytest.mark.root
def test_a_full_disk_is_waited_out(tmp_path):
    """Nothing of the batch is written, the error says what to do, and with room again the same batch is."""
    place = tmp_path / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", place], check=True)
    try:
        with opened(place / "index.sqlite") as store:
            fill(store, {"first.pth": inspection()})
            fill_up(place / "ballast")
            many = {f"{n}.pth": inspection(str(n), tensors=30) for n in range(60)}
            for _ in range(2):
                with pytest.raises(IndexUnavailableError, match="full") as caught:
                    fill(store, many)
                assert "make room" in caught.value.cure
                assert find(store) == ["first.pth"]
            (place / "ballast").unlink()
            fill(store, many)
            assert len(find(store)) == 61
            assert store.check_integrity() is None
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def test_a_kill_while_writing_leaves_whole_batches(tmp_path):
    """SIGKILL at three moments: every batch that was committed is there, and no half of one."""
    script = (
        "import sys\nfrom ckptd.index.store import Store\nfrom tests.index.making import *\n"
        "store, n = Store.open(sys.argv[1]), 0\n"
        "while True:\n"
        "    fill(store, {f'{n}/{i}.pth': inspection(f'{sys.argv[2]}{n}{i}') for i in range(20)}, root='/' + sys.argv[2])\n"
        "    n += 1\n    print(n, flush=True)\n"
    )
    file = tmp_path / "index.sqlite"
    for by in "abc":
        process = subprocess.Popen([sys.executable, "-c", script, file, by], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        first = [int(process.stdout.readline()) for _ in range(4)]
        process.kill()
        told = max([*first, *(int(line) for line in process.stdout.read().split())])
        process.wait()
        with opened(file) as store:
            assert store.check_integrity() is None
            known = store.load_places("/" + by)
            assert len(known) >= 20 * told
            assert len(known) % 20 == 0


def test_a_store_can_be_closed_twice_and_used_again(tmp_path):
    """Connections are given back and made anew."""
    store = Store.open(tmp_path / "index.sqlite")
    store.close()
    store.close()
    assert find(store) == []
    store.close()


def test_a_url_is_taken_as_one(tmp_path):
    """A server's address, here with SQLite behind it."""
    with opened(f"sqlite:///{tmp_path}/other.sqlite") as store:
        assert store.file is None
        fill(store, {"a.pth": inspection()})
    engine = create_engine(f"sqlite:///{tmp_path}/other.sqlite")
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM places").scalar() == 1
    engine.dispose()
