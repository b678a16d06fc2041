"""Hints where to look, from the kernel by way of watchdog, or from a clock where the kernel does not know.

A hint is never the truth: it says "look at this path", and whoever gets it asks the scanner.  A doubt says "look at
everything": after an overflow, a lost watch, a root that went away.  So a lost event costs time and never a file.

Polling is a doubt every so often and nothing more: the scanner that reconciles anyway is the poller (watchdog's
PollingObserver would hold a second picture of the tree, 104 MB for 100,000 files, and reports an unmounted share as
deletions).
"""

from __future__ import annotations

import errno
import logging
import os
import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from watchdog.events import (
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)

from ckptd.model import Finding, Severity
from ckptd.text import escape
from ckptd.watch.filesystems import find_filesystem, find_mounts_below
from ckptd.watch.source import KernelObserver, Losses, Source

Backend = Literal["auto", "inotify", "polling"]

#: Created for what is linked in and for files that were there before their new directory was watched (without it 98 % of
#: them are missed), Closed and Moved for what was written, Deleted for what went.  Modified is left out: it comes
#: for each write, and nothing is looked at before its writer lets go.
_EVENTS: list[type[FileSystemEvent]] = [
    FileCreatedEvent,
    FileClosedEvent,
    FileMovedEvent,
    FileDeletedEvent,
    DirCreatedEvent,
    DirMovedEvent,
    DirDeletedEvent,
]


@dataclass(slots=True)
class Counters:
    """What was seen since the daemon started, over all restarts."""

    events: int = 0
    hints: int = 0
    doubts: int = 0
    restarts: int = 0
    callback_errors: int = 0


class Observer:
    """Watch one root for as long as it lives; `start`, `restart` and `stop` are for one thread, the owner's.

    Args:
        root: the directory; links in its path are resolved at each start, as watchdog sees nothing through one.
        on_hint: called with a path relative to the root ("/" between parts, surrogateescape) and whether a writer closed
            the file or moved it here.  The path may name a directory, something gone, or nothing wanted: look.
        on_doubt: called with a word that says why the whole root is to be scanned.
        backend: "auto" polls where other hosts write unseen.
        polling_seconds: between two doubts while polling.

    Both callbacks come from any thread, even under watchdog's locks: they must only note and return.  What they raise is
    counted and dropped.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        on_hint: Callable[[str, bool], None],
        on_doubt: Callable[[str], None],
        *,
        backend: Backend = "auto",
        polling_seconds: float = 30.0,
    ) -> None:
        self.root = os.fspath(root)
        self.counters = Counters()
        self.losses = Losses()
        self._on_hint = on_hint
        self._on_doubt = on_doubt
        self._backend = backend
        self._polling_seconds = polling_seconds
        self._kernel: KernelObserver | None = None
        self._pulse: _Pulse | None = None
        self._pulse_lock = threading.Lock()
        self._findings: dict[str, Finding] = {}

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What a person should know about how this root is watched now."""
        return tuple(self._findings.values())

    @property
    def is_polling(self) -> bool:
        """Whether the root is looked at by the clock, alone or beside the kernel's events."""
        return self._pulse is not None

    @property
    def hears_kernel(self) -> bool:
        """Whether the kernel's events come from this root now."""
        return self._kernel is not None

    @property
    def watched_by(self) -> Literal["kernel", "polling", "both", "nothing"]:
        """Where hints and doubts come from."""
        if self.hears_kernel:
            return "both" if self.is_polling else "kernel"
        return "polling" if self.is_polling else "nothing"

    def start(self) -> None:
        """Begin to watch and raise a first doubt.

        What keeps the kernel from telling us is a finding, and the clock takes over; a root that is not there leaves an
        observer that is not alive: `restart` it when it is back.
        """
        _silence_watchdog()
        self._findings.clear()
        root = os.path.realpath(self.root)
        try:
            is_network = find_filesystem(root).is_network
        except OSError as error:
            self._find("root-missing", f"the root cannot be watched: {os.strerror(error.errno or 0)}", Severity.ERROR)
            self._doubt("start")
            return
        if self._backend == "polling" or (self._backend == "auto" and is_network):
            self._start_pulse()
        else:
            self._start_kernel(root)
        if self._backend == "auto":
            self._poll_for(root, is_network=is_network)
        self._doubt("start")

    def stop(self) -> None:
        """End all threads; no callback comes afterwards from them."""
        kernel, self._kernel = self._kernel, None
        if kernel is not None:
            kernel.stop()
            kernel.join()
        pulse, self._pulse = self._pulse, None
        if pulse is not None:
            pulse.stop()

    def restart(self) -> None:
        """Watch what lies at the root's path now: after it was made again, replaced or mounted, or when a thread died."""
        self.stop()
        self.counters.restarts += 1
        self.start()

    def alive(self) -> bool:
        """Say whether every thread that should run does; False calls for `restart`."""
        if self._kernel is None and self._pulse is None:
            return False
        return (self._kernel is None or self._kernel.is_whole()) and (self._pulse is None or self._pulse.is_alive())

    def _start_kernel(self, root: str) -> None:
        kernel: KernelObserver | None = None
        try:
            hints = _Hints(root, self)
            kernel = KernelObserver(Source(self.losses, self._lose), hints.dispatch)
            kernel.schedule(hints, root, recursive=True, event_filter=_EVENTS)
            kernel.start()
        except OSError as error:
            if kernel is not None:
                kernel.stop()
            self._give_up_events(error)
            return
        self._kernel = kernel

    def _give_up_events(self, error: OSError) -> None:
        match error.errno:
            case errno.ENOENT | errno.ENOTDIR:
                self._find("root-missing", "the root went away", Severity.ERROR)
                return
            case errno.ENOSPC:
                self._find_watch_limit()
            case errno.EMFILE | errno.ENFILE:
                limits = "fs.inotify.max_user_instances, or the open files of the daemon,"
                self._find("watch-instances", f"{limits} are used up: the root is polled; raise the limit by sysctl")
            case _:
                self._find("watch-failed", f"the kernel does not watch this root: {error.strerror}: it is polled")
        self._start_pulse()

    def _poll_for(self, root: str, *, is_network: bool) -> None:
        """Poll for what lies on network file systems, the root itself or something mounted below it."""
        if is_network:
            self._find("watch-polling", "other hosts write here unseen: the root is polled", Severity.INFO)
            return
        for path, file_system in find_mounts_below(root).items():
            if file_system.is_network:
                message = f"{escape(path)} is {file_system.name}, where other hosts write unseen: it is polled"
                self._find("watch-polling", message, Severity.INFO)
                self._start_pulse()

    def _start_pulse(self) -> None:
        with self._pulse_lock:  # at the watch limit the thread of `Source` comes here, while the owner may be at its start
            if self._pulse is None:
                self._pulse = _Pulse(self._polling_seconds, lambda: self._doubt("polling"))
                self._pulse.start()

    def _find(self, code: str, message: str, severity: Severity = Severity.WARNING) -> None:
        self._findings[code] = Finding(code, severity, message)

    def _find_watch_limit(self) -> None:
        message = "fs.inotify.max_user_watches is used up: some directories are polled; raise the limit by sysctl"
        self._find("watch-limit", message)

    def _lose(self, why: str) -> None:
        if why == "watch limit":
            if "watch-limit" in self._findings:  # each directory of a large tree is refused; one doubt is enough
                return
            self._find_watch_limit()
            self._start_pulse()
        self._doubt(why)

    def _doubt(self, why: str) -> None:
        self.counters.doubts += 1
        try:
            self._on_doubt(why)
        except Exception:  # noqa: BLE001 — would end watchdog's thread, and all events with it
            self.counters.callback_errors += 1

    def hint(self, path: str, *, closed: bool) -> None:
        """Pass one hint on; for the event handler."""
        self.counters.hints += 1
        try:
            self._on_hint(path, closed)
        except Exception:  # noqa: BLE001 — would end watchdog's thread, and all events with it
            self.counters.callback_errors += 1

    def lose_root(self) -> None:
        """Note that the root itself was removed; for the event handler."""
        self._doubt("root deleted")


def _silence_watchdog() -> None:
    # What it logs and warns of is told here: losses, findings, alive().  Watching a directory twice does no harm.
    logging.getLogger("watchdog").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", message="Callback with id", category=RuntimeWarning)


class _Hints(FileSystemEventHandler):
    """Turn watchdog's events into hints."""

    def __init__(self, root: str, observer: Observer) -> None:
        self._root = root
        self._prefix = root.rstrip("/") + "/"
        self._observer = observer

    def dispatch(self, event: FileSystemEvent) -> None:
        """Pass one event on; a move is two hints, one of which may lie outside."""
        self._observer.counters.events += 1
        written = isinstance(event, FileClosedEvent)
        self._hint(os.fsdecode(event.src_path), closed=written)
        if event.dest_path:
            self._hint(os.fsdecode(event.dest_path), closed=True)

    def _hint(self, path: str, *, closed: bool) -> None:
        if path == self._root:
            self._observer.lose_root()
        elif path.startswith(self._prefix):
            self._observer.hint(path[len(self._prefix) :], closed=closed)


class _Pulse(threading.Thread):
    """Call something every so often until told to stop."""

    def __init__(self, seconds: float, call: Callable[[], None]) -> None:
        super().__init__(name="ckptd-polling", daemon=True)
        self._seconds = seconds
        self._call = call
        self._stopped = threading.Event()

    def run(self) -> None:
        """Wait, call, and so on."""
        while not self._stopped.wait(self._seconds):
            self._call()

    def stop(self) -> None:
        """End the thread, at once when it waits."""
        self._stopped.set()
        self.join()
