"""The daemon's end of the socket: a thread that takes guests, hears each out, and hands on what he asks.

A guest connects, says one line, and gets one answer; what is run for him sends its output through pipes of the daemon's own,
whose reading ends he gets.  Guests are bounded in number, for each user too, and a silent one is shown out.

How the daemon stands the thread says itself, so that it can be asked when the loop stands still.  It receives no descriptors:
what somebody sent all the same is closed by `closing`, because that may take as long as he likes.
"""

from __future__ import annotations

import array
import os
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from ckptd.control.protocol import MOST_REQUEST_BYTES, STATUS, Answer, Asked, RequestError
from ckptd.control.rights import Peer, Rules, find_peer
from ckptd.control.socket_file import is_there, let_in, make_socket, remove_socket
from ckptd.errors import StorageError
from ckptd.sandbox.closing import DescriptorsError, close_door, close_end, receive, show_urgent, take_pokes

#: Guests at once, and of one user.  Administrators always find a chair.
MOST_GUESTS = 64
MOST_OF_ONE = 8
#: How long a guest may take to say what he wants, seconds.
PATIENCE_SECONDS = 10.0
#: How long the loop may take to come round before who asks how the daemon stands is told that it does not, seconds.
LOOP_SECONDS = 10.0
#: How often it is looked whether it did, seconds; only while somebody waits for it.
_LOOK_SECONDS = 0.02
#: How often it is looked whether the socket is still there, seconds.
TEND_SECONDS = 60.0
#: How long the end waits for the thread, seconds.
_END_SECONDS = 0.5

#: Says how the daemon stands: None while the loop may still come round after that moment (monotonic seconds); the last argument
#: is True when it has had its time.
Look = Callable[[Asked, float, bool], Answer | None]


class Guest:
    """One who connected.

    Threading: `read` and `close` are called by the listener's thread, `say` by the loop too.

    Attributes:
        peer: who it is, by the kernel's word.
        asked: what he wants; None until he has said it.
        is_gone: he went away before he was answered.
    """

    def __init__(self, end: socket.socket, peer: Peer, until: float) -> None:
        self.peer = peer
        self.asked: Asked | None = None
        self.is_gone = False
        self.end = end
        self.until = until
        self._buffer = b""
        self._lock = threading.Lock()
        self._is_closed = False

    def read(self) -> bool:
        """Read what is there; True once the request is complete.

        Raises:
            EOFError: he went away, or does not stop talking.
            RequestError: what he said is no request.
        """
        try:
            data = receive(self.end, MOST_REQUEST_BYTES)
        except BlockingIOError:
            return False
        except DescriptorsError as error:
            if self.asked is not None:
                raise EOFError from error
            raise RequestError("understand a request", why=str(error.strerror)) from error
        except OSError as error:
            raise EOFError from error
        if not data or self.asked is not None:
            raise EOFError
        self._buffer += data
        line, end, rest = self._buffer.partition(b"\n")
        if len(self._buffer) > MOST_REQUEST_BYTES or rest:
            raise RequestError("understand a request", why="it is longer than one line")
        if end:
            self.asked = Asked.from_line(line)
        return self.asked is not None

    def say(self, answer: Answer, fds: Sequence[int] = ()) -> None:
        """Tell him something, if he is there and takes it: a line is far smaller than the buffer of a socket."""
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        with self._lock, suppress(OSError):  # else it may be closed in this moment, and its number be another's
            if not self._is_closed:
                self.end.sendmsg([answer.to_line()], rights, socket.MSG_NOSIGNAL | socket.MSG_DONTWAIT)

    def close(self) -> None:
        """Let him go."""
        with self._lock:
            self._is_closed = True
        close_end(self.end)


class Listener:
    """Take guests, in a thread of its own.

    Threading: `arrived` and `gone` are taken and every method called by the owner; `wake` and `look` are called by the thread.

    Args:
        path: of the socket; its directory is there.
        rules: who may ask anything at all.
        wake: called whenever something was put into `arrived` or `gone`, or the loop is waited for.
        look: says how the daemon stands.

    Attributes:
        arrived: guests who have said what they want; each is answered by `finish`, now or later.
        gone: guests who went away before that.
        keeps_out: who would be refused can't even connect.
        trouble: why nobody comes in by the socket any more; empty in good times.
        renewals: how often it had to be made anew.
        round_at: when the thread last came round, monotonic seconds.

    Raises:
        StorageError: the socket can't be made.
    """

    def __init__(self, path: Path, rules: Rules, wake: Callable[[], None], look: Look) -> None:
        self.path = path
        self.rules = rules
        self.arrived: deque[Guest] = deque()
        self.gone: deque[Guest] = deque()
        self.trouble = ""
        self.renewals = 0
        self.round_at = time.monotonic()
        self._wake = wake
        self._look = look
        self._finished: deque[tuple[Guest, Answer]] = deque()
        self._guests: set[Guest] = set()
        self._questions: list[tuple[Guest, float]] = []
        take_pokes()
        made = make_socket(path, rules, MOST_GUESTS)
        self._end: socket.socket | None = made.end
        self._seen, self.keeps_out = made.seen, made.keeps_out
        self._tend_at = time.monotonic() + TEND_SECONDS
        self._selector = selectors.DefaultSelector()
        self._bell, self._button = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._is_ending = self._is_retiring = self._is_taken_away = self._is_gone = False
        self._bell_lock = threading.Lock()  # else it is rung when its number is another's
        self._file_lock = threading.Lock()  # else it is made anew in the moment in which it is taken away
        self._may_begin = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="ckptd-control", daemon=True)
        self._thread.start()

    def begin(self) -> None:
        """Hear people; until then they wait before the door, and `look` is not called."""
        self._may_begin.set()

    @property
    def is_alive(self) -> bool:
        """Say whether the thread runs."""
        return self._thread.is_alive()

    def admit(self, rules: Rules) -> None:
        """Let others in from now on, and see that the socket is there."""
        self.rules = rules
        self._tend_at = -1.0
        self.ring()

    def finish(self, guest: Guest, answer: Answer) -> None:
        """Answer a guest and let him go."""
        self._finished.append((guest, answer))
        self.ring()

    def retire(self) -> None:
        """Let nobody in any more; who is there gets his answer, and then the thread ends."""
        self._take_away()
        self._is_retiring = True
        self.ring()

    def close(self) -> None:
        """Let everybody go and take the socket away, if it is still ours."""
        self._take_away()
        self._is_ending = True
        self.begin()
        self.ring()
        self._thread.join(_END_SECONDS)

    def _take_away(self) -> None:
        """Remove the socket; before its end is closed, because then the number of the file may be another's."""
        with self._file_lock:
            if not self._is_taken_away:
                self._is_taken_away = True
                remove_socket(self.path, self._seen)

    def ring(self) -> None:
        """Have the thread come round, if it has not ended."""
        with self._bell_lock, suppress(OSError):  # it is full: the thread is about to look anyway
            if not self._is_gone:
                os.write(self._button, b"\0")

    # — the thread —

    def _serve(self) -> None:
        self._may_begin.wait()
        assert self._end is not None
        self._selector.register(self._end, selectors.EVENT_READ, self._accept)
        self._selector.register(self._bell, selectors.EVENT_READ, lambda: None)
        while not self._is_over:
            ready = self._selector.select(self._find_pause())
            self._drain()  # first: what is wished for after the bell was heard rings anew
            self.round_at = time.monotonic()
            self._tend()
            for key, _ in ready:
                key.data()
            self._say_answers()
            self._answer_questions()
            self._show_out()
        self._say_answers()  # those that came since: the end is looked at first
        for guest in [*self._guests]:
            self._forget(guest)
        self._shut()
        self._selector.close()
        with self._bell_lock:
            self._is_gone = True
            os.close(self._bell)
            os.close(self._button)

    @property
    def _is_over(self) -> bool:
        return self._is_ending or (self._is_retiring and self._end is None and not self._guests)

    def _find_pause(self) -> float:
        now = time.monotonic()
        times = [guest.until for guest in self._guests if guest.asked is None]
        times += [self._tend_at] if not self._is_retiring else []
        pause = min(times, default=now + TEND_SECONDS) - now
        return max(0.0, min(pause, _LOOK_SECONDS) if self._questions else pause)

    def _drain(self) -> None:
        with suppress(BlockingIOError):
            while os.read(self._bell, 4_096):
                pass

    def _tend(self) -> None:
        """See that the socket is there and lets in who may, now and then and when the loop wishes it."""
        if self._is_retiring:
            self._shut()
            return
        now = time.monotonic()
        if now < self._tend_at:
            return
        self._tend_at = now + TEND_SECONDS
        before = self.keeps_out, self.trouble, self.renewals
        try:
            with self._file_lock:
                self._mend()
            self.trouble = ""
        except (StorageError, OSError) as error:  # it is tried again
            self.trouble = str(error)
        if before != (self.keeps_out, self.trouble, self.renewals):
            self._wake()

    def _mend(self) -> None:
        """Make the socket anew where somebody took it away, and let in who may.

        Raises:
            OSError, StorageError: it can't be made, or changed.
        """
        if self._is_taken_away:
            return
        if self._end is None or not is_there(self.path, self._seen):
            self._renew()
        self.keeps_out = let_in(self.path, self._seen, self.rules)

    def _renew(self) -> None:
        made = make_socket(self.path, self.rules, MOST_GUESTS)
        self._shut()
        self._end, self._seen = made.end, made.seen
        self._selector.register(self._end, selectors.EVENT_READ, self._accept)
        self.renewals += 1

    def _shut(self) -> None:
        """Let nobody in any more."""
        if self._end is not None:
            self._selector.unregister(self._end)
            close_door(self._end)
            self._end = None

    def _accept(self) -> None:
        if self._end is None:  # it was shut in this round
            return
        try:
            end, _ = self._end.accept()
        except BlockingIOError:
            return
        except OSError:  # descriptors are used up: he stays in the queue, and the thread must not spin
            time.sleep(_END_SECONDS)
            return
        end.settimeout(0)
        show_urgent(end)
        try:
            guest = Guest(end, find_peer(end), time.monotonic() + PATIENCE_SECONDS)
        except OSError:
            close_end(end)
            return
        refusal = self._find_refusal(guest.peer)
        if refusal is not None:
            guest.say(refusal)
            guest.close()
            return
        self._guests.add(guest)
        self._selector.register(end, selectors.EVENT_READ, lambda: self._read(guest))

    def _find_refusal(self, peer: Peer) -> Answer | None:
        if not self.rules.is_known(peer):
            return Answer(4, f"user {peer.uid} may not ask this daemon: join the group that it serves (control.group)")
        if self.rules.is_admin(peer):
            return None
        theirs = sum(guest.peer.uid == peer.uid for guest in self._guests)
        if theirs >= MOST_OF_ONE or len(self._guests) >= MOST_GUESTS:
            return Answer(4, "too many ask at once: try again in a moment")
        return None

    def _read(self, guest: Guest) -> None:
        if guest not in self._guests:
            return
        try:
            if guest.read():
                self._take(guest)
        except EOFError:
            self._forget(guest)
            if guest.asked is not None:
                guest.is_gone = True
                self.gone.append(guest)
                self._wake()
        except RequestError as error:
            guest.say(Answer(error.exit_status, str(error)))
            self._forget(guest)

    def _take(self, guest: Guest) -> None:
        assert guest.asked is not None
        if guest.asked.what == STATUS:
            self._questions.append((guest, time.monotonic()))
        else:
            self.arrived.append(guest)
        self._wake()

    def _say_answers(self) -> None:
        while self._finished:
            guest, answer = self._finished.popleft()
            guest.say(answer)
            self._forget(guest)

    def _answer_questions(self) -> None:
        """Say how the daemon stands once the loop came round, or when it does not."""
        now = time.monotonic()
        for guest, asked_at in [*self._questions]:
            assert guest.asked is not None
            answer = None if guest.is_gone else self._look(guest.asked, asked_at, now - asked_at >= LOOP_SECONDS)
            if answer is not None or guest.is_gone:
                self._questions.remove((guest, asked_at))
            if answer is not None:
                guest.say(answer)
                self._forget(guest)

    def _show_out(self) -> None:
        """Let those go who say nothing."""
        now = time.monotonic()
        for guest in [guest for guest in self._guests if guest.asked is None and now >= guest.until]:
            guest.say(Answer(2, "nothing was asked"))
            self._forget(guest)

    def _forget(self, guest: Guest) -> None:
        if guest in self._guests:
            self._guests.remove(guest)
            self._selector.unregister(guest.end)
            guest.close()
