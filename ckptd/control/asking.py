"""The end of the command line: find the daemon's socket, ask, and wait for its word."""

from __future__ import annotations

import os
import selectors
import socket
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from ckptd.control.protocol import MOST_ANSWER_BYTES, STREAMS, Answer, Asked, NotReachableError, RequestError, SilentError
from ckptd.control.rights import find_peer

#: Name of the socket in a runtime directory or a state directory.
SOCKET_NAME = "ctl"
#: Numbers of the streams that a command has.
_STREAMS = (1, 2)
#: Takes a stream's number and bytes of it.
Copy = Callable[[int, bytes], None]
#: Where units of systemd have their runtime directories.  Source: systemd.exec(5), RuntimeDirectory.
_RUNTIME = Path("/run")
#: Between two tries to be let in where more stand before the door than it holds, seconds.
_KNOCK_SECONDS = 0.05


def find_sockets(
    socket_path: Path | None, state_dir: Path | None, instance: str | None, environ: Mapping[str, str]
) -> list[Path]:
    """Give the places where the daemon may listen, the likeliest first.

    The place that the settings name comes first, and not alone: the daemon may still have the settings from before.

    Args:
        socket_path: of the settings; None where they name none, or can't be read.
        state_dir: of the settings, where a name leads to the socket wherever it is; None where they can't be read.
        instance: name of the settings file without its ending, as `ckptd@.service` calls its instances.
        environ: has XDG_RUNTIME_DIR, where a user's own daemon listens.
    """
    found = [] if socket_path is None else [socket_path]
    if state_dir is not None:
        found.append(state_dir / SOCKET_NAME)
    if environ.get("XDG_RUNTIME_DIR"):
        found.append(Path(environ["XDG_RUNTIME_DIR"], "ckptd", SOCKET_NAME))
    if instance:
        found.append(_RUNTIME / f"ckptd-{instance}" / SOCKET_NAME)
    return [*found, _RUNTIME / "ckptd" / SOCKET_NAME]


def is_trusted(place: Path, uid: int, named: Collection[Path]) -> bool:
    """Say whether who listens at a place is believed: what it says goes to a terminal.

    A place in a directory of somebody else's proves nothing; one that the settings name, or below /run, where only root makes
    directories, does.

    Args:
        place: of the socket.
        uid: of the listener, by the kernel's word.
        named: the places that the settings name.
    """
    return uid in (0, os.geteuid()) or place in named or place.parent.parent == _RUNTIME


def ask(
    places: Sequence[Path],
    asked: Asked,
    copy: Copy,
    is_trusted: Callable[[Path, int], bool],
    patience_seconds: float | None = None,
) -> tuple[Answer, Path]:
    """Ask the first daemon that looks after what is meant, and wait for its answer; give that and where it was asked.

    Args:
        places: of sockets.
        asked: the request.
        copy: takes what a command puts out, as it comes: 1 or 2, for output and complaints, and the bytes.
        is_trusted: says whether a listener at a place, of that user, is believed.
        patience_seconds: how long the answer may take; None for however long.

    Raises:
        NotReachableError: nobody listens, or nobody who looks after these roots.
        SilentError: somebody listens, and does not answer in time.
        RequestError: the request is too long, or the daemon speaks otherwise.
    """
    line, refused = asked.to_line(), ""
    for place in places:
        end = _connect(place, patience_seconds)
        if end is None:
            continue
        with end:
            if not is_trusted(place, find_peer(end).uid):
                refused = f"who listens at {place} is neither you, nor root, nor the service"
                continue
            try:
                answer = _exchange(end, line, copy)
            except TimeoutError:
                raise _be_silent(place, patience_seconds) from None
        if answer is None:
            refused = "it ended before it answered"
        elif answer.value.get("other_roots"):
            refused = answer.problem
        else:
            return answer, place
    why = refused or "no daemon listens at " + " or ".join(map(str, places))
    raise NotReachableError("ask the daemon", why=why, cure="is it running? `systemctl status ckptd`, or start `ckptd run`")


def _be_silent(place: Path, patience_seconds: float | None) -> SilentError:
    why = f"it listens, and has not answered within {patience_seconds or 0.0:.0f} seconds"
    return SilentError("ask the daemon", path=place, why=why, cure="its log says what holds it up; nothing was done until now")


def _connect(place: Path, patience_seconds: float | None) -> socket.socket | None:
    """Connect; None when nobody listens.

    Raises:
        SilentError: somebody does, and lets nobody in.
    """
    end = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    end.settimeout(patience_seconds)
    deadline = time.monotonic() + (patience_seconds or 0.0)
    try:
        directory = os.open(place.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:  # by the directory's descriptor: the path of a socket has 107 bytes at most
            while not _is_let_in(end, f"/proc/self/fd/{directory}/{place.name}"):
                if time.monotonic() >= deadline:
                    raise _be_silent(place, patience_seconds)
                time.sleep(_KNOCK_SECONDS)
        finally:
            os.close(directory)
    except OSError:
        end.close()
        return None
    except SilentError:
        end.close()
        raise
    return end


def _is_let_in(end: socket.socket, path: str) -> bool:
    """Connect, and say whether there was room.

    Raises:
        OSError: nobody listens there.
    """
    try:
        end.connect(path)
    except BlockingIOError:  # only where the wait is bounded: else the kernel waits itself
        return False
    return True


def _exchange(end: socket.socket, line: bytes, copy: Copy) -> Answer | None:
    """Say it, and give the answer; None when it went away.

    Raises:
        TimeoutError: nothing came in time.
    """
    with suppress(OSError):  # shown out before a word was read: why, stands in the answer
        end.sendall(line)
    heard = _Heard(end)
    answer = heard.next()
    if answer is None or not answer.value.get(STREAMS):
        return answer
    if len(heard.fds) != len(_STREAMS):
        raise RequestError("understand the daemon", why="it runs the command and does not let its output be read")
    _copy_all(heard.fds, copy)
    return heard.next()


class _Heard:
    """What the daemon says: lines, and the descriptors that came with them."""

    def __init__(self, end: socket.socket) -> None:
        self.fds: list[int] = []
        self._end = end
        self._buffer = b""

    def next(self) -> Answer | None:
        """Wait for the next line; None when it went away.

        Raises:
            TimeoutError: it did not come in time.
        """
        while b"\n" not in self._buffer:
            if len(self._buffer) > MOST_ANSWER_BYTES:
                return None
            try:
                data, fds, _, _ = socket.recv_fds(self._end, 1 << 16, len(_STREAMS))
            except TimeoutError:
                raise
            except OSError:
                return None
            self.fds += fds
            if not data:
                return None
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return Answer.from_line(line)


def _copy_all(fds: Sequence[int], copy: Copy) -> None:
    """Hand on what comes out of the pipes until both are at their end."""
    with selectors.DefaultSelector() as selector:
        for fd, stream in zip(fds, _STREAMS, strict=True):
            selector.register(fd, selectors.EVENT_READ, stream)
        try:
            while selector.get_map():
                for key, _ in selector.select():
                    data = os.read(key.fd, 1 << 16)
                    if data:
                        copy(key.data, data)
                    else:
                        selector.unregister(key.fd)
        finally:
            for fd in fds:
                os.close(fd)
