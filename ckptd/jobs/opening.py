"""Open the index of a process that lives long: what makes or changes its tables is imported in a child that ends."""

from __future__ import annotations

import os
from pathlib import Path

from ckptd.index.store import Store


def open_store_lean(path: Path) -> Store:
    """Open an index; Alembic, 8 MB that are needed once, stays out of this process.

    Only where no other thread holds a lock, as the one that hears signals: the child is forked.

    Raises:
        CkptdError: as `Store.open`.
    """
    if not Store.is_newest(path):
        _wait(_fork_opening(path))
    return Store.open(path)  # what went wrong in the child goes wrong here, and is told


def _fork_opening(path: Path) -> int:
    pid = os.fork()
    if pid:
        return pid
    try:
        Store.open(path).close()
    finally:
        os._exit(0)  # nothing of the parent's is flushed or torn down twice


def _wait(pid: int) -> None:
    os.waitpid(pid, 0)
