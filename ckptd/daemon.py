"""The daemon: lock, signals, what systemd is told, and one loop that never waits for anything but its next event.

    watch (threads) ─► inbox ─► loop: reconcile, ingest.step ─► workers, sidecars, index
                                      exporting.step ─► confined exporters, files beside the checkpoints
                                      clockwork.step ─► a process for the job that is due
                                      sides: the socket of people, health, alerts, hooks

Everything that changes state happens in the loop's thread; observers and the schedule only put mail into the inbox.
SIGTERM and SIGINT end it at the next safe point.  SIGHUP reads the settings anew: when they can be used, the loop ends and
begins again with them in the same process, else it goes on with the old ones and says why.
"""

from __future__ import annotations

import gc
import selectors
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any, Protocol

import structlog

from ckptd import __version__
from ckptd.errors import CkptdError, IndexUnavailableError, SettingsError
from ckptd.index.store import Store
from ckptd.jobs.clockwork import Clockwork, RunningJob
from ckptd.jobs.controlling import Controlling
from ckptd.jobs.controlling import open_side as open_control
from ckptd.jobs.engine import Engine
from ckptd.jobs.holding import KeptLocks
from ckptd.jobs.inbox import Inbox, Mail
from ckptd.jobs.opening import open_store_lean
from ckptd.jobs.reconciling import BY_THE_CLOCK, reconcile_root
from ckptd.jobs.rescans import Rescans
from ckptd.jobs.schedule import find_timetables, start_schedule
from ckptd.jobs.sides import Beside, Side, forget_followers, open_sides
from ckptd.jobs.standing import Board, Phase, Sign
from ckptd.jobs.state_guard import check_state
from ckptd.jobs.vantage import Circumstances, Vantage
from ckptd.jobs.vital import Vital, find_overdue
from ckptd.jobs.watching import Watching
from ckptd.opening import INDEX_NAME, open_engine
from ckptd.policy.brakes import Freeze
from ckptd.policy.retry import find_next_try
from ckptd.service.manager import ServiceManager
from ckptd.service.signals import hear_signals, take_signals
from ckptd.settings import Settings

_log = structlog.get_logger()

#: The loop wakes at least this often, so that a lost wake-up costs seconds and not for ever.
LONGEST_SLEEP_SECONDS = 30.0
#: How long the loop stands still when the index can't even be read.
INDEX_PAUSE_SECONDS = 1.0
#: While the workers have plenty to do, the loop lets their answers come together for so long.  A look at each single answer
#: takes the core from a worker each time and finds every cache cold.  Measured for 1,000 files on a busy machine, best of five:
#: 0.83 ms of the loop a file instead of 1.12, in some 60 rounds instead of 700.
GATHERING_SECONDS = 0.004
#: How often at most it is said how the daemon stands, seconds.
PUBLISH_SECONDS = 1.0
#: What the schedule may be silent beside three of its own rounds, and what a deadline of the workers may be past, seconds.
PATIENCE_SECONDS = 10.0
#: The part of systemd's patience after which it gets a sign of life.  Source: sd_watchdog_enabled(3) advises half.
_WATCHDOG_SHARE = 1 / 3

#: Objects made before the collector looks at them: an inspection is some hundred, and nearly none is part of a ring.  Measured
#: for 1,000 files: 100 looks and 20 ms at the 700 of Python, 1 look and 1 ms here.
YOUNG_OBJECTS = 10_000

#: Reads the settings anew, from the same sources as at the start; SettingsError when they can't be used.
Reread = Callable[[], Settings]
#: Takes settings that are in use from now on.
Use = Callable[[Settings], None]


def _use_as_they_are(_settings: Settings) -> None:
    """Leave the log as it is."""


@dataclass(frozen=True, slots=True)
class Course:
    """With what the daemon goes on.

    Attributes:
        settings: in use from now on.
        settings_at: when they were read, seconds since the epoch.
        problem: why newer ones are not in use; None when there are none.
        before: the settings to go back to when these can't be used after all, and when those were read.
        adopted: the job that runs meanwhile.
        paused: when a pause ends, monotonic seconds and seconds since the epoch.
        control: the socket of people, which listens on.
        config: absolute path of the settings file; "" for none.
        freezes: root → parts of it whose losses wait for a person: no reload answers for him.
    """

    settings: Settings
    settings_at: float
    problem: str | None = None
    before: tuple[Settings, float] | None = None
    adopted: RunningJob | None = None
    paused: tuple[float, float] | None = None
    control: Controlling | None = None
    config: str = ""
    freezes: Mapping[str, tuple[Freeze, ...]] = field(default_factory=dict)

    @property
    def is_first(self) -> bool:
        """Say whether the daemon begins with it."""
        return self.before is None and self.problem is None


class _Due(Protocol):
    """Whatever may have something to do that no descriptor tells."""

    def next_due(self) -> float | None:
        """Say when; monotonic seconds."""


class _EndingError(Exception):
    """Leave a walk through a root: the daemon is to end."""


def run(settings: Settings, reread: Reread | None = None, use: Use = _use_as_they_are, config: str = "") -> int:
    """Look after the roots until SIGTERM or SIGINT; the exit status: 0 where all of it ended as it should, else 1.

    Args:
        settings: to begin with.
        reread: for SIGHUP and `ckptd reload`; without it the settings stay as they are.
        use: called with settings that are in use from now on, for what lies outside of the daemon, as its log.
        config: absolute path of the settings file, by which people name this daemon; "" for none.

    Raises:
        AlreadyRunningError: another daemon holds the state directory.
        CkptdError: the index or a root cannot be opened.
    """
    manager, inbox, kept = ServiceManager(), Inbox(), KeptLocks()
    course: Course | int = Course(settings, time.time(), config=config)
    take_signals(inbox.stop, inbox.reread)
    hear_signals()  # before anything is opened: the start may be held up as anything else
    try:
        while isinstance(course, Course):
            use(course.settings)
            course = _serve(course, inbox, manager, kept, reread)
    finally:
        kept.close()
        inbox.close()
    return course


def _serve(
    course: Course, inbox: Inbox, manager: ServiceManager, kept: KeptLocks, reread: Reread | None = None
) -> Course | int:
    """Look after the roots until the end, which gives the exit status, or until other settings count.

    The locks of before are kept until those of these settings are held, and until the settings of before are back in use where
    these can't be used: whatever came in between would end the daemon.
    """
    with ExitStack() as stack:
        try:
            selector = stack.enter_context(selectors.DefaultSelector())
            engine = stack.enter_context(
                open_engine(
                    course.settings,
                    selector,
                    want_rescan=inbox.rescan,
                    next_try=find_next_try,
                    open_store=open_store_lean if course.is_first else Store.open,
                    waits_for_roots=True,
                    kept=kept,
                    yields_roots=course.problem is not None,
                )
            )
            for root in engine.roots:
                root.freezes = course.freezes.get(root.path, ())
            daemon = Daemon(course, engine, selector, inbox, manager, reread)
            daemon.start()
        except Exception as error:  # whatever it is, as when there is no descriptor or thread left: what was in use goes on
            if course.before is None:
                if course.control is not None:
                    course.control.close()
                raise
            inbox.forget()
            return _fall_back(course, *course.before, error)
        kept.close()
        after = daemon.run()
        if isinstance(after, Course):
            kept.keep((engine.lock, *engine.root_locks.held))
        return after


def _fall_back(course: Course, settings: Settings, settings_at: float, error: Exception) -> Course:
    """Give the course with the settings of before, and tell why those of `course` are not in use."""
    is_ours = not isinstance(error, CkptdError | OSError)
    problem = f"{type(error).__name__}: {error}" if is_ours else str(error)
    _log.error("settings.rejected", reason=problem, **({"exc_info": error} if is_ours else {}))
    return replace(course, settings=settings, settings_at=settings_at, before=None, problem=problem)


class Daemon:
    """The loop, and what it tells of itself: `start`, then `run`."""

    def __init__(
        self,
        course: Course,
        engine: Engine,
        selector: selectors.BaseSelector,
        inbox: Inbox,
        manager: ServiceManager,
        reread: Reread | None = None,
    ) -> None:
        settings = course.settings
        self.config = course.config
        self._course = course
        self._settings = settings
        self._engine = engine
        self._selector = selector
        self._inbox = inbox
        self._manager = manager
        self._reread = reread
        self._phase = Phase.STARTING
        self._next: Course | None = None
        self._has_failed = False
        self._paused = course.paused
        self._rescans = Rescans(time.monotonic)
        self._timetables = find_timetables(settings)
        self._schedule: Any = None
        self._scheduler = Vital("scheduler", 3 * settings.watch.guard_seconds + PATIENCE_SECONDS)
        self._watching = Watching(engine, inbox, settings.watch)
        self._clockwork = Clockwork(
            settings,
            engine.store,
            engine.state_dir,
            INDEX_NAME,
            self._timetables,
            selector,
            set_again=self._start_schedule,
            adopted=course.adopted,
        )
        self._vantage = Vantage(engine, self._watching, self._clockwork, now=time.monotonic, wall=time.time)
        self._board = Board()
        self._signs: tuple[Sign, ...] = ()
        self._unwell: set[str] = set()
        self._published_at = self._alive_at = -LONGEST_SLEEP_SECONDS
        self._publish_at: float | None = None
        self._set_paused(paused=self._paused is not None)
        engine.ingest.breathe = self._breathe
        selector.register(inbox, selectors.EVENT_READ, lambda: None)
        self._beside = Beside(settings, engine, selector, self._board, self)
        self._sides: list[Side] = []
        self._control: Controlling | None = None

    # — the way through —

    def start(self) -> None:
        """Begin to watch, and open what stands beside the loop; where something can't be had, all of it ends again.

        Raises:
            CkptdError: the settings want something that can't be had, such as an address in use.
        """
        try:
            self._sides += open_sides(self._beside)
            self._watching.start()
            self._start_schedule()
            # The last that can fail: it gives up the socket of before, which is wanted where these settings can't be used.
            self._control = open_control(self._beside, self._course.control)
        except BaseException:
            self._end_parts()
            raise
        if self._control is not None:
            self._sides.append(self._control)
        forget_followers(self._beside)

    def run(self) -> Course | int:
        """Loop, and end in good order; give with what to go on, else the exit status."""
        roots = [root.path for root in self._engine.roots]
        gc.unfreeze()  # the daemon of before a reload, which is a ring of parts
        gc.collect()
        gc.freeze()  # what was imported stays for ever: the collector need not walk it again each time
        gc.set_threshold(YOUNG_OBJECTS)
        _log.info("daemon.started", version=__version__, roots=roots, state=str(self._engine.state_dir))
        try:
            self._loop()
        except _EndingError:
            pass
        finally:
            self._tell_end()
            self._end_parts()
            adopted = None if self._next is None else self._clockwork.release()
            self._end("job", self._clockwork.stop)
        self._end("exporters", self._engine.exporting.close)
        self._engine.ingest.close()
        if self._next is None:
            _log.info("daemon.stopped", **asdict(self._engine.ingest.counts))
            return int(self._has_failed)
        self._inbox.forget()
        freezes = {root.path: root.freezes for root in self._engine.roots if root.freezes}
        return replace(self._next, adopted=adopted, control=self._control, freezes=freezes)

    def _end_parts(self) -> None:
        """End what watches and what stands beside the loop; the socket listens on where the daemon goes on."""
        if self._schedule is not None:
            self._end("scheduler", partial(self._schedule.shutdown, wait=False))
        self._end("observers", self._watching.stop)
        for side in self._sides:
            end = self._control.release if self._next is not None and side is self._control else side.close
            self._end(type(side).__name__.lower(), end)

    def _end(self, part: str, end: Callable[[], object]) -> None:
        """End a part; what goes wrong with it is told, and keeps no other part from its end."""
        try:
            end()
        except Exception as error:  # noqa: BLE001 — whatever it is: a lock, a port or a process of the others would be left
            self._has_failed = True
            reason = f"it did not end: {type(error).__name__}: {error}"
            _log.critical("daemon.unwell", part=part, reason=reason, exc_info=error)

    def _tell_end(self) -> None:
        if self._next is None:
            self._phase = Phase.STOPPING
            self._manager.stopping("stopping")
        self._publish(time.monotonic())

    def _loop(self) -> None:
        while True:
            if self._engine.reading.is_crowded:
                time.sleep(GATHERING_SECONDS)
            ready = self._selector.select(self._find_pause())
            for key, _ in ready:
                key.data()
            mail = self._inbox.take()
            if mail.stop:
                self._next = None
                return
            if mail.settings:
                self.reload()
            if self._next is not None:
                return
            self._work(mail)
            self._show(time.monotonic())

    def _work(self, mail: Mail) -> None:
        """Do what is due, each part its own."""
        if self._paused is not None and time.monotonic() >= self._paused[0]:
            self.resume()
        self._clockwork.step(mail.jobs)
        try:
            self._read_mail(mail)
            self._engine.ingest.step()
            self._engine.exporting.step(time.monotonic())
        except IndexUnavailableError as error:  # the full picture brings back what was lost here
            _log.error("index.unavailable", reason=str(error), waiting=self._engine.ingest.waiting)
            for root in self._engine.roots:
                self._rescans.want(root.number, "index", delay=INDEX_PAUSE_SECONDS)
        for side in self._sides:
            side.step()

    def _find_pause(self) -> float:
        """Say how long nothing is to be done, if nothing happens."""
        stages: tuple[_Due, ...] = (self._engine.ingest, self._engine.exporting, self._rescans, self._clockwork, self._inbox)
        due = [stage.next_due() for stage in (*stages, *self._sides)]
        due += [self._publish_at, None if self._paused is None else self._paused[0], self._find_alive_due()]
        return max(0.0, min([LONGEST_SLEEP_SECONDS, *(at - time.monotonic() for at in due if at is not None)]))

    def _start_schedule(self) -> None:
        """Start what announces that it is time for something; anew when the clock was set, by which it counts."""
        if self._schedule is not None:
            self._schedule.shutdown(wait=False)
        watch = self._settings.watch
        self._scheduler.beat(time.monotonic())
        self._schedule = start_schedule(
            self._inbox,
            len(self._engine.roots),
            reconcile_seconds=watch.reconcile_seconds,
            guard_seconds=watch.guard_seconds,
            timetables=self._timetables.values(),
            beat=lambda: self._scheduler.beat(time.monotonic()),
        )

    def _read_mail(self, mail: Mail) -> None:
        if mail.guard:
            self._watching.guard()
            check_state(self._engine, INDEX_NAME)
        known = range(len(self._engine.roots))  # who watched for the settings of before may tell a moment late of more
        for number, why in mail.rescans.items():
            if number in known:
                self._rescans.want(number, why)
        for number, why in self._rescans.take():
            self._rescan(number, why)
        for (number, path), closed in (*mail.hints.items(), *mail.patient.items()):
            if number in known:
                self._engine.ingest.hint((number, path), closed=closed)

    def _rescan(self, number: int, why: str) -> None:
        root, engine = self._engine.roots[number], self._engine
        self._watching.look_after(number)
        self._become_ready()
        try:
            if root.incident is None:
                options: Any = {"started_at": engine.started_at, "breathe": self._breathe}
                reconcile_root(root, engine.store, engine.ingest, why, **options)
                self._watching.note_rescan(number, time.time())
                if why not in BY_THE_CLOCK:
                    engine.exporting.look_for_missing(number)
        finally:  # a walk whose result the index would not take was as long as any other
            self._rescans.finished(number)

    def _breathe(self) -> None:
        """Leave a walk when the daemon is to end, and say meanwhile that it is alive: a walk may take minutes on a share."""
        if self._inbox.is_stopped:
            raise _EndingError
        now = time.monotonic()
        self._board.beat(now)
        if all(sign.ok for sign in (*self._watching.signs(), self._scheduler.sign(now))):
            self._say_alive(now)

    # — what it tells of itself —

    def _become_ready(self) -> None:
        """Say that the start is complete: the index is open, and the first look at everything begins."""
        if self._phase is not Phase.STARTING:
            return
        self._phase = Phase.RUNNING if self._paused is None else Phase.PAUSED
        self._publish(time.monotonic())
        self._manager.ready(self._words())

    def _show(self, now: float) -> None:
        """Say how it stands, at most once a second, and give systemd its sign of life while every part answers."""
        self._board.beat(now)
        self._signs = self._find_signs(now)
        self._tell_unwell()
        if self._is_alive:
            self._say_alive(now)
        if self._publish_at is None:
            self._publish_at = max(now, self._published_at + PUBLISH_SECONDS)
        elif now >= self._publish_at:
            self._publish(now)
            self._publish_at = None

    def _publish(self, now: float) -> None:
        around = Circumstances(
            self._phase,
            self._signs,
            None if self._paused is None else self._paused[1],
            self._course.settings_at,
            self._course.problem,
        )
        standing = self._vantage.look(around)
        self._board.publish(standing)
        self._published_at = now
        if self._phase in (Phase.RUNNING, Phase.PAUSED):
            self._manager.say(standing.words)

    def _words(self) -> str:
        latest = self._board.latest
        return self._phase.value if latest is None else latest.words

    def _find_signs(self, now: float) -> tuple[Sign, ...]:
        """Ask each part whether it answers; the loop does by being here."""
        return (
            Sign("loop", ok=True),
            *self._watching.signs(),
            self._scheduler.sign(now),
            find_overdue("pool", self._engine.reading.next_deadline(), now, PATIENCE_SECONDS),
            find_overdue("exporters", self._engine.exporting.next_deadline(), now, PATIENCE_SECONDS),
            *(() if self._control is None else (self._control.sign(),)),
        )

    def _tell_unwell(self) -> None:
        unwell = {sign.name: sign.why for sign in self._signs if not sign.ok}
        for name, why in unwell.items():
            if name not in self._unwell:
                _log.critical("daemon.unwell", part=name, reason=why)
        self._unwell = set(unwell)

    @property
    def _is_alive(self) -> bool:
        """Say whether no part is silent that only another start would mend."""
        return all(sign.ok or not sign.bites for sign in self._signs)

    def _find_alive_due(self) -> float | None:
        if self._manager.watchdog_seconds is None or not self._is_alive:
            return None
        return self._alive_at + self._manager.watchdog_seconds * _WATCHDOG_SHARE

    def _say_alive(self, now: float) -> None:
        patience = self._manager.watchdog_seconds
        if patience is not None and now >= self._alive_at + patience * _WATCHDOG_SHARE:
            self._alive_at = now
            self._manager.alive()

    # — what people ask of it —

    def pause(self, seconds: float) -> None:
        """Begin nothing new for a while: no inspection, no export, no job; what runs comes to its end.

        Args:
            seconds: after which it goes on by itself.
        """
        self._paused = time.monotonic() + seconds, time.time() + seconds
        if self._phase is not Phase.STARTING:
            self._phase = Phase.PAUSED
        self._set_paused(paused=True)
        _log.warning("daemon.paused", seconds=seconds)
        self._publish(time.monotonic())

    def resume(self) -> None:
        """Go on after a pause; what came meanwhile is not lost."""
        if self._paused is None:
            return
        self._paused = None
        if self._phase is not Phase.STARTING:
            self._phase = Phase.RUNNING
        self._set_paused(paused=False)
        self._clockwork.resume()
        _log.info("daemon.resumed")
        self._publish(time.monotonic())

    def reload(self) -> str | None:
        """Read the settings anew, and go on with them after this round; give why not, else None."""
        self._manager.reloading()
        problem = "this process cannot read its settings again"
        try:
            if self._reread is not None:
                before = self._settings, self._course.settings_at
                settings, config = self._reread(), self._course.config
                self._next = Course(settings, time.time(), before=before, paused=self._paused, config=config)
                _log.info("settings.reloaded")
                return None
        except SettingsError as error:
            problem = str(error)
        _log.error("settings.rejected", reason=problem)
        self._course = replace(self._course, problem=problem)
        self._publish(time.monotonic())
        self._manager.ready(self._words())
        return problem

    def _set_paused(self, *, paused: bool) -> None:
        for part in (self._engine.ingest, self._engine.exporting, self._clockwork):
            part.is_paused = paused
