"""Closing what somebody sent and nobody received, with sockets of the kernel that linger."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time

import pytest

from ckptd.sandbox import closing
from tests.sandbox.lingering import send, started


@pytest.fixture(autouse=True)
def _pokes():
    before = signal.getsignal(closing.POKE)
    closing.take_pokes()
    yield
    signal.signal(closing.POKE, before)


def make_end(lingers=0, flags=0):
    """Give an end in which so many lingering sockets lie that nobody received, and the others of all pairs, to be kept."""
    ours, his = socket.socketpair(socket.AF_UNIX)
    return ours, [his, *send(his, lingers, flags)]


def count_closers():
    return sum(thread.name == "ckptd-closing" for thread in threading.enumerate())


def test_an_end_with_nothing_in_it_is_closed_at_once():
    """Without another thread; that of somebody who hung up, too."""
    ours, kept = make_end()
    fd = ours.fileno()
    closing.close_end(ours)
    assert not os.path.exists(f"/proc/self/fd/{fd}")
    ours, kept = make_end()
    kept[0].close()
    closing.close_end(ours)
    assert count_closers() == 0


@pytest.mark.parametrize("lingers", [1, 5])
def test_what_lingers_for_an_hour_is_closed_all_the_same(lingers):
    """A signal ends the wait of the thread that closes; it ends then, and nothing is left of it."""
    ours, kept = make_end(lingers)
    closing.close_end(ours)
    assert ours.fileno() == -1
    deadline = time.monotonic() + 60
    while count_closers():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    for end in kept:
        end.close()


@pytest.mark.parametrize("flags", [0, socket.MSG_OOB])
def test_a_process_that_is_being_started_has_nothing_to_wait_for(flags):
    """It has a copy of every end until it becomes the other program, and may be the last to close it."""
    ours, kept = make_end(5, flags)
    with started(ours):
        closing.close_end(ours)
    for end in kept:
        end.close()


def test_what_comes_after_the_look_is_not_read():
    """A descriptor that comes with it would be closed by who reads."""
    ours, his = socket.socketpair(socket.AF_UNIX)

    class Looking(socket.socket):
        def recvmsg(self, *arguments):
            seen = super().recvmsg(*arguments)
            socket.send_fds(his, [b"b"], [his.fileno()])
            return seen

    his.send(b"a")
    with his, Looking(fileno=ours.detach()) as end:
        assert closing.receive(end, 10) == b"a"
        with pytest.raises(closing.DescriptorsError):
            closing.receive(end, 10)


def test_what_is_sent_as_urgent_is_seen():
    """One looks past it otherwise, and a descriptor came with it."""
    ours, kept = make_end(1, socket.MSG_OOB)
    closing.close_end(ours)
    assert ours.fileno() == -1
    for end in kept:
        end.close()


@pytest.mark.parametrize("flags", [0, socket.MSG_OOB])
def test_a_door_is_closed_with_all_who_stand_before_it(tmp_path, flags):
    """And what they have sent is thrown away before, however it lingers."""
    kept = []
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(str(tmp_path / "door"))
        door.listen()
        for _ in range(3):
            his = socket.socket(socket.AF_UNIX)
            his.connect(str(tmp_path / "door"))
            kept += [his, *send(his, 2, flags)]
        with started(door):
            closing.close_door(door)
            assert door.fileno() == -1
            with pytest.raises(ConnectionRefusedError):
                socket.socket(socket.AF_UNIX).connect(str(tmp_path / "door"))
        assert kept[0].recv(1) == b""
    for end in kept:
        end.close()


def test_who_sends_while_it_is_closed_sends_nothing_more(monkeypatch):
    """From before it is looked into nothing comes in: else it is closed by who must not wait."""
    ours, kept = make_end()
    look, tries = closing._is_empty, []

    def send_and_look(end):
        with pytest.raises(BrokenPipeError):
            kept[0].send(b"x")
        tries.append(look(end))
        return tries[-1]

    monkeypatch.setattr(closing, "_is_empty", send_and_look)
    closing.close_end(ours)
    assert tries == [True]
    kept[0].close()
