"""watchdog's inotify thread, made to survive and to say what it lost.

Four things watchdog 7.1 keeps to itself are told here: a queue overflow, after the watches were set anew and not before,
so that a rescan that starts now misses nothing; a directory that could not be watched because of the limit; an error of
its own, which would end the thread while everything else says "alive"; and a directory nobody lets us watch.
All of it by overriding public methods, but for two places in which it is wrong: one of its bookkeeping, and how it begins; a
test against the real kernel holds each.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from watchdog.events import FileSystemEvent
from watchdog.observers.api import BaseObserver
from watchdog.observers.inotify import InotifyFullEmitter, InotifyWatchGroup
from watchdog.observers.inotify_c import (
    CallbackId,
    InotifyConstants,
    InotifyEvent,
    InotifyFD,
    Mask,
    WatchCallback,
    WatchDescriptor,
)

#: What is heard of a hidden entry: a directory or a move may bring something into sight, a file that stays hidden nothing.
_TELLING = InotifyConstants.IN_ISDIR | InotifyConstants.IN_MOVE


@dataclass(slots=True)
class Losses:
    """What the kernel or watchdog refused or dropped since the start."""

    overflows: int = 0
    refused_watches: int = 0
    errors: int = 0


class _ShortCallback(WatchCallback):
    """Stand before watchdog's watch group, whose repr lists every directory it watches.

    watchdog formats that repr into a warning each time a directory is watched twice, which happens to most new nested
    ones: with 20,000 directories 2 MB of text for each.
    """

    __slots__ = ("_group",)

    def __init__(self, group: WatchCallback) -> None:
        self._group = group

    def on_event(self, event: InotifyEvent) -> None:
        """Pass it on."""
        self._group.on_event(event)

    def on_watch_deleted(self, wd: WatchDescriptor) -> None:
        """Pass it on."""
        self._group.on_watch_deleted(wd)

    def on_queue_overflow(self) -> None:
        """Pass it on."""
        self._group.on_queue_overflow()


class Source(InotifyFD):
    """The thread that reads the kernel's queue; `on_loss(why)` is called in it, under watchdog's locks: it must only note."""

    def __init__(self, losses: Losses, on_loss: Callable[[str], None]) -> None:
        super().__init__()
        # 7.1.0 begins as if it read already: an end that came before the thread's first step would be left to a thread that
        # never takes it, and the inotify instance, of which a user has 128, would stay open with both ends of a pipe.
        self._is_reading = False
        self._losses = losses
        self._on_loss = on_loss
        self._short: dict[CallbackId, _ShortCallback] = {}

    def add_callback(self, path: bytes, mask: Mask, callback: WatchCallback, id_: CallbackId) -> WatchDescriptor:
        """Watch one directory; tell when it is one too many, which watchdog passes over in silence below the root."""
        short = self._short.setdefault(id_, _ShortCallback(callback))
        # A file that is written without a name, as our sidecars are, would be told of twice: by the name that it was given
        # and, when it is closed, by a number.  What has lost its name is of no interest either.
        mask = Mask(mask | InotifyConstants.IN_EXCL_UNLINK)
        try:
            return super().add_callback(path, mask, short, id_)
        except OSError as error:
            if error.errno == errno.ENOSPC:
                self._losses.refused_watches += 1
                self._on_loss("watch limit")
            raise

    def handle_event(self, event: InotifyEvent) -> None:
        """Handle one event of the kernel, come what may."""
        if event.name.startswith(b".") and not event.mask & _TELLING:
            return
        try:
            super().handle_event(event)
        except Exception:  # noqa: BLE001 — whatever it is, it would end this thread and nothing would say so
            self._losses.errors += 1
            self._on_loss("watcher error")
        if event.is_queue_overflow:
            self._losses.overflows += 1
            self._on_loss("overflow")


class _WatchGroup(InotifyWatchGroup):
    """watchdog's book of which watch stands for which directory, in which two may stand for one name.

    A directory that was moved out of the root keeps its watch and, in the book, its name; another may have that name since
    (`mv latest elsewhere; mv new latest`).  In 7.1.0 taking out the second of them is a KeyError: at the end, at a restart,
    and at an overflow after all watches were removed and before they are set anew.
    """

    def _remove_watch_internally(self, wd: WatchDescriptor) -> None:
        """Take one watch out of the book, and its name only where that is not another's by now."""
        path = self._active_callbacks_by_watch.pop(wd, None)
        if path is not None and self._active_callbacks_by_path.get(path) == wd:
            del self._active_callbacks_by_path[path]


class _Emitter(InotifyFullEmitter):
    """Hand events on in the thread that makes them, without a second queue and a third thread.

    The full emitter tells a file that was renamed into the tree (a move from nowhere) from one that was just created.
    Measured for a bulk of 1,000 files: the threads of watchdog took 0.15 ms a file instead of 0.23.
    """

    def __init__(self, *args: Any, take: Callable[[FileSystemEvent], None], **options: Any) -> None:
        super().__init__(*args, **options)
        self._take = take
        self._wanted = frozenset(options["event_filter"])

    def on_thread_start(self) -> None:
        """Set the watches, as in 7.1.0, and keep the book of them that bears two of one name."""
        self._inotify = _WatchGroup(
            self._inotify_fd,
            os.fsencode(self.watch.path),
            is_recursive=self.watch.is_recursive,
            event_mask=self.get_event_mask_from_filter(),
            follow_symlink=self.watch.follow_symlink,
        )

    def queue_event(self, event: FileSystemEvent) -> None:
        """Pass on what was asked for; for each event watchdog makes one about the directory too."""
        if type(event) in self._wanted:
            self._take(event)


class KernelObserver(BaseObserver):
    """watchdog's observer around our `Source`: the same as `InotifyObserver`, one inotify instance each.

    Args:
        source: the thread that reads the kernel's queue; it is started.
        take: called with each event, under watchdog's locks: it must only note.
    """

    def __init__(self, source: Source, take: Callable[[FileSystemEvent], None]) -> None:
        super().__init__(_Emitter, inotify_fd=source, take=take)
        self._source = source
        source.start()

    def on_thread_stop(self) -> None:
        """End the emitters, then the thread that feeds them."""
        super().on_thread_stop()
        self._source.stop()
        self._source.join()

    def is_whole(self) -> bool:
        """Say whether all the threads live: reader, emitters and dispatcher."""
        emitters = list(self.emitters)
        return self.is_alive() and self._source.is_alive() and bool(emitters) and all(each.is_alive() for each in emitters)
