"""Close an end in which something may lie that nobody received: the kernel closes that too, and may take its time.

Descriptors can be sent over a socket.  One that lingers (SO_LINGER, with unsent bytes) keeps whoever closes it last for as
long as its maker likes; so another thread throws away what lies there, and a signal to that thread ends each wait.

Thrown away before the end is closed, because this process may not be the last to close it: one that is being started, anywhere
in the daemon, has a copy until it becomes the other program, would wait in its turn, and the loop that starts it with it.

Source: unix(7), SCM_RIGHTS; socket(7), SO_LINGER; net/core/stream.c, sk_stream_wait_close, which a signal ends; fs/exec.c,
begin_new_exec, which closes what is not to be handed down.
"""

from __future__ import annotations

import errno
import signal
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress

#: Ends the wait of the thread that it is sent to; nobody else uses it.
POKE = signal.SIGRTMIN + 1
#: Between two pokes, seconds: each ends the waits of one message, and the smallest messages that the kernel's usual buffer
#: (net.core.wmem_max, 208 KiB) takes are a few hundred.
_POKE_SECONDS = 0.0002
#: How long it is emptied, seconds; then it is closed with what is left in it.  And until the thread is left to itself.
_EMPTY_SECONDS, _MOST_SECONDS = 0.7, 1.0
#: Bytes thrown away at once; those of one message, whatever the number.
_BYTES = 1 << 16


class DescriptorsError(ConnectionResetError):
    """Descriptors were sent; for a library that knows no better, who does so hung up."""


def take_pokes() -> None:
    """Let the signal do nothing, where it would end the process; only the main thread can say so."""
    with suppress(ValueError):
        signal.signal(POKE, _do_nothing)


def show_urgent(end: socket.socket) -> None:
    """Have what is sent as urgent stand in its place: else one looks past it, and a descriptor can come with it, too.

    Source: socket(7), SO_OOBINLINE; net/unix/af_unix.c, manage_oob, Linux 5.15.
    """
    with suppress(OSError):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)


def receive(end: socket.socket, size: int, flags: int = 0) -> bytes:
    """Read what was sent, up to so many bytes; b"" once the other hung up.

    Args:
        end: of `show_urgent`.
        size: bytes.
        flags: of `recv`.

    Raises:
        DescriptorsError: some came with it; they stay where they are, for `close_end`.
        OSError: as by `recv`.
    """
    data, _, seen, _ = end.recvmsg(size, 0, flags | socket.MSG_PEEK)
    if seen & socket.MSG_CTRUNC:
        raise DescriptorsError(errno.ECONNRESET, "descriptors came with it, and none are taken")
    # Not a byte of what came since, and not by a method that calls this.
    return socket.socket.recv(end, len(data), flags) if data else b""


def close_end(end: socket.socket) -> None:
    """Close the end of somebody who may have sent what nobody received; within a second, whatever that is."""
    _shut(end)
    if _is_empty(end):
        end.close()
    else:
        _apart(lambda until: _empty(end, until), end)


def close_door(end: socket.socket) -> None:
    """Close a listening end with all who stand before it, whatever they have sent; within a second."""
    _shut(end)
    _apart(lambda until: _send_away(end, until), end)


class GuestSocket(socket.socket):
    """The end of somebody whom another library hears: who sends a descriptor is taken for one who hung up.

    Args:
        end: a connected unix socket, which belongs to this one from now on.
    """

    def __init__(self, end: socket.socket) -> None:
        super().__init__(fileno=end.detach())
        show_urgent(self)

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        """Read as `receive` does."""
        return receive(self, bufsize, flags)

    def close(self) -> None:
        """Close it as `close_end` does."""
        if self.fileno() >= 0:
            close_end(socket.socket(fileno=self.detach()))


def _apart(empty: Callable[[float], None], end: socket.socket) -> None:
    """Empty and close an end in another thread, and see that it does not take its time."""
    is_closed, may_end = threading.Event(), threading.Event()
    now = time.monotonic()

    def close() -> None:
        with suppress(OSError):
            empty(now + _EMPTY_SECONDS)
        with suppress(OSError):
            end.close()
        is_closed.set()
        may_end.wait()  # a signal must find it alive

    thread = threading.Thread(target=close, name="ckptd-closing", daemon=True)
    try:
        thread.start()
    except RuntimeError:  # there is no room for another thread
        end.close()
        return
    can_poke = signal.getsignal(POKE) is _do_nothing
    while not is_closed.wait(_POKE_SECONDS) and time.monotonic() < now + _MOST_SECONDS:
        if can_poke and thread.ident is not None:
            signal.pthread_kill(thread.ident, POKE)
    may_end.set()


def _shut(end: socket.socket) -> None:
    """From here on nothing more comes, and all that came is seen."""
    show_urgent(end)
    with suppress(OSError):  # he hung up
        end.shutdown(socket.SHUT_RDWR)


def _is_empty(end: socket.socket) -> bool:
    try:
        return not end.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except OSError:  # he hung up before he read everything: what he sent would have come first
        return True


def _empty(end: socket.socket, until: float) -> None:
    """Throw away what lies in an end that was shut; the kernel closes the descriptors that nobody takes.

    Raises:
        OSError: nothing does.
    """
    while time.monotonic() < until and end.recv(_BYTES, socket.MSG_DONTWAIT):
        pass


def _send_away(door: socket.socket, until: float) -> None:
    """Empty and close the ends of those who have not been let in.

    Raises:
        OSError: nobody is left.
    """
    door.settimeout(0)
    while time.monotonic() < until:
        end, _ = door.accept()
        with end, suppress(OSError):
            _shut(end)
            _empty(end, until)


def _do_nothing(_number: int, _frame: object) -> None:
    """Only interrupt."""
