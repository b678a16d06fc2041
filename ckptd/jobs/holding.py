"""Keep others out of roots: one ckptd for each root, and one job at a time for each index and each root.

The state directory's own lock comes first, then those of the roots by their paths, so that two processes never hold one each
and want the other's.  A root whose `.ckptd` is the state directory has one lock and not two.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

import structlog

from ckptd.errors import AlreadyRunningError, StorageError
from ckptd.jobs.roots import WatchedRoot
from ckptd.storage.lock import JOBS, Lock, describe_holder, hold, hold_job, is_held, is_same_holder, read_holder
from ckptd.storage.state import STATE

_log = structlog.get_logger()


#: Takes the lock of a directory, as `storage.lock.hold` does.
Take = Callable[[Path], Lock]


class KeptLocks:
    """Locks that outlive what they were taken for: over a reload nobody else gets in between."""

    def __init__(self) -> None:
        self._locks: list[Lock] = []

    def keep(self, locks: Iterable[Lock]) -> None:
        """Keep some locks, though whoever took them lets them go."""
        self._locks += [lock.hand_over() for lock in locks]

    def hold(self, directory: Path) -> Lock:
        """Give the lock of a directory that is kept, and keep it all the same; one that is not is taken.

        Raises:
            AlreadyRunningError: another process has it; the message names it.
            StorageError: the lock file can't be opened or written.
        """
        kept = next((lock for lock in self._locks if lock.lies_in(directory)), None)
        return hold(directory) if kept is None else kept.share()

    def close(self) -> None:
        """Let go of all that nobody took over."""
        while self._locks:
            self._locks.pop().close()


class RootLocks:
    """The locks of the roots that a process looks after.

    Args:
        state_dir: whose lock is held already.
        roots: those that were looked at; one with an incident gets its lock by `renew` when it is back.
        take: takes a lock.
        yields: leave a root to a process that has it, as `take_back` does.
    """

    def __init__(self, state_dir: Path, roots: Sequence[WatchedRoot], take: Take = hold, *, yields: bool = False) -> None:
        self._state_dir = state_dir
        self._take = take
        self._held: dict[str, Lock] = {}
        take_one = self.take_back if yields else self.renew
        try:
            for root in sorted(roots, key=lambda root: root.path):
                take_one(root)
        except BaseException:
            self.close()
            raise

    @property
    def held(self) -> Collection[Lock]:
        """Those that are held just now."""
        return self._held.values()

    def renew(self, root: WatchedRoot) -> None:
        """Take the lock of what lies at the root's path now; the one of what lay there before is given back.

        A root that can't be locked, such as a read-only share, is told and watched all the same: nothing is written there.

        Raises:
            AlreadyRunningError: another process looks after it; the message names it.
        """
        before = self._held.pop(root.path, None)
        if before is not None:
            before.close()
        try:
            lock = _hold_root(self._state_dir, root, self._take)
        except StorageError as error:
            _log.warning("root.unlocked", root=root.path, reason=error.why)
            return
        if lock is not None:
            self._held[root.path] = lock

    def take_back(self, root: WatchedRoot) -> None:
        """Take the lock of a root that is back; that another process has it by now is an incident of this root alone."""
        try:
            self.renew(root)
        except AlreadyRunningError as error:
            root.incident = _name_another(error.why)

    def has_lost(self, root: WatchedRoot) -> bool:
        """Say whether somebody removed the lock file of a root, and the lock with it; where nobody can tell, it is held."""
        lock = self._held.get(root.path)
        try:
            return lock is not None and not lock.still_held()
        except OSError:
            return False

    def close(self) -> None:
        """Give all of them back."""
        for lock in self._held.values():
            lock.close()
        self._held.clear()


@contextmanager
def hold_roots(
    state_dir: Path, roots: Sequence[WatchedRoot], take: Take = hold, *, yields: bool = False
) -> Iterator[RootLocks]:
    """Keep every other ckptd away from some roots, whatever state directory it has; call it once they were looked at.

    Args:
        state_dir: whose lock is held already.
        roots: to be kept.
        take: takes a lock.
        yields: take a root that another process has for an incident of that root.

    Raises:
        AlreadyRunningError: another process looks after one of them; the message names it.
    """
    with closing(RootLocks(state_dir, roots, take, yields=yields)) as locks:
        yield locks


def leave_to_others(state_dir: Path, roots: Sequence[WatchedRoot]) -> None:
    """Take a root that another ckptd looks after for an incident, now and at each look: it has an index of its own.

    Args:
        state_dir: whose ckptd may look after the roots, while this process runs a job or a command for it.
        roots: that were looked at.
    """
    for root in roots:
        root.find_another = partial(_find_another, state_dir, Path(root.path) / STATE)
        if root.incident is None:
            root.incident = root.find_another()
            if root.incident is not None:
                _log.warning("root.left_out", root=root.path, reason=root.incident)


@contextmanager
def hold_jobs(state_dir: Path, roots: Sequence[WatchedRoot], job: str) -> Iterator[None]:
    """Be the one process that runs a job on an index and some roots.

    Raises:
        AlreadyRunningError: another process runs one; the message names both.
        StorageError: the lock of the state directory can't be opened.
    """
    with ExitStack() as stack:
        stack.enter_context(hold_job(state_dir, job))
        for root in sorted(roots, key=lambda root: root.path):
            with suppress(StorageError):  # the daemon told it, and `ckptd doctor` does
                lock = _hold_root(state_dir, root, lambda place: hold_job(place, job))
                if lock is not None:
                    stack.enter_context(lock)
        yield


def find_unlockable(
    state_dir: Path, roots: Sequence[Path], may: Callable[[Path, int], bool] = os.access
) -> list[tuple[Path, str]]:
    """Give the roots in which no lock can be kept, each with the reason; nothing is made or taken.

    Args:
        state_dir: has a lock of its own.
        roots: that are looked at.
        may: says whether who would keep the lock has rights on a directory; ourselves when nobody says it.
    """
    found = []
    for root in roots:
        place = root / STATE
        if os.path.isdir(place) and not may(place, os.R_OK | os.W_OK | os.X_OK) and not _is_same(place, state_dir):
            found.append((root, f"{STATE} can't be written"))
    return found


class JobHolder(NamedTuple):
    """Who runs a job just now: what it says that it runs, and a phrase for people."""

    job: str
    words: str


def find_job_holder(state_dir: Path, roots: Sequence[Path]) -> JobHolder | None:
    """Say who runs a job on the index or one of the roots just now; None when nobody does."""
    for place in (state_dir, *(root / STATE for root in roots)):
        if is_held(place, JOBS):
            holder = read_holder(place, JOBS) or {}
            return JobHolder(str(holder.get("job", "")), describe_holder(holder))
    return None


def _find_another(state_dir: Path, place: Path) -> str | None:
    """Say which ckptd has a root, in words; None where it is that of the state directory, or nobody."""
    if not is_held(place):
        return None
    holder = read_holder(place) or {}  # before that of the state directory, which a daemon has first and longest
    if is_held(state_dir) and is_same_holder(read_holder(state_dir) or {}, holder):
        return None
    return _name_another(describe_holder(holder))


def _name_another(why: str) -> str:
    return f"another ckptd looks after it: {why}"


def _hold_root(state_dir: Path, root: WatchedRoot, take: Take) -> Lock | None:
    """Take a lock in a root's `.ckptd`; None where that is the state directory, or where the root is not there just now.

    Raises:
        StorageError: none can be kept there.
    """
    place = Path(root.path) / STATE
    if root.incident is not None or _is_same(place, state_dir):
        return None
    why = _find_fault(place)
    if why is not None:
        raise StorageError("lock a root", path=place, why=why, cure="see `ckptd doctor`")
    return take(place)


def _find_fault(place: Path) -> str | None:
    """Say why no lock can be kept in a directory; None when one may be."""
    try:
        seen = place.lstat()
    except OSError as error:
        return f"{STATE}: {os.strerror(error.errno or 0)}"
    if not stat.S_ISDIR(seen.st_mode) or seen.st_uid != os.geteuid():
        return f"{STATE} is not the daemon's own directory"
    return None


def _is_same(place: Path, other: Path) -> bool:
    try:
        return os.path.samefile(place, other)
    except OSError:
        return False
