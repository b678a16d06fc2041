"""Whether the observers answer: with a real root, and observers that say nothing by themselves."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest
import structlog

from ckptd.jobs.holding import hold_roots
from ckptd.jobs.inbox import Inbox
from ckptd.jobs.roots import WatchedRoot
from ckptd.jobs.watching import Watching
from ckptd.model import Finding, Severity
from ckptd.settings import WatchSettings
from ckptd.storage.state import ensure_state_dir
from ckptd.watch.wanted import compile_wanted


class SilentObserver:
    """An observer whose kernel never answers."""

    hears_kernel = True
    findings = ()

    def alive(self):
        return True


@pytest.fixture
def watched(tmp_path):
    """Give a Watching on one root, with a clock that the test turns."""
    root = WatchedRoot.open(0, tmp_path, compile_wanted((".pth",), ()))
    root.look_again()
    engine = SimpleNamespace(roots=[root])
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


def test_a_root_that_is_away_is_not_asked(watched, tmp_path):
    """It has an incident, which is told otherwise."""
    watching, clock, root = watched
    root.path = str(tmp_path / "nowhere")
    root.files = 1
    assert pass_time(watching, clock, 600).ok
    assert root.incident is not None


def test_a_root_whose_server_is_gone_is_an_incident(watched, monkeypatch):
    """ESTALE of a share, ENOTCONN of a dead FUSE: what is held open can't even be looked at; it must not end the daemon."""
    import errno

    watching, _, root = watched
    root.files = 1

    def gone(fd, *args, **options):
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    monkeypatch.setattr(os, "fstat", gone)
    watching.guard()
    assert root.incident == os.strerror(errno.ESTALE)
    monkeypatch.undo()
    watching.observers[0].restart = lambda: None
    watching._engine.root_locks = SimpleNamespace(take_back=lambda _: None)
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
    engine = SimpleNamespace(roots=[root], root_locks=SimpleNamespace(take_back=lambda _: None))
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
