"""What an install says beside its steps: what a person has to know, or to do."""

from __future__ import annotations

import contextlib
import grp
from collections.abc import Iterator, Sequence
from pathlib import Path

from ckptd.service.drop_in import is_runtime
from ckptd.service.places import Places
from ckptd.service.surroundings import Directory, ServiceUser, describe_access, describe_further, describe_state, is_away
from ckptd.settings import Settings


def find_access_notes(
    places: Places, settings: Settings, directories: Sequence[Directory], groups: Sequence[str], user: ServiceUser | None
) -> Iterator[str]:
    """Say which directories the service can't write in, each with its cure.

    Args:
        places: of the service.
        settings: name the directories.
        directories: how each stands, in the order of `find_writable`; without those that the install itself makes.
        groups: that the service joins.
        user: that it runs as; None when there is none yet.
    """
    roots, state = {_real(root) for root in settings.roots}, settings.state_dir and _real(settings.state_dir)
    for one in directories:
        if one.path in roots:
            told = describe_access(one, groups, user)
        elif one.path == places.state_dir or is_runtime(one.path):
            continue  # of the unit, by StateDirectory= and RuntimeDirectory=
        elif one.mode is None and not is_away(one, directories):
            continue  # the service makes it
        elif one.path == state:
            told = describe_state(one, user)
        else:
            told = describe_further(one, groups, user)
        if told is not None:
            yield told


def find_group_notes(groups: Sequence[str], given_up: Sequence[str], user: ServiceUser | None) -> Iterator[str]:
    """Name the groups that the service joins, and those that it stays in without need: systemd-sysusers takes nobody out."""
    if groups:
        yield f"the service joins {', '.join(groups)}, the group that shares the directories"
    for group in given_up:
        with contextlib.suppress(KeyError):
            if user is not None and grp.getgrnam(group).gr_gid in user.gids:
                yield f"no settings need the group {group} any more, and ckptd is still in it: gpasswd -d ckptd {group}"


def _real(path: Path) -> Path:
    return path.resolve()
