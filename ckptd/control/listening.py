"""The daemon's end of the socket, driven by the caller's selector: nothing here waits.

A guest connects, says one thing with two descriptors, and gets one answer.  Guests are bounded in number, for each user too,
and a silent one is shown out.  Who may ask nothing is told so before a byte of his is read.
"""

from __future__ import annotations

import array
import os
import selectors
import socket
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ckptd.control.protocol import DESCRIPTORS, MOST_REQUEST_BYTES, Answer, Asked, RequestError
from ckptd.control.rights import Peer, Rules, find_peer
from ckptd.errors import StorageError

#: Guests at once, and of one user.  Root and the daemon's user always find a chair.
MOST_GUESTS = 64
MOST_OF_ONE = 8
#: How long a guest may take to say what he wants, seconds.
PATIENCE_SECONDS = 10.0
#: Bytes of a socket's path.  Source: unix(7), sun_path with its zero.
_MOST_PATH_BYTES = 107
#: Descriptors that are taken from one message, so that surplus ones can be closed.
_MOST_FDS = 16


class Guest:
    """One who connected.

    Attributes:
        peer: who it is, by the kernel's word.
        asked: what he wants; None until he has said it.
        fds: his descriptors for output and complaints; they belong to the guest until `close`.
        gone: called once when he goes away before he was answered.
    """

    def __init__(self, end: socket.socket, peer: Peer, until: float) -> None:
        self.peer = peer
        self.asked: Asked | None = None
        self.fds: list[int] = []
        self.gone: Callable[[], None] = _shrug
        self.end = end
        self.until = until
        self._buffer = b""

    def read(self) -> bool:
        """Read what is there; True once the request is complete.

        Raises:
            EOFError: he went away.
            RequestError: what he said is no request.
        """
        try:
            data, ancillary, flags, _ = self.end.recvmsg(
                MOST_REQUEST_BYTES, socket.CMSG_SPACE(4 * _MOST_FDS), socket.MSG_CMSG_CLOEXEC
            )
        except BlockingIOError:
            return False
        except OSError as error:
            raise EOFError from error
        for level, kind, content in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                self.fds.extend(array.array("i", content[: len(content) // 4 * 4]))
        if not data:
            raise EOFError
        if self.asked is not None:
            return False  # he was heard: what he adds is of no interest
        self._buffer += data
        if len(self._buffer) > MOST_REQUEST_BYTES or flags & socket.MSG_CTRUNC or len(self.fds) > DESCRIPTORS:
            raise RequestError("understand a request", why="it is longer than a request may be")
        line, end, rest = self._buffer.partition(b"\n")
        if not end:
            return False
        if rest or len(self.fds) != DESCRIPTORS:
            raise RequestError("understand a request", why="it came with something else than a line and two descriptors")
        self.asked = Asked.from_line(line)
        return True

    def say(self, answer: Answer) -> None:
        """Answer him, if he takes it: a line is far smaller than the buffer of a socket."""
        with suppress(OSError):
            self.end.send(answer.to_line(), socket.MSG_NOSIGNAL | socket.MSG_DONTWAIT)

    def drop_fds(self) -> None:
        """Close his descriptors: another process has them, or nobody needs them."""
        for fd in self.fds:
            os.close(fd)
        self.fds = []

    def close(self) -> None:
        """Show him out."""
        self.drop_fds()
        self.end.close()


class Listener:
    """Take guests.

    Threading: belongs to the loop of `selector`.

    Args:
        path: of the socket; its directory is there.
        selector: what is registered has a callable as data.
        rules: who may ask anything at all.
        take: called with each guest who has said what he wants; it answers by `finish`, now or later.
        now: monotonic seconds.

    Raises:
        StorageError: the socket can't be made.
    """

    def __init__(
        self,
        path: Path,
        selector: selectors.BaseSelector,
        rules: Rules,
        take: Callable[[Guest], None],
        now: Callable[[], float],
    ) -> None:
        self.path = path
        self._selector = selector
        self._rules = rules
        self._take = take
        self._now = now
        self._guests: list[Guest] = []
        self._end = _listen(path)
        self._made = os.lstat(path)
        selector.register(self._end, selectors.EVENT_READ, self._accept)

    def next_due(self) -> float | None:
        """Say when a guest has been silent for too long."""
        return min((guest.until for guest in self._guests if guest.asked is None), default=None)

    def step(self) -> None:
        """Show out who is silent."""
        now = self._now()
        for guest in [guest for guest in self._guests if guest.asked is None and now >= guest.until]:
            self.finish(guest, Answer(2, "nothing was asked"))

    def finish(self, guest: Guest, answer: Answer) -> None:
        """Answer a guest and let him go."""
        if guest in self._guests:
            guest.say(answer)
            self._forget(guest)

    def close(self) -> None:
        """Let everybody go and take the socket away, if it is still ours."""
        for guest in [*self._guests]:
            self._forget(guest)
        self._selector.unregister(self._end)
        self._end.close()
        with suppress(OSError):
            if os.path.samestat(self._made, os.lstat(self.path)):
                self.path.unlink()

    def _accept(self) -> None:
        for _ in range(MOST_GUESTS):
            try:
                end, _ = self._end.accept()
            except OSError:  # nobody is left, or descriptors are used up: he stays in the queue
                return
            self._receive(end)

    def _receive(self, end: socket.socket) -> None:
        end.settimeout(0)
        try:
            peer = find_peer(end)
        except OSError:
            end.close()
            return
        guest = Guest(end, peer, self._now() + PATIENCE_SECONDS)
        refusal = self._find_refusal(peer)
        if refusal is not None:
            guest.say(refusal)
            guest.close()
            return
        self._guests.append(guest)
        self._selector.register(end, selectors.EVENT_READ, lambda: self._read(guest))

    def _find_refusal(self, peer: Peer) -> Answer | None:
        if not self._rules.is_known(peer):
            return Answer(4, f"user {peer.uid} may not ask this daemon: join the group that it serves (control.group)")
        if self._rules.is_admin(peer):
            return None
        theirs = sum(guest.peer.uid == peer.uid for guest in self._guests)
        if theirs >= MOST_OF_ONE or len(self._guests) >= MOST_GUESTS:
            return Answer(4, "too many ask at once: try again in a moment")
        return None

    def _read(self, guest: Guest) -> None:
        try:
            if guest.read():
                self._take(guest)
        except EOFError:
            self._forget(guest)
            guest.gone()
        except RequestError as error:
            self.finish(guest, Answer(error.exit_status, str(error)))

    def _forget(self, guest: Guest) -> None:
        self._guests.remove(guest)
        self._selector.unregister(guest.end)
        guest.close()


def _shrug() -> None:
    """Let him go."""


def _listen(path: Path) -> socket.socket:
    end = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    try:
        _remove_old(path)
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            is_long = len(os.fsencode(path)) > _MOST_PATH_BYTES
            end.bind(f"/proc/self/fd/{directory}/{path.name}" if is_long else str(path))
            os.chmod(path.name, 0o666, dir_fd=directory)  # noqa: S103 — who may ask is decided by who it is, not by a mode
        finally:
            os.close(directory)
        end.listen(MOST_GUESTS)
    except OSError as error:
        end.close()
        why, cure = error.strerror or str(error), "set control.socket to a path in a directory of the daemon's user"
        raise StorageError("listen for commands", path=path, why=why, cure=cure) from error
    return end


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
