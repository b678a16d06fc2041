"""The socket of people beside a loop that a test turns by hand, with real connections."""

from __future__ import annotations

import fcntl
import json
import os
import selectors
import socket
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import pytest
import structlog.testing

from ckptd.control import listening
from ckptd.control.protocol import Answer
from ckptd.control.rights import Peer, Rules
from ckptd.errors import StorageError
from ckptd.jobs import controlling
from ckptd.jobs.controlling import MOST_OF_MEMBERS, MOST_PROCESSES, Controlling
from ckptd.jobs.standing import Board, Phase, Sign, Standing
from ckptd.settings import load_settings
from tests.e2e.running import wait_for


class Controls:
    """A loop that takes every wish."""

    config = "/etc/ckptd/ckptd.toml"

    def __init__(self):
        self.problem = None
        self.pauses = []

    def pause(self, seconds):
        self.pauses.append(seconds)

    def reload(self):
        return self.problem


def make_beside(tmp_path, version):
    """Give a loop whose standing has a version, to tell one from another."""
    board = Board()
    board.publish(Standing(at=0.0, phase=Phase.RUNNING, version=version, pid=1, started_at=0.0))
    return SimpleNamespace(
        settings=load_settings(None, {"roots": [str(tmp_path)]}, {}),
        engine=SimpleNamespace(roots=[SimpleNamespace(path=str(tmp_path))], state_dir=tmp_path),
        selector=selectors.DefaultSelector(),
        board=board,
        controls=Controls(),
        monotonic=lambda: 0.0,
    )


def turn(beside):
    """Come round once, as the loop does."""
    for key, _ in beside.selector.select(0):
        key.data()
    beside.board.beat(time.monotonic())


@pytest.fixture
def control(tmp_path):
    control = Controlling()
    control.begin(make_beside(tmp_path, "before"), tmp_path / "ctl")
    yield control
    control.close()


@pytest.fixture
def say(tmp_path):
    """Say something to the socket, and give the end at which the answer comes."""
    ends = []

    def say(what, **more):
        ends.append(socket.socket(socket.AF_UNIX))
        ends[-1].settimeout(60)
        ends[-1].connect(str(tmp_path / "ctl"))
        ends[-1].sendall(json.dumps({"what": what, **more}).encode() + b"\n")
        return ends[-1]

    yield say
    for end in ends:
        end.close()


def asks(control, what, count=1):
    """Tell whether so many wait for an answer."""
    listener = control._listener
    # Copies, made at once: the thread adds to them meanwhile.
    guests = [*list(listener.arrived), *(guest for guest, _ in list(listener._questions))]
    waiting = [guest.asked.what for guest in guests]
    return waiting.count(what) == count


def read(end):
    return json.loads(end.makefile().readline())


def test_what_is_asked_after_a_reload_is_answered_by_the_loop_that_comes_after_it(tmp_path, control, say):
    """However long the old one is held up in between: else `ckptd reload` takes its word for that of the new settings."""
    first = control._beside
    reload = say("reload")
    wait_for(lambda: asks(control, "reload"), "the wish")
    turn(first)
    assert read(reload)["status"] == 0
    status = say("status")
    wait_for(lambda: asks(control, "status"), "the question")
    for _ in range(5):
        turn(first)
        time.sleep(3 * listening._LOOK_SECONDS)
        assert asks(control, "status")
    control.release()
    second = make_beside(tmp_path, "after")
    control.begin(second, tmp_path / "ctl")
    turn(second)
    assert read(status)["value"]["version"] == "after"


def test_nothing_is_begun_for_who_went_away_before(tmp_path, control, say):
    """He asked for a command while the loop was being exchanged, and hung up: it must not run with nobody to end it."""
    say("reload")
    wait_for(lambda: asks(control, "reload"), "the wish")
    leaving = say("run")
    wait_for(lambda: asks(control, "run"), "the command")
    turn(control._beside)
    leaving.close()
    wait_for(lambda: control._listener.gone, "his end")
    turn(control._beside)
    control.release()
    second = make_beside(tmp_path, "after")
    control.begin(second, tmp_path / "ctl")
    turn(second)
    assert control._running == []
    assert not control._listener.arrived


def test_a_reload_that_is_refused_at_once_holds_up_nobody(control, say):
    """The loop goes on, and so do its answers."""
    control._beside.controls.problem = "no such key"
    reload, status = say("reload"), say("status")
    wait_for(lambda: asks(control, "reload") and asks(control, "status"), "both")
    turn(control._beside)
    assert {read(reload)["problem"], read(status)["value"].get("version")} == {"no such key", "before"}


def test_how_it_stands_is_said_while_the_loop_hangs(control, say, monkeypatch):
    """By the thread, which gives the loop its time, and then names it; the rest is what was known last."""
    monkeypatch.setattr(listening, "LOOP_SECONDS", 0.2)
    signs = (Sign("loop", ok=True), Sign("pool", ok=True))
    standing = Standing(at=0.0, phase=Phase.RUNNING, version="before", pid=1, started_at=0.0, signs=signs)
    control._beside.board.publish(standing)
    value = read(say("status"))["value"]
    assert [(sign["name"], sign["ok"]) for sign in value["signs"]] == [("loop", False), ("pool", True)]
    assert "has not come round" in value["status"]
    assert (value["is_well"], value["phase"], value["version"]) == (False, "running", "before")


def test_a_loop_that_hangs_after_a_reload_is_named_too(tmp_path, control, say, monkeypatch):
    """The new one has not said anything yet: what the one before said counts, and it is starting."""
    monkeypatch.setattr(listening, "LOOP_SECONDS", 0.2)
    control.release()
    second = make_beside(tmp_path, "after")
    second.board.latest = None
    control.begin(second, tmp_path / "ctl")
    value = read(say("status"))["value"]
    assert (value["phase"], value["is_well"], value["version"]) == ("starting", False, "before")


@pytest.mark.parametrize(
    ("roots", "config", "is_meant"),
    [
        ([], "", True),
        (["ours"], "", True),
        (["/elsewhere"], "", False),
        (["/elsewhere"], Controls.config, True),
        (["/elsewhere"], "/etc/ckptd/other.toml", False),
        (["ours"], "/etc/ckptd/other.toml", True),
        ([], "/etc/ckptd/other.toml", False),
    ],
)
def test_which_daemon_is_meant(tmp_path, control, say, roots, config, is_meant):
    """Any, that of these roots, or that of this settings file, whatever roots it has by now."""
    roots = [str(tmp_path) if root == "ours" else root for root in roots]
    status, pause = say("status", roots=roots, config=config), say("pause", seconds=1, roots=roots, config=config)
    wait_for(lambda: asks(control, "pause"), "the wish")
    turn(control._beside)
    for end in (status, pause):
        answer = read(end)
        assert answer["status"] == (0 if is_meant else 4)
        assert answer["value"].get("other_roots", False) != is_meant
    assert control._beside.controls.pauses == ([1.0] if is_meant else [])


def test_members_take_no_room_of_administrators(control):
    """Neither in: eight commands of administrators run beside those of members; nor the other way."""
    control._rules = Rules(0, frozenset({50}), frozenset())
    member, other, admin = (SimpleNamespace(peer=Peer(1, uid, uid, frozenset({50}))) for uid in (1_001, 1_002, 0))

    def runs(*guests):
        control._running = [SimpleNamespace(guest=guest) for guest in guests]

    try:
        runs(member, *[admin] * (MOST_PROCESSES - 1))
        assert not control._find_crowd(admin)
        runs(*[admin] * MOST_PROCESSES)
        assert control._find_crowd(admin)
        assert not control._find_crowd(member)
        runs(member)
        assert control._find_crowd(member)
        assert not control._find_crowd(other)
        runs(*[SimpleNamespace(peer=Peer(1, 2_000 + n, 1, frozenset({50}))) for n in range(MOST_OF_MEMBERS)])
        assert control._find_crowd(member)
        assert not control._find_crowd(admin)
    finally:
        control._running = []


def test_a_silent_thread_is_told_and_no_reason_for_the_watchdog(control, say):
    """Who may only read must not be able to end the daemon; a thread that has ended is a fault of ours."""
    assert control.sign() == Sign("control", ok=True, bites=False)
    may_go, stuck = threading.Event(), threading.Event()

    def hang(*_):
        stuck.set()
        may_go.wait()

    control._listener._look = hang
    say("status")
    assert stuck.wait(60)
    ahead = time.monotonic() + 1_000
    control._beside.monotonic = lambda: ahead
    control.step()
    assert control.sign().ok
    control._beside.monotonic = lambda: ahead + 60
    sign = control.sign()
    assert (sign.ok, sign.bites) == (False, False)
    assert "has not come round" in sign.why
    may_go.set()


def test_a_socket_that_was_taken_away_is_made_anew(tmp_path, say, monkeypatch):
    """The thread looks now and then, with nobody who asks it to, and the log tells of it."""
    monkeypatch.setattr(listening, "TEND_SECONDS", 0.02)
    path, control = tmp_path / "ctl", Controlling()
    try:
        control.begin(make_beside(tmp_path, "before"), path)
        path.unlink()
        wait_for(path.exists, "the socket")
        wait_for(lambda: control._listener.renewals == 1, "its number")
        with structlog.testing.capture_logs() as logs:
            control.step()
            control.step()
        assert [entry["event"] for entry in logs] == ["control.lost"]
        status = say("status")
        wait_for(lambda: asks(control, "status"), "the question")
        turn(control._beside)
        assert read(status)["status"] == 0
    finally:
        control.close()


def test_a_socket_that_cannot_be_made_anew_is_told(tmp_path, control):
    """Somebody else listens there by now: that is a sign, and no reason for the watchdog."""
    path = tmp_path / "ctl"
    path.unlink()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        control._listener.admit(control._rules)
        wait_for(lambda: control._listener.trouble, "the trouble")
        sign = control.sign()
        assert (sign.ok, sign.bites) == (False, False)
        assert "another daemon listens there" in sign.why
        other_seen = path.lstat()
    control.close()
    assert os.path.samestat(other_seen, path.lstat())
    control.__init__()  # for the fixture


def test_the_place_of_a_socket_that_is_heard_is_not_taken(tmp_path, control):
    """In one sentence; and who listened there is heard as before."""
    second = Controlling()
    try:
        with pytest.raises(StorageError, match="another daemon listens there"):
            second.begin(make_beside(tmp_path, "second"), tmp_path / "ctl")
    finally:
        second.close()
    assert os.path.samestat(control._listener._seen, (tmp_path / "ctl").lstat())


def test_a_name_in_the_state_leads_to_the_socket_wherever_it_is(tmp_path, say):
    """So that it is found when the settings name another place by now; a place of its own is no link."""
    state = tmp_path / "state"
    state.mkdir()
    beside = make_beside(tmp_path, "before")
    beside.engine.state_dir = state
    control = Controlling()
    try:
        for place in (tmp_path / "ctl", state / "ctl", tmp_path / "other"):
            control.begin(beside, place)
            assert (state / "ctl").is_socket()
            assert (state / "ctl").is_symlink() == (place != state / "ctl")
            assert os.path.samestat((state / "ctl").stat(), place.stat())
            control.release()
        control.begin(beside, place)
    finally:
        control.close()


@pytest.mark.parametrize(
    ("script", "is_told", "status"),
    [
        ("sys.exit(3)", False, 3),
        ("os.kill(os.getpid(), signal.SIGKILL)", False, 1),
        ("signal.signal(signal.SIGTERM, lambda *_: sys.exit(3)); print(flush=True); signal.pause()", True, 3),
        ("print(flush=True); signal.pause()", True, 1),
        ("signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); signal.pause()", True, 1),
    ],
    ids=["ended", "crashed", "ends well", "ends at once", "does not end"],
)
def test_a_command_that_ends_while_the_daemon_does_has_its_own_answer(control, say, monkeypatch, script, is_told, status):
    """It was done, or has said why not; only one that was ended is to be asked again."""
    words = [sys.executable, "-c", f"import os, signal, sys; {script}"]

    def start(_command, _guest):
        return subprocess.Popen(words, stdout=subprocess.PIPE, start_new_session=True)

    monkeypatch.setattr(controlling, "_start", start)
    monkeypatch.setattr(controlling, "_CLOSE_SECONDS", 0.1 if "SIG_IGN" in script else 60.0)
    asking = say("run", arguments=["ls"])
    wait_for(lambda: asks(control, "run"), "the command")
    turn(control._beside)
    (one,) = control._running
    with one.process.stdout as output:
        output.readline()
    if not is_told:
        os.waitid(os.P_PID, one.process.pid, os.WEXITED | os.WNOWAIT)
    control.close()
    control.__init__()  # for the fixture
    answer = read(asking)
    assert answer["status"] == status
    assert ("ask again" in answer["problem"]) == (is_told and status == 1)


def test_an_answer_to_nobody_writes_nowhere(tmp_path, say):
    """He hung up while his command ended, and the place by which he came is gone: its bell's number may be another's by now."""
    beside = make_beside(tmp_path, "before")
    control = Controlling()
    try:
        control.begin(beside, tmp_path / "ctl")
        say("run").close()
        old = control._listener
        wait_for(lambda: old.gone, "his end")
        control.release()
        control.begin(beside, tmp_path / "other")
        wait_for(lambda: not old.is_alive, "its end")
        ends = os.pipe2(os.O_NONBLOCK)
        reader, writer = (fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 500) for fd in ends)  # numbers that are not those of before
        os.dup2(writer, old._button)
        try:
            old.finish(old.gone[0], Answer())
            old.admit(control._rules)
            with pytest.raises(BlockingIOError):
                os.read(reader, 1)
        finally:
            for fd in {*ends, reader, writer, old._button}:
                os.close(fd)
    finally:
        control.close()
