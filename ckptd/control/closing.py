"""Close an end in which something may lie that nobody received: the kernel closes that too, and may take its time.

Descriptors can be sent over a socket.  One that lingers (SO_LINGER, with unsent bytes) keeps whoever closes it last for as
long as its maker likes; so another thread closes, and a signal to that thread ends the wait.

Source: unix(7), SCM_RIGHTS; socket(7), SO_LINGER; net/core/stream.c, sk_stream_wait_close, which a signal ends.
"""

from __future__ import annotations

import signal
import socket
import threading
import time
from contextlib import suppress

#: Ends the wait of the thread that it is sent to; nobody else uses it.
POKE = signal.SIGRTMIN + 1
#: Between two pokes, seconds; and until the thread is left to itself.
_POKE_SECONDS, _MOST_SECONDS = 0.02, 1.0


def take_pokes() -> None:
    """Let the signal do nothing, where it would end the process; only the main thread can say so."""
    with suppress(ValueError):
        signal.signal(POKE, _do_nothing)


def close_end(end: socket.socket) -> None:
    """Close the end of somebody who may have sent what nobody received; within a second, whatever that is."""
    with suppress(OSError):  # he hung up
        end.shutdown(socket.SHUT_RDWR)  # from here on nothing more comes
    if _is_empty(end):
        end.close()
    else:
        close_apart(end)


def close_apart(end: socket.socket) -> None:
    """Close an end in another thread, and see that it does not take its time."""
    is_closed, may_end = threading.Event(), threading.Event()

    def close() -> None:
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
    deadline = time.monotonic() + _MOST_SECONDS
    while not is_closed.wait(_POKE_SECONDS) and time.monotonic() < deadline:
        if can_poke and thread.ident is not None:
            signal.pthread_kill(thread.ident, POKE)
    may_end.set()


def _is_empty(end: socket.socket) -> bool:
    try:
        return not end.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except OSError:  # he hung up before he read everything: what he sent would have come first
        return True


def _do_nothing(_number: int, _frame: object) -> None:
    """Only interrupt."""
