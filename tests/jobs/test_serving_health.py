"""Health and metrics beside a loop: the loop asks seldom, waits for nobody, and trouble ends nothing."""

from __future__ import annotations

import http.client
import selectors
import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest
import structlog

from ckptd.errors import IndexUnavailableError
from ckptd.health.listening import ListenError
from ckptd.index.store import Store
from ckptd.jobs import serving_health
from ckptd.jobs.serving_health import MOST_SHARE, open_side
from ckptd.jobs.sides import Beside
from ckptd.jobs.standing import Board
from ckptd.settings import Settings
from tests.e2e.running import wait_for
from tests.health.moments import figures, standing
from tests.jobs.stages import Clock


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def beside(tmp_path, clock):
    """Give what a loop gives a side, with a clock of our own."""

    def make(**health):
        settings = Settings(roots=(tmp_path,), health={"listen": "127.0.0.1:0", "refresh_seconds": 10, **health})
        store = Store.open(tmp_path / "index.sqlite")
        engine = SimpleNamespace(store=store, state_dir=tmp_path, roots=[SimpleNamespace(path=str(tmp_path))])
        return Beside(settings, engine, selectors.DefaultSelector(), Board(), SimpleNamespace(), monotonic=clock)

    return make


@pytest.fixture
def opened(beside):
    """Open sides, and close them at the end."""
    sides = []

    def make(**health):
        made = beside(**health)
        sides.append(open_side(made))
        return sides[-1], made.board

    yield make
    for side in sides:
        side.close()


def get(side, path):
    address = side.address
    connection = http.client.HTTPConnection(address.host, address.port, timeout=30)
    connection.request("GET", path)
    answer = connection.getresponse()
    body = answer.read().decode()
    connection.close()
    return answer.status, body


class Reader:
    """Gives figures that were as dear as a test says, or the trouble that it says."""

    def __init__(self, *answers):
        self.answers = list(answers)

    def __call__(self, *_args, **_kwargs):
        return self

    def read(self):
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return figures(cost_seconds=answer)


def test_what_the_loop_publishes_is_served(opened, clock):
    """Health by the loop's own beat, readiness and metrics by what it said last."""
    side, board = opened()
    assert get(side, "/healthz") == (200, "ok\n")
    assert get(side, "/readyz") == (503, "the daemon is starting\n")
    board.publish(standing())
    board.beat(clock.now)
    side.step()
    assert get(side, "/readyz") == (200, "ready\n")
    assert "ckptd_figures_timestamp_seconds " in get(side, "/metrics")[1]


def test_a_loop_that_stands_still_is_seen(opened, clock):
    """By who asks: the loop itself can't say it."""
    side, board = opened()
    board.publish(standing())
    board.beat(clock.now)
    clock.now += 91
    assert get(side, "/healthz") == (503, "the loop has not come round for 91 seconds\n")


def test_the_index_is_asked_when_it_is_time(opened, clock, monkeypatch):
    """At most each `refresh_seconds`, and for a small share of the loop's time however dear it is."""
    reader = Reader(0.01, 1.0, 0.01)
    monkeypatch.setattr(serving_health, "FigureReader", reader)
    side, _ = opened()
    for _ in range(3):
        side.step()
    assert len(reader.answers) == 2
    assert side.next_due() == clock.now + 10
    clock.now += 10
    side.step()
    assert side.next_due() == clock.now + 1.0 / MOST_SHARE


def test_an_index_that_can_not_be_asked_is_told_once(opened, clock, monkeypatch):
    """The last figures stay, and their age is a metric; nothing is raised into the loop."""
    trouble = IndexUnavailableError("read the index", why="the disk is full")
    monkeypatch.setattr(serving_health, "FigureReader", Reader(0.01, trouble, trouble, OSError("other"), 0.01))
    side, _ = opened()
    with structlog.testing.capture_logs() as logs:
        for _ in range(5):
            side.step()
            clock.now += 10
    told = [(one["event"], one.get("reason")) for one in logs if one.get("part") == "figures"]
    assert told == [("health.failed", str(trouble)), ("health.failed", "other"), ("health.recovered", None)]
    assert "ckptd_frozen 1.0" in get(side, "/metrics")[1]


def test_an_address_that_is_taken_opens_nothing(opened, beside):
    """No thread is left of the one that could not begin."""
    side, _ = opened()
    before = {thread.name for thread in threading.enumerate()}
    with pytest.raises(ListenError, match="something else has this place"):
        open_side(beside(listen=str(side.address)))
    assert {thread.name for thread in threading.enumerate()} <= before


def test_the_textfile_has_what_metrics_has(opened, tmp_path, clock):
    """It is written as soon as there is something to say, also where nothing is served."""
    path = tmp_path / "out" / "ckptd.prom"
    path.parent.mkdir()
    side, board = opened(listen="", textfile=path, refresh_seconds=0.1)
    assert side.address is None
    board.publish(standing())
    side.step()
    wait_for(lambda: path.exists() and b"ckptd_ready 1.0" in path.read_bytes(), "the textfile")


def test_a_dead_share_keeps_no_textfile_from_being_written(opened, tmp_path, monkeypatch):
    """It says how the daemon stands, and by an old time that a disk does not answer."""
    dead = threading.Event()
    monkeypatch.setattr(serving_health, "measure_disks", lambda _directories: dead.wait(60.0) and ())
    side, board = opened(listen="", textfile=tmp_path / "ckptd.prom", refresh_seconds=0.1)
    board.publish(standing())
    side.step()
    wait_for((tmp_path / "ckptd.prom").exists, "the textfile")
    assert not dead.is_set()
    dead.set()


def test_a_daemon_that_serves_nothing_imports_nothing_of_it():
    """What is switched off weighs nothing."""
    code = (
        "import sys; from ckptd import daemon; from ckptd.settings import Settings; Settings().health.is_wanted\n"
        "print([name for name in sys.modules if name.startswith(('prometheus_client', 'waitress', 'ckptd.health'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
