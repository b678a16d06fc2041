"""One confined call: fork this process, lock the child up, let it answer once, and end it."""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import os
import select
import signal
import socket
import time
from collections.abc import Callable, Collection
from typing import NoReturn

from ckptd.errors import WorkerError
from ckptd.model import Json
from ckptd.sandbox.channel import Channel, ChannelClosedError, WorkerEnd, decode
from ckptd.sandbox.confine import Layers, confine, die_with
from ckptd.sandbox.deadline import Deadline
from ckptd.sandbox.ending import describe_exit
from ckptd.sandbox.limits import Limits
from ckptd.sandbox.protocol import Answered, read_first, read_message, write_answer, write_error, write_layers, write_refusal
from ckptd.sandbox.serve import reporter

#: How long a killed child may take to be gone; one that the kernel holds longer is left behind.
_GONE_SECONDS = 5.0
#: How long a child that closed its end may take to end by itself, so that its exit status can be told.
_GRACE_SECONDS = 1.0
#: Between two looks at it; its memory takes the kernel about this long.
_POLL_SECONDS = 0.0002


def run_confined(
    function: Callable[..., dict[str, Json]], *arguments: object, limits: Limits, keep_fds: Collection[int], size_bytes: int = 0
) -> tuple[dict[str, Json], Layers]:
    """Call `function(*arguments, progress=…)` in a confined child and return its answer and the walls around it.

    Everything that it uses must be imported, and this process must have one thread only.  An interrupt (Ctrl-C) or any other
    exception here ends the child; so does the end of this process, whatever ended it.

    Args:
        function: gives a JSON object; `progress` takes the bytes read so far.
        arguments: what it is called with.
        limits: for the child.
        keep_fds: descriptors that it may use; all others are closed.
        size_bytes: of the file, for the deadline.

    Raises:
        WorkerError: the child failed, crashed, was late, could not be confined or did not tell the truth about its answer.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        _be_child(theirs, function, arguments, limits, keep_fds, parent)
    theirs.close()
    child, channel = _Forked(pid), Channel(ours)
    try:
        return _await(channel, child, limits, size_bytes)
    finally:
        channel.close()
        child.end()


def _be_child(
    sock: socket.socket,
    function: Callable[..., dict[str, Json]],
    arguments: tuple[object, ...],
    limits: Limits,
    keep_fds: Collection[int],
    parent: int,
) -> NoReturn:
    try:
        # The handlers of the parent, Python's and those for a traceback of a crash, have no place here.
        faulthandler.disable()
        # A Ctrl-C reaches the whole group; the parent ends us.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if "parent_death" in limits.layers:
            with contextlib.suppress(OSError):  # `confine` tries again and reports it
                die_with(parent)
        _close_standard_streams()
        gc.freeze()
        _answer_once(WorkerEnd(sock), function, arguments, limits, {0, 1, 2, sock.fileno(), *keep_fds})
    finally:
        # Nothing of the parent's, buffers of its streams included, is flushed or torn down twice.
        os._exit(0)


def _answer_once(
    end: WorkerEnd,
    function: Callable[..., dict[str, Json]],
    arguments: tuple[object, ...],
    limits: Limits,
    keep_fds: Collection[int],
) -> None:
    try:
        layers = confine(limits, keep_fds=keep_fds)
    except WorkerError as error:
        end.send(write_refusal(error))
        return
    end.send(write_layers(layers))
    try:
        line = write_answer(0, function(*arguments, progress=reporter(end, 0)))
    except BaseException as error:  # noqa: BLE001 - whatever it was, the parent is told
        line = write_error(0, error)
    end.send(line)


def _close_standard_streams() -> None:
    fd = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(fd, stream)


def _await(channel: Channel, child: _Forked, limits: Limits, size_bytes: int) -> tuple[dict[str, Json], Layers]:
    poll = select.poll()
    poll.register(channel.fileno(), select.POLLIN)
    deadline = Deadline(limits, size_bytes, child.pid, time.monotonic())
    layers: Layers | None = None
    while True:
        left = deadline.at - time.monotonic()
        if left <= 0 and not deadline.extend(time.monotonic()):
            raise deadline.late()
        poll.poll(max(0.0, left) * 1000 + 1)
        try:
            lines = channel.receive()
        except ChannelClosedError:
            raise child.describe_end() from None
        for line in lines:
            message = decode(line)
            if layers is None:
                layers = read_first(message)
                continue
            match read_message(message, 0):
                case Answered(answer):
                    return answer, layers
                case progressed:
                    deadline.note_progress(progressed.done_bytes, time.monotonic())


class _Forked:
    """The child's process; its number is ours until it was collected, and never touched after."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._code: int | None = None

    def wait(self, seconds: float) -> int | None:
        """Collect it if it ends in time, and return its exit status, negative for a signal."""
        until = time.monotonic() + seconds
        while self._code is None:
            try:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
            except ChildProcessError:  # somebody else collected it
                self._code = 0
                break
            if pid:
                self._code = os.waitstatus_to_exitcode(status)
            elif time.monotonic() >= until:
                break
            else:
                time.sleep(_POLL_SECONDS)
        return self._code

    def end(self) -> None:
        """Kill and collect it."""
        if self._code is None:
            os.kill(self.pid, signal.SIGKILL)
            self.wait(_GONE_SECONDS)

    def describe_end(self) -> WorkerError:
        """Say how it went, once it has closed its end of the channel."""
        killed = self.wait(_GRACE_SECONDS) is None
        self.end()
        return describe_exit(self._code, killed=killed)
