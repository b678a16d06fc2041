"""What systemd is told, where it has no room for it just then."""

from __future__ import annotations

import socket
import threading
from contextlib import closing

import pytest

from ckptd.service import manager
from ckptd.service.manager import ServiceManager

PATIENCE_SECONDS = 60.0


@pytest.fixture
def full(tmp_path):
    """Give systemd's end of the socket, with its queue full."""
    path = str(tmp_path / "notify")
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as end:
        end.bind(path)
        with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as others:
            others.settimeout(0)
            try:
                while True:
                    others.sendto(b"STATUS=of somebody else", path)
            except BlockingIOError:
                pass
        yield end, ServiceManager({"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "1000000"})


def drain(end):
    """Give all that waits."""
    end.settimeout(0)
    said = []
    try:
        while True:
            said.append(end.recv(1 << 16).decode())
    except BlockingIOError:
        return [words for words in said if "somebody else" not in words]


@pytest.mark.parametrize("what", ["ready", "reloading"])
def test_what_is_said_once_waits_for_room(full, monkeypatch, what):
    """A READY that got lost would have systemd end the daemon after its time to start; it listens to many at a boot."""
    end, told = full
    monkeypatch.setattr(manager, "_PATIENCE_SECONDS", PATIENCE_SECONDS)
    words = ["idle"] if what == "ready" else []
    thread = threading.Thread(target=getattr(told, what), args=words)
    thread.start()
    thread.join(0.2)  # it is in there, and if it is not yet, it finds room and the test shows less
    said = drain(end)
    thread.join(PATIENCE_SECONDS)
    assert not thread.is_alive()
    said += drain(end)
    assert [words.split("=")[0] for words in said] == [what.upper()]


def test_what_is_said_often_does_not_wait(full):
    """The loop has other things to do, and the next sign of life comes soon."""
    end, told = full
    told.alive()
    told.say("busy")
    assert drain(end) == []
    told.alive()
    assert drain(end) == ["WATCHDOG=1"]
