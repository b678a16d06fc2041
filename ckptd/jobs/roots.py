"""A root while it is watched: its descriptor, what is wanted below it, and whether it is to be believed."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from ckptd.errors import RootLostError, StorageError
from ckptd.policy.brakes import Freeze
from ckptd.storage.beneath import RootHandle
from ckptd.watch.guard import KnownRoot, MountChanged, Unmarked, Verdict, is_incident, judge, look, mark_root
from ckptd.watch.scanner import Problem
from ckptd.watch.wanted import Wanted


@dataclass(slots=True)
class WatchedRoot:
    """One root; belongs to the loop.

    Attributes:
        number: its place in the settings; the first half of a `Place`.
        path: absolute, links resolved, as the index knows it.
        handle: the open directory; replaced when the same root comes back at another device.
        wanted: which names are looked at.
        root_id: the id in `.ckptd/root-id`; None where it could not be written.
        files: how many places the index holds that are not missing.
        incident: why nothing below it is believed just now, in words; None in good times.
        freezes: parts whose losses wait for a person.
        aliases: links in it → what they point to.
        told: (path, code of the finding) of what was logged already; a trouble that lasts is told once.
    """

    number: int
    path: str
    handle: RootHandle
    wanted: Wanted
    root_id: str | None = None
    files: int = 0
    incident: str | None = None
    freezes: tuple[Freeze, ...] = ()
    aliases: dict[str, str] = field(default_factory=dict)
    told: set[tuple[str, str]] = field(default_factory=set)

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
    def away(cls, number: int, path: Path, wanted: Wanted, why: str) -> WatchedRoot:
        """Give a root that is not there just now, with an incident until it is.

        It holds an empty directory of nobody's, so that there is a descriptor in which nothing is.

        Raises:
            StorageError: there is no room even for that.
        """
        try:
            place = tempfile.mkdtemp(prefix="ckptd-away-")
            handle = RootHandle(place)
            os.rmdir(place)
        except OSError as error:
            raise StorageError("open a root", path=path, why=os.strerror(error.errno or 0)) from error
        return cls(number, os.path.realpath(path), handle, wanted, incident=why)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.handle.close()

    def learn(self, root_id: str | None, files: int) -> None:
        """Take over what the index remembers of this root, before the first look at it."""
        self.root_id = root_id
        self.files = files

    def look_again(self) -> Verdict:
        """Look whether the root is still the root, and act on what needs no person: mark it, open it anew."""
        verdict = judge(KnownRoot(*self._find_place(), self.root_id, self.files), look(self.path))
        match verdict:
            case Unmarked():
                self._mark()
            case MountChanged():
                self.handle.close()
                self.handle = RootHandle(self.path)
        self.incident = verdict.why if is_incident(verdict) else None  # type: ignore[union-attr]  # incidents have a why
        return verdict

    def _find_place(self) -> tuple[int, int]:
        """Give device and inode of what is held open; of nothing that there is, when a dead server took it away."""
        try:
            seen = os.fstat(self.handle.fd)
        except OSError:
            return 0, 0
        return seen.st_dev, seen.st_ino

    def adopt(self) -> None:
        """Take what lies at the path now for the root, whatever it was; for an operator who said so."""
        self.handle.close()
        self.handle = RootHandle(self.path)
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
