"""Follow the way to a path as the kernel does, link by link, and find who could change where it leads."""

from __future__ import annotations

import grp
import os
import pwd
import stat
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from ckptd.storage.access import FIRST_ORDINARY_GROUP, name_group, name_user

#: Links on one way.  Source: path_resolution(7), MAXSYMLINKS.
_MOST_LINKS = 40


class Writer(NamedTuple):
    """Somebody who can change what lies at a path.

    Attributes:
        place: the file, or what lies on the way to it, that he can write.
        who: in words; everybody, a group or a user.
        cure: a command that ends it.
        is_group: a group of people, which may be meant to be so.
    """

    place: Path
    who: str
    cure: str
    is_group: bool = False


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


def find_writers(path: Path, users: Sequence[int]) -> Iterator[Writer]:
    """Give who can change a file, or put another in its place, beside root and some users; what lies nearest comes first.

    The whole way counts, link by link.  In a sticky directory nobody renames what is not his.

    Args:
        path: of the file.
        users: whom it serves; the first of them is who shall have it.
    """
    for place, seen in reversed(list(walk(Path(os.path.abspath(path))))):
        is_link = stat.S_ISLNK(seen.st_mode)
        if seen.st_uid not in (0, *users):
            chown = "chown -h" if is_link else "chown"
            yield Writer(place, f"user {name_user(seen.st_uid)}, whose it is,", f"{chown} {name_user(users[0])} {place}")
        if is_link or (stat.S_ISDIR(seen.st_mode) and seen.st_mode & stat.S_ISVTX):
            continue
        if seen.st_mode & stat.S_IWOTH:
            yield Writer(place, "everybody", f"chmod o-w {place}")
        elif seen.st_mode & stat.S_IWGRP and seen.st_gid != 0 and not _are_alone_in(seen.st_gid, users):
            yield Writer(place, f"group {name_group(seen.st_gid)}", f"chmod g-w {place}", is_group=True)


def _are_alone_in(group: int, users: Collection[int]) -> bool:
    """Say whether nobody else is in a group: the one that many systems make for each user, or an empty one of the system."""
    with suppress(KeyError):
        shared, own = grp.getgrgid(group), {one.pw_name for one in pwd.getpwall() if one.pw_gid == group}
        is_known = group < FIRST_ORDINARY_GROUP or shared.gr_name in own  # of others a directory service may have more members
        return is_known and {*shared.gr_mem, *own} <= {*map(name_user, users), "root"}
    return False
