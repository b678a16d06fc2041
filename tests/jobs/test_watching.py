"""Whether the observers answer: with a real root, and observers that say nothing by themselves."""

from __future__ import annotations

import errno
import os
import sqlite3
import threading
from contextlib import closing
from types import SimpleNamespace

import pytest
import structlog

from ckptd.errors import AlreadyRunningError
from ckptd.jobs.holding import hold_roots
from ckptd.jobs.inbox import Inbox
from ckptd.jobs.roots import WatchedRoot
from ckptd.jobs.vital import Vital
from ckptd.jobs.watching import Watching
from ckptd.model import Finding, Severity
from ckptd.settings import WatchSettings
from ckptd.storage.lock import is_held
from ckptd.storage.state import ensure_state_dir
from ckptd.watch.wanted import compile_wanted
from tests.jobs.keeping import save_checkpoint
from tests.jobs.stages import staged


class SilentObserver:
    """An observer whose kernel never answers."""

    hears_kernel = True
    findings = ()

    def alive(self):
        return True


class NoLocks:
    """No root has a lock."""

    def take_back(self, _root):
        pass

    def has_lost(self, _root):
        return False


@pytest.fixture
def watched(tmp_path):
    """Give a Watching on one root, with a clock that the test turns."""
    root = WatchedRoot.open(0, tmp_path, compile_wanted((".pth",), ()))
    root.look_again()
    engine = SimpleNamespace(roots=[root], root_locks=NoLocks())
    clock = [0.0]
    watching = Watching(engine, Inbox(), WatchSettings(guard_seconds=5), now=lambda: clock[0], patience_seconds=30)
    watching.observers = [SilentObserver()]
    return watching, clock, root


def pass_time(watching, clock, seconds):
    for _ in range(int(seconds / 5)):
        watching.guard()
        clock[0] += 5
    return watching.signs()[0]


def test_an_observer_that_keeps_silent_is_named(watched):
    """Its patience is over; the time until the next question is on top, for one answer may be lost."""
    watching, clock, root = watched
    assert pass_time(watching, clock, 30).ok
    sign = pass_time(watching, clock, 30)
    assert not sign.ok
    assert sign.name == f"observer of {root.path}"


@pytest.mark.parametrize("code", ["watch-limit", "watch-failed"])
def test_nobody_is_asked_where_the_kernel_may_not_watch(watched, code):
    """Watches are used up: our own directory may have none, the clock looks there, and all is as well as it can be."""
    watching, clock, _ = watched
    watching.observers[0].findings = (Finding(code, Severity.WARNING, "used up"),)
    assert pass_time(watching, clock, 600).ok


def test_an_answer_that_comes_before_the_question_is_noted_is_one(watched, monkeypatch):
    """The observer runs as soon as the file is closed; what was owed after that would be owed for as long as a walk lasts."""
    _, clock, root = watched
    watching = Watching(
        SimpleNamespace(roots=[root]), Inbox(), WatchSettings(backend="inotify"), now=lambda: clock[0], patience_seconds=30
    )
    answered, answer, close, asker = threading.Event(), Vital.answer, os.close, threading.get_ident()

    def tell_answer(vital):
        answer(vital)
        answered.set()

    def close_and_be_overtaken(fd):
        close(fd)
        if threading.get_ident() == asker:
            assert answered.wait(30)

    watching.start()
    try:
        monkeypatch.setattr(Vital, "answer", tell_answer)
        monkeypatch.setattr(os, "close", close_and_be_overtaken)
        watching._ask(root, watching.observers[0])
        monkeypatch.setattr(os, "close", close)
        assert answered.is_set()
        clock[0] += 36
        assert watching.signs()[0].ok
    finally:
        watching.stop()


def test_a_share_that_became_read_only_is_not_asked(watched, monkeypatch):
    """Its mark can't be opened for writing, so that nothing was asked."""
    watching, clock, _ = watched
    real = os.open

    def refuse_to_write(path, flags, *args, **options):
        if flags & os.O_WRONLY:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        return real(path, flags, *args, **options)

    monkeypatch.setattr(os, "open", refuse_to_write)
    assert pass_time(watching, clock, 600).ok


def test_an_answer_that_the_kernel_dropped_is_not_waited_for(watched):
    """It may be among what did not fit into the queue, and the walk that follows may take longer than patience lasts."""
    watching, clock, root = watched
    observer = watching._make_observer(root)
    watching.guard()
    clock[0] += 36
    observer._on_doubt("polling")
    assert not watching.signs()[0].ok
    observer._on_doubt("overflow")
    assert watching.signs()[0].ok
    watching.guard()
    clock[0] += 36
    assert not watching.signs()[0].ok


def test_a_root_that_is_away_is_not_asked(watched, tmp_path):
    """It has an incident, which is told otherwise."""
    watching, clock, root = watched
    root.path = str(tmp_path / "nowhere")
    root.files = 1
    assert pass_time(watching, clock, 600).ok
    assert root.incident is not None


def test_a_root_whose_server_is_gone_is_an_incident(watched, monkeypatch):
    """ESTALE of a share, ENOTCONN of a dead FUSE: what is held open can't even be looked at; it must not end the daemon."""
    watching, _, root = watched
    root.files = 1

    def gone(fd, *args, **options):
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    monkeypatch.setattr(os, "fstat", gone)
    watching.guard()
    assert root.incident == os.strerror(errno.ESTALE)
    monkeypatch.undo()
    watching.observers[0].restart = lambda: None
    watching.guard()
    assert root.incident is None


def test_a_root_that_another_daemon_took_meanwhile_is_left_to_it_and_asked_for_again(tmp_path):
    """It was away for a moment; that must not end a daemon that has others to look after.  It is told once."""
    models, states = tmp_path / "models", [ensure_state_dir(tmp_path / name) for name in ("one", "two")]
    models.mkdir()
    root = WatchedRoot.open(0, models, compile_wanted((".pth",), ()))
    root.look_again()
    root.files = 1
    restarts = []
    with hold_roots(states[0], [root]) as locks, structlog.testing.capture_logs() as log:
        watching = Watching(SimpleNamespace(roots=[root], root_locks=locks), Inbox(), WatchSettings())
        watching.observers = [SilentObserver()]
        watching.observers[0].restart = lambda: restarts.append(1)
        models.rename(tmp_path / "elsewhere")
        watching.guard()
        (tmp_path / "elsewhere").rename(models)
        (models / ".ckptd" / "lock").unlink()  # as on a share whose server was started anew
        with held_by_another(states[1], models):
            for _ in range(3):
                watching.guard()
            assert "another ckptd looks after it" in root.incident
            assert not restarts
        watching.guard()
        assert root.incident is None
        assert restarts == [1]
    told = [(entry["event"], entry.get("reason", "")[:12]) for entry in log]
    assert told == [("root.lost", "No such file"), ("root.lost", "another ckpt"), ("root.returned", "")]
    root.handle.close()


def test_a_lock_that_somebody_removed_is_taken_anew_unless_another_has_it_by_now(tmp_path):
    """People remove it where they read that another ckptd looks after a root; two that both hold it would know of neither."""
    models, states = tmp_path / "models", [ensure_state_dir(tmp_path / name) for name in ("one", "two")]
    models.mkdir()
    root = WatchedRoot.open(0, models, compile_wanted((".pth",), ()))
    root.look_again()
    with hold_roots(states[0], [root]) as locks, structlog.testing.capture_logs() as log:
        watching = Watching(SimpleNamespace(roots=[root], root_locks=locks), Inbox(), WatchSettings())
        watching.observers = [SilentObserver()]
        watching.observers[0].restart = lambda: None
        (models / ".ckptd" / "lock").unlink()
        watching.guard()
        with pytest.raises(AlreadyRunningError), held_by_another(states[1], models):
            pass
        assert root.incident is None
        (models / ".ckptd" / "lock").unlink()
        with held_by_another(states[1], models):
            for _ in range(2):
                watching.guard()
            assert "another ckptd looks after it" in root.incident
        watching.guard()
        assert root.incident is None
        assert is_held(models / ".ckptd")
    assert [entry["event"] for entry in log] == ["root.lost", "root.returned"]
    root.handle.close()


def held_by_another(state, models):
    """Hold a root as a daemon with a state directory of its own does."""
    root = WatchedRoot.open(0, models, compile_wanted((".pth",), ()))
    root.look_again()
    return hold_roots(state, [root])


def test_a_root_that_is_made_anew_keeps_its_mark_for_the_next_start(tmp_path):
    """Nothing was known in it: what lies there now is taken for it, held, watched, marked, and its mark written down."""
    models, saved, restarts = tmp_path / "models", [], []
    models.mkdir()
    root = WatchedRoot.open(0, models, compile_wanted((".pth",), ()))
    root.look_again()
    engine = SimpleNamespace(roots=[root], root_locks=NoLocks())
    engine.store = SimpleNamespace(save_root=lambda path, root_id: saved.append((path, root_id)))
    watching = Watching(engine, Inbox(), WatchSettings())
    watching.observers = [SilentObserver()]
    watching.observers[0].restart = lambda: restarts.append(1)
    before = root.root_id
    models.rename(tmp_path / "old")
    models.mkdir()
    (models / "a.pth").write_bytes(b"x")
    watching.guard()
    assert os.listdir(root.handle.fd).count("a.pth") == 1
    assert restarts == [1]
    assert root.root_id not in (None, before)
    assert saved == [(root.path, root.root_id)]
    root.handle.close()


def test_a_mark_that_could_not_be_written_down_is_written_down_later(tmp_path):
    """Else files would come into a root that the next start takes for another one."""
    models = tmp_path / "models"
    with staged(models, sidecars=False) as stages:
        engine = SimpleNamespace(roots=[stages.root], root_locks=NoLocks(), store=stages.store, ingest=stages.ingest)
        stages.store.save_root(stages.root.path, stages.root.root_id)
        watching = Watching(engine, Inbox(), WatchSettings())
        watching.observers = [SilentObserver()]
        watching.observers[0].restart = lambda: None
        before = stages.root.root_id
        models.rename(tmp_path / "old")
        models.mkdir()
        with closing(sqlite3.connect(tmp_path / "state" / "index.sqlite", isolation_level=None)) as another:
            another.execute("BEGIN IMMEDIATE")
            watching.guard()
        assert stages.store.load_root(stages.root.path)[0] == before != stages.root.root_id
        watching.guard()
        assert stages.store.load_root(stages.root.path)[0] == stages.root.root_id
        stages.store.save_root(stages.root.path, "what is written down is not written again")
        watching.guard()
        assert stages.store.load_root(stages.root.path)[0] != stages.root.root_id


def test_a_share_that_goes_before_its_first_files_are_written_down_is_waited_for(tmp_path):
    """Another process holds the index for writing: it says that there is nothing to lose, and does not know."""
    models = tmp_path / "models"
    with staged(models, sidecars=False) as stages:
        engine = SimpleNamespace(roots=[stages.root], root_locks=NoLocks(), store=stages.store, ingest=stages.ingest)
        watching = Watching(engine, Inbox(), WatchSettings())
        watching.observers = [SilentObserver()]
        watching.observers[0].restart = lambda: None
        with closing(sqlite3.connect(tmp_path / "state" / "index.sqlite", isolation_level=None)) as another:
            another.execute("BEGIN IMMEDIATE")
            save_checkpoint(models / "first.pth", 1)
            stages.hint("first.pth")
            stages.settle()
            assert stages.ingest.unwritten
            models.rename(tmp_path / "share")
            models.mkdir()
            watching.guard()
            assert stages.root.incident is not None
            assert os.listdir(models) == []
        stages.settle(5)
        assert stages.ingest.unwritten == 0
        models.rmdir()
        (tmp_path / "share").rename(models)
        watching.guard()
        assert stages.root.incident is None
        assert stages.record("first.pth") is not None
