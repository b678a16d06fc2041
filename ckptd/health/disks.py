"""Measure what ckptd takes and what is left: all of it may wait for a disk or a dead share, and so is no work of the loop."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ckptd.errors import CkptdError
from ckptd.storage.journal import NAME as JOURNAL_NAME
from ckptd.storage.trash import trash_bytes


@dataclass(frozen=True, slots=True)
class Directory:
    """A directory whose disk matters; `use` is "root", "state" or "archive"."""

    use: str
    path: str


@dataclass(frozen=True, slots=True)
class Disk:
    """The file system of a directory; `free_bytes` and `free_files` are for the daemon's user, without root's reserve."""

    use: str
    path: str
    size_bytes: int
    free_bytes: int
    free_files: int


@dataclass(frozen=True, slots=True)
class Survey:
    """What was measured at one moment; what could not be measured is left out.

    Attributes:
        at: seconds since the epoch.
        trash: root → bytes that a purge of all of it would give back.
        own: what ckptd keeps for itself: "index" or "journal" → bytes.
    """

    at: float
    disks: Sequence[Disk] = ()
    trash: Mapping[str, int] = field(default_factory=dict)
    own: Mapping[str, int] = field(default_factory=dict)


def measure_disks(directories: Sequence[Directory]) -> tuple[Disk, ...]:
    """Ask the file system of each directory; one that is not there is left out."""
    return tuple(disk for directory in directories if (disk := _measure_disk(directory)) is not None)


def measure_trash(roots: Sequence[str]) -> dict[str, int]:
    """Add up the trash of each root; one that is not there, or whose trash is not ours alone, is left out."""
    return {root: size for root in roots if (size := _measure_trash(root)) is not None}


def measure_own(state_dir: Path, index: Path | None) -> dict[str, int]:
    """Add up what the journal takes, and the index with its log where it is a file of this machine."""
    own = {"journal": _size(state_dir / JOURNAL_NAME)}
    if index is not None:
        own["index"] = sum(_size(Path(f"{index}{ending}")) for ending in ("", "-wal", "-shm"))
    return own


def _measure_disk(directory: Directory) -> Disk | None:
    try:
        found = os.statvfs(directory.path)
    except OSError:
        return None
    size, free = found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize
    return Disk(directory.use, directory.path, size, free, found.f_favail)


def _measure_trash(root: str) -> int | None:
    try:
        fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return trash_bytes(fd)
    except CkptdError:  # `ckptd doctor` says what is wrong with it
        return None
    finally:
        os.close(fd)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
