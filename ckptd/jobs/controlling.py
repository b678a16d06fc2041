"""The socket of people, beside the loop: what is asked is answered at once, or done by a process in the asker's name.

Such a process is the command line itself, run as the daemon's user with the daemon's settings; it writes straight to the
asker's descriptors, and looks at its own start whether the asker may.  When he goes away it is told to end.
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
from typing import Any

import structlog

from ckptd.control.asking import SOCKET_NAME
from ckptd.control.listening import Guest, Listener
from ckptd.control.protocol import RUN, STATUS, Answer, Asked
from ckptd.control.rights import find_rules
from ckptd.errors import WorkerError
from ckptd.jobs.running.asked import ENTRY, Command
from ckptd.jobs.running.launching import start_entry
from ckptd.jobs.sides import Beside
from ckptd.jobs.standing_words import standing_to_json
from ckptd.sandbox.child import open_exit

_log = structlog.get_logger()

#: Commands that run at once, beside what they do.
MOST_PROCESSES = 4
#: How long a command of somebody who may only read and mark may take, seconds.
MEMBER_SECONDS = 120.0
#: How long a command has to end once it was told to, seconds, before it is killed.
GRACE_SECONDS = 5.0
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


def open_side(beside: Beside) -> Controlling:
    """Begin to listen.

    Raises:
        StorageError: the socket can't be made.
    """
    return Controlling(beside, find_socket(beside.settings.control.socket, beside.engine.state_dir, os.environ))


@dataclass(slots=True)
class _Running:
    """A process that does what somebody asked.

    Attributes:
        guest: who waits; None once he went away.
        until: when it is ended, monotonic seconds; None for never.
        exit_fd: readable when it ends; -1 where the kernel has no such thing.
    """

    process: subprocess.Popen[bytes]
    guest: Guest | None
    until: float | None
    exit_fd: int
    is_told: bool = False


class Controlling:
    """Listen, answer, and run commands.

    Threading: belongs to the loop.

    Args:
        beside: the loop.
        path: of the socket.
    """

    def __init__(self, beside: Beside, path: Path) -> None:
        settings = beside.settings.control
        self._beside = beside
        self._roots = sorted(root.path for root in beside.engine.roots)
        self._rules = find_rules(self._roots, settings.group, settings.admin_group)
        self._running: list[_Running] = []
        self._listener = Listener(path, beside.selector, self._rules, self._take, beside.monotonic)

    def step(self) -> None:
        """Collect what ended, end what takes too long, and show out who is silent."""
        self._listener.step()
        for one in [*self._running]:
            self._look_at(one)

    def next_due(self) -> float | None:
        """Say when `step` has something to do."""
        times = [self._listener.next_due(), *(one.until for one in self._running)]
        if any(one.exit_fd < 0 for one in self._running):
            times.append(self._beside.monotonic() + _POLL_SECONDS)
        return min((at for at in times if at is not None), default=None)

    def close(self) -> None:
        """Tell everybody that it ends, and end what runs."""
        for one in self._running:
            self._tell(one)
        deadline = time.monotonic() + 1.0
        while any(one.process.poll() is None for one in self._running) and time.monotonic() < deadline:
            time.sleep(0.01)
        for one in [*self._running]:
            _kill(one.process, signal.SIGKILL)
            self._forget(one, Answer(1, "the daemon ended, or read its settings anew: ask again"))
        self._listener.close()

    def _take(self, guest: Guest) -> None:
        asked = guest.asked
        assert asked is not None
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
        return Answer()

    def _run(self, guest: Guest, asked: Asked) -> None:
        is_admin = self._rules.is_admin(guest.peer)
        if len(self._running) >= MOST_PROCESSES:
            self._listener.finish(guest, Answer(4, f"{MOST_PROCESSES} commands run already: try again in a moment"))
            return
        command = Command(
            os.getpid(),
            asked.arguments,
            guest.peer,
            self._rules,
            self._beside.settings,
            zone=asked.zone,
            columns=asked.columns,
            colors=asked.colors,
        )
        try:
            process: Any = start_entry(ENTRY, command.to_text(), "asked", *guest.fds)
        except WorkerError as error:
            self._listener.finish(guest, Answer(1, str(error)))
            return
        guest.drop_fds()
        until = None if is_admin else self._beside.monotonic() + MEMBER_SECONDS
        one = _Running(process, guest, until, open_exit(process.pid))
        guest.gone = lambda: self._leave(one)
        self._running.append(one)
        if one.exit_fd >= 0:
            self._beside.selector.register(one.exit_fd, selectors.EVENT_READ, lambda: self._look_at(one))
        _log.info("control.asked", what=" ".join(asked.arguments)[:_MOST_SHOWN], user=guest.peer.uid)

    def _leave(self, one: _Running) -> None:
        """Go on without the one who asked: nobody reads what it says."""
        one.guest = None
        self._tell(one)

    def _look_at(self, one: _Running) -> None:
        status = one.process.poll()
        if status is not None:
            if one in self._running:
                self._forget(one, Answer(status) if status >= 0 else Answer(1, f"it was ended by signal {-status}"))
        elif one.until is not None and self._beside.monotonic() >= one.until:
            if one.is_told:
                _kill(one.process, signal.SIGKILL)
                one.until = self._beside.monotonic() + GRACE_SECONDS
            else:
                self._tell(one)

    def _tell(self, one: _Running) -> None:
        """Tell a process to end, in good order if it can."""
        one.is_told = True
        one.until = self._beside.monotonic() + GRACE_SECONDS
        _kill(one.process, signal.SIGTERM)

    def _forget(self, one: _Running, answer: Answer) -> None:
        self._running.remove(one)
        if one.exit_fd >= 0:
            self._beside.selector.unregister(one.exit_fd)
            os.close(one.exit_fd)
        if one.guest is not None:
            self._listener.finish(one.guest, answer)


def _kill(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """Signal the process, and for the last signal all that it started."""
    if process.poll() is not None:
        return
    with suppress(ProcessLookupError):
        (os.killpg if number is signal.SIGKILL else os.kill)(process.pid, number)
