"""A root while it is watched: its descriptor, what is wanted below it, and whether it is to be believed."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, Self

import structlog

from ckptd.errors import IndexUnavailableError, RootLostError, StorageError
from ckptd.index.store import Store
from ckptd.policy.brakes import Freeze
from ckptd.storage.beneath import RootHandle
from ckptd.watch.guard import (
    Emptied,
    KnownRoot,
    Missing,
    MountChanged,
    RootSight,
    Unmarked,
    Verdict,
    is_incident,
    judge,
    look,
    mark_root,
)
from ckptd.watch.scanner import Problem
from ckptd.watch.wanted import Wanted

_log = structlog.get_logger()

_UNKNOWN = "nothing says that it is the same directory, and the index can't say just now whether files were there"


def _find_nothing_unwritten() -> int:
    """Say that nothing waits: who only looks at roots writes nothing down."""
    return 0


def _find_nobody() -> None:
    """Say that no other ckptd looks after a root: who watches it has its lock."""


class RootMemory(Protocol):
    """What remembers the roots: the index."""

    def load_root(self, root: str) -> tuple[str | None, int]:
        """Give the id of a root and how many files are known in it and not missing."""


@dataclass(slots=True)
class WatchedRoot:
    """One root; belongs to the loop.

    Attributes:
        number: its place in the settings; the first half of a `Place`.
        path: absolute, links resolved, as the index knows it.
        handle: the open directory; replaced when the same root comes back at another device.
        wanted: which names are looked at.
        root_id: the id in `.ckptd/root-id`; None where it could not be written.
        files: how many places the index held that are not missing, when it was asked last; newer ones may have come.
        incident: why nothing below it is believed just now, in words; None in good times.
        absence: what kept it from being opened, until it was; meanwhile `handle` is that of an empty directory of nobody's.
        freezes: parts whose losses wait for a person.
        aliases: links in it → what they point to.
        told: (path, code of the finding) of what was logged already; a trouble that lasts is told once.
        memory: asked for the files of a root that seems to be gone; None until it was asked for the first time.
        unwritten: counts what waits because the index can't be written; of that the memory knows nothing.
        find_another: says which other ckptd looks after it, in words; asked at each look.
    """

    number: int
    path: str
    handle: RootHandle
    wanted: Wanted
    root_id: str | None = None
    files: int = 0
    incident: str | None = None
    absence: RootLostError | None = None
    freezes: tuple[Freeze, ...] = ()
    aliases: dict[str, str] = field(default_factory=dict)
    told: set[tuple[str, str]] = field(default_factory=set)
    memory: RootMemory | None = None
    unwritten: Callable[[], int] = _find_nothing_unwritten
    find_another: Callable[[], str | None] = _find_nobody

    @classmethod
    def open(cls, number: int, path: Path, wanted: Wanted) -> WatchedRoot:
        """Open a root that is there.

        Raises:
            RootLostError: there is no directory, or none that may be entered.
        """
        real = os.path.realpath(path)
        try:
            return cls(number, real, RootHandle(real), wanted)
        except OSError as error:
            cure = "make it, or correct `roots` in the settings"
            raise RootLostError("open a root", path=path, why=os.strerror(error.errno or 0), cure=cure) from error

    @classmethod
    def open_or_wait(cls, number: int, path: Path, wanted: Wanted) -> WatchedRoot:
        """Open a root, or let one that is not there stand in for itself; `learn` says whether it may be waited for.

        Raises:
            StorageError: there is no room even for that.
        """
        try:
            return cls.open(number, path, wanted)
        except RootLostError as error:
            return cls._away(number, path, wanted, error)

    @classmethod
    def _away(cls, number: int, path: Path, wanted: Wanted, absence: RootLostError) -> WatchedRoot:
        """Give a root that is not there just now, with an incident until it is.

        It holds an empty directory of nobody's, so that there is a descriptor in which nothing is.
        """
        try:
            place = tempfile.mkdtemp(prefix="ckptd-away-")
            handle = RootHandle(place)
            os.rmdir(place)
        except OSError as error:
            raise StorageError("open a root", path=path, why=os.strerror(error.errno or 0)) from error
        return cls(number, os.path.realpath(path), handle, wanted, incident=absence.why, absence=absence)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.handle.close()

    def learn(self, memory: RootMemory) -> None:
        """Take over what the index remembers of this root, before the first look at it.

        Raises:
            RootLostError: it is not there and nobody ever saw it: a slip in the settings, and nothing to wait for.
            IndexUnavailableError: the index can't be read.
        """
        self.root_id, self.files = memory.load_root(self.path)
        if self.absence is not None and self.root_id is None and not self.files:
            raise self.absence
        self.memory = memory

    def look_again(self) -> Verdict:
        """Look whether the root is still the root, and act on what needs no person: mark it, open it anew."""
        sight, place = look(self.path), self._find_place()
        verdict = self._judge(sight, place)
        if isinstance(verdict, MountChanged) or (isinstance(verdict, Unmarked) and place != (sight.dev, sight.ino)):
            verdict = self._open_anew(verdict, sight)
        if isinstance(verdict, Unmarked):
            self._mark()
        self.incident = verdict.why if is_incident(verdict) else None  # type: ignore[union-attr]  # incidents have a why
        if self.incident is None and sight.root_id is not None:  # an index that is younger than the mark has it to learn
            self.root_id = sight.root_id
        if self.incident is None:
            self.incident = self.find_another()
        return verdict

    def _judge(self, sight: RootSight, place: tuple[int | None, int | None]) -> Verdict:
        """Say what a sight means; where the mark isn't seen that should be, the index says how many files there are to lose.

        The count of the last look at the whole root won't do: files may have come since, and a directory of which nothing is
        known may be marked, or has the mark of another root.
        """
        is_unmarked_share = self.root_id is None and place == (sight.dev, sight.ino)
        has_right_mark = sight.root_id is not None and self.root_id in (None, sight.root_id)
        if sight.dev is not None and not (is_unmarked_share or has_right_mark) and not self._count_again():
            return Emptied(_UNKNOWN)
        return judge(KnownRoot(*place, self.root_id, self.files), sight)

    def _count_again(self) -> bool:
        """Ask the index for the number of files; False where it doesn't know just now."""
        if self.memory is None:
            return True
        try:
            self.files = self.memory.load_root(self.path)[1]
        except IndexUnavailableError:
            return False
        return self.files > 0 or self.unwritten() == 0

    def _open_anew(self, verdict: Verdict, sight: RootSight) -> Verdict:
        """Hold what was seen at the path; where it went away since it was looked at, hold what was held."""
        try:
            handle = RootHandle(self.path)
        except OSError as error:
            return Missing(os.strerror(error.errno or 0))
        if _place_of(handle) != (sight.dev, sight.ino):
            handle.close()
            return Missing("another directory came in its place while it was opened")
        self._hold(handle)
        if isinstance(verdict, Unmarked):
            self._mark()
        return MountChanged()

    def _hold(self, handle: RootHandle) -> None:
        self.handle.close()
        self.handle = handle
        self.absence = None

    def _find_place(self) -> tuple[int | None, int | None]:
        """Give device and inode of what is held open; None where nothing of it is."""
        return (None, None) if self.absence is not None else _place_of(self.handle)

    def adopt(self) -> None:
        """Take what lies at the path now for the root, whatever it was; for an operator who said so.

        Raises:
            RootLostError: nothing lies there that can be opened.
        """
        try:
            handle = RootHandle(self.path)
        except OSError as error:
            cure = "bring it back, or take it out of `roots` in the settings"
            raise RootLostError("open a root", path=self.path, why=os.strerror(error.errno or 0), cure=cure) from error
        self._hold(handle)
        self.root_id = None
        self._mark()
        self.incident = None

    def freezes_place(self, path: str) -> bool:
        """Say whether losing `path` waits for a person."""
        return self.incident is not None or any(freeze.covers(path) for freeze in self.freezes)

    def is_news(self, problem: Problem) -> bool:
        """Say whether a problem was not told before, and remember that it is now."""
        key = (problem.path, problem.finding.code)
        is_new = key not in self.told
        self.told.add(key)
        return is_new

    def _mark(self) -> None:
        try:
            self.root_id = mark_root(self.handle.fd)
        except StorageError:  # a read-only share is known by its place alone
            self.root_id = None


def _place_of(handle: RootHandle) -> tuple[int | None, int | None]:
    """Give device and inode of an open directory; None where a dead server took it away."""
    try:
        seen = os.fstat(handle.fd)
    except OSError:
        return None, None
    return seen.st_dev, seen.st_ino


@contextmanager
def open_roots(paths: Sequence[Path], wanted: Wanted, store: Store) -> Iterator[list[WatchedRoot]]:
    """Open roots and look at each; one that is not there just now, and was before, has an incident.

    Raises:
        RootLostError: one is not there, and nobody ever saw it.
    """
    with ExitStack() as stack:
        roots = []
        for number, path in enumerate(paths):
            root = stack.enter_context(WatchedRoot.open_or_wait(number, path, wanted))
            root.learn(store)
            root.look_again()
            if root.incident is not None:
                _log.warning("root.left_out", root=root.path, reason=root.incident)
            roots.append(root)
        yield roots
