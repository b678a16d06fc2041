"""The daemon: lock, signals, observers, and one loop that never waits for anything but its next event.

    watch (threads) ─► inbox ─► loop: reconcile, ingest.step ─► workers, sidecars, index
                                      exporting.step ─► confined exporters, files beside the checkpoints
                                      clockwork.step ─► a process for the job that is due

Everything that changes state happens in the loop's thread; observers and the schedule only put mail into the inbox.
SIGTERM and SIGINT end it at the next safe point.  SIGHUP is ignored: settings are read at the start.
"""

from __future__ import annotations

import gc
import os
import selectors
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from types import FrameType
from typing import Any

import structlog

from ckptd import __version__
from ckptd.errors import IndexUnavailableError, RootLostError
from ckptd.jobs.clockwork import Clockwork
from ckptd.jobs.engine import Engine
from ckptd.jobs.inbox import Inbox, Mail
from ckptd.jobs.opening import open_store_lean
from ckptd.jobs.reconciling import BY_THE_CLOCK, reconcile_root
from ckptd.jobs.rescans import Rescans
from ckptd.jobs.schedule import find_timetables, start_schedule
from ckptd.jobs.upkeep import SIDECAR_ENDINGS
from ckptd.opening import INDEX_NAME, open_engine
from ckptd.policy.retry import find_next_try
from ckptd.settings import Settings
from ckptd.watch.guard import MountChanged
from ckptd.watch.observer import Observer

_log = structlog.get_logger()

#: The loop wakes at least this often, so that a lost wake-up costs seconds and not for ever.
LONGEST_SLEEP_SECONDS = 30.0
#: How long the loop stands still when the index can't even be read.
INDEX_PAUSE_SECONDS = 1.0
#: While the workers have plenty to do, the loop lets their answers come together for so long.  A look at each single answer
#: takes the core from a worker each time and finds every cache cold.  Measured for 1,000 files on a busy machine, best of five:
#: 0.83 ms of the loop a file instead of 1.12, in some 60 rounds instead of 700.
GATHERING_SECONDS = 0.004

#: Objects made before the collector looks at them: an inspection is some hundred, and nearly none is part of a ring.  Measured
#: for 1,000 files: 100 looks and 20 ms at the 700 of Python, 1 look and 1 ms here.
YOUNG_OBJECTS = 10_000


def run(settings: Settings) -> int:
    """Look after the roots until SIGTERM or SIGINT; the exit status.

    Raises:
        AlreadyRunningError: another daemon holds the state directory.
        CkptdError: the index or a root cannot be opened.
    """
    with ExitStack() as stack:
        selector = stack.enter_context(selectors.DefaultSelector())
        inbox = Inbox()
        stack.callback(inbox.close)
        _take_signals(inbox)
        engine = stack.enter_context(
            open_engine(settings, selector, want_rescan=inbox.rescan, next_try=find_next_try, open_store=open_store_lean)
        )
        Daemon(settings, engine, selector, inbox).run()
    return 0


class Daemon:
    """The loop and the threads that feed it."""

    def __init__(self, settings: Settings, engine: Engine, selector: selectors.BaseSelector, inbox: Inbox) -> None:
        self._settings = settings
        self._engine = engine
        self._selector = selector
        self._inbox = inbox
        self._rescans = Rescans(time.monotonic)
        self._observers = [self._make_observer(root.number, root.path) for root in engine.roots]
        self._told: set[tuple[int, str]] = set()
        self._timetables = find_timetables(settings)
        self._schedule: Any = None
        self._clockwork = Clockwork(
            settings,
            engine.store,
            engine.state_dir,
            INDEX_NAME,
            self._timetables,
            selector,
            set_again=self._start_schedule,
        )
        selector.register(inbox, selectors.EVENT_READ, lambda: None)

    def run(self) -> None:
        """Watch, loop, and end in good order."""
        for root in self._engine.roots:
            if root.incident is not None:
                _log.error("root.lost", root=root.path, reason=root.incident)
        for observer in self._observers:
            observer.start()
        self._start_schedule()
        roots = [root.path for root in self._engine.roots]
        gc.freeze()  # what was imported stays for ever: the collector need not walk it again each time
        gc.set_threshold(YOUNG_OBJECTS)
        _log.info("daemon.started", version=__version__, roots=roots, state=str(self._engine.state_dir))
        try:
            self._loop()
        finally:
            self._schedule.shutdown(wait=False)
            for observer in self._observers:
                observer.stop()
            self._clockwork.stop()
        self._engine.exporting.close()
        self._engine.ingest.close()
        _log.info("daemon.stopped", **asdict(self._engine.ingest.counts))

    def _start_schedule(self) -> None:
        """Start what announces that it is time for something; anew when the clock was set, by which it counts."""
        if self._schedule is not None:
            self._schedule.shutdown(wait=False)
        watch = self._settings.watch
        self._schedule = start_schedule(
            self._inbox,
            len(self._observers),
            reconcile_seconds=watch.reconcile_seconds,
            guard_seconds=watch.guard_seconds,
            timetables=self._timetables.values(),
        )

    def _loop(self) -> None:
        while True:
            if self._engine.reading.is_crowded:
                time.sleep(GATHERING_SECONDS)
            for key, _ in self._selector.select(self._find_pause()):
                key.data()
            mail = self._inbox.take()
            if mail.stop:
                return
            self._clockwork.step(mail.jobs)
            try:
                self._read_mail(mail)
                self._engine.ingest.step()
                self._engine.exporting.step(time.monotonic())
            except IndexUnavailableError as error:  # the full picture brings back what was lost here
                _log.error("index.unavailable", reason=str(error), waiting=self._engine.ingest.waiting)
                for root in self._engine.roots:
                    self._rescans.want(root.number, "index", delay=INDEX_PAUSE_SECONDS)

    def _find_pause(self) -> float:
        """Say how long nothing is to be done, if nothing happens."""
        due = [
            at
            for at in (
                self._engine.ingest.next_due(),
                self._engine.exporting.next_due(),
                self._rescans.next_due(),
                self._clockwork.next_due(),
                self._inbox.next_due(),
            )
            if at is not None
        ]
        return max(0.0, min([LONGEST_SLEEP_SECONDS, *(at - time.monotonic() for at in due)]))

    def _read_mail(self, mail: Mail) -> None:
        if mail.guard:
            self._guard()
        for number, why in mail.rescans.items():
            self._rescans.want(number, why)
        for number, why in self._rescans.take():
            self._rescan(number, why)
        for (number, path), closed in (*mail.hints.items(), *mail.patient.items()):
            self._engine.ingest.hint((number, path), closed=closed)

    def _rescan(self, number: int, why: str) -> None:
        root, engine = self._engine.roots[number], self._engine
        self._look_after(number)
        if root.incident is None:
            reconcile_root(root, engine.store, engine.ingest, why, started_at=engine.started_at)
            if why not in BY_THE_CLOCK:
                engine.exporting.look_for_missing(number)
        self._rescans.finished(number)

    def _guard(self) -> None:
        for root, observer in zip(self._engine.roots, self._observers, strict=True):
            self._look_after(root.number)
            for finding in observer.findings:
                self._tell_once(root.number, finding.code, finding.message)
        self._check_state()

    def _look_after(self, number: int) -> None:
        """Look whether the root is still the root and is watched; tell what changed."""
        root, observer = self._engine.roots[number], self._observers[number]
        before = root.incident
        verdict = root.look_again()
        if root.incident is not None and before is None:
            _log.error("root.lost", root=root.path, reason=root.incident)
        came_back = root.incident is None and before is not None
        if came_back:
            _log.warning("root.returned", root=root.path)
        if came_back or isinstance(verdict, MountChanged):
            self._engine.root_locks.renew(root)
        if root.incident is None and (came_back or isinstance(verdict, MountChanged) or not observer.alive()):
            observer.restart()  # raises a doubt, and so a rescan

    def _check_state(self) -> None:
        """End when somebody removed the state: nothing that is written there is found again, and a second daemon may start.

        Raises:
            RootLostError: the lock, the index or all of it is gone from a place that is still there.
        """
        engine = self._engine
        if engine.lock.still_held() and (engine.state_dir / INDEX_NAME).exists():
            return
        within = next((root for root in engine.roots if engine.state_dir.is_relative_to(root.path)), None)
        if within is None:
            is_taken_away = engine.state_dir.exists()  # else the share on which it lies is away
        else:
            is_made_again = os.fstat(within.handle.fd).st_nlink == 0 and os.path.isdir(within.path)
            is_taken_away = is_made_again or _is_at(within.handle.fd, within.path)
        if is_taken_away:
            why = "the index or the lock in it was removed while ckptd ran"
            raise RootLostError("keep the state", path=engine.state_dir, why=why, cure="start ckptd again: it begins anew")

    def _tell_once(self, number: int, code: str, message: str) -> None:
        if (number, code) not in self._told:
            self._told.add((number, code))
            _log.warning("watch.degraded", root=self._engine.roots[number].path, code=code, reason=message)

    def _make_observer(self, number: int, path: str) -> Observer:
        def hint(relative: str, closed: bool) -> None:
            if relative[0] == "." or "/." in relative:  # hidden: never looked at, and our own state is among it
                return
            take = self._inbox.hint_later if relative.endswith(SIDECAR_ENDINGS) else self._inbox.hint
            take(number, relative, closed=closed)

        def doubt(why: str) -> None:
            if "overflow" in why:
                _log.warning("watch.overflowed", root=path)
            self._inbox.rescan(number, why)

        watch = self._settings.watch
        return Observer(path, hint, doubt, backend=watch.backend, polling_seconds=watch.polling_seconds)


def _is_at(fd: int, path: str) -> bool:
    """Tell whether an open directory is the one that lies at a path now."""
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path))
    except OSError:
        return False


def _take_signals(inbox: Inbox) -> None:
    def call(what: Callable[[], None]) -> Callable[[int, FrameType | None], None]:
        return lambda _number, _frame: what()

    signal.signal(signal.SIGTERM, call(inbox.stop))
    signal.signal(signal.SIGINT, call(inbox.stop))
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
