"""The socket of people, beside the loop: what is asked is answered at once, or done by a process in the asker's name.

Such a process is the command line itself, run as the daemon's user with the daemon's settings; what it puts out goes through
pipes to the asker, and it looks first whether he may.  When he goes away it is told to end.  A reload disturbs nothing: where
the socket has another place from then on, or none, whoever is in by the old one is served to his end.

How the daemon stands is said by the thread that hears people, from the board, so that it can be asked when the loop hangs.
"""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import structlog

from ckptd.control.asking import SOCKET_NAME
from ckptd.control.listening import Guest, Listener
from ckptd.control.protocol import RUN, STREAMS, Answer, Asked
from ckptd.control.rights import Rules, find_rules
from ckptd.control.socket_file import point_to
from ckptd.errors import StorageError, WorkerError
from ckptd.jobs.running.asked import ENTRY, Command
from ckptd.jobs.running.launching import start_entry
from ckptd.jobs.sides import Beside
from ckptd.jobs.standing import Phase, Sign, Standing
from ckptd.jobs.standing_words import standing_to_json
from ckptd.sandbox.child import open_exit

_log = structlog.get_logger()

#: Commands of administrators that run at once; and those of members beside them, of whom each has one.
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
#: How often the thread that hears people is asked for a sign, and how long it may be silent then, seconds.
_ASK_SECONDS, _SILENCE_SECONDS = 10.0, 30.0
#: A pause is never longer, seconds: nobody is to find after a year that it was forgotten.
MOST_PAUSE_SECONDS = 7 * 86_400.0


def find_socket(socket_path: Path | None, state_dir: Path, environ: Mapping[str, str]) -> Path:
    """Say where the daemon listens: where the settings say, else in systemd's runtime directory, else beside its state.

    Links in a path that the settings or systemd name are theirs, and followed now; in a root nobody's are.
    """
    runtime = environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]  # Source: systemd.exec(5), several are joined by ":"
    if socket_path is None and not runtime:
        return state_dir / SOCKET_NAME
    named = Path(runtime, SOCKET_NAME) if socket_path is None else socket_path
    return Path(os.path.realpath(named.parent), named.name)


def open_side(beside: Beside, kept: Controlling | None = None) -> Controlling | None:
    """Begin to listen, or go on; where the usual place takes no socket, as on some file systems, the daemon does without.

    Args:
        beside: the loop.
        kept: what listened for this process before its settings were read anew.

    Raises:
        StorageError: the socket can't be made where the settings want it; what listened before does so still.
    """
    control = beside.settings.control
    path = find_socket(control.socket, beside.engine.state_dir, os.environ) if control.enabled else None
    if path is None and kept is None:
        return None
    side = Controlling() if kept is None else kept
    try:
        side.begin(beside, path)
    except StorageError as error:
        if control.socket is not None:
            if kept is None:
                side.close()
            raise
        _log.warning("control.closed", reason=str(error))
        side.begin(beside, None)
    if side.is_idle:
        side.close()
        return None
    return side


@dataclass(slots=True)
class _Running:
    """A process that does what somebody asked.

    Attributes:
        guest: who waits.
        listener: by which he came.
        grace_seconds: how long it has to end once it was told to.
        until: when it is ended, monotonic seconds; None for never.
        exit_fd: readable when it ends; -1 where the kernel has no such thing.
        is_told: it was told to end.
    """

    process: subprocess.Popen[bytes]
    guest: Guest
    listener: Listener
    grace_seconds: float
    until: float | None
    exit_fd: int
    is_told: bool = False


class Controlling:
    """Listen, answer, and run commands; beside one loop of this process after the other.

    Threading: belongs to the loop; a `Listener`, in a thread of its own, rings when somebody said something, and calls `look`.
    """

    def __init__(self) -> None:
        self._listener: Listener | None = None
        self._retired: list[Listener] = []
        self._running: list[_Running] = []
        self._bell, self._button = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._beside: Beside | None = None
        self._is_leaving = False
        self._rules = Rules(os.geteuid(), frozenset(), frozenset())
        self._roots: list[str] = []
        self._config = ""
        self._last: Standing | None = None
        self._loop_at = time.monotonic()
        self._asked_at = time.monotonic()
        self._told: tuple[object, ...] = ()

    def begin(self, beside: Beside, path: Path | None) -> None:
        """Go on beside a loop, and listen at a path from now on, or nowhere.

        Raises:
            StorageError: the socket can't be made there; nothing has changed.
        """
        control, roots = beside.settings.control, sorted(root.path for root in beside.engine.roots)
        rules = find_rules(roots, control.group, control.admin_group)
        link = beside.engine.state_dir / SOCKET_NAME
        if path == link:
            point_to(path, link)  # first: it would be in the way
        before = self._listener
        is_moving = before is None or before.path != path
        made = Listener(path, rules, self._ring, self.look) if is_moving and path is not None else None
        self._rules, self._roots, self._config = rules, roots, beside.controls.config
        if self._beside is not None:
            self._last = self._beside.board.latest or self._last
        for listener in self._find_listeners():
            listener.admit(rules)
        self._beside, self._loop_at, self._is_leaving = beside, time.monotonic(), False
        if is_moving:
            self._listener = made
            if before is not None:
                before.retire()
                self._retired.append(before)
            if made is not None:
                made.begin()
        beside.selector.register(self._bell, selectors.EVENT_READ, self._hear)
        for one in self._running:
            self._watch(one)
        point_to(path, link)
        self._ring()  # for who was left waiting by the loop before

    def release(self) -> None:
        """Let go of the loop, for `begin`; commands go on, and who asks something meanwhile waits a moment."""
        self._is_leaving = True
        selector = self._loop.selector
        selector.unregister(self._bell)
        for one in self._running:
            if one.exit_fd >= 0:
                selector.unregister(one.exit_fd)

    @property
    def is_idle(self) -> bool:
        """Say whether nobody is heard, and nobody waits for anything."""
        return self._listener is None and not self._running and not any(one.is_alive for one in self._retired)

    def sign(self) -> Sign:
        """Say whether people are heard.

        A thread that has ended is a fault of ours, and the daemon is to be started anew.  One that is silent may be held up by
        somebody who is let in; and a socket may have been removed by somebody: that is told, and nothing more, because nobody
        who may only read is to be able to end the daemon.
        """
        listener, why, bites = self._listener, "", False
        if listener is not None and not listener.is_alive:
            why, bites = "its thread has ended, and nobody is heard", True
        elif listener is not None and listener.trouble:
            why = f"nobody comes in by its socket: {listener.trouble}"
        elif listener is not None and listener.round_at < self._asked_at:
            silence = self._loop.monotonic() - self._asked_at
            why = f"its thread has not come round for {silence:.0f} s" if silence > _SILENCE_SECONDS else ""
        return Sign("control", ok=not why, why=why, bites=bites)

    def step(self) -> None:
        """Collect what ended, end what takes too long, and tell how the socket is."""
        for one in [*self._running]:
            self._look_at(one)
        self._retired = [one for one in self._retired if one.is_alive]
        if self._listener is not None:
            self._tell_of(self._listener)
            now = self._loop.monotonic()
            if self._listener.round_at >= self._asked_at and now >= self._asked_at + _ASK_SECONDS:
                self._asked_at = now
                self._listener.ring()

    def next_due(self) -> float | None:
        """Say when `step` has something to do."""
        times = [one.until for one in self._running]
        if any(one.exit_fd < 0 for one in self._running):
            times.append(self._loop.monotonic() + _POLL_SECONDS)
        return min((at for at in times if at is not None), default=None)

    def close(self) -> None:
        """Tell everybody that it ends, and end what runs; what ends by itself, then or before, has its own answer."""
        for one in [*self._running]:
            self._look_at(one)
        for one in self._running:
            self._tell(one)
        deadline = time.monotonic() + _CLOSE_SECONDS
        while any(one.process.poll() is None for one in self._running) and time.monotonic() < deadline:
            time.sleep(0.01)
        for one in [*self._running]:
            _kill(one.process, signal.SIGKILL)
            status = one.process.poll()  # after that: whatever ended in the last moment has a status of its own
            ended = Answer(1, "the daemon ended: ask again when it is back")
            self._forget(one, ended if status is None or status < 0 else Answer(status))
        listeners = self._find_listeners()
        for listener in listeners:
            listener.close()
        if self._beside is not None:
            with suppress(KeyError, ValueError):  # it was released, and its selector is closed
                self._beside.selector.unregister(self._bell)
        os.close(self._bell)
        if not any(one.is_alive for one in listeners):  # else it may ring once more, and the number be another's by then
            os.close(self._button)

    # — the thread —

    def look(self, asked: Asked, asked_at: float, is_late: bool) -> Answer | None:
        """Say how the daemon stands, once the loop has come round since it was asked, or when it is late.

        Threading: called by the threads of listeners; all that it reads is replaced as a whole.
        """
        if not self._is_meant(asked):
            return self._name_roots()
        board, is_leaving = self._loop.board, self._is_leaving
        if board.latest is not None and board.beat_at >= asked_at and not is_leaving:
            return Answer(value=standing_to_json(board.latest))
        if not is_late:
            return None
        since = max(board.beat_at, self._loop_at)
        why = f"it has not come round for {max(0.0, time.monotonic() - since):.0f} s"
        standing = board.latest or self._last
        if standing is None:
            return Answer(1, f"it has just begun, and something holds up its loop: {why}")
        phase = Phase.STARTING if is_leaving or board.latest is None else standing.phase
        signs = (Sign("loop", ok=False, why=why), *(sign for sign in standing.signs if sign.name != "loop"))
        return Answer(value=standing_to_json(replace(standing, phase=phase, signs=signs)))

    # — the loop and the thread —

    @property
    def _loop(self) -> Beside:
        assert self._beside is not None, "`begin` comes first"
        return self._beside

    def _find_listeners(self) -> list[Listener]:
        return [*self._retired, *(() if self._listener is None else (self._listener,))]

    def _tell_of(self, listener: Listener) -> None:
        """Write into the log what changed about the socket."""
        now = (listener, listener.keeps_out, listener.renewals, listener.trouble)
        was, self._told = self._told or (listener, True, 0, ""), now
        if now == was:
            return
        path, is_new = str(listener.path), was[0] is not listener
        if not listener.keeps_out and (is_new or was[1]):
            why = "no access list can be set there, and no mode says who is served: strangers are refused only once they are in"
            _log.warning("control.open", path=path, reason=why)
        if listener.trouble and listener.trouble != was[3]:
            _log.error("control.lost", path=path, reason=listener.trouble)
        elif listener.renewals and (is_new or listener.renewals != was[2]):
            _log.warning("control.lost", path=path, reason="somebody took it away; it was made anew")

    def _ring(self) -> None:
        with suppress(OSError):  # it is full, and the loop comes anyway
            os.write(self._button, b"\0")

    def _hear(self) -> None:
        with suppress(BlockingIOError):
            os.read(self._bell, 4_096)
        for listener in self._find_listeners():
            while listener.arrived and not self._is_leaving:
                self._take(listener.arrived.popleft(), listener)
            while listener.gone:
                gone = listener.gone.popleft()
                for one in self._running:
                    if one.guest is gone:
                        self._tell(one)

    # — what is asked —

    def _is_meant(self, asked: Asked) -> bool:
        """Say whether this daemon is meant: any, the one of these roots, or the one of this settings file."""
        if not asked.roots and not asked.config:
            return True
        return sorted(asked.roots) == self._roots or (bool(asked.config) and asked.config == self._config)

    def _name_roots(self) -> Answer:
        return Answer(4, f"this daemon looks after {' and '.join(self._roots)}", {"other_roots": True})

    def _take(self, guest: Guest, listener: Listener) -> None:
        asked = guest.asked
        assert asked is not None
        if guest.is_gone:  # he did not wait for the next loop: nothing is begun for nobody
            return
        if not self._is_meant(asked):
            listener.finish(guest, self._name_roots())
        elif asked.what == RUN:
            self._run(guest, asked, listener)
        else:
            listener.finish(guest, self._answer(guest, asked))

    def _answer(self, guest: Guest, asked: Asked) -> Answer:
        if not self._rules.is_admin(guest.peer):
            why = "it is for root, the daemon's user and members of control.admin_group"
            return Answer(4, f"user {guest.peer.uid} may not {asked.what}: {why}")
        _log.info("control.asked", what=asked.what, user=guest.peer.uid)
        controls = self._loop.controls
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

    def _run(self, guest: Guest, asked: Asked, listener: Listener) -> None:
        busy = self._find_crowd(guest)
        if busy:
            listener.finish(guest, Answer(4, busy))
            return
        peer, settings = guest.peer, self._loop.settings
        command = Command(
            os.getpid(),
            asked.arguments,
            peer,
            self._rules,
            settings,
            zone=asked.zone,
            columns=asked.columns,
            colors=asked.colors,
        )
        try:
            process = _start(command, guest)
        except (OSError, WorkerError) as error:
            listener.finish(guest, Answer(1, str(error)))
            return
        is_admin = self._rules.is_admin(peer)
        until = None if is_admin else self._loop.monotonic() + MEMBER_SECONDS
        grace = ADMIN_GRACE_SECONDS if is_admin else GRACE_SECONDS
        one = _Running(process, guest, listener, grace, until, open_exit(process.pid))
        self._running.append(one)
        self._watch(one)
        _log.info("control.asked", what=" ".join(asked.arguments)[:_MOST_SHOWN], user=peer.uid)

    def _find_crowd(self, guest: Guest) -> str:
        """Say why there is no room for a command of his; members never take the room of administrators."""
        members = [one.guest.peer.uid for one in self._running if not self._rules.is_admin(one.guest.peer)]
        if self._rules.is_admin(guest.peer):
            admins = len(self._running) - len(members)
            return f"{MOST_PROCESSES} commands run already: try again later" if admins >= MOST_PROCESSES else ""
        if guest.peer.uid in members:
            return "a command of yours runs already: try again in a moment"
        return "other people's commands run already: try again in a moment" if len(members) >= MOST_OF_MEMBERS else ""

    # — what runs —

    def _watch(self, one: _Running) -> None:
        if one.exit_fd >= 0:
            self._loop.selector.register(one.exit_fd, selectors.EVENT_READ, lambda: self._look_at(one))

    def _look_at(self, one: _Running) -> None:
        status = one.process.poll()
        if status is not None:
            self._forget(one, Answer(status) if status >= 0 else Answer(1, f"it was ended by signal {-status}"))
        elif one.until is not None and self._loop.monotonic() >= one.until:
            if one.is_told:
                _kill(one.process, signal.SIGKILL)
                one.until = self._loop.monotonic() + one.grace_seconds
            else:
                self._tell(one)

    def _tell(self, one: _Running) -> None:
        """Tell a process to end, in good order if it can."""
        one.is_told = True
        one.until = self._loop.monotonic() + one.grace_seconds
        _kill(one.process, signal.SIGTERM)

    def _forget(self, one: _Running, answer: Answer) -> None:
        if one not in self._running:  # two descriptors told of the same end
            return
        self._running.remove(one)
        if one.exit_fd >= 0:
            with suppress(KeyError, ValueError):  # it was released
                self._loop.selector.unregister(one.exit_fd)
            os.close(one.exit_fd)
        one.listener.finish(one.guest, answer)


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
