"""Directories for files in the making: private, on the file system of their root, gone with the one who made them."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from ckptd.errors import StorageError
from ckptd.storage.state import SCRATCH, ensure_state_dir

#: How the directories begin, so that a sweep knows them.
_PREFIX = "export-"
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_PATH = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
#: Directories in a scratch that wait to be looked into, each open; more of them are taken to be endless.
_MOST_OPEN = 100


class Scratch:
    """One directory, open and empty at first.

    Attributes:
        fd: readable descriptor of it.
        path: where it lies, for messages.
    """

    def __init__(self, path: Path, parent: int, fd: int) -> None:
        self.path = path
        self.fd = fd
        self._parent = parent

    @classmethod
    def make(cls, state_dir: Path) -> Scratch:
        """Make a directory below the `scratch` of a root's `.ckptd`, which is made or checked first.

        Raises:
            StorageError: it can't be made.
        """
        path = ensure_state_dir(state_dir) / SCRATCH / f"{_PREFIX}{secrets.token_hex(8)}"
        try:
            parent = _open_base(state_dir)
            try:
                os.mkdir(path.name, 0o700, dir_fd=parent)
                fd = os.open(path.name, _DIRECTORY, dir_fd=parent)
                with contextlib.suppress(OSError):  # a file system without locks
                    # A sweep of another process leaves it alone, however long nothing changes in it.
                    fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
                return cls(path, parent, fd)
            except OSError:
                os.close(parent)
                raise
        except OSError as error:
            cure = "free some space, or let the user that runs ckptd write there"
            raise StorageError("make a scratch directory", path=path, why=os.strerror(error.errno or 0), cure=cure) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Remove the directory with all that is in it, following no link; a second call does nothing."""
        if self.fd < 0:
            return
        os.close(self.fd)
        self.fd = -1
        _remove(self.path.name, self._parent)
        os.close(self._parent)


def sweep_scratch(state_dir: Path, older_than: float) -> int:
    """Remove what a kill left in the `scratch` of a state directory; how many directories.

    Args:
        state_dir: `.ckptd` of a root.
        older_than: seconds since the epoch; what changed later may be another process's.
    """
    try:
        parent = _open_base(state_dir)
    except OSError:
        return 0
    removed = 0
    try:
        for name in os.listdir(parent):
            if name.startswith(_PREFIX) and _is_abandoned(name, parent, older_than):
                _remove(name, parent)
                removed += 1
    finally:
        os.close(parent)
    return removed


def find_abandoned(state_dir: Path, older_than: float) -> list[str]:
    """Give the names of what `sweep_scratch` would remove; nothing is changed."""
    try:
        parent = _open_base(state_dir)
    except OSError:
        return []
    try:
        return [name for name in os.listdir(parent) if name.startswith(_PREFIX) and _is_abandoned(name, parent, older_than)]
    finally:
        os.close(parent)


def _open_base(state_dir: Path) -> int:
    """Open the `scratch` of a state directory; neither of them may be a link by now."""
    own = os.open(state_dir, _DIRECTORY)
    try:
        return os.open(SCRATCH, _DIRECTORY, dir_fd=own)
    finally:
        os.close(own)


def free_bytes(fd: int) -> int:
    """Say how much room the file system of a scratch directory has for us."""
    disk = os.fstatvfs(fd)
    return disk.f_bavail * disk.f_frsize


def used_bytes(fd: int, most: int = 10_000) -> int:
    """Add up the blocks that the files of a flat scratch directory take, directories in it included once.

    A directory that was made without rights is looked into all the same: files in it are as large.  The descriptor is not read
    itself: what runs in the scratch shares its offset, and at the end of it there is nothing to see.

    Args:
        fd: of the directory.
        most: entries that are looked at; a directory of more is taken to be endless.
    """
    total, left, stack = 0, most, [os.open(".", _DIRECTORY, dir_fd=fd)]
    while stack:
        here = stack.pop()
        try:
            with os.scandir(here) as entries:
                for entry in entries:
                    left -= 1
                    if left < 0:
                        break
                    with contextlib.suppress(OSError):
                        total += entry.stat(follow_symlinks=False).st_blocks * 512
                        if entry.is_dir(follow_symlinks=False):
                            left = -1 if len(stack) >= _MOST_OPEN else left
                            stack.append(_open_anyway(entry.name, here))
        except OSError:
            pass
        finally:
            os.close(here)
        if left < 0:
            for rest in stack:
                os.close(rest)
            return 1 << 62
    return total


def _is_abandoned(name: str, parent: int, older_than: float) -> bool:
    return _is_old(name, parent, older_than) and not _is_in_use(name, parent)


def _is_old(name: str, parent: int, older_than: float) -> bool:
    try:
        return min(older_than, time.time()) > os.stat(name, dir_fd=parent, follow_symlinks=False).st_mtime
    except OSError:
        return False


def _is_in_use(name: str, parent: int) -> bool:
    """Say whether the process that made a directory lives; it holds a lock on it."""
    try:
        fd = os.open(name, _DIRECTORY, dir_fd=parent)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # a file system without locks
        return False
    finally:
        os.close(fd)
    return False


def _remove(name: str, parent: int) -> None:
    """Remove a directory with all that is in it; what can't be removed stays for the next sweep."""
    with contextlib.suppress(OSError):
        fd = _open_anyway(name, parent)
        try:
            _clear(fd)
        finally:
            os.close(fd)
        os.rmdir(name, dir_fd=parent)


def _clear(top: int) -> None:
    """Empty a directory, however deep what ran in there nested others: each is moved up before it is emptied in its turn.

    So neither the stack nor the descriptors of this process end before the directories do.
    """
    waiting = _remove_files(top)
    while waiting:
        name = waiting.pop()
        with contextlib.suppress(OSError):
            fd = _open_anyway(name, top)
            try:
                for inner in _remove_files(fd):
                    os.close(_open_anyway(inner, fd))  # to move it, one has to be allowed to write in it
                    moved = secrets.token_hex(8)
                    os.rename(inner, moved, src_dir_fd=fd, dst_dir_fd=top)
                    waiting.append(moved)
            finally:
                os.close(fd)
            os.rmdir(name, dir_fd=top)


def _remove_files(fd: int) -> list[str]:
    """Remove what is no directory; give the names of the others."""
    others: list[str] = []
    for name in os.listdir(fd):
        try:
            os.unlink(name, dir_fd=fd)
        except (IsADirectoryError, PermissionError):  # which of them, is the file system's choice
            others.append(name)
        except OSError:
            continue
    return others


def _open_anyway(name: str, parent: int) -> int:
    """Open a directory, with the rights that whoever made it kept back."""
    path = os.open(name, _PATH, dir_fd=parent)
    try:
        with contextlib.suppress(OSError):
            os.chmod(f"/proc/self/fd/{path}", 0o700)
        return os.open(".", _DIRECTORY, dir_fd=path)
    finally:
        os.close(path)
