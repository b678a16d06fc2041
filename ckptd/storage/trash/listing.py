"""Say what lies in the trash, whatever state it is in, and what it takes on the disk."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass

from ckptd.storage.state import find_trash_dir
from ckptd.storage.temporary import TEMPORARY_NAME
from ckptd.storage.trash.contents import Contents, State, read_contents
from ckptd.storage.trash.entries import ENTRY_NAME
from ckptd.storage.trash.manifest import Manifest, TrashedFile
from ckptd.storage.trash.refusals import said_no

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_LIST = "list the trash"

_PROBLEMS = {
    State.INTENT: "it is being put there, or that was interrupted: a sweep puts it right",
    State.PURGING: "it is being purged, or that was interrupted: a sweep puts it right",
    State.KEPT: "it keeps what somebody saved while ckptd moved another file: compare it with what lies in its place",
}


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of the trash.

    Attributes:
        name: what `restore` and `purge` take; it sorts by time.
        manifest: None where it can't be read, and then `problem` says why.
        files: those of the manifest that are in it now; the checkpoint first.
        allocated_bytes: real blocks of everything in it.
        frees_bytes: those that a purge gives back: files with a name elsewhere give none.
        holds_checkpoint: False when only companions are left in it, or somebody's save is kept in it.
        problem: what is wrong with it, in one phrase; empty when nothing is.
        owner: user id of the checkpoint in it; None when there is none.
    """

    name: str
    manifest: Manifest | None
    files: tuple[TrashedFile, ...]
    allocated_bytes: int
    frees_bytes: int
    holds_checkpoint: bool = False
    problem: str = ""
    owner: int | None = None


def list_entries(root_fd: int, owner: int | None = None) -> list[Entry]:
    """List the trash of a root, oldest first; what is broken is listed as well, and nothing is changed.

    Args:
        root_fd: of the open root.
        owner: the user whose the trash has to be alone; None for whoever runs this.

    Raises:
        StateDirError: it is not.
        StorageError: it can't be read.
    """
    return [entry for entry in _read_all(root_fd, owner) if entry is not None]


def _read_all(root_fd: int, owner: int | None) -> Iterator[Entry | None]:
    trash_fd = find_trash_dir(root_fd, owner)
    if trash_fd is None:
        return
    try:
        for name in sorted(os.listdir(trash_fd)):
            if TEMPORARY_NAME.fullmatch(name) is None:
                yield _read_entry(trash_fd, name)
    except OSError as error:
        raise said_no(_LIST, ".ckptd/trash", error) from error
    finally:
        os.close(trash_fd)


def _read_entry(trash_fd: int, name: str) -> Entry | None:
    """Read one entry; None when it vanished meanwhile."""
    if ENTRY_NAME.fullmatch(name) is None:
        return _strange(trash_fd, name, "it is not an entry of ckptd's")
    try:
        fd = os.open(name, _DIRECTORY, dir_fd=trash_fd)
    except FileNotFoundError:
        return None
    except OSError as error:
        is_other = error.errno in (errno.ENOTDIR, errno.ELOOP)
        return _strange(trash_fd, name, "it is no directory" if is_other else os.strerror(error.errno or 0))
    try:
        contents = read_contents(fd)
        blocks = _read_blocks(fd)
        owner = _find_owner(fd, contents)
    except OSError as error:
        return Entry(name, None, (), 0, 0, problem=f"it can't be read: {os.strerror(error.errno or 0)}")
    finally:
        os.close(fd)
    allocated = sum(size for size, _ in blocks)
    frees = sum(size for size, links in blocks if links == 1)
    files = tuple(contents.stored.values())
    holds = contents.holds_checkpoint and contents.state is not State.KEPT
    return Entry(name, contents.manifest, files, allocated, frees, holds, _find_problem(contents), owner)


def _find_owner(fd: int, contents: Contents) -> int | None:
    if contents.manifest is None or not contents.holds_checkpoint:
        return None
    return os.stat(contents.manifest.checkpoint.stored, dir_fd=fd, follow_symlinks=False).st_uid


def _strange(trash_fd: int, name: str, problem: str) -> Entry | None:
    try:
        here = os.stat(name, dir_fd=trash_fd, follow_symlinks=False)
    except FileNotFoundError:
        return None
    return Entry(name, None, (), here.st_blocks * 512, 0, problem=problem)


def _read_blocks(fd: int) -> list[tuple[int, int]]:
    """Give bytes on the disk and number of links of each file in a directory."""
    with os.scandir(fd) as found:
        seen = [entry.stat(follow_symlinks=False) for entry in found]
    return [(one.st_blocks * 512, 1 if stat.S_ISDIR(one.st_mode) else one.st_nlink) for one in seen]


def _find_problem(contents: Contents) -> str:
    if contents.problem or contents.state is None:
        return contents.problem
    if contents.is_restoring:
        return "it is being restored, or that was interrupted: a sweep puts it right"
    if contents.state is State.TRASHED and not contents.holds_checkpoint:
        return "only what travelled with the checkpoint is in it" if contents.stored else "nothing is in it any more"
    return _PROBLEMS.get(contents.state, "")


def trash_bytes(root_fd: int) -> int:
    """Add up the real blocks that a purge of the whole trash of a root would give back.

    A file with several names counts once, and only when all of them are in the trash.

    Raises:
        StateDirError: the trash is not ours alone.
        StorageError: it can't be read.
    """
    trash_fd = find_trash_dir(root_fd)
    if trash_fd is None:
        return 0
    total, several = 0, dict[tuple[int, int], int]()
    try:
        for name in os.listdir(trash_fd):
            for one in _stats(trash_fd, name):
                if one.st_nlink == 1 or stat.S_ISDIR(one.st_mode):
                    total += one.st_blocks * 512
                    continue
                key = (one.st_dev, one.st_ino)
                several[key] = several.get(key, 0) + 1
                if several[key] == one.st_nlink:
                    total += one.st_blocks * 512
    except OSError as error:
        raise said_no(_LIST, ".ckptd/trash", error) from error
    finally:
        os.close(trash_fd)
    return total


def _stats(trash_fd: int, name: str) -> list[os.stat_result]:
    """Look at the files of an entry; nothing where there is none, or where it can't be read."""
    try:
        fd = os.open(name, _DIRECTORY, dir_fd=trash_fd)
    except OSError:
        return []
    try:
        with os.scandir(fd) as found:
            return [entry.stat(follow_symlinks=False) for entry in found]
    except OSError:
        return []
    finally:
        os.close(fd)
