"""Directories that are made again when something comes back into them."""

from __future__ import annotations

import os
import stat

from ckptd.storage.beneath import open_parent_beneath

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def make_parent(root_fd: int, path: str) -> tuple[int, str, list[str]]:
    """Open the directory of a path below the root, and make what is missing of it, no link followed.

    What is made gets group, owner (when root) and bits of the directory that it is in, so that people can work there.

    Returns:
        The descriptor, the last part, and the paths that were made, outermost first.

    Raises:
        OSError: as `open_beneath`; nothing that was made is left.
    """
    parts, made = path.split("/"), list[str]()
    held = os.dup(root_fd)
    try:
        for index, part in enumerate(parts[:-1]):
            try:
                below = os.open(part, _DIRECTORY, dir_fd=held)
            except FileNotFoundError:
                below = _make_directory(held, part)
                made.append("/".join(parts[: index + 1]))
            os.close(held)
            held = below
    except BaseException:
        os.close(held)
        remove_made(root_fd, made)
        raise
    return held, parts[-1], made


def _make_directory(parent: int, name: str) -> int:
    like = os.fstat(parent)
    os.mkdir(name, 0o700, dir_fd=parent)
    fd = os.open(name, _DIRECTORY, dir_fd=parent)
    try:
        now = os.fstat(fd)
        owner = like.st_uid if os.geteuid() == 0 else -1
        mode = stat.S_IMODE(like.st_mode) | 0o700
        if now.st_gid != like.st_gid or owner not in (-1, now.st_uid):
            try:
                os.fchown(fd, owner, like.st_gid)
            except OSError:
                mode &= ~0o2070  # the bits were meant for a group that it could not get
        os.fchmod(fd, mode)
        os.fsync(parent)
    except BaseException:
        os.close(fd)
        raise
    return fd


def remove_made(root_fd: int, made: list[str]) -> None:
    """Remove directories that were made for nothing, innermost first; one that is in use by now stays."""
    for path in reversed(made):
        try:
            dir_fd, name = open_parent_beneath(root_fd, path)
        except OSError:
            return
        try:
            os.rmdir(name, dir_fd=dir_fd)
        except OSError:
            return
        finally:
            os.close(dir_fd)
