"""One JSON object a line over a UNIX stream socket, with descriptors beside the lines; both ends bounded, never pickle.

A stream and not packets: an answer of megabytes would not fit a packet, and several requests go out in one call.
Descriptors arrive with the first byte they were sent with, in order, so the receiver takes one from the front for each
request it reads.  `encode` and `decode` are the only way in and out.
"""

from __future__ import annotations

import array
import json
import os
import socket
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from ckptd.errors import WorkerError
from ckptd.model import Json

#: The longest line either side takes, its newline included.
MAX_LINE_BYTES = 8 << 20
#: Commas and brackets in one line, which bound how many values it can be parsed into: 8 MiB of `[],` would be 200 MB.
MAX_MARKS = 1_000_000

#: One read; the kernel's buffer of such a socket holds about this much.
_READ_BYTES = 1 << 18
#: Descriptors that may come with one read of the worker's side; the parent sends far fewer in one call.
MAX_FDS = 32

_encoder = json.JSONEncoder(separators=(",", ":"), allow_nan=False, check_circular=False)


class ChannelClosedError(WorkerError):
    """The other end is gone."""


def encode(value: Mapping[str, Any]) -> bytes:
    """Write one line.

    Raises:
        ValueError: not finite, or longer than `MAX_LINE_BYTES`.
        TypeError: no JSON.
    """
    line = _encoder.encode(value).encode("ascii") + b"\n"
    if len(line) > MAX_LINE_BYTES:
        raise ValueError(f"an answer of {len(line)} bytes, of {MAX_LINE_BYTES} at most")
    return line


def decode(line: bytes | bytearray) -> dict[str, Json]:
    """Read one line that nobody vouches for.

    Raises:
        WorkerError: it is not one JSON object, or it would be too large in memory.
    """
    marks = line.count(b",") + line.count(b"[") + line.count(b"{")
    if marks > MAX_MARKS:
        raise WorkerError("a worker's answer was refused", why=f"{marks} values in one line, {MAX_MARKS} at most")
    try:
        # ASCII: `encode` writes nothing else, and what json.loads does to other encodings need not be known.
        value = _decode(line.decode("ascii"))
    except (ValueError, RecursionError) as error:
        raise WorkerError("a worker's answer was refused", why="it is not JSON") from error
    if type(value) is not dict:
        raise WorkerError("a worker's answer was refused", why="it is not an object")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)


_decode = json.JSONDecoder(parse_constant=_refuse_constant).decode


class Lines:
    """Cut what arrives into lines; bounded by `MAX_LINE_BYTES`."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._searched = 0

    def feed(self, data: bytes) -> list[bytes]:
        """Take what arrived and return the lines that are complete now, without their newlines.

        Raises:
            WorkerError: a line is too long.
        """
        buffer = self._buffer
        buffer += data
        end = buffer.rfind(b"\n", self._searched)
        if end < 0:
            self._searched = len(buffer)
            if len(buffer) >= MAX_LINE_BYTES:
                raise WorkerError("a worker's answer was refused", why=f"it is longer than {MAX_LINE_BYTES} bytes")
            return []
        lines = bytes(buffer[:end]).split(b"\n")
        del buffer[: end + 1]
        self._searched = len(buffer)
        if any(len(line) >= MAX_LINE_BYTES for line in lines):
            raise WorkerError("a worker's answer was refused", why=f"it is longer than {MAX_LINE_BYTES} bytes")
        return lines


class Channel:
    """The parent's end: never blocks; what does not fit waits in a buffer.

    Attributes:
        broken: True when the other end took nothing any more.
    """

    def __init__(self, sock: socket.socket) -> None:
        sock.settimeout(0)
        self.broken = False
        self._socket = sock
        self._lines = Lines()
        self._waiting: deque[tuple[memoryview, Sequence[int]]] = deque()

    def fileno(self) -> int:
        """Return the descriptor to wait on; -1 after `close`."""
        return self._socket.fileno()

    @property
    def wants_write(self) -> bool:
        """True while something waits for the socket to take more."""
        return bool(self._waiting)

    def send(self, data: bytes, fds: Sequence[int]) -> None:
        """Send lines with their descriptors; the descriptors must stay open until the answers are here."""
        self._waiting.append((memoryview(data), fds))
        if len(self._waiting) == 1:
            self.flush()

    def flush(self) -> None:
        """Send what waits, as far as the socket takes it.

        When the other end is gone this only sets `broken`: answers that it gave before may still wait to be received.
        """
        while self._waiting:
            data, fds = self._waiting[0]
            ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
            try:
                sent = self._socket.sendmsg([data], ancillary)
            except BlockingIOError:
                return
            except OSError:
                self.broken = True
                self._waiting.clear()
                return
            if sent == len(data):
                self._waiting.popleft()
            else:
                self._waiting[0] = (data[sent:], ())

    def receive(self) -> list[bytes]:
        """Read once and return the complete lines; an empty list when there is none.

        Raises:
            ChannelClosedError: the other end is gone.
            WorkerError: a line is too long.
        """
        try:
            data = self._socket.recv(_READ_BYTES)
        except BlockingIOError:
            return []
        except OSError as error:
            raise ChannelClosedError("a worker went away", why=error.strerror or "") from error
        if not data:
            raise ChannelClosedError("a worker went away")
        return self._lines.feed(data)

    def close(self) -> None:
        """Close the socket and forget what waits."""
        self._waiting.clear()
        self._socket.close()


class WorkerEnd:
    """The worker's end: blocks; requests in, lines out."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._fd = sock.fileno()
        self._lines = Lines()
        self._fds: deque[int] = deque()
        self._requests: deque[bytes] = deque()

    def fileno(self) -> int:
        """Return the descriptor to wait on."""
        return self._fd

    @property
    def pending(self) -> bool:
        """True when `receive_line` has one without waiting."""
        return bool(self._requests)

    def receive(self) -> tuple[dict[str, Json], int] | None:
        """Wait for the next request and its descriptor, which the caller closes; None when the parent is gone."""
        message = self.receive_line()
        return None if message is None else (message, self.take_fds(1)[0])

    def receive_line(self) -> dict[str, Json] | None:
        """Wait for the next line; None when the parent is gone."""
        while not self._requests:
            data, ancillary, _, _ = self._socket.recvmsg(_READ_BYTES, socket.CMSG_SPACE(4 * MAX_FDS), socket.MSG_CMSG_CLOEXEC)
            for level, kind, content in ancillary:
                if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                    self._fds.extend(array.array("i", content[: len(content) // 4 * 4]))
            if not data:
                return None
            self._requests.extend(self._lines.feed(data))
        return decode(self._requests.popleft())

    def take_fds(self, count: int) -> list[int]:
        """Take the descriptors that came with the line received last, which the caller closes.

        Raises:
            WorkerError: fewer came.
        """
        if len(self._fds) < count:
            raise WorkerError("a request came without its descriptor")
        return [self._fds.popleft() for _ in range(count)]

    def send(self, line: bytes) -> None:
        """Send one line, all of it.

        Raises:
            OSError: the parent is gone.
        """
        view = memoryview(line)
        while view:
            view = view[os.write(self._fd, view) :]
