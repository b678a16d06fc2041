"""The daemon: lock, signals, observers, and one loop that never waits for anything but its next event.

    watch (threads) ─► inbox ─► loop: reconcile, ingest.step ─► workers, sidecars, index

Everything that changes state happens in the loop's thread; observers and the schedule only put mail into the inbox.
"""

from __future__ import annotations

import selectors
import signal
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

import structlog

from ckptd import __version__
from ckptd.app import open_engine
from ckptd.jobs.engine import Engine
from ckptd.jobs.inbox import Inbox, Mail
from ckptd.jobs.reconciling import reconcile_root
from ckptd.jobs.schedule import start_schedule
from ckptd.settings import Settings
from ckptd.watch.observer import Observer

_log = structlog.get_logger()

#: The loop wakes at least this often, so that a lost wake-up costs seconds and not for ever.
LONGEST_SLEEP_SECONDS = 30.0


def run(settings: Settings) -> int:
    """Look after the roots until SIGTERM or SIGINT; the exit status.

    Raises:
        AlreadyRunningError: another daemon holds the state directory.
        CkptdError: the index or a root cannot be opened.
    """
    with selectors.DefaultSelector() as selector:
        inbox = Inbox()
        _take_signals(inbox)
        with open_engine(settings, selector, want_rescan=inbox.rescan) as engine:
            daemon = Daemon(settings, engine, selector, inbox)
            daemon.run()
    return 0


class Daemon:
    """The loop and the threads that feed it."""

    def __init__(self, settings: Settings, engine: Engine, selector: selectors.BaseSelector, inbox: Inbox) -> None:
        self._settings = settings
        self._engine = engine
        self._selector = selector
        self._inbox = inbox
        self._observers = [self._make_observer(root.number, root.path) for root in engine.roots]
        selector.register(inbox, selectors.EVENT_READ, lambda: None)

    def run(self) -> None:
        """Watch, loop, and end in good order."""
        watch = self._settings.watch
        for observer in self._observers:
            observer.start()
        schedule = start_schedule(
            self._inbox, len(self._observers), reconcile_seconds=watch.reconcile_seconds, guard_seconds=watch.guard_seconds
        )
        roots = [root.path for root in self._engine.roots]
        _log.info("daemon.started", version=__version__, roots=roots, state=str(self._engine.state_dir))
        try:
            self._loop()
        finally:
            schedule.shutdown(wait=False)
            for observer in self._observers:
                observer.stop()
            _log.info("daemon.stopped", **vars_of(self._engine.ingest.counts))

    def _loop(self) -> None:
        ingest = self._engine.ingest
        while True:
            due = ingest.next_due()
            timeout = LONGEST_SLEEP_SECONDS if due is None else max(0.0, min(due - time.monotonic(), LONGEST_SLEEP_SECONDS))
            for key, _ in self._selector.select(timeout):
                key.data()
            mail = self._inbox.take()
            if mail.stop:
                return
            self._read_mail(mail)
            ingest.step()

    def _read_mail(self, mail: Mail) -> None:
        if mail.guard:
            self._guard()
        for number, why in mail.rescans.items():
            self._rescan(number, why)
        for (number, path), closed in mail.hints.items():
            if self._engine.roots[number].incident is None:
                self._engine.ingest.hint((number, path), closed=closed)

    def _rescan(self, number: int, why: str) -> None:
        root = self._engine.roots[number]
        self._look_after(number)
        if root.incident is None:
            reconcile_root(root, self._engine.store, self._engine.ingest, why)

    def _guard(self) -> None:
        for root, observer in zip(self._engine.roots, self._observers, strict=True):
            self._look_after(root.number)
            for finding in observer.findings:
                self._tell_once(root.number, finding.code, finding.message)

    def _look_after(self, number: int) -> None:
        """Look whether the root is still the root and is watched; tell what changed."""
        root, observer = self._engine.roots[number], self._observers[number]
        before, place = root.incident, root.handle.fd
        root.look_again()
        if root.incident is not None and before is None:
            _log.error("root.lost", root=root.path, reason=root.incident)
        came_back = root.incident is None and before is not None
        if came_back:
            _log.warning("root.returned", root=root.path)
        if root.incident is None and (came_back or root.handle.fd != place or not observer.alive()):
            observer.restart()  # raises a doubt, and so a rescan

    def _tell_once(self, number: int, code: str, message: str) -> None:
        told: set[tuple[int, str]] = self.__dict__.setdefault("_told", set())
        if (number, code) not in told:
            told.add((number, code))
            _log.warning("watch.degraded", root=self._engine.roots[number].path, code=code, reason=message)

    def _make_observer(self, number: int, path: str) -> Observer:
        def hint(relative: str, closed: bool) -> None:  # noqa: FBT001 — the observer's signature
            self._inbox.hint(number, relative, closed=closed)

        def doubt(why: str) -> None:
            self._inbox.rescan(number, why)

        watch = self._settings.watch
        return Observer(path, hint, doubt, backend=watch.backend, polling_seconds=watch.polling_seconds)


def vars_of(counts: Any) -> dict[str, int]:
    """Give the fields of a slotted dataclass."""
    return {name: getattr(counts, name) for name in counts.__slots__}


def _take_signals(inbox: Inbox) -> None:
    def call(what: Callable[[], None]) -> Callable[[int, FrameType | None], None]:
        return lambda _number, _frame: what()

    signal.signal(signal.SIGTERM, call(inbox.stop))
    signal.signal(signal.SIGINT, call(inbox.stop))
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
