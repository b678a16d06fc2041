"""One job as its nursery sees it: what it says, what it prints, how long it may take, and when it is over."""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
from collections.abc import Iterator
from typing import NamedTuple

from ckptd.errors import WorkerError
from ckptd.model import Json
from ckptd.sandbox.assignment import Answered, Job, read_from_job
from ckptd.sandbox.channel import MAX_LINE_BYTES, Channel, ChannelClosedError, decode
from ckptd.sandbox.child import open_exit
from ckptd.sandbox.confine import Layers
from ckptd.sandbox.deadline import Allowance
from ckptd.sandbox.ending import describe_exit
from ckptd.sandbox.protocol import read_first
from ckptd.sandbox.waiting import wait_readable
from ckptd.text import escape

#: What is kept of all that a job prints.
_WORDS_BYTES = 4096
#: One read of it: what a pipe holds.
_READ_BYTES = 1 << 16
#: Reads for all that the largest pipe of an ordinary user holds.  Source: pipe(7), /proc/sys/fs/pipe-max-size.
_MOST_READS = 32
#: Notes of one job that are passed on, and bytes of all its lines that are looked at.
_MAX_NOTES = 10_000
_MAX_SAID_BYTES = 2 * MAX_LINE_BYTES


class JobResult(NamedTuple):
    """What became of one job; its process is dead and collected when this is delivered.

    Attributes:
        id: of the job.
        answer: what it answered, as far as it is an object; None when there is an error.
        layers: the walls that stood around it; None when it never said so.
        error: why there is no answer, or None.
        seconds: from its fork to its end.
        peak_bytes: of memory, what it shared with its zygote included; None when it had no process.
        words: the end of what it printed, at most 4 KB; line breaks are kept, all else is escaped.
    """

    id: int
    answer: dict[str, Json] | None
    layers: Layers | None
    error: WorkerError | None
    seconds: float
    peak_bytes: int | None
    words: str


class Ward:
    """One job in the care of a nursery.

    Attributes:
        channel: its own; nobody else's lines come here.
        words_fd: what it prints.
        pid: 0 before it was forked.
        allowance: its time; None before it was forked.
        give_up_at: when something has to have happened that is not its own: its fork, its end after a kill.
        error: why it gets no answer, the first reason counts.
        killed: True when its zygote was asked to end it.
    """

    def __init__(self, job: Job, channel: Channel, words_fd: int, give_up_at: float) -> None:
        self.job = job
        self.channel = channel
        self.words_fd = words_fd
        self.pid = 0
        self.allowance: Allowance | None = None
        self.give_up_at = give_up_at
        self.error: WorkerError | None = None
        self._done = False
        self._silent = False
        self.killed = False
        self._forked_at = 0.0
        self._layers: Layers | None = None
        self._answer: dict[str, Json] | None = None
        self._notes = 0
        self._said_bytes = 0
        self._exit_fd = -1
        self._words = bytearray()

    def is_done(self) -> bool:
        """Tell whether it has said all that it can: it answered, lied or closed its channel."""
        return self._done

    def is_silent(self) -> bool:
        """Tell whether nobody can print anything any more."""
        return self._silent

    def begin(self, pid: int, now: float) -> None:
        """Start its clock: it has a process."""
        self.pid = pid
        with contextlib.suppress(OSError):  # it may be over already
            self._exit_fd = open_exit(pid)
        self._forked_at = now
        self.allowance = Allowance(self.job.seconds, pid, now)

    def listen(self) -> list[str]:
        """Read from its channel once and return what it notes; notes in `error` when it lies."""
        notes: list[str] = []
        try:
            for line in self.channel.receive():
                self._said_bytes += len(line)
                if self._said_bytes > _MAX_SAID_BYTES:
                    raise WorkerError("a worker's answer was refused", why=f"more than {_MAX_SAID_BYTES} bytes")
                notes += self._take(decode(line))
        except ChannelClosedError:
            self._done = True
        except WorkerError as error:
            self.fail(error)
        return notes

    def _take(self, message: dict[str, Json]) -> Iterator[str]:
        if self._answer is not None or self.error is not None:
            raise WorkerError("a worker's answer was refused", why="it went on after its answer")
        if self._layers is None:
            self._layers = read_first(message)
            return
        said = read_from_job(message)
        if isinstance(said, Answered):
            self._answer = said.answer
            self._done = True
            return
        self._notes += 1
        if self._notes > _MAX_NOTES:
            raise WorkerError("a worker's answer was refused", why=f"more than {_MAX_NOTES} notes")
        yield said.text

    def hear(self) -> bool:
        """Read what it prints once and keep the end of it; False when nothing was there."""
        try:
            data = os.read(self.words_fd, _READ_BYTES)
        except OSError:
            return False
        self._words += data
        del self._words[:-_WORDS_BYTES]
        self._silent = not data
        return bool(data)

    def fail(self, error: WorkerError) -> None:
        """Note why it gets no answer, unless there is a reason already."""
        self.error = self.error or error
        self._done = True

    def drain(self) -> None:
        """Take what is left of a dead process in its channel and its pipe; both are bounded by what the kernel keeps.

        Without a filter of system calls it may have left a process that goes on printing; nobody waits for that one.
        """
        while not self._done and wait_readable([self.channel.fileno()], 0):
            self.listen()
        for _ in range(_MOST_READS):
            if not self.hear():
                break

    def conclude(self, code: int | None, peak_bytes: int | None, now: float) -> JobResult:
        """Say what became of it.

        Args:
            code: exit status, negative for a signal; None when it never had a process, or can't be ended.
            peak_bytes: of its memory.
            now: when it ended.
        """
        error = self.error
        if error is None and (self._answer is None or code != 0):
            error = describe_exit(code, killed=self.killed)
        answer = None if error else self._answer
        seconds = now - self._forked_at if self.pid else 0.0
        return JobResult(self.job.id, answer, self._layers, error, seconds, peak_bytes, self.describe_words())

    def is_gone(self) -> bool:
        """Tell whether its process is dead, when there is no zygote left that would say so."""
        if self._exit_fd >= 0:
            return wait_readable([self._exit_fd], 0)
        return not self.pid or not os.path.exists(f"/proc/{self.pid}")

    def wait(self, seconds: float) -> None:
        """Wait for the end of its process, when there is no zygote left, no longer than that."""
        if self._exit_fd >= 0:
            wait_readable([self._exit_fd], seconds)

    def describe_words(self) -> str:
        """Give the end of what it printed, line by line, escaped."""
        lines = self._words.decode("utf-8", "backslashreplace").splitlines()
        return "\n".join(escape(line, _WORDS_BYTES) for line in lines)

    def close(self) -> None:
        """Close every descriptor of the nursery's side; a second call does nothing."""
        self.channel.close()
        for fd in (self.words_fd, self._exit_fd):
            if fd >= 0:
                os.close(fd)
        self.words_fd = self._exit_fd = -1


def open_ward(job: Job, give_up_at: float) -> tuple[Ward, list[int]]:
    """Make a job's channel and pipe; also returns the descriptors that its zygote is to be sent, in their order.

    Raises:
        OSError: there are no descriptors left, or one of the job's is closed.
    """
    with contextlib.ExitStack() as undo:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        undo.callback(ours.close)
        fds = [theirs.detach()]
        undo.callback(os.close, fds[0])
        for fd in itertools.chain(os.pipe(), map(os.dup, job.fds)):
            undo.callback(os.close, fd)
            fds.append(fd)
        read_fd = fds.pop(1)
        os.set_blocking(read_fd, False)
        undo.pop_all()
    return Ward(job, Channel(ours), read_fd, give_up_at), fds
