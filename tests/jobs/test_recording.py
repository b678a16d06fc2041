"""What is to be written down: together, in order, told only once it is, and never lost while the disk says no."""

from __future__ import annotations

import pytest
import structlog

from ckptd.errors import IndexUnavailableError, StorageError
from ckptd.index.store import Store
from ckptd.jobs.recording import LONGEST_WAIT_SECONDS, MOST_ENTRIES, MOST_WAITING, RETRY_SECONDS, Recording
from ckptd.model import Identity, Inspection, Status
from ckptd.storage.journal import Journal


class Flaky:
    """An index or a journal that fails as often as it is told to."""

    def __init__(self, inner, method, error):
        self.inner = inner
        self.method = method
        self.error = error
        self.failures = 0
        self.calls = 0

    def __getattr__(self, name):
        if name != self.method:
            return getattr(self.inner, name)
        self.calls += 1
        if self.failures:
            self.failures -= 1
            raise self.error
        return getattr(self.inner, name)


@pytest.fixture
def parts(tmp_path):
    store = Store.open(tmp_path / "index.sqlite")
    flaky_store = Flaky(store, "batch", IndexUnavailableError("use the index", why="database or disk is full"))
    flaky_journal = Flaky(Journal(tmp_path), "append", StorageError("write the journal", why="no space"))
    yield flaky_store, flaky_journal, Recording(flaky_store, flaky_journal)
    store.close()


def put(recording, path, now=0.0):
    """Record one file with its line and its event."""
    identity = Identity(1, abs(hash(path)) % 1000, 1, 1, 1)
    inspection = Inspection(path, Status.NOT_A_CHECKPOINT, sha256="a" * 64, size_bytes=1)
    recording.write(lambda batch: batch.record_ready("/r", path, identity, inspection, now=1.0), now)
    recording.remember({"event": "seen", "path": path})
    recording.tell("info", "checkpoint.indexed", path=path)


def paths(store):
    return set(store.inner.load_places("/r"))


def test_entries_wait_a_moment_for_company(parts):
    """One transaction for all that came within the wait, at once when nothing else is on its way or there are enough."""
    store, _, recording = parts
    put(recording, "a", now=10.0)
    recording.flush_if_due(10.0, idle=False)
    assert store.calls == 0
    put(recording, "b", now=10.01)
    recording.flush_if_due(10.0 + LONGEST_WAIT_SECONDS, idle=False)
    assert (store.calls, paths(store)) == (1, {"a", "b"})
    put(recording, "c", now=20.0)
    recording.flush_if_due(20.0, idle=True)
    assert store.calls == 2
    for number in range(MOST_ENTRIES):
        put(recording, f"m{number}", now=30.0)
    recording.flush_if_due(30.0, idle=False)
    assert store.calls == 3


def test_an_event_is_told_after_the_commit_and_once(parts):
    """The log never says what the index does not know."""
    store, _, recording = parts
    with structlog.testing.capture_logs() as log:
        store.failures = 1
        put(recording, "a")
        recording.flush(0.0)
        assert [entry["event"] for entry in log] == ["index.unavailable"]
        recording.flush_if_due(RETRY_SECONDS, idle=True)
        recording.flush_if_due(RETRY_SECONDS * 2, idle=True)
    assert [entry["event"] for entry in log] == ["index.unavailable", "index.available", "checkpoint.indexed"]


def test_trouble_is_told_once_tried_each_second_and_loses_nothing(parts):
    """Whatever comes meanwhile waits too, until there are too many to read on."""
    store, _, recording = parts
    store.failures = 3
    with structlog.testing.capture_logs() as log:
        for second in range(5):
            put(recording, f"m{second}", now=float(second))
            recording.flush_if_due(second + 0.01, idle=True)
            recording.flush_if_due(second + 0.02, idle=True)
    assert store.calls == 4 + 1
    assert [entry["event"] for entry in log].count("index.unavailable") == 1
    assert paths(store) == {f"m{second}" for second in range(5)}
    store.failures = 1
    for number in range(MOST_WAITING):
        assert recording.has_room
        put(recording, f"n{number}", now=10.0)
    assert not recording.has_room


def test_the_journal_comes_first_and_is_not_written_twice(parts):
    """A line is in the journal before the index knows the file; when only the index fails it is not appended again."""
    store, journal, recording = parts
    journal.failures = 1
    put(recording, "a")
    recording.flush(0.0)
    assert (journal.calls, store.calls) == (1, 0)
    store.failures = 1
    recording.flush(1.0)
    assert (journal.calls, store.calls) == (2, 1)
    recording.flush(2.0)
    assert (journal.calls, store.calls) == (2, 2)
    assert [line["path"] for line in journal.inner.replay()] == ["a"]
    assert paths(store) == {"a"}


def test_what_comes_after_a_commit_finds_what_was_committed(tmp_path):
    """A call is made when the rows are there, not before, and waits with them while the index can't be written."""
    place = tmp_path / "state"
    place.mkdir()
    store = Store.open(place / "index.sqlite")
    recording = Recording(store, Journal(place))
    seen = []
    recording.write(lambda batch: batch.save_root("/r", "id"), now=0.0)
    recording.then(lambda: seen.append(store.load_root("/r")[0]))
    assert seen == []
    recording.flush(0.0)
    assert seen == ["id"]
    recording.flush(1.0)
    assert seen == ["id"]
    store.close()
