"""The worker's side: lock up, then answer one request after the other until the parent is gone.

A worker is started by `worker_command` with a module that has `main(arguments)`, which imports all it needs and calls `run`.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import socket
import time
from collections.abc import Callable

from ckptd.errors import WorkerError
from ckptd.model import Json
from ckptd.sandbox.channel import WorkerEnd
from ckptd.sandbox.confine import confine, die_with
from ckptd.sandbox.limits import Limits
from ckptd.sandbox.protocol import write_answer, write_error, write_layers, write_progress, write_refusal

#: Called with the bytes read so far, in all, as often as the function likes.
Progress = Callable[[int], None]
#: What a worker does: (descriptor, request, progress) → answer.  The descriptor stays the caller's.
Handle = Callable[[int, dict[str, Json], Progress], dict[str, Json]]

#: A report of progress goes out at most this often; a file that takes less never makes one.
_PROGRESS_SECONDS = 0.25


def run(arguments: list[str], handle: Handle) -> None:
    """Be a worker on descriptor 0, as the pool starts it, until the parent is gone.

    Args:
        arguments: the limits and the process id of the parent.
        handle: what to do with a request; all that it imports must be imported.
    """
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        # A service manager sends these to the whole group; the daemon decides what becomes of a file that is being read.
        signal.signal(number, signal.SIG_IGN)
    limits, parent = Limits.from_text(arguments[0]), int(arguments[1])
    if "parent_death" in limits.layers:
        with contextlib.suppress(OSError):  # `confine` tries again and reports it
            die_with(parent)
    serve(socket.socket(fileno=0), handle, limits)
    # No destructor, no handler at exit: nothing that ran here is trusted with the rest of a normal end.
    os._exit(0)


def serve(sock: socket.socket, handle: Handle, limits: Limits) -> None:
    """Lock this process up and answer requests over `sock` until the other end closes."""
    end = WorkerEnd(sock)
    try:
        layers = confine(limits, keep_fds={sock.fileno(), 1, 2})
    except WorkerError as error:
        end.send(write_refusal(error))
        return
    # What was imported lives as long as the process; a collection need not walk it each time.
    gc.freeze()
    end.send(write_layers(layers))
    while (received := end.receive()) is not None:
        message, fd = received
        end.send(answer(end, handle, message, fd))
        os.close(fd)


def answer(end: WorkerEnd, handle: Handle, message: dict[str, Json], fd: int) -> bytes:
    """Do one request and write its last line, whatever happens."""
    number, request = message["id"], message["request"]
    assert isinstance(request, dict)
    try:
        os.lseek(fd, 0, os.SEEK_SET)  # the offset is shared with whoever had this descriptor before
        return write_answer(number, handle(fd, request, reporter(end, number)))
    except BaseException as error:  # noqa: BLE001 - whatever it was, the parent is told and replaces this worker
        return write_error(number, error)


def reporter(end: WorkerEnd, number: Json) -> Progress:
    """Make the function that tells the parent how far the reading is; it may be called for every block."""
    last = time.monotonic()

    def progress(done_bytes: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= _PROGRESS_SECONDS:
            last = now
            end.send(write_progress(number, done_bytes))

    return progress
