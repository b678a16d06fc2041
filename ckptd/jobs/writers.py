"""Find who can change a file, or put another in its place, beside root and the user whom it serves."""

from __future__ import annotations

import grp
import os
import pwd
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from ckptd.service.ways import walk
from ckptd.storage.access import name_group, name_user

#: Groups below this are the system's own.  Source: login.defs(5), GID_MIN.
_FIRST_ORDINARY_GROUP = 1000


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


def find_writers(path: Path, user: int) -> Iterator[Writer]:
    """Give who can change a file beside root and a user, what lies nearest to it first.

    The whole way counts, link by link.  In a sticky directory nobody renames what is not his.
    """
    for place, seen in reversed(list(walk(Path(os.path.abspath(path))))):
        is_link = stat.S_ISLNK(seen.st_mode)
        if seen.st_uid not in (0, user):
            chown = "chown -h" if is_link else "chown"
            yield Writer(place, f"user {name_user(seen.st_uid)}, whose it is,", f"{chown} {name_user(user)} {place}")
        if is_link or (stat.S_ISDIR(seen.st_mode) and seen.st_mode & stat.S_ISVTX):
            continue
        if seen.st_mode & stat.S_IWOTH:
            yield Writer(place, "everybody", f"chmod o-w {place}")
        elif seen.st_mode & stat.S_IWGRP and seen.st_gid != 0 and not _is_alone_in(seen.st_gid, user):
            yield Writer(place, f"group {name_group(seen.st_gid)}", f"chmod g-w {place}", is_group=True)


def _is_alone_in(group: int, user: int) -> bool:
    """Say whether nobody else is in a group: the one that many systems make for each user, or an empty one of the system."""
    with suppress(KeyError):
        shared, own = grp.getgrgid(group), {one.pw_name for one in pwd.getpwall() if one.pw_gid == group}
        is_known = group < _FIRST_ORDINARY_GROUP or shared.gr_name in own  # of others a directory service may have more members
        return is_known and {*shared.gr_mem, *own} <= {name_user(user), "root"}
    return False
