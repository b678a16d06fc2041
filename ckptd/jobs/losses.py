"""Places that seem to be gone: what turns up elsewhere within a moment was moved, the rest is missing."""

from __future__ import annotations

import os
from collections.abc import Callable

from ckptd.index.store import KnownPlace, Store
from ckptd.jobs.reading import Place
from ckptd.jobs.recording import Recording
from ckptd.jobs.roots import WatchedRoot
from ckptd.model import Identity
from ckptd.storage.beneath import open_parent_beneath
from ckptd.watch.scanner import Absent, Problem, RegularFile, observe

#: A file that is gone is marked missing after this long, when it has not turned up under another name: both halves of a
#: rename can come in two batches of events.
GRACE_SECONDS = 0.3
#: More losses at once than this are no matter of single files: the full picture is looked at, with its brakes.
MOST_LOSSES = 8


class Losses:
    """Wait a moment for what went away, then believe it.

    Threading: belongs to the loop.

    Args:
        roots: by number.
        store: what is known.
        recording: where losses are written down.
        now: monotonic seconds.
        wall: seconds since the epoch.
        want_rescan: asks for the full picture of a root, with its brakes.
    """

    def __init__(
        self,
        roots: list[WatchedRoot],
        store: Store,
        recording: Recording,
        *,
        now: Callable[[], float],
        wall: Callable[[], float],
        want_rescan: Callable[[int, str], None],
    ) -> None:
        self._roots = roots
        self._store = store
        self._recording = recording
        self._now = now
        self._wall = wall
        self._want_rescan = want_rescan
        self._lost: dict[Place, float] = {}
        self._below: dict[Place, float] = {}
        self._moves: dict[Place, str] = {}
        self._put_off: set[int] = set()

    def __len__(self) -> int:
        return len(self._lost) + len(self._below)

    def miss(self, place: Place) -> None:
        """Note that nothing lies where a checkpoint may have been."""
        self._lost.setdefault(place, self._now() + GRACE_SECONDS)
        source = self._moves.pop(place, None)
        if source is not None:  # what was to come here went away, and what it came from with it
            self._lost.setdefault((place[0], source), self._now() + GRACE_SECONDS)

    def miss_below(self, place: Place) -> None:
        """Note that nothing lies where a directory may have been."""
        self._below.setdefault(place, self._now() + GRACE_SECONDS)

    def expect_move(self, number: int, source: str, target: str) -> None:
        """Note that a file has another name now; it is not lost while it is waited for there."""
        self._lost.pop((number, source), None)
        self._moves[number, target] = source

    def find_source(self, place: Place, identity: Identity, candidates: list[str]) -> str | None:
        """Say where this file was moved from: a place in its root where it was, and where nothing is any more."""
        self._lost.pop(place, None)
        root = self._roots[place[0]]
        expected = self._moves.pop(place, None)
        if expected is not None:
            candidates = [expected, *candidates]
        for path in candidates:
            if path == place[1] or not isinstance(observe(root.handle.fd, path, root.wanted), Absent):
                continue
            known = self._store.find_place(root.path, path)
            if known is not None and known.identity[:4] == identity[:4]:
                self._lost.pop((place[0], path), None)
                return path
        if expected is not None:
            self.miss((place[0], expected))
        return None

    def put_off(self, number: int) -> None:
        """Ask for the full picture of a root once the index can be written again: there is no room for more until then."""
        if number not in self._put_off:
            self._put_off.add(number)
            self._recording.then(lambda: self._ask_again(number))

    def keep_only(self, is_there: Callable[[Place], bool]) -> None:
        """Forget the moves to places at which nothing lies; what they came from is missed by the picture that says so."""
        self._moves = {place: source for place, source in self._moves.items() if is_there(place)}

    def next_due(self) -> float | None:
        """Say when a loss is to be believed."""
        return min((*self._lost.values(), *self._below.values()), default=None)

    def step(self, now: float) -> None:
        """Mark what is gone for good, or ask for the full picture where that would be many."""
        if self._below:
            self._look_below(now)
        due = [place for place, at in self._lost.items() if at <= now]
        for place in due:
            del self._lost[place]
        if not self._recording.has_room:  # each of them would be one more entry, whenever something is seen there
            for place in due:
                self.put_off(place[0])
            return
        gone = [(place, known) for place in due if (known := self._find_present(place)) is not None]
        if len(gone) > MOST_LOSSES:
            for number in {place[0] for place, _ in gone}:
                self._want_rescan(number, "losses")
            return
        for place, known in gone:
            self.mark_missing(place, known)

    def mark_missing(self, place: Place, known: KnownPlace) -> None:
        """Write down that a known file is gone, if it is and its root can be believed; its metadata stays."""
        root, wall = self._roots[place[0]], self._wall()
        if root.freezes_place(place[1]) or _may_be_there(root, place[1]):
            return
        self._recording.write(lambda batch: batch.record_missing(root.path, place[1], now=wall), self._now())
        self._recording.tell("info", "checkpoint.vanished", root=root.path, path=place[1], digest=known.sha256)

    def _ask_again(self, number: int) -> None:
        self._put_off.discard(number)
        self._want_rescan(number, "index")

    def _find_present(self, place: Place) -> KnownPlace | None:
        known = self._store.find_place(self._roots[place[0]].path, place[1])
        return None if known is None or known.is_missing else known

    def _look_below(self, now: float) -> None:
        """Ask for the full picture where a directory went away that held known files."""
        for place in [place for place, at in self._below.items() if at <= now]:
            del self._below[place]
            known = self._store.load_places(self._roots[place[0]].path, below=place[1])
            if any(not one.is_missing for one in known.values()):
                self._want_rescan(place[0], "directory gone")


def _may_be_there(root: WatchedRoot, path: str) -> bool:
    """Say whether a file lies there, or what lies there can't be looked at just now."""
    seen = observe(root.handle.fd, path, root.wanted)
    return isinstance(seen, RegularFile) or (isinstance(seen, Problem) and seen.identity is None)


def is_gone(root: WatchedRoot, path: str) -> bool:
    """Say whether nothing at all lies at a relative path."""
    try:
        parent, name = open_parent_beneath(root.handle.fd, path)
    except OSError:
        return True
    try:
        os.stat(name, dir_fd=parent, follow_symlinks=False)
    except OSError:
        return True
    finally:
        os.close(parent)
    return False
