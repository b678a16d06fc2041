"""A program beside us: JSON on its standard input, its output bounded, and ended with its group when its time is over.

Nothing here waits but `run_command`: the rest is for a loop, which watches `fds`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

from ckptd.errors import WorkerError
from ckptd.sandbox.child import open_exit
from ckptd.sandbox.waiting import wait_readable
from ckptd.sandbox.words import open_words
from ckptd.text import escape

#: Bytes of the output that are kept; the rest is read and dropped, so that no program waits for us.
MOST_OUTPUT = 4_096
_CHUNK = 65_536
#: How long a process that was killed is waited for.
_END_SECONDS = 1.0
#: How often is looked whether a process that was asked to end has, by who waits for it.
_LOOK_SECONDS = 0.02

#: All that a command gets of our environment: no secret, no setting, no name out of a file.
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_INHERITED = ("HOME", "TZ")
#: Has the kernel end the command when we end, puts signals back as programs expect them, and becomes the command.
#: Source: linux/prctl.h, PR_SET_PDEATHSIG is 1.
_LAUNCHER = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, int(signal.SIGKILL))
if os.getppid() != int(sys.argv[1]):
    os._exit(1)
for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT):
    signal.signal(number, signal.SIG_DFL)
try:
    os.execv(sys.argv[2], sys.argv[2:])
except OSError as error:
    os.write(2, f"it can't be run: {error.strerror}".encode())
    os._exit(127)
"""


class Ended(NamedTuple):
    """How a program ended.

    Attributes:
        status: its exit status; negative for a signal.
        trouble: what is wrong with that, in one phrase; empty for status 0.
        output: the beginning of what it wrote.
    """

    status: int
    trouble: str
    output: str


class Running:
    """One program that runs, in a session of its own.

    Args:
        command: all of it.
        data: what it finds on its standard input.
        environment: all of it.
        most_output: bytes of its output that are kept.
        grace_seconds: how long it has, once it was asked to end, to end what it started in groups of their own; 0 for a
            program that is killed at once.

    Raises:
        WorkerError: it can't be started.
    """

    def __init__(
        self,
        command: Sequence[str],
        data: bytes,
        environment: Mapping[str, str],
        most_output: int = MOST_OUTPUT,
        grace_seconds: float = 0.0,
    ) -> None:
        self.started_at = time.monotonic()
        self.grace_seconds = grace_seconds
        self._most_output = most_output
        self._output = b""
        self._is_late = False
        try:
            self._output_fd, theirs = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise _not_started(command, error) from error
        os.set_blocking(theirs, True)
        try:
            with open_words(data) as words:
                self._process = subprocess.Popen(  # noqa: S603 — the words of the settings, and no shell
                    command, stdin=words, stdout=theirs, stderr=theirs, cwd="/", env=environment, start_new_session=True
                )
        except OSError as error:
            os.close(self._output_fd)
            raise _not_started(command, error) from error
        finally:
            os.close(theirs)
        self._exit_fd = open_exit(self._process.pid)
        self._is_open = True

    @property
    def pid(self) -> int:
        """Its process id, which is the id of its group too."""
        return self._process.pid

    @property
    def fds(self) -> tuple[int, ...]:
        """What becomes readable when there is something to do: its output, and its end."""
        fds = (self._output_fd,) if self._is_open else ()
        return fds if self._exit_fd < 0 else (*fds, self._exit_fd)

    @property
    def is_watched(self) -> bool:
        """Say whether its end is told by a descriptor; else it has to be asked for now and then."""
        return self._exit_fd >= 0

    def read(self) -> None:
        """Take what it wrote; never waits."""
        while self._is_open:
            try:
                data = os.read(self._output_fd, _CHUNK)
            except BlockingIOError:
                return
            if not data:
                self._close_output()
                return
            self._output += data[: max(0, self._most_output - len(self._output))]

    def has_ended(self) -> bool:
        """Say whether it has ended; never waits, and closes nothing: who watches its descriptors has to forget them before.

        It is not collected yet, so that the number of its group stays its own.
        """
        if self._process.returncode is not None:
            return True
        try:
            return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        except ChildProcessError:
            return True

    def end_late(self) -> None:
        """End it and all of its group: its time is over."""
        self._is_late = True
        self.kill()

    def ask_late(self) -> None:
        """Ask it to end: its time is over, and it has its grace."""
        self._is_late = True
        self.ask()

    def ask(self) -> None:
        """Ask it to end, where it has a grace for that; else end it and all of its group."""
        if not self.grace_seconds:
            self.kill()
            return
        with suppress(ProcessLookupError, PermissionError):
            os.kill(self.pid, signal.SIGTERM)

    def wait_grace(self, deadline: float) -> None:
        """Wait for one that was asked to end; only at the end of the daemon or of its settings, and for a moment.

        Args:
            deadline: until when at most, monotonic seconds.
        """
        while self.grace_seconds and not self.has_ended() and time.monotonic() < deadline:
            time.sleep(_LOOK_SECONDS)

    def kill(self) -> None:
        """End it and all of its group."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    def finish(self, seconds: float = 0.0) -> Ended:
        """Say how a program ended that has, and give everything back; children that it left behind end here.

        Args:
            seconds: it was to take no longer than that, for the words.
        """
        self.kill()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_SECONDS)
        self.read()
        self.close()
        status = self._process.returncode
        return Ended(-signal.SIGKILL if status is None else status, self._describe(status, seconds), self._text())

    def close(self) -> None:
        """Give the descriptors back."""
        self._close_output()
        if self._exit_fd >= 0:
            os.close(self._exit_fd)
            self._exit_fd = -1

    def _close_output(self) -> None:
        if self._is_open:
            self._is_open = False
            os.close(self._output_fd)

    def _text(self) -> str:
        return self._output.decode("utf-8", "replace")

    def _describe(self, status: int | None, seconds: float) -> str:
        if self._is_late:
            return f"it did not end within {seconds:g} seconds"
        if status == 0:
            return ""
        lines = self._text().strip().splitlines()
        words = f": {escape(lines[-1], 300)}" if lines else ""
        if status is None:
            return "the kernel holds it"
        return f"exit status {status}{words}" if status > 0 else f"ended by signal {-status}{words}"


def start_command(words: Sequence[str], data: bytes) -> Running:
    """Start a command of the settings, with a clean environment; it ends when we do.

    Raises:
        WorkerError: it can't be started.
    """
    launcher = [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(os.getpid())]
    return Running([*launcher, *words], data, clean_environment())


def clean_environment(*names: str) -> dict[str, str]:
    """Give the environment of a program.

    Args:
        names: variables of our own that it gets beside the usual few.
    """
    inherited = {name: os.environ[name] for name in (*_INHERITED, *names) if name in os.environ}
    return {"PATH": _PATH, "LANG": "C.UTF-8", **inherited}


def run_command(words: Sequence[str], data: bytes, seconds: float) -> Ended:
    """Run a command to its end, to the end of its time, or to ours; its group ends with it."""
    try:
        running = start_command(words, data)
    except WorkerError as error:
        return Ended(127, error.why, "")
    deadline = running.started_at + seconds
    try:
        while not running.has_ended():
            left = deadline - time.monotonic()
            if left <= 0:
                running.end_late()
                break
            wait_readable(running.fds, left if running.is_watched else min(left, 0.1))
            running.read()
    except BaseException:  # we are to end: the command is killed with us by the kernel, and its children by nobody else
        running.kill()
        raise
    return running.finish(seconds)


def _not_started(command: Sequence[str], error: OSError) -> WorkerError:
    return WorkerError("a program could not be started", path=command[0], why=error.strerror or str(error))
