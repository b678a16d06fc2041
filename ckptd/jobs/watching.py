"""The observers of all roots, and whether they and the roots are still what they were.

Each observer is asked for a sign of life: a file of ours in the root is opened for writing and closed, which writes nothing,
and the kernel's word of it has to come back through every thread of watchdog.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress

import structlog

from ckptd.errors import IndexUnavailableError
from ckptd.jobs.engine import Engine
from ckptd.jobs.inbox import Inbox
from ckptd.jobs.roots import WatchedRoot
from ckptd.jobs.standing import RootStanding, Sign
from ckptd.jobs.upkeep import SIDECAR_ENDINGS
from ckptd.jobs.vital import Vital
from ckptd.settings import WatchSettings
from ckptd.storage.state import STATE
from ckptd.watch.guard import ID_NAME, MountChanged
from ckptd.watch.observer import Observer

_log = structlog.get_logger()

#: Silence of the kernel's events after a question, seconds; a burst of 100,000 files is through the threads in less.
PATIENCE_SECONDS = 30.0
#: Findings with which the very directory of our file may not be watched; the clock looks there instead.
_DEAF = frozenset({"watch-limit", "watch-failed"})
_PULSE = f"{STATE}/{ID_NAME}"
_FLAGS = os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Watching:
    """Watch all roots.

    Threading: belongs to the loop; what observers tell in their threads goes into the inbox.

    Args:
        engine: with the roots.
        inbox: gets the hints and the doubts.
        settings: of watching.
        now: monotonic seconds.
        patience_seconds: how long an observer may owe an answer, beside the time until it is asked again: one may be lost when
            the kernel drops events.
    """

    def __init__(
        self,
        engine: Engine,
        inbox: Inbox,
        settings: WatchSettings,
        *,
        now: Callable[[], float] = time.monotonic,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        self._engine = engine
        self._inbox = inbox
        self._settings = settings
        self._now = now
        self._told: set[tuple[int, str]] = set()
        self._saved_ids = [root.root_id for root in engine.roots]
        self._rescans = [0] * len(engine.roots)
        self._rescanned_at: list[float | None] = [None] * len(engine.roots)
        patience = patience_seconds + settings.guard_seconds
        self._vitals = [Vital(f"observer of {root.path}", patience) for root in engine.roots]
        self.observers = [self._make_observer(root) for root in engine.roots]
        for root in engine.roots:
            root.unwritten = lambda: engine.ingest.unwritten

    def start(self) -> None:
        """Begin to watch; each root raises a first doubt."""
        for root in self._engine.roots:
            if root.incident is not None:
                _log.error("root.lost", root=root.path, reason=root.incident)
        for observer in self.observers:
            observer.start()

    def stop(self) -> None:
        """End all threads; what goes wrong with one observer is raised when the others have ended too."""
        with ExitStack() as stack:
            for observer in self.observers:
                stack.callback(observer.stop)

    def guard(self) -> None:
        """Look whether the roots are still the roots and are watched, tell what changed, and ask the observers."""
        for root, observer in zip(self._engine.roots, self.observers, strict=True):
            self.look_after(root.number)
            for finding in observer.findings:
                self._tell_once(root.number, finding.code, finding.message)
            self._ask(root, observer)

    def look_after(self, number: int) -> None:
        """Look whether the root is still the root and is watched; tell what changed."""
        root, observer = self._engine.roots[number], self.observers[number]
        before = root.incident
        is_anew = isinstance(root.look_again(), MountChanged) or before is not None
        if root.root_id != self._saved_ids[number]:  # else the next start would take it for another root
            with suppress(IndexUnavailableError):
                self._engine.store.save_root(root.path, root.root_id)
                self._saved_ids[number] = root.root_id
        known, locks = before, self._engine.root_locks
        if root.incident is None and (is_anew or locks.has_lost(root)):
            locks.take_back(root)
            known = root.incident if root.incident == before else None  # that another ckptd has it by now is news
        if root.incident is not None and known is None:
            _log.error("root.lost", root=root.path, reason=root.incident)
        if root.incident is None and before is not None:
            _log.warning("root.returned", root=root.path)
        if root.incident is None and (is_anew or not observer.alive()):
            self._vitals[number].excuse()
            observer.restart()  # raises a doubt, and so a rescan

    def note_rescan(self, number: int, wall: float) -> None:
        """Note that a root was looked at as a whole."""
        self._rescans[number] += 1
        self._rescanned_at[number] = wall

    @property
    def has_reconciled(self) -> bool:
        """Say whether every root that is there was looked at as a whole."""
        pairs = zip(self._engine.roots, self._rescanned_at, strict=True)
        return all(at is not None or root.incident is not None for root, at in pairs)

    def signs(self) -> list[Sign]:
        """Say of each observer whether it answers."""
        now = self._now()
        return [vital.sign(now) for vital in self._vitals]

    def standings(self) -> tuple[RootStanding, ...]:
        """Say how each root stands."""
        return tuple(map(self._stand, self._engine.roots))

    def _stand(self, root: WatchedRoot) -> RootStanding:
        observer = self.observers[root.number]
        return RootStanding(
            path=root.path,
            incident=root.incident,
            frozen=len(root.freezes),
            files=root.files,
            watched_by=observer.watched_by,
            events=observer.counters.events,
            overflows=observer.losses.overflows,
            rescans=self._rescans[root.number],
            rescanned_at=self._rescanned_at[root.number],
            findings=observer.findings,
        )

    def _ask(self, root: WatchedRoot, observer: Observer) -> None:
        """Make the kernel say something about a file of ours, without writing a byte."""
        vital = self._vitals[root.number]
        is_deaf = not observer.hears_kernel or any(finding.code in _DEAF for finding in observer.findings)
        if root.incident is not None or is_deaf:
            vital.excuse()
            return
        vital.ask(self._now())  # before the answer can come, which it may while the file is closed
        try:
            os.close(os.open(_PULSE, _FLAGS, dir_fd=root.handle.fd))
        except OSError:  # a read-only share, or somebody removed it: nothing to ask with
            vital.excuse()

    def _tell_once(self, number: int, code: str, message: str) -> None:
        if (number, code) not in self._told:
            self._told.add((number, code))
            _log.warning("watch.degraded", root=self._engine.roots[number].path, code=code, reason=message)

    def _make_observer(self, root: WatchedRoot) -> Observer:
        number, path, inbox, vital = root.number, root.path, self._inbox, self._vitals[root.number]

        def hint(relative: str, closed: bool) -> None:
            if relative[0] == "." or "/." in relative:  # hidden: never looked at, and our own state is among it
                if relative == _PULSE:
                    vital.answer()
                return
            take = inbox.hint_later if relative.endswith(SIDECAR_ENDINGS) else inbox.hint
            take(number, relative, closed=closed)

        def doubt(why: str) -> None:
            if "overflow" in why:
                vital.excuse()  # the answer may be among what the kernel dropped, and nobody asks again while a walk lasts
                _log.warning("watch.overflowed", root=path)
            inbox.rescan(number, why)

        settings = self._settings
        return Observer(path, hint, doubt, backend=settings.backend, polling_seconds=settings.polling_seconds)
