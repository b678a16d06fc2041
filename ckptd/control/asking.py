"""The end of the command line: find the daemon's socket, ask, and wait for its word."""

from __future__ import annotations

import array
import os
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path

from ckptd.control.protocol import MOST_ANSWER_BYTES, Answer, Asked, NotReachableError

#: Name of the socket in a runtime directory or a state directory.
SOCKET_NAME = "ctl"
#: Where units of systemd have their runtime directories.  Source: systemd.exec(5), RuntimeDirectory.
_RUNTIME = Path("/run")


def find_sockets(socket_path: Path | None, state_dir: Path, instance: str | None, environ: Mapping[str, str]) -> list[Path]:
    """Give the places where the daemon may listen, the likeliest first.

    Args:
        socket_path: of the settings; it counts alone when it is named.
        state_dir: of the settings.
        instance: name of the settings file without its ending, as `ckptd@.service` calls its instances.
        environ: has XDG_RUNTIME_DIR, where a user's own daemon listens.
    """
    if socket_path is not None:
        return [socket_path]
    found = [state_dir / SOCKET_NAME]
    if environ.get("XDG_RUNTIME_DIR"):
        found.append(Path(environ["XDG_RUNTIME_DIR"], "ckptd", SOCKET_NAME))
    if instance:
        found.append(_RUNTIME / f"ckptd-{instance}" / SOCKET_NAME)
    return [*found, _RUNTIME / "ckptd" / SOCKET_NAME]


def ask(places: Sequence[Path], asked: Asked, fds: Sequence[int]) -> Answer:
    """Ask the first daemon that looks after what is meant, and wait for its answer, however long that takes.

    Args:
        places: of sockets.
        asked: the request.
        fds: where output and complaints go.

    Raises:
        NotReachableError: nobody listens, or nobody who looks after these roots.
        RequestError: the request is too long, or the daemon speaks otherwise.
    """
    line, refused = asked.to_line(), ""
    for place in places:
        end = _connect(place)
        if end is None:
            continue
        with end:
            answer = _exchange(end, line, fds)
        if answer is None:
            refused = "it ended before it answered"
        elif answer.value.get("other_roots"):
            refused = answer.problem
        else:
            return answer
    why = refused or "no daemon listens at " + " or ".join(map(str, places))
    raise NotReachableError("ask the daemon", why=why, cure="is it running? `systemctl status ckptd`, or start `ckptd run`")


def _connect(place: Path) -> socket.socket | None:
    end = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        directory = os.open(place.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:  # by the directory's descriptor: the path of a socket has 107 bytes at most
            end.connect(f"/proc/self/fd/{directory}/{place.name}")
        finally:
            os.close(directory)
    except OSError:
        end.close()
        return None
    return end


def _exchange(end: socket.socket, line: bytes, fds: Sequence[int]) -> Answer | None:
    try:
        sent = end.sendmsg([line], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))])
        end.sendall(line[sent:])
    except OSError:  # shown out before a word was read: why, stands in the answer
        pass
    received = b""
    while b"\n" not in received:
        if len(received) > MOST_ANSWER_BYTES:
            return None
        try:
            data = end.recv(1 << 16)
        except OSError:
            return None
        if not data:
            return None
        received += data
    return Answer.from_line(received.partition(b"\n")[0])
