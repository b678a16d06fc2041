"""Whether the observers answer: with a real root, and observers that say nothing by themselves."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from ckptd.jobs.inbox import Inbox
from ckptd.jobs.roots import WatchedRoot
from ckptd.jobs.watching import Watching
from ckptd.model import Finding, Severity
from ckptd.settings import WatchSettings
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
    import os

    watching, _, root = watched
    root.files = 1

    def gone(fd, *args, **options):
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    monkeypatch.setattr(os, "fstat", gone)
    watching.guard()
    assert root.incident == os.strerror(errno.ESTALE)
    monkeypatch.undo()
    watching.observers[0].restart = lambda: None
    watching._engine.root_locks = SimpleNamespace(renew=lambda _: None)
    watching.guard()
    assert root.incident is None
