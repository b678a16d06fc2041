"""Programs beside the loop: watched by its selector, ended when their time is over, and never waited for."""

from __future__ import annotations

import selectors
import time
from collections.abc import Callable, Hashable
from typing import Generic, NamedTuple, TypeVar

from ckptd.errors import WorkerError
from ckptd.notify.running import Ended, Running

_Key = TypeVar("_Key", bound=Hashable)
#: How long a program whose end no descriptor tells may be gone unnoticed, and one that was killed is let be, seconds.
_LOOK_SECONDS = 0.5


class _Entry(NamedTuple):
    running: Running
    seconds: float
    deadline: float
    is_asked: bool = False


class Programs(Generic[_Key]):
    """Some programs that run, by a key of the caller's.

    Threading: belongs to the loop.

    Args:
        selector: of the loop.
        monotonic: the clock of the deadlines, seconds.
    """

    def __init__(self, selector: selectors.BaseSelector, monotonic: Callable[[], float]) -> None:
        self._selector = selector
        self._monotonic = monotonic
        self._entries: dict[_Key, _Entry] = {}
        self._watched: dict[int, _Key] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: object) -> bool:
        return key in self._entries

    def watch(self, key: _Key, running: Running, seconds: float) -> None:
        """Look after a program that was started just now, and end it when it takes longer than `seconds`.

        Raises:
            WorkerError: it can't be watched; it was ended.
        """
        try:
            for fd in running.fds:
                self._selector.register(fd, selectors.EVENT_READ, lambda key=key: self._read(key))
                self._watched[fd] = key
        except (OSError, LookupError, ValueError) as error:
            self._forget(key, ())
            running.finish()
            why = f"{type(error).__name__}: {error}"
            raise WorkerError("a program could not be watched", why=why) from error
        self._entries[key] = _Entry(running, seconds, self._monotonic() + seconds)

    def collect(self) -> list[tuple[_Key, Ended]]:
        """Give those that have ended since the last call, and end those whose time is over."""
        ended = []
        for key, entry in list(self._entries.items()):
            self._read(key)
            if entry.running.has_ended():
                ended.append((key, self._finish(key)))
            elif self._monotonic() >= entry.deadline:
                self._end_late(key, entry)
        return ended

    def next_due(self) -> float | None:
        """Say when `collect` has something to do that no descriptor tells, monotonic seconds."""
        unseen = [self._monotonic() + _LOOK_SECONDS for entry in self._entries.values() if not entry.running.is_watched]
        return min((*(entry.deadline for entry in self._entries.values()), *unseen), default=None)

    def close(self) -> list[tuple[_Key, Ended]]:
        """End all of them, each with its group, and give them; who has something to end himself has a moment for that."""
        for entry in self._entries.values():
            entry.running.ask()
        deadline = time.monotonic() + max((entry.running.grace_seconds for entry in self._entries.values()), default=0.0)
        for entry in self._entries.values():
            entry.running.wait_grace(deadline)
        return [(key, self._finish(key)) for key in list(self._entries)]

    def _end_late(self, key: _Key, entry: _Entry) -> None:
        """End a program whose time is over; where it has a grace, ask it first and come again when that is over, too."""
        pause = 0.0 if entry.is_asked else entry.running.grace_seconds
        if pause:
            entry.running.ask_late()
        else:  # and again, now and then: the kernel may hold it for as long as a share is dead
            entry.running.end_late()
            pause = _LOOK_SECONDS
        self._entries[key] = entry._replace(deadline=self._monotonic() + pause, is_asked=True)

    def _read(self, key: _Key) -> None:
        """Take what a program wrote; the pipe of one that closed it is watched no more, for it would always be readable."""
        if key in self._entries:
            self._entries[key].running.read()
            self._forget(key, self._entries[key].running.fds)

    def _finish(self, key: _Key) -> Ended:
        entry = self._entries.pop(key)
        self._forget(key, ())
        return entry.running.finish(entry.seconds)

    def _forget(self, key: _Key, kept: tuple[int, ...]) -> None:
        for fd in [fd for fd, owner in self._watched.items() if owner == key and fd not in kept]:
            del self._watched[fd]
            self._selector.unregister(fd)
