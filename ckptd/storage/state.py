"""The directory of ckptd's own state: nobody else may enter it.

Whoever can write the index, the journal or the lock could steer a deletion.  So the directory is 0700 and belongs to the
user that runs ckptd, and where that is not so, ckptd refuses to work.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from pathlib import Path

from ckptd.errors import StorageError
from ckptd.storage.faults import place_of

#: Name of the state directory of a root.
STATE = ".ckptd"
#: Subdirectory for files that may be thrown away at any time.
SCRATCH = "scratch"
#: Subdirectory for users' files that were taken away and may come back; always on the file system of their root.
TRASH = "trash"

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


def open_trash_dir(root_fd: int) -> int:
    """Make the trash of an open root, or check that it and `.ckptd` are ours alone; give a descriptor of it.

    Raises:
        StateDirError: one of them is a link, no directory, another user's, or others may enter it.
        StorageError: it can't be made or opened.
    """
    found = find_trash_dir(root_fd)
    if found is not None:
        return found
    shown = Path(place_of(root_fd, STATE))
    cure = f"let the user that runs ckptd write in {shown.parent}: what is removed there waits in {STATE}/{TRASH}"
    own = _ensure(STATE, root_fd, shown, cure)
    try:
        trash = _ensure(TRASH, own, shown / TRASH, cure)
        for fd in (own, root_fd):  # what lies below must not outlast a power cut without its way to it
            with contextlib.suppress(OSError):  # the next sync, of what matters, says so too
                os.fsync(fd)
        return trash
    finally:
        os.close(own)


def find_trash_dir(root_fd: int, owner: int | None = None) -> int | None:
    """Check the trash of an open root and give a descriptor of it; None where there is none, and none is made.

    Args:
        root_fd: of the open root.
        owner: the user whose it has to be alone, where somebody else only looks; None for whoever runs this.

    Raises:
        StateDirError: as `open_trash_dir`.
        StorageError: it can't be opened.
    """
    shown = Path(place_of(root_fd, STATE))
    owner = os.geteuid() if owner is None else owner
    own = _find(STATE, root_fd, shown, owner)
    if own is None:
        return None
    try:
        return _find(TRASH, own, shown / TRASH, owner)
    finally:
        os.close(own)


def _find(name: str, parent: int, shown: Path, owner: int) -> int | None:
    try:
        os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return None
    except OSError:
        pass  # opening it says what is wrong
    return _open_own(name, parent, shown, owner)


def _ensure(name: str, parent: int, shown: Path, cure: str | None = None) -> int:
    """Make or check one directory and give a descriptor of it."""
    try:
        os.mkdir(name, 0o700, dir_fd=parent)
    except FileExistsError:
        pass
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            cure = "free some space on this file system"
        raise StorageError(
            "make the state directory",
            path=shown,
            why=os.strerror(error.errno or 0),
            cure=cure or f"let the user that runs ckptd write in {shown.parent}, or set state_dir to a directory of its own",
        ) from error
    return _open_own(name, parent, shown, os.geteuid())


def _open_own(name: str, parent: int, shown: Path, user: int) -> int:
    fd = _open(name, _DIRECTORY, parent, shown)
    try:
        _check(os.fstat(fd), shown, user)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _check(now: os.stat_result, shown: Path, user: int) -> None:
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
