"""Which groups the user ckptd is in: those that the settings of every service that is in place give it, and no other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ckptd.errors import CkptdError
from ckptd.service.finding import find_other_settings, read_all
from ckptd.service.places import Places
from ckptd.service.surroundings import LOCAL_GROUP, Directory, find_groups, is_away, look_at_writable
from ckptd.service.units import read_members
from ckptd.settings import load_settings


class Members(NamedTuple):
    """The groups of the user, as the file of sysusers.d(5) is to name them.

    Attributes:
        groups: their names.
        given_up: those that the file in place names, and no settings need any more.
    """

    groups: frozenset[str] = frozenset()
    given_up: tuple[str, ...] = ()


def find_members(places: Places, own: Sequence[Directory]) -> Members:
    """Find the groups; while a directory or somebody's settings are away, none is given up: they may need it.

    Args:
        places: of the service that is installed.
        own: the directories that this one has written to.

    Raises:
        ServiceError: a file that is in place can't be read.
    """
    if places.sysusers is None:
        return Members()
    before = read_all([places.sysusers])[places.sysusers]
    joined = frozenset(() if before is None else read_members(before.decode("utf-8", "replace")))
    seen, is_sure = [*own], True
    for config in find_other_settings(places):
        try:
            seen += [] if config is None else look_at_writable(load_settings(config, {}, {}))
            is_sure = is_sure and config is not None
        except CkptdError:
            is_sure = False
    needed = frozenset(group for group in find_groups(seen) if LOCAL_GROUP.fullmatch(group))
    away = [one for one in seen if is_away(one, seen) and one.path != places.state_dir]
    if away or not is_sure:
        needed |= joined
    return Members(needed, tuple(sorted(joined - needed)))
