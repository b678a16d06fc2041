"""The daemon's end of the socket: a thread that takes guests, hears each out, and hands on what he asks.

A guest connects, says one line, and gets one answer; what is run for him sends its output through pipes of the daemon's own,
whose reading ends he gets.  Guests are bounded in number, for each user too, and a silent one is shown out.

It is a thread of its own because a message may carry descriptors whose closing takes as long as the guest likes (a socket that
lingers): nobody but the next guest waits for that.
"""

from __future__ import annotations

import array
import os
import selectors
import socket
import stat
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from ckptd.control.protocol import MOST_REQUEST_BYTES, Answer, Asked, RequestError
from ckptd.control.rights import Peer, Rules, find_peer
from ckptd.errors import StorageError

#: Guests at once, and of one user.  Root and the daemon's user always find a chair.
MOST_GUESTS = 64
MOST_OF_ONE = 8
#: How long a guest may take to say what he wants, seconds.
PATIENCE_SECONDS = 10.0
#: How long the end waits for the thread, seconds.
_END_SECONDS = 0.5
#: Bytes of a socket's path.  Source: unix(7), sun_path with its zero.
_MOST_PATH_BYTES = 107


class Guest:
    """One who connected.

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

    def read(self) -> bool:
        """Read what is there; True once the request is complete.  Descriptors that came with it are closed by the kernel.

        Raises:
            EOFError: he went away, or does not stop talking.
            RequestError: what he said is no request.
        """
        try:
            data = self.end.recv(MOST_REQUEST_BYTES)
        except BlockingIOError:
            return False
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
        """Tell him something, if he takes it: a line is far smaller than the buffer of a socket."""
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        with suppress(OSError):
            self.end.sendmsg([answer.to_line()], rights, socket.MSG_NOSIGNAL | socket.MSG_DONTWAIT)


class Listener:
    """Take guests, in a thread of its own.

    Threading: `arrived` and `gone` are taken and `say` and `finish` called by the owner; `wake` is called by the thread.

    Args:
        path: of the socket; its directory is there.
        rules: who may ask anything at all.
        wake: called whenever something was put into `arrived` or `gone`.

    Attributes:
        arrived: guests who have said what they want; each is answered by `finish`, now or later.
        gone: guests who went away before that.

    Raises:
        StorageError: the socket can't be made.
    """

    def __init__(self, path: Path, rules: Rules, wake: Callable[[], None]) -> None:
        self.path = path
        self.rules = rules
        self.arrived: deque[Guest] = deque()
        self.gone: deque[Guest] = deque()
        self._wake = wake
        self._finished: deque[tuple[Guest, Answer]] = deque()
        self._guests: set[Guest] = set()
        self._end = _listen(path, rules)
        self._made = os.lstat(path)
        self._selector = selectors.DefaultSelector()
        self._bell, self._button = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._is_ending = False
        self._thread = threading.Thread(target=self._serve, name="ckptd-control", daemon=True)
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Say whether the thread runs."""
        return self._thread.is_alive()

    def admit(self, rules: Rules) -> None:
        """Let others in from now on."""
        self.rules = rules
        with suppress(OSError):  # the socket was taken away: nobody comes in by it
            directory = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                if os.path.samestat(self._made, os.stat(self.path.name, dir_fd=directory, follow_symlinks=False)):
                    _let_in(self.path.name, directory, rules)
            finally:
                os.close(directory)

    def finish(self, guest: Guest, answer: Answer) -> None:
        """Answer a guest and let him go."""
        self._finished.append((guest, answer))
        self._ring()

    def close(self) -> None:
        """Let everybody go and take the socket away, if it is still ours."""
        self._is_ending = True
        self._ring()
        self._thread.join(_END_SECONDS)
        with suppress(OSError):
            if os.path.samestat(self._made, os.lstat(self.path)):
                self.path.unlink()

    def _ring(self) -> None:
        with suppress(OSError):  # it is full: the thread is about to look anyway
            os.write(self._button, b"\0")

    # — the thread —

    def _serve(self) -> None:
        self._selector.register(self._end, selectors.EVENT_READ, self._accept)
        self._selector.register(self._bell, selectors.EVENT_READ, self._drain)
        while True:
            for key, _ in self._selector.select(self._find_pause()):
                key.data()
            while self._finished:
                guest, answer = self._finished.popleft()
                guest.say(answer)
                self._forget(guest)
            if self._is_ending:
                break
            now = time.monotonic()
            for guest in [guest for guest in self._guests if guest.asked is None and now >= guest.until]:
                guest.say(Answer(2, "nothing was asked"))
                self._forget(guest)
        for guest in [*self._guests]:
            self._forget(guest)
        self._end.close()
        self._selector.close()
        os.close(self._bell)
        os.close(self._button)

    def _find_pause(self) -> float | None:
        times = [guest.until for guest in self._guests if guest.asked is None]
        return max(0.0, min(times) - time.monotonic()) if times else None

    def _drain(self) -> None:
        with suppress(BlockingIOError):
            while os.read(self._bell, 4_096):
                pass

    def _accept(self) -> None:
        try:
            end, _ = self._end.accept()
        except BlockingIOError:
            return
        except OSError:  # descriptors are used up: he stays in the queue, and the thread must not spin
            time.sleep(_END_SECONDS)
            return
        end.settimeout(0)
        try:
            guest = Guest(end, find_peer(end), time.monotonic() + PATIENCE_SECONDS)
        except OSError:
            end.close()
            return
        refusal = self._find_refusal(guest.peer)
        if refusal is not None:
            guest.say(refusal)
            end.close()
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
                self.arrived.append(guest)
                self._wake()
        except EOFError:
            self._forget(guest)
            if guest.asked is not None:
                guest.is_gone = True
                self.gone.append(guest)
                self._wake()
        except RequestError as error:
            guest.say(Answer(error.exit_status, str(error)))
            self._forget(guest)

    def _forget(self, guest: Guest) -> None:
        if guest in self._guests:
            self._guests.remove(guest)
            self._selector.unregister(guest.end)
            guest.end.close()


def _listen(path: Path, rules: Rules) -> socket.socket:
    end = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    try:
        _remove_old(path)
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            is_long = len(os.fsencode(path)) > _MOST_PATH_BYTES
            end.bind(f"/proc/self/fd/{directory}/{path.name}" if is_long else str(path))
            _let_in(path.name, directory, rules)
        finally:
            os.close(directory)
        end.listen(MOST_GUESTS)
    except OSError as error:
        end.close()
        why, cure = error.strerror or str(error), "set control.socket to a path in a directory of the daemon's user"
        raise StorageError("listen for commands", path=path, why=why, cure=cure) from error
    return end


def _let_in(name: str, directory: int, rules: Rules) -> None:
    """Let nobody connect who would be refused, as far as a mode can say that; who it is decides in any case."""
    groups = rules.members | rules.admins
    mode = 0o600
    if groups:
        mode = 0o660
        try:
            (group,) = groups
            os.chown(name, -1, group, dir_fd=directory)
        except (ValueError, OSError):  # there are two, or it is none of the daemon's own
            mode = 0o666
    os.chmod(name, mode, dir_fd=directory)


def _remove_old(path: Path) -> None:
    """Remove the socket that a killed daemon left; whoever holds the lock of the state is the only one who listens here.

    Raises:
        FileExistsError: something else lies there.
    """
    try:
        seen = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(seen.st_mode) or seen.st_uid != os.geteuid():
        raise FileExistsError(0, "something lies there that is no socket of ours")
    path.unlink()
