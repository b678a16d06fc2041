"""What this machine is like, as far as it decides whether and how the service can be installed."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import stat
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import ckptd
from ckptd.service.drop_in import HOMES
from ckptd.service.places import Places
from ckptd.service.units import SERVICE
from ckptd.settings.places import SYSTEM_USER

#: Groups below this are the system's own (disk, shadow, docker): the service is not put into one because of a directory.
#: Source: login.defs(5), GID_MIN.
FIRST_ORDINARY_GROUP = 1000
#: What PrivateTmp= replaces by directories of its own.  Source: systemd.exec(5).
TEMPORARY = (Path("/tmp"), Path("/var/tmp"))  # noqa: S108 — named in order to be refused

USER = SYSTEM_USER


@dataclass(frozen=True, slots=True)
class Directory:
    """A directory that the service is to work in.

    Attributes:
        path: absolute, links resolved.
        mode: its permission bits; None when it is not there.
        owner: a user's number.
        group: name of its group; its number where it has none.
        gid: the group's number.
    """

    path: Path
    mode: int | None = None
    owner: int = 0
    group: str = ""
    gid: int = 0


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What was found on this machine.

    Attributes:
        is_root: who asks may change the system.
        has_manager: the service manager that is meant runs.
        runtime: paths that the interpreter and ckptd need, links resolved.
        closed: the first directory on the way to one of those that others may not enter; None when all is open.
        packaged: units of these names that packages brought.
    """

    is_root: bool
    has_manager: bool
    runtime: tuple[Path, ...]
    closed: Path | None = None
    packaged: tuple[Path, ...] = ()


def look_around(places: Places, environ: Mapping[str, str]) -> Surroundings:
    """Look at this machine and at the interpreter that runs this."""
    runtime = find_runtime()
    return Surroundings(
        is_root=os.geteuid() == 0,
        has_manager=_has_manager(places, environ),
        runtime=runtime,
        closed=find_closed(runtime),
        packaged=tuple(path for place in places.packaged if (path := place / SERVICE).exists()),
    )


def find_runtime() -> tuple[Path, ...]:
    """Give what a service of this interpreter reads: itself, what it was made of, and ckptd; links resolved and not."""
    python = Path(os.path.abspath(sys.executable))
    found = [python, python.resolve(), Path(sys.prefix), Path(sys.base_prefix).resolve(), Path(ckptd.__file__).resolve().parent]
    return tuple(dict.fromkeys(found))


def find_closed(paths: Iterable[Path]) -> Path | None:
    """Give the first of the paths, or of the directories above them, that not everybody may read or enter."""
    for path in paths:
        for place in (*reversed(path.parents), path):
            with contextlib.suppress(OSError):
                if not os.stat(place).st_mode & stat.S_IXOTH:
                    return place
    return None


def look_at(path: Path) -> Directory:
    """Look at a directory; one that is not there, or can't be looked at, has no mode."""
    real = Path(os.path.realpath(path))
    try:
        found = os.stat(real)
    except OSError:
        return Directory(real)
    try:
        group = grp.getgrgid(found.st_gid).gr_name
    except KeyError:
        group = str(found.st_gid)
    return Directory(real, stat.S_IMODE(found.st_mode), found.st_uid, group, found.st_gid)


def find_groups(directories: Iterable[Directory]) -> tuple[str, ...]:
    """Give the ordinary groups that may write in the directories, or alone may read them: the service has to be in them."""
    return tuple(
        dict.fromkeys(
            one.group
            for one in directories
            if one.mode is not None and one.gid >= FIRST_ORDINARY_GROUP and one.group != USER and _needs_group(one.mode)
        )
    )


def find_hidden(paths: Iterable[Path]) -> Path | None:
    """Give the first path that the service would not see, in a home or a temporary directory."""
    return next((path for path in paths if any(path.is_relative_to(place) for place in (*HOMES, *TEMPORARY))), None)


def is_in_temporary(path: Path) -> bool:
    """Tell whether a path lies where the service has a directory of its own."""
    return any(path.is_relative_to(place) for place in TEMPORARY)


def find_user() -> int | None:
    """Give the number of the user that the service runs as; None when there is none yet."""
    with contextlib.suppress(KeyError):
        return pwd.getpwnam(USER).pw_uid
    return None


def describe_access(one: Directory, groups: Iterable[str], user: int | None = None) -> str | None:
    """Say what keeps the service out of a directory, with its cure; None when nothing does.

    Args:
        one: the directory.
        groups: those of the service beside its own.
        user: its number; None when there is none yet.
    """
    if one.mode is None:
        return f"{one.path} is not there: make it, and the service starts with it"
    is_owner, is_member = one.owner == user, one.group in (USER, *groups)
    rights = one.mode >> (6 if is_owner else 3 if is_member else 0)  # the first that fits counts, and no other
    if rights & 0o3 == 0o3:
        return None
    if is_owner:
        return f"the user {USER} can't write in {one.path}, its own (mode {one.mode:04o}): chmod u+rwx {one.path}"
    cure = f"chgrp GROUP {one.path} && chmod g+rwxs {one.path}, with a group of those who save there, then install again"
    return f"the user {USER} can't write in {one.path} (mode {one.mode:04o}, group {one.group}): {cure}"


def _needs_group(mode: int) -> bool:
    return mode & 0o030 == 0o030 or (mode & 0o050 == 0o050 and mode & 0o005 != 0o005)


def _has_manager(places: Places, environ: Mapping[str, str]) -> bool:
    """Source: sd_booted(3); a user's manager listens in that user's runtime directory."""
    if places.is_system:
        return Path("/run/systemd/system").is_dir()
    runtime = environ.get("XDG_RUNTIME_DIR", "")
    return runtime.startswith("/") and Path(runtime, "systemd", "private").exists()
