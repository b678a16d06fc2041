"""Files that are waited for: looked at when something happens or when the settle rule says so, handed on when written."""

from __future__ import annotations

import heapq
import os
import stat
from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass

from ckptd.checkpoint.container import looks_complete
from ckptd.jobs.reading import OPEN_FLAGS, Place
from ckptd.jobs.roots import WatchedRoot
from ckptd.model import Identity
from ckptd.policy.settle import Incomplete, Ready, SettleRules, Tracked, WaitUntil, settle, track
from ckptd.storage.beneath import open_beneath
from ckptd.watch.openness import RecentWriters, find_writer


@dataclass(frozen=True, slots=True)
class Arrived:
    """A file that is written; the descriptor belongs to whoever takes it."""

    place: Place
    identity: Identity
    fd: int


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A file that is there and cannot be opened."""

    place: Place
    identity: Identity
    why: str


@dataclass(frozen=True, slots=True)
class Gone:
    """Nothing lies there any more."""

    place: Place


Outcome = Arrived | Unreadable | Gone


class Settling:
    """Hold the files that are not written yet, soonest look first.

    Threading: belongs to the loop.
    """

    def __init__(self, roots: list[WatchedRoot], rules: SettleRules, clock: Callable[[], float]) -> None:
        self._roots = roots
        self._rules = rules
        self._clock = clock
        self._writers = RecentWriters(clock)
        self._tracked: dict[Place, Tracked | None] = {}
        self._closed: set[Place] = set()
        self._due: list[tuple[float, Place]] = []
        self._at: dict[Place, float] = {}

    def __len__(self) -> int:
        return len(self._tracked)

    def __contains__(self, place: Place) -> bool:
        return place in self._tracked

    @property
    def places(self) -> Set[Place]:
        """The files that are waited for."""
        return self._tracked.keys()

    def expect(self, place: Place, now: float, *, closed: bool, delay: float = 0.0) -> None:
        """Look at a place soon; `closed` when a writer was seen to let go of it."""
        self._tracked.setdefault(place, None)
        if closed:
            self._closed.add(place)
        at = now + delay
        if at < self._at.get(place, float("inf")):
            self._schedule(place, at)

    def forget(self, place: Place) -> None:
        """Wait for a file no longer."""
        self._tracked.pop(place, None)
        self._closed.discard(place)
        self._at.pop(place, None)

    def next_due(self) -> float | None:
        """Say when the next look is due."""
        while self._due and self._at.get(self._due[0][1]) != self._due[0][0]:
            heapq.heappop(self._due)  # rescheduled or forgotten since
        return self._due[0][0] if self._due else None

    def all_unfinished(self) -> bool:
        """Say whether every file here has waited out `settle_seconds` and still has no end, or is open."""
        now, pause = self._clock(), self._rules.settle_seconds
        return all(tracked is not None and now - tracked.quiet_since >= pause for tracked in self._tracked.values())

    def hand_over_abandoned(self, wall: float) -> int:
        """Count as quiet all their lives the files that their own times call old, and look at them at once; how many.

        Only for a single pass, which can't wait: in the daemon a file's times are never held against a clock.
        """
        limit, now, old = self._rules.incomplete_seconds, self._clock(), 0
        for place, tracked in self._tracked.items():
            if tracked is None or now - tracked.quiet_since >= limit:
                continue
            if wall - max(tracked.identity[3], tracked.identity[4]) / 1e9 >= limit:
                self._tracked[place] = Tracked(tracked.identity, now - limit, closed=tracked.closed)
                self._schedule(place, now)
                old += 1
        return old

    def due(self, now: float) -> Iterator[Outcome]:
        """Look at every file that is due, and give those whose waiting is over; the caller may stop early."""
        while (at := self.next_due()) is not None and at <= now:
            _, place = heapq.heappop(self._due)
            self._at.pop(place, None)
            outcome = self._look(place, now)
            if outcome is not None:
                self.forget(place)
                yield outcome

    def _look(self, place: Place, now: float) -> Outcome | None:
        root = self._roots[place[0]]
        try:
            fd = open_beneath(root.handle.fd, place[1], OPEN_FLAGS)
        except FileNotFoundError:
            return Gone(place)
        except OSError as error:
            return self._explain(root, place, error)
        try:
            outcome = self._judge(place, fd, now)
        except OSError as error:  # an I/O error of the disk; reading it later says the same with more care
            outcome = Unreadable(place, Identity.of(os.fstat(fd)), os.strerror(error.errno or 0))
        if not isinstance(outcome, Arrived):
            os.close(fd)
        return outcome

    def _judge(self, place: Place, fd: int, now: float) -> Outcome | None:
        seen = os.fstat(fd)
        if not stat.S_ISREG(seen.st_mode):  # swapped for something else since it was noticed
            return Gone(place)
        identity = Identity.of(seen)
        tracked = track(self._tracked.get(place), identity, now, closed=place in self._closed)
        self._closed.discard(place)
        self._tracked[place] = tracked
        complete = looks_complete(fd, identity.size_bytes)
        verdict = settle(tracked, complete=complete, openness=find_writer(fd, self._writers), now=now, rules=self._rules)
        match verdict:
            case Ready() | Incomplete():
                return Arrived(place, identity, fd)
            case WaitUntil(at):
                self._schedule(place, at)
                return None

    def _explain(self, root: WatchedRoot, place: Place, error: OSError) -> Outcome:
        """Tell a file that may not be read from one that went away or became something else."""
        directory, _, name = place[1].rpartition("/")
        try:
            parent = (
                open_beneath(root.handle.fd, directory, os.O_RDONLY | os.O_DIRECTORY) if directory else os.dup(root.handle.fd)
            )
            try:
                seen = os.stat(name, dir_fd=parent, follow_symlinks=False)
            finally:
                os.close(parent)
        except OSError:
            return Gone(place)
        return Unreadable(place, Identity.of(seen), os.strerror(error.errno or 0))

    def _schedule(self, place: Place, at: float) -> None:
        self._at[place] = at
        heapq.heappush(self._due, (at, place))
