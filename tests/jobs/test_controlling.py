"""The socket of people beside a loop that a test turns by hand, with real connections."""

from __future__ import annotations

import json
import selectors
import socket
from types import SimpleNamespace

import pytest

from ckptd.jobs.controlling import Controlling
from ckptd.jobs.standing import Board, Phase, Standing
from ckptd.settings import load_settings
from tests.e2e.running import wait_for


class Controls:
    """A loop that takes every wish."""

    def __init__(self):
        self.problem = None

    def reload(self):
        return self.problem


def make_beside(tmp_path, version):
    """Give a loop whose standing has a version, to tell one from another."""
    board = Board()
    board.publish(Standing(at=0.0, phase=Phase.RUNNING, version=version, pid=1, started_at=0.0))
    return SimpleNamespace(
        settings=load_settings(None, {"roots": [str(tmp_path)]}, {}),
        engine=SimpleNamespace(roots=[SimpleNamespace(path=str(tmp_path))]),
        selector=selectors.DefaultSelector(),
        board=board,
        controls=Controls(),
        monotonic=lambda: 0.0,
    )


def turn(beside):
    for key, _ in beside.selector.select(0):
        key.data()


@pytest.fixture
def control(tmp_path):
    control = Controlling(make_beside(tmp_path, "before"), tmp_path / "ctl")
    yield control
    control.close()


@pytest.fixture
def say(tmp_path):
    """Say something to the socket, and give the end at which the answer comes."""
    ends = []

    def say(what):
        ends.append(socket.socket(socket.AF_UNIX))
        ends[-1].settimeout(30)
        ends[-1].connect(str(tmp_path / "ctl"))
        ends[-1].sendall(json.dumps({"what": what}).encode() + b"\n")
        return ends[-1]

    yield say
    for end in ends:
        end.close()


def read(end):
    return json.loads(end.makefile().readline())


def test_what_is_asked_after_a_reload_is_answered_by_the_loop_that_comes_after_it(tmp_path, control, say):
    """However long the old one is held up in between: else `ckptd reload` takes its word for that of the new settings."""
    first = control._beside
    reload = say("reload")
    wait_for(lambda: len(control._listener.arrived) == 1, "the wish")
    status = say("status")
    wait_for(lambda: len(control._listener.arrived) == 2, "the question")
    turn(first)
    assert read(reload)["status"] == 0
    turn(first)
    assert len(control._listener.arrived) == 1
    control.release()
    second = make_beside(tmp_path, "after")
    control.move(second)
    turn(second)
    assert read(status)["value"]["version"] == "after"


def test_nothing_is_begun_for_who_went_away_before(tmp_path, control, say):
    """He asked for a command while the loop was being exchanged, and hung up: it must not run with nobody to end it."""
    say("reload")
    wait_for(lambda: len(control._listener.arrived) == 1, "the wish")
    leaving = say("run")
    wait_for(lambda: len(control._listener.arrived) == 2, "the command")
    turn(control._beside)
    leaving.close()
    wait_for(lambda: control._listener.gone, "his end")
    turn(control._beside)
    control.release()
    second = make_beside(tmp_path, "after")
    control.move(second)
    turn(second)
    assert control._running == []
    assert not control._listener.arrived


def test_a_reload_that_is_refused_at_once_holds_up_nobody(control, say):
    """The loop goes on, and so do its answers."""
    control._beside.controls.problem = "no such key"
    reload, status = say("reload"), say("status")
    wait_for(lambda: len(control._listener.arrived) == 2, "both")
    turn(control._beside)
    assert {read(reload)["problem"], read(status)["value"].get("version")} == {"no such key", "before"}
