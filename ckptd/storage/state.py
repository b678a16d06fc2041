"""The directory of ckptd's own state: nobody else may enter it.

Whoever can write the index, the journal or the lock could steer a deletion.  So the directory is 0700 and belongs to the
user that runs ckptd, and where that is not so, ckptd refuses to work.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from ckptd.errors import StorageError

#: Subdirectory for files that may be thrown away at any time.
SCRATCH = "scratch"

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class StateDirError(StorageError):
    """The state directory is not for ckptd alone; a person has to look at it."""

    permanent = True


def ensure_state_dir(path: str | os.PathLike[str]) -> Path:
    """Make the state directory and its `scratch`, or check that they are ours alone; give its path.

    Its parent must exist: in the default place that is a root, which ckptd never makes.

    Raises:
        StateDirError: it is a link, no directory, another user's, or others may enter it.
        StorageError: it can't be made or opened.
    """
    place = Path(path)
    parent = _open(place.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, None, place.parent)
    try:
        own = _ensure(place.name, parent, place)
        try:
            os.close(_ensure(SCRATCH, own, place / SCRATCH))
        finally:
            os.close(own)
    finally:
        os.close(parent)
    return place


def _ensure(name: str, parent: int, shown: Path) -> int:
    """Make or check one directory and give a descriptor of it."""
    try:
        os.mkdir(name, 0o700, dir_fd=parent)
    except FileExistsError:
        pass
    except OSError as error:
        raise StorageError(
            "make the state directory",
            path=shown,
            why=os.strerror(error.errno or 0),
            cure=f"let the user that runs ckptd write in {shown.parent}, or set state_dir to a directory of its own",
        ) from error
    fd = _open(name, _DIRECTORY, parent, shown)
    try:
        _check(os.fstat(fd), shown)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _check(now: os.stat_result, shown: Path) -> None:
    user = os.geteuid()
    if now.st_uid != user:
        raise StateDirError(
            "the state directory belongs to somebody else",
            path=shown,
            why=f"its owner is user {now.st_uid} and ckptd runs as user {user}: its owner could steer what ckptd removes",
            cure=f"run ckptd as user {now.st_uid}, or look at what lies there and move it away",
        )
    mode = stat.S_IMODE(now.st_mode)
    if mode & 0o077:
        raise StateDirError(
            "the state directory is open to others",
            path=shown,
            why=f"its mode is {mode:04o} and has to be 0700: whoever can write there could steer what ckptd removes",
            cure=f"look at what lies there, then chmod 700 {shown}",
        )


def _open(path: str | Path, flags: int, parent: int | None, shown: Path) -> int:
    try:
        return os.open(path, flags, dir_fd=parent)
    except OSError as error:
        if parent is not None and isinstance(error, NotADirectoryError):
            raise StateDirError(
                "the state directory is a link or a file",
                path=shown,
                why="what a link points to can be changed by whoever owns its place",
                cure="move it away, or set state_dir to the directory itself",
            ) from error
        raise StorageError(
            "open the state directory",
            path=shown,
            why=os.strerror(error.errno or 0),
            cure="make it, or set state_dir to a directory that exists" if isinstance(error, FileNotFoundError) else "",
        ) from error
