"""The socket of people, beside the loop: what is asked is answered at once, or done by a process in the asker's name.

Such a process is the command line itself, run as the daemon's user with the daemon's settings; what it puts out goes through
pipes to the asker, and it looks first whether he may.  When he goes away it is told to end; a reload disturbs nothing.
"""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import structlog

from ckptd.control.asking import SOCKET_NAME
from ckptd.control.listening import Guest, Listener
from ckptd.control.protocol import RUN, STATUS, STREAMS, Answer, Asked
from ckptd.control.rights import find_rules
from ckptd.errors import StorageError, WorkerError
from ckptd.jobs.running.asked import ENTRY, Command
from ckptd.jobs.running.launching import start_entry
from ckptd.jobs.sides import Beside
from ckptd.jobs.standing import Sign
from ckptd.jobs.standing_words import standing_to_json
from ckptd.sandbox.child import open_exit

_log = structlog.get_logger()

#: Commands that run at once; those of members among them, of whom each has one.
MOST_PROCESSES, MOST_OF_MEMBERS = 8, 2
#: How long a command of somebody who may only read and mark may take, seconds.
MEMBER_SECONDS = 120.0
#: How long a command has to end once it was told to, seconds, before it is killed; one of an administrator may end between two
#: large files.
GRACE_SECONDS, ADMIN_GRACE_SECONDS = 5.0, 60.0
#: The same when the daemon ends.
_CLOSE_SECONDS = 1.0
#: Looking for an end where the kernel has no descriptor that tells.
_POLL_SECONDS = 0.2
#: Characters of a command line that the log shows.
_MOST_SHOWN = 400
#: A pause is never longer, seconds: nobody is to find after a year that it was forgotten.
MOST_PAUSE_SECONDS = 7 * 86_400.0


def find_socket(socket_path: Path | None, state_dir: Path, environ: Mapping[str, str]) -> Path:
    """Say where the daemon listens: where the settings say, else in systemd's runtime directory, else beside its state."""
    if socket_path is not None:
        return socket_path
    runtime = environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]  # Source: systemd.exec(5), several are joined by ":"
    return Path(runtime) / SOCKET_NAME if runtime else state_dir / SOCKET_NAME


def open_side(beside: Beside, kept: Controlling | None = None) -> Controlling | None:
    """Begin to listen, or go on; where the usual place takes no socket, as on some file systems, the daemon does without.

    Args:
        beside: the loop.
        kept: what listened for this process before its settings were read anew.

    Raises:
        StorageError: the socket can't be made where the settings want it.
    """
    control = beside.settings.control
    path = find_socket(control.socket, beside.engine.state_dir, os.environ)
    if kept is not None and control.enabled and kept.path == path:
        kept.move(beside)
        return kept
    made = _open(beside, path) if control.enabled else None
    if kept is not None:  # only now: where the new place can't be had, the daemon goes on with the old one
        kept.close()
    return made


def _open(beside: Beside, path: Path) -> Controlling | None:
    try:
        return Controlling(beside, path)
    except StorageError as error:
        if beside.settings.control.socket is not None:
            raise
        _log.warning("control.closed", reason=str(error))
        return None


@dataclass(slots=True)
class _Running:
    """A process that does what somebody asked.

    Attributes:
        guest: who waits.
        grace_seconds: how long it has to end once it was told to.
        until: when it is ended, monotonic seconds; None for never.
        exit_fd: readable when it ends; -1 where the kernel has no such thing.
        is_told: it was told to end.
    """

    process: subprocess.Popen[bytes]
    guest: Guest
    grace_seconds: float
    until: float | None
    exit_fd: int
    is_told: bool = False


class Controlling:
    """Listen, answer, and run commands.

    Threading: belongs to the loop; a `Listener` in a thread of its own rings when somebody has said something.

    Args:
        beside: the loop.
        path: of the socket.

    Attributes:
        path: of the socket.

    Raises:
        StorageError: the socket can't be made.
    """

    def __init__(self, beside: Beside, path: Path) -> None:
        self.path = path
        self._running: list[_Running] = []
        self._bell, self._button = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._take_over(beside)
        try:
            self._listener = Listener(path, self._rules, self._ring)
        except StorageError:
            os.close(self._bell)
            os.close(self._button)
            raise
        self._attach()

    def move(self, beside: Beside) -> None:
        """Go on beside another loop of this process."""
        self._take_over(beside)
        self._listener.admit(self._rules)
        self._attach()
        self._ring()  # for who was left waiting by the loop before

    def release(self) -> None:
        """Let go of the loop, for `move`; commands go on, and who asks something meanwhile waits a moment."""
        selector = self._beside.selector
        selector.unregister(self._bell)
        for one in self._running:
            if one.exit_fd >= 0:
                selector.unregister(one.exit_fd)

    def sign(self) -> Sign:
        """Say whether the thread that hears people lives."""
        is_alive = self._listener.is_alive
        return Sign("control", ok=is_alive, why="" if is_alive else "its thread has ended, and nobody is heard")

    def step(self) -> None:
        """Collect what ended, and end what takes too long."""
        for one in [*self._running]:
            self._look_at(one)

    def next_due(self) -> float | None:
        """Say when `step` has something to do."""
        times = [one.until for one in self._running]
        if any(one.exit_fd < 0 for one in self._running):
            times.append(self._beside.monotonic() + _POLL_SECONDS)
        return min((at for at in times if at is not None), default=None)

    def close(self) -> None:
        """Tell everybody that it ends, and end what runs."""
        for one in self._running:
            self._tell(one)
        deadline = time.monotonic() + _CLOSE_SECONDS
        while any(one.process.poll() is None for one in self._running) and time.monotonic() < deadline:
            time.sleep(0.01)
        for one in [*self._running]:
            _kill(one.process, signal.SIGKILL)
            self._forget(one, Answer(1, "the daemon ended: ask again when it is back"))
        self._listener.close()
        with suppress(KeyError, ValueError):  # it was released, and its selector is closed
            self._beside.selector.unregister(self._bell)
        os.close(self._bell)
        if not self._listener.is_alive:  # else it may ring once more, and the number be another's by then
            os.close(self._button)

    # — the loop and the thread —

    def _take_over(self, beside: Beside) -> None:
        settings = beside.settings.control
        self._beside = beside
        self._is_leaving = False
        self._roots = sorted(root.path for root in beside.engine.roots)
        self._rules = find_rules(self._roots, settings.group, settings.admin_group)

    def _attach(self) -> None:
        selector = self._beside.selector
        selector.register(self._bell, selectors.EVENT_READ, self._hear)
        for one in self._running:
            self._watch(one)

    def _ring(self) -> None:
        with suppress(OSError):  # it is full, and the loop comes anyway
            os.write(self._button, b"\0")

    def _hear(self) -> None:
        with suppress(BlockingIOError):
            os.read(self._bell, 4_096)
        while self._listener.arrived and not self._is_leaving:
            self._take(self._listener.arrived.popleft())
        while self._listener.gone:
            gone = self._listener.gone.popleft()
            for one in self._running:
                if one.guest is gone:
                    self._tell(one)

    # — what is asked —

    def _take(self, guest: Guest) -> None:
        asked = guest.asked
        assert asked is not None
        if guest.is_gone:  # he did not wait for the next loop: nothing is begun for nobody
            return
        if asked.roots and sorted(asked.roots) != self._roots:
            others = " and ".join(self._roots)
            self._listener.finish(guest, Answer(4, f"this daemon looks after {others}", {"other_roots": True}))
        elif asked.what == RUN:
            self._run(guest, asked)
        else:
            self._listener.finish(guest, self._answer(guest, asked))

    def _answer(self, guest: Guest, asked: Asked) -> Answer:
        if asked.what == STATUS:
            latest = self._beside.board.latest
            return Answer(4, "it has just begun") if latest is None else Answer(value=standing_to_json(latest))
        if not self._rules.is_admin(guest.peer):
            why = "it is for root, the daemon's user and members of control.admin_group"
            return Answer(4, f"user {guest.peer.uid} may not {asked.what}: {why}")
        _log.info("control.asked", what=asked.what, user=guest.peer.uid)
        controls = self._beside.controls
        match asked.what:
            case "pause":
                if not 0 < asked.seconds <= MOST_PAUSE_SECONDS:
                    return Answer(2, f"a pause has more than 0 and at most {MOST_PAUSE_SECONDS:.0f} seconds")
                controls.pause(asked.seconds)
            case "resume":
                controls.resume()
            case "reload":
                problem = controls.reload()
                if problem is not None:
                    return Answer(2, problem)
                self._is_leaving = True  # what is asked from now on is the next loop's to answer
        return Answer()

    def _run(self, guest: Guest, asked: Asked) -> None:
        busy = self._find_crowd(guest)
        if busy:
            self._listener.finish(guest, Answer(4, busy))
            return
        peer, settings = guest.peer, self._beside.settings
        look = {"zone": asked.zone, "columns": asked.columns, "colors": asked.colors}
        command = Command(os.getpid(), asked.arguments, peer, self._rules, settings, **look)  # type: ignore[arg-type]
        try:
            process = _start(command, guest)
        except (OSError, WorkerError) as error:
            self._listener.finish(guest, Answer(1, str(error)))
            return
        is_admin = self._rules.is_admin(peer)
        until = None if is_admin else self._beside.monotonic() + MEMBER_SECONDS
        grace = ADMIN_GRACE_SECONDS if is_admin else GRACE_SECONDS
        one = _Running(process, guest, grace, until, open_exit(process.pid))
        self._running.append(one)
        self._watch(one)
        _log.info("control.asked", what=" ".join(asked.arguments)[:_MOST_SHOWN], user=peer.uid)

    def _find_crowd(self, guest: Guest) -> str:
        """Say why there is no room for a command of his; members never take the room of administrators."""
        if self._rules.is_admin(guest.peer):
            return f"{MOST_PROCESSES} commands run already: try again later" if len(self._running) >= MOST_PROCESSES else ""
        members = [one.guest.peer.uid for one in self._running if not self._rules.is_admin(one.guest.peer)]
        if guest.peer.uid in members:
            return "a command of yours runs already: try again in a moment"
        return "other people's commands run already: try again in a moment" if len(members) >= MOST_OF_MEMBERS else ""

    # — what runs —

    def _watch(self, one: _Running) -> None:
        if one.exit_fd >= 0:
            self._beside.selector.register(one.exit_fd, selectors.EVENT_READ, lambda: self._look_at(one))

    def _look_at(self, one: _Running) -> None:
        status = one.process.poll()
        if status is not None:
            self._forget(one, Answer(status) if status >= 0 else Answer(1, f"it was ended by signal {-status}"))
        elif one.until is not None and self._beside.monotonic() >= one.until:
            if one.is_told:
                _kill(one.process, signal.SIGKILL)
                one.until = self._beside.monotonic() + one.grace_seconds
            else:
                self._tell(one)

    def _tell(self, one: _Running) -> None:
        """Tell a process to end, in good order if it can."""
        one.is_told = True
        one.until = self._beside.monotonic() + one.grace_seconds
        _kill(one.process, signal.SIGTERM)

    def _forget(self, one: _Running, answer: Answer) -> None:
        if one not in self._running:  # two descriptors told of the same end
            return
        self._running.remove(one)
        if one.exit_fd >= 0:
            with suppress(KeyError, ValueError):  # it was released
                self._beside.selector.unregister(one.exit_fd)
            os.close(one.exit_fd)
        self._listener.finish(one.guest, answer)


def _start(command: Command, guest: Guest) -> subprocess.Popen[bytes]:
    """Start a command, and give the guest the reading ends of its output.

    Raises:
        OSError, WorkerError: there is no room for it.
    """
    ends: list[int] = []
    try:
        for _ in range(2):
            ends += os.pipe2(os.O_CLOEXEC)
        process = start_entry(ENTRY, command.to_text(), "asked", ends[1], ends[3])
        guest.say(Answer(value={STREAMS: True}), (ends[0], ends[2]))
    finally:
        for fd in ends:
            os.close(fd)
    return process


def _kill(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """Signal the process, and for the last signal all that it started."""
    if process.poll() is not None:
        return
    with suppress(ProcessLookupError):
        (os.killpg if number is signal.SIGKILL else os.kill)(process.pid, number)
