"""Follow the way to a path as the kernel does, link by link: who could change where it leads, and can the service follow it."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

#: Links on one way.  Source: path_resolution(7), MAXSYMLINKS.
_MOST_LINKS = 40


def walk(path: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Give each entry on the way to an absolute path, and the path's own, with its status; ends where something is missing.

    A link is given where it stands, and then what lies on the way to where it leads.
    """
    at, left, links = Path("/"), list(reversed(path.parts[1:])), 0
    yield at, at.stat()
    while left:
        name = left.pop()
        if name == "..":
            at = at.parent
            continue
        entry = at / name
        try:
            found = entry.lstat()
        except OSError:
            return
        yield entry, found
        if not stat.S_ISLNK(found.st_mode):
            at = entry
            continue
        links += 1
        if links > _MOST_LINKS:
            return
        target = Path(os.readlink(entry))
        at = Path("/") if target.is_absolute() else at
        left += [part for part in reversed(target.parts) if part != "/"]


def find_open(path: Path, users: Collection[int]) -> Path | None:
    """Give the first entry on the way to a file through which somebody else than root and these users could change it.

    As sshd judges authorized_keys; a sticky directory passes, since nobody can rename there what is not theirs.
    """
    for entry, found in walk(path):
        if found.st_uid not in (0, *users):
            return entry
        is_link = stat.S_ISLNK(found.st_mode)
        is_sticky = stat.S_ISDIR(found.st_mode) and found.st_mode & stat.S_ISVTX
        if is_link or is_sticky:
            continue
        if found.st_mode & stat.S_IWOTH or (found.st_mode & stat.S_IWGRP and found.st_gid != 0):
            return entry
    return None


def find_unseen_link(path: Path, hiding: Iterable[Path]) -> Path | None:
    """Give the first link on the way to a path that lies in a directory which the service sees another one in place of."""
    hiding = tuple(hiding)
    for entry, found in walk(path):
        if stat.S_ISLNK(found.st_mode) and any(place in entry.parents for place in hiding):
            return entry
    return None
