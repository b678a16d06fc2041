"""Whether the state directory is still there: what is written into one that was removed, nobody finds again."""

from __future__ import annotations

import os
from pathlib import Path

from ckptd.errors import RootLostError
from ckptd.jobs.engine import Engine


def check_state(engine: Engine, index: str) -> None:
    """End when somebody removed the state: nothing that is written there is found again, and a second daemon may start.

    An index that is another file than the one that was opened is removed as well, whoever put it there.

    Where nobody can tell, as when a share is away or its server is gone, it is not taken for removed.

    Raises:
        RootLostError: the lock, the index or all of it is gone from a place that is still there.
    """
    try:
        is_taken_away = _is_taken_away(engine, index)
    except OSError:
        return
    if is_taken_away:
        why = "the index or the lock in it was removed while ckptd ran, or another was put in its place"
        cure = "start ckptd again: it works with the index that lies there, and begins anew where none does"
        raise RootLostError("keep the state", path=engine.state_dir, why=why, cure=cure)


def _is_taken_away(engine: Engine, index: str) -> bool:
    """Tell whether the state was removed by somebody; OSError where the disk gives no answer.

    It is missed between two looks at its place: a root or a share may come back, or go away, in this very moment.
    """
    if _is_kept(engine, index):
        return False
    return _is_in_place(engine) and not _is_kept(engine, index) and _is_in_place(engine)


def _is_kept(engine: Engine, index: str) -> bool:
    """Tell whether the lock and the index are those that the daemon holds open."""
    return engine.lock.still_held() and _find_id(engine.state_dir / index) == engine.store.file_id


def _is_in_place(engine: Engine) -> bool:
    """Tell whether the state would be found where it was: its root is there, or the directory itself."""
    within = next((root for root in engine.roots if engine.state_dir.is_relative_to(root.path)), None)
    if within is None:
        return _find_id(engine.state_dir) is not None  # else the share on which it lies is away
    is_made_again = _is_unlinked(within.handle.fd) and os.path.isdir(within.path)
    return is_made_again or _is_at(within.handle.fd, within.path)


def _find_id(path: Path) -> tuple[int, int] | None:
    """Give device and inode of what lies at a path, None where nothing does; OSError where nobody can tell."""
    try:
        seen = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return seen.st_dev, seen.st_ino


def _is_unlinked(fd: int) -> bool:
    """Tell whether an open directory was removed; of one whose server is gone nobody knows."""
    try:
        return os.fstat(fd).st_nlink == 0
    except OSError:
        return False


def _is_at(fd: int, path: str) -> bool:
    """Tell whether an open directory is the one that lies at a path now."""
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path))
    except OSError:
        return False
