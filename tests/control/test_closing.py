"""Closing what somebody sent and nobody received, with sockets of the kernel that linger."""

from __future__ import annotations

import array
import os
import signal
import socket
import struct
import threading
import time

import pytest

from ckptd.control import closing


@pytest.fixture(autouse=True)
def _pokes():
    before = signal.getsignal(closing.POKE)
    closing.take_pokes()
    yield
    signal.signal(closing.POKE, before)


def make_end(lingers=0):
    """Give an end in which so many lingering sockets lie that nobody received, and the others of all pairs, to be kept."""
    ours, his = socket.socketpair(socket.AF_UNIX)
    kept = [his]
    for _ in range(lingers):
        with socket.create_server(("127.0.0.1", 0)) as server:
            one = socket.create_connection(server.getsockname())
            kept.append(server.accept()[0])
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 3_600))
        one.settimeout(0)
        try:
            while True:
                one.send(bytes(1 << 16))
        except BlockingIOError:
            pass
        his.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [one.fileno()]))])
        one.close()  # not the last: it does not linger
    return ours, kept


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
