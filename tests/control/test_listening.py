"""A guest of the socket, to whom the loop speaks while the thread may close his end; and the thread that is told to end."""

from __future__ import annotations

import os
import socket
import threading

import pytest

from ckptd.control import listening
from ckptd.control.listening import Guest, Listener
from ckptd.control.protocol import Answer, Asked
from ckptd.control.rights import Peer, Rules
from tests.e2e.running import wait_for


class SlowEnd:
    """An end that takes what is sent only when the test lets it."""

    def __init__(self):
        self.story = []
        self.is_sending, self.may_go_on = threading.Event(), threading.Event()

    def sendmsg(self, *_):
        self.is_sending.set()
        self.may_go_on.wait(60)
        self.story.append("sent")

    def setsockopt(self, *_):
        pass

    def shutdown(self, _how):
        self.story.append("shut")

    def recv(self, *_):
        return b""

    def close(self):
        self.story.append("closed")


def test_an_end_is_not_closed_while_somebody_speaks_to_it():
    """Its number may be another's in the next moment; afterwards nothing is said any more."""
    end = SlowEnd()
    guest = Guest(end, Peer(1, 1, 1, frozenset()), 0.0)
    saying = threading.Thread(target=guest.say, args=(Answer(),))
    saying.start()
    assert end.is_sending.wait(60)
    closing = threading.Thread(target=guest.close)
    closing.start()
    closing.join(0.2)
    assert end.story == []
    end.may_go_on.set()
    for thread in (saying, closing):
        thread.join(60)
    guest.say(Answer())
    assert end.story == ["sent", "shut", "closed"]


def test_who_sends_descriptors_after_he_has_asked_goes_away():
    """What runs for him is told to end: he is not answered while it goes on."""
    ours, his = socket.socketpair(socket.AF_UNIX)
    guest = Guest(ours, Peer(1, 1, 1, frozenset()), 0.0)
    his.send(b'{"what": "status"}\n')
    assert guest.read()
    socket.send_fds(his, [b"x"], [his.fileno()])
    with pytest.raises(EOFError):
        guest.read()
    guest.close()
    his.close()


def test_a_wish_that_comes_while_the_thread_works_is_heard_in_the_next_round(tmp_path):
    """The bell is emptied before the work: a ring in the middle of it would be taken for the one that was just answered."""
    rules = Rules(0, frozenset(), frozenset())
    path = tmp_path / "ctl"
    began = threading.Event()

    def retire():  # the thread calls this in the middle of its round, where it made the socket anew
        began.set()
        listener.retire()

    listener = Listener(path, rules, retire, lambda *_: None)
    listener.begin()
    path.unlink()
    listener.admit(rules)
    try:
        assert began.wait(60)
        wait_for(lambda: not listener.is_alive, "the end of the thread", patience=20)
    finally:
        listener.close()


def test_an_answer_that_comes_while_the_thread_works_is_said_before_the_end(tmp_path, monkeypatch):
    """The last of the loop: what was done for somebody, who would take the silence for the end of it."""
    monkeypatch.setattr(listening, "_END_SECONDS", 0.0)
    path = tmp_path / "ctl"
    arrived, working, may_go_on = threading.Event(), threading.Event(), threading.Event()

    def look(*_):  # the thread calls this when it has said the answers that there were
        working.set()
        may_go_on.wait(60)

    def ask(what):
        ends.append(socket.socket(socket.AF_UNIX))
        ends[-1].settimeout(60)
        ends[-1].connect(str(path))
        ends[-1].sendall(Asked(what).to_line())
        return ends[-1]

    ends = []
    listener = Listener(path, Rules(os.geteuid(), frozenset(), frozenset()), arrived.set, look)
    listener.begin()
    try:
        waiting = ask("run")
        assert arrived.wait(60)
        guest = listener.arrived.popleft()
        ask("status")
        assert working.wait(60)
        listener.finish(guest, Answer(3))
        listener.close()
        may_go_on.set()
        assert waiting.recv(4_096) == Answer(3).to_line()
    finally:
        may_go_on.set()
        for end in ends:
            end.close()
