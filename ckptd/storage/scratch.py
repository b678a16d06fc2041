"""Directories for files in the making: private, on the file system of their root, gone with the one who made them."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from ckptd.errors import StorageError
from ckptd.storage.state import SCRATCH, ensure_state_dir

#: How the directories begin, so that a sweep knows them.
_PREFIX = "export-"
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


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
        base = ensure_state_dir(state_dir) / SCRATCH
        path = base / f"{_PREFIX}{secrets.token_hex(8)}"
        try:
            parent = os.open(base, _DIRECTORY)
            try:
                os.mkdir(path.name, 0o700, dir_fd=parent)
                return cls(path, parent, os.open(path.name, _DIRECTORY, dir_fd=parent))
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
    base = state_dir / SCRATCH
    try:
        parent = os.open(base, _DIRECTORY)
    except OSError:
        return 0
    removed = 0
    try:
        for name in os.listdir(parent):
            if name.startswith(_PREFIX) and _is_old(name, parent, older_than):
                _remove(name, parent)
                removed += 1
    finally:
        os.close(parent)
    return removed


def used_bytes(fd: int, most: int = 10_000) -> int:
    """Add up the blocks that the files of a flat scratch directory take, directories in it included once.

    Args:
        fd: of the directory.
        most: entries that are looked at; a directory of more is taken to be endless.
    """
    total, left, stack = 0, most, [os.dup(fd)]
    while stack:
        here = stack.pop()
        try:
            with os.scandir(here) as entries:
                for entry in entries:
                    left -= 1
                    if left < 0:
                        total = 1 << 62
                        break
                    with contextlib.suppress(OSError):
                        total += entry.stat(follow_symlinks=False).st_blocks * 512
                        if entry.is_dir(follow_symlinks=False):
                            stack.append(os.open(entry.name, _DIRECTORY, dir_fd=here))
        except OSError:
            pass
        finally:
            os.close(here)
        if left < 0:
            for rest in stack:
                os.close(rest)
            return total
    return total


def _is_old(name: str, parent: int, older_than: float) -> bool:
    try:
        return min(older_than, time.time()) > os.stat(name, dir_fd=parent, follow_symlinks=False).st_mtime
    except OSError:
        return False


def _remove(name: str, parent: int) -> None:
    # What ran in there may have taken the owner's bits off a directory of its own.
    def make_writable(_function: object, path: str, _error: object) -> None:
        with contextlib.suppress(OSError):
            os.chmod(path, 0o700, dir_fd=parent)

    shutil.rmtree(name, ignore_errors=False, onerror=make_writable, dir_fd=parent)
    with contextlib.suppress(OSError):
        shutil.rmtree(name, ignore_errors=True, dir_fd=parent)
