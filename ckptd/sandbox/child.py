"""One worker process as its parent sees it: how it is started, what it owes, how long it may take, how it ended."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import tempfile
from collections import deque
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import IO, NamedTuple

from ckptd.errors import WorkerError
from ckptd.model import Json
from ckptd.sandbox.channel import Channel
from ckptd.sandbox.confine import Layers
from ckptd.sandbox.deadline import Deadline
from ckptd.sandbox.ending import describe_exit
from ckptd.sandbox.limits import Limits
from ckptd.text import escape

#: What a worker's last words are cut to.
_LAST_WORDS = 2000

#: Variables of the environment that a worker gets: where its libraries are, and no threads that Landlock would miss.
_ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}
_INHERITED = ("LD_LIBRARY_PATH", "SYSTEMROOT")


class Launched(NamedTuple):
    """A process that was started, its channel, and the file that gets its last words."""

    process: subprocess.Popen[bytes]
    channel: Channel
    words: IO[bytes]


class Task(NamedTuple):
    """One request with the descriptor it is about.

    Attributes:
        id: the caller's, comes back in the result.
        fd: belongs to the pool from `submit` on, which closes it.
        request: plain JSON.
    """

    id: int
    fd: int
    request: dict[str, Json]


class Entry(NamedTuple):
    """A task on its way: with the size of its file and its line as it is sent."""

    task: Task
    size_bytes: int
    line: bytes


class State(Enum):
    """Where a worker stands: starting → ready → dying, or starting → dying."""

    STARTING = 1
    READY = 2
    DYING = 3


class Child:
    """One worker process.

    Attributes:
        entries: what it was sent and has not answered, in order; the first is being worked on.
        served: how many it has answered.
        deadline: of the first entry; None before the first.
        give_up_at: when its start, or its end, has taken too long (the pool's clock).
        idle_since: when it had nothing left to do.
        events: what its channel is registered for in the selector.
        told: True once it has said that it is confined, or its failed start was counted.
        blamed: the entry it was working on when it was let go.
        error: what that entry's result will be; None when the exit status has to say it.
        exit_fd: becomes readable when the process ends; -1 where the kernel has no such thing.
    """

    def __init__(self, process: subprocess.Popen[bytes], channel: Channel, words: IO[bytes], give_up_at: float) -> None:
        self.process = process
        self.channel = channel
        self.layers = Layers()
        self.state = State.STARTING
        self.entries: deque[Entry] = deque()
        self.pending_bytes = 0
        self.served = 0
        self.give_up_at = give_up_at
        self.deadline: Deadline | None = None
        self.idle_since = 0.0
        self.events = 0
        self.killed = False
        self.told = False
        self.blamed: Entry | None = None
        self.error: WorkerError | None = None
        self.exit_fd = open_exit(process.pid)
        self._words = words

    @property
    def ready(self) -> bool:
        """True when it takes requests."""
        return self.state is State.READY and not self.channel.broken

    @property
    def pending(self) -> int:
        """How many requests it has not answered."""
        return len(self.entries)

    def push(self, entries: Sequence[Entry], now: float, limits: Limits) -> None:
        """Send requests."""
        idle = not self.entries
        self.entries.extend(entries)
        if idle:
            self._begin_head(now, limits)
        self.pending_bytes += sum(entry.size_bytes for entry in entries)
        self.channel.send(b"".join([entry.line for entry in entries]), [entry.task.fd for entry in entries])

    def pop(self, now: float, limits: Limits) -> Entry:
        """Take the first entry off, and start the clock of the next."""
        entry = self.entries.popleft()
        self.pending_bytes -= entry.size_bytes
        self.served += 1
        if self.entries:
            self._begin_head(now, limits)
        else:
            self.idle_since = now
        return entry

    def _begin_head(self, now: float, limits: Limits) -> None:
        self.deadline = Deadline(limits, self.entries[0].size_bytes, self.process.pid, now)

    def kill(self) -> None:
        """End the process and all of its group, once."""
        if self.killed or self.process.returncode is not None:
            return
        self.killed = True
        with contextlib.suppress(ProcessLookupError):
            # Not collected yet, so the number is still its own; it leads its group since before its first instruction.
            os.killpg(self.process.pid, signal.SIGKILL)

    def ended(self) -> bool:
        """Collect the process if it has ended; never waits."""
        return self.process.poll() is not None

    def wait(self, seconds: float) -> None:
        """Collect the process, waiting for its end no longer than that."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(seconds)

    def describe_end(self) -> WorkerError:
        """Say how the process went, or that it would not."""
        return describe_exit(self.process.returncode, killed=self.killed, words=read_last_words(self._words))

    def close(self) -> None:
        """Close every descriptor of the parent's side, those of unanswered tasks apart."""
        self.channel.close()
        self._words.close()
        if self.exit_fd >= 0:
            os.close(self.exit_fd)
            self.exit_fd = -1


def start(command: Sequence[str], limits: Limits, now: float) -> Child:
    """Start a worker.

    Raises:
        WorkerError: the operating system could not.
    """
    launched = launch([*command, limits.to_text(), str(os.getpid())])
    return Child(*launched, now + limits.start_seconds)


def launch(command: Sequence[str], environment: Mapping[str, str] | None = None) -> Launched:
    """Start a process with a channel as its standard input, in a session of its own.

    Its standard error is a file in memory: what goes wrong before it is locked up can be read there, and afterwards its
    limit on written files keeps it from growing.

    Args:
        command: all of it.
        environment: beyond the few variables that every worker gets.

    Raises:
        WorkerError: the operating system could not.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    words: IO[bytes] | None = None
    try:
        words = _open_words()
        process = subprocess.Popen(  # noqa: S603 - the command is built by the caller from the installed package
            command,
            stdin=theirs.fileno(),
            stdout=subprocess.DEVNULL,
            stderr=words,
            env={
                **_ENVIRONMENT,
                **{name: os.environ[name] for name in _INHERITED if name in os.environ},
                **(environment or {}),
            },
            cwd="/",
            start_new_session=True,
        )
    except OSError as error:
        ours.close()
        if words is not None:
            words.close()
        raise WorkerError("a worker could not be started", path=command[0], why=error.strerror or str(error)) from error
    finally:
        theirs.close()
    return Launched(process, Channel(ours), words)


def read_last_words(words: IO[bytes]) -> str:
    """Give the last line that a process wrote to its standard error, escaped; empty when there is none."""
    try:
        size = os.fstat(words.fileno()).st_size
        text = os.pread(words.fileno(), _LAST_WORDS, max(0, size - _LAST_WORDS)).decode("utf-8", "replace")
    except OSError:
        return ""
    lines = text.strip().splitlines()
    return escape(lines[-1], 300) if lines else ""


def _open_words() -> IO[bytes]:
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("ckptd-worker", os.MFD_CLOEXEC), "w+b", buffering=0)
    return tempfile.TemporaryFile(buffering=0)


def open_exit(pid: int) -> int:
    """Open a descriptor that becomes readable when the process ends; -1 where there is none and polling has to do.

    Whatever the kernel says, as when it has no memory: the process runs by now, and somebody has to look after it.
    """
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return -1
