"""What this machine is like, as far as it decides whether and how the service can be installed."""

from __future__ import annotations

import contextlib
import hashlib
import os
import pwd
import re
import stat
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import ckptd
from ckptd.service.drop_in import HOMES, find_writable, hidden
from ckptd.service.places import Places
from ckptd.service.units import SERVICE
from ckptd.settings import Settings
from ckptd.settings.places import SYSTEM_USER
from ckptd.storage.access import ENTER, FIRST_ORDINARY_GROUP, WRITE, Account, Owned, judge, name_group
from ckptd.storage.access_list import Entry, read_access_list

#: What PrivateTmp= replaces by directories of its own.  Source: systemd.exec(5).
TEMPORARY = (Path("/tmp"), Path("/var/tmp"))  # noqa: S108 — named in order to be refused

USER = SYSTEM_USER
_NOBODY = -1
#: What sysusers.d(5) takes for a name, and a unit for one word.  Others come from elsewhere ("domain users" of a directory
#: service), and go by their number.
LOCAL_GROUP = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,30}")


class ServiceUser(NamedTuple):
    """The user that the service runs as: its number, and those of the groups that it is in."""

    uid: int
    gids: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Directory:
    """A directory that the service is to work in.

    Attributes:
        path: absolute, links resolved.
        mode: its permission bits; None when it is not there.
        owner: a user's number.
        group: name of its group; its number where it has none.
        gid: the group's number.
        entries: of its access list; empty where it has none.
    """

    path: Path
    mode: int | None = None
    owner: int = 0
    group: str = ""
    gid: int = 0
    entries: tuple[Entry, ...] = ()

    @property
    def group_word(self) -> str:
        """The group as one word of a unit file: its name, or its number where the name is none."""
        return self.group if LOCAL_GROUP.fullmatch(self.group) else str(self.gid)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What was found on this machine.

    Attributes:
        is_root: who asks may change the system.
        has_manager: the service manager that is meant runs.
        runtime: paths that the interpreter and ckptd need, links resolved.
        closed: the first directory on the way to one of those that others may not enter; None when all is open.
        packaged: units of these names that packages brought.
        build: digest of ckptd's own code, which tells two checkouts of one version apart.
    """

    is_root: bool
    has_manager: bool
    runtime: tuple[Path, ...]
    closed: Path | None = None
    packaged: tuple[Path, ...] = ()
    build: str = ""


def look_around(places: Places, environ: Mapping[str, str]) -> Surroundings:
    """Look at this machine and at the interpreter that runs this."""
    runtime = find_runtime()
    return Surroundings(
        is_root=os.geteuid() == 0,
        has_manager=_has_manager(places, environ),
        runtime=runtime,
        closed=find_closed(runtime),
        packaged=tuple(path for place in places.packaged if (path := place / SERVICE).exists()),
        build=find_build(Path(ckptd.__file__).parent),
    )


def find_build(package: Path) -> str:
    """Give a digest of every file of a package, but for what Python compiles."""
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            digest.update(f"{path.relative_to(package)} {content}\n".encode())
    return digest.hexdigest()[:12]


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
    mode, group = stat.S_IMODE(found.st_mode), name_group(found.st_gid)
    return Directory(real, mode, found.st_uid, group, found.st_gid, tuple(read_access_list(real)))


def look_at_writable(settings: Settings) -> list[Directory]:
    """Look at every directory that settings have written to; the roots come first."""
    return [look_at(path) for path in find_writable(settings)]


def is_away(one: Directory, directories: Iterable[Directory]) -> bool:
    """Tell whether a directory is missing that the service can't make itself, inside of another one of these."""
    there = (other.path for other in directories if other.mode is not None)
    return one.mode is None and not any(one.path.is_relative_to(place) for place in there)


def find_groups(directories: Iterable[Directory]) -> tuple[str, ...]:
    """Give the ordinary groups that may write in the directories, or alone may read them: the service has to be in them.

    It is put into none of the system's own because of a directory.
    """
    return tuple(
        dict.fromkeys(
            one.group_word
            for one in directories
            if one.mode is not None and one.gid >= FIRST_ORDINARY_GROUP and one.group != USER and _needs_group(one.mode)
        )
    )


def find_hidden(paths: Iterable[Path]) -> Path | None:
    """Give the first path that the service would not see, in a home or a temporary directory."""
    return next(iter(hidden(paths, (*HOMES, *TEMPORARY))), None)


def is_in_temporary(path: Path) -> bool:
    """Tell whether a path lies where the service has a directory of its own."""
    return bool(hidden([path], TEMPORARY))


def find_user() -> ServiceUser | None:
    """Give the user that the service runs as; None when there is none yet."""
    with contextlib.suppress(KeyError):
        found = pwd.getpwnam(USER)
        return ServiceUser(found.pw_uid, frozenset(os.getgrouplist(USER, found.pw_gid)))
    return None


def describe_access(one: Directory, groups: Iterable[str], user: ServiceUser | None = None) -> str | None:
    """Say what keeps the service out of a root, with its cure; None when nothing does.

    Args:
        one: the directory.
        groups: those that the service joins, beside those that its user is in.
        user: None when there is none yet.
    """
    cure = f"chgrp GROUP {one.path} && chmod g+rwxs {one.path}, with a group of those who save there, then install again"
    if user is not None and one.owner == user.uid:
        cure = f"it is its own: chmod u+rwx {one.path}"
    return None if _can_write(one, groups, user) else _describe(one, "make it, and install again", cure)


def describe_state(one: Directory, user: ServiceUser | None = None) -> str | None:
    """Say what keeps the service from starting with a state directory of its own, with its cure; None when nothing does."""
    cure = f"install -d -o {USER} -g {USER} -m 0700 {one.path}, and install again"
    if one.mode is None:
        return f"{one.path} is not there: {cure}"
    if user is not None and one.owner == user.uid and not one.mode & 0o077:
        return None
    return f"the state directory {one.path} has to be for {USER} alone (it is user {one.owner}'s, mode {one.mode:04o}): {cure}"


def describe_further(one: Directory, groups: Iterable[str], user: ServiceUser | None = None) -> str | None:
    """Say what keeps the service out of a directory that is no root: of archives, reports, metrics, sockets.

    Args:
        one: the directory.
        groups: those that the service joins, beside those that its user is in.
        user: None when there is none yet.
    """
    missing = f"install -d -o {USER} -g {USER} -m 0750 {one.path}, and install again"
    cure = f"chown {USER} {one.path}, or let a group of {USER}'s write there, and install again"
    return None if _can_write(one, groups, user) else _describe(one, missing, cure)


def _describe(one: Directory, missing: str, cure: str) -> str:
    """Say that a directory is not there, or can't be written, each with what to do."""
    if one.mode is None:
        return f"{one.path} is not there: {missing}"
    return f"the user {USER} can't write in {one.path} (mode {one.mode:04o}, group {one.group}): {cure}"


def _can_write(one: Directory, groups: Iterable[str], user: ServiceUser | None) -> bool:
    """Say whether the service will be able to; a user that there is not yet owns nothing."""
    if one.mode is None:
        return False
    uid, gids = (_NOBODY, frozenset[int]()) if user is None else user
    joined = {one.gid} if one.group_word in (USER, *groups) else set()
    return judge(Account(uid, gids | joined), Owned(one.owner, one.gid, one.mode, one.entries), WRITE | ENTER)


def _needs_group(mode: int) -> bool:
    return mode & 0o030 == 0o030 or (mode & 0o050 == 0o050 and mode & 0o005 != 0o005)


def _has_manager(places: Places, environ: Mapping[str, str]) -> bool:
    """Source: sd_booted(3); a user's manager listens in that user's runtime directory."""
    if places.is_system:
        return Path("/run/systemd/system").is_dir()
    runtime = environ.get("XDG_RUNTIME_DIR", "")
    return runtime.startswith("/") and Path(runtime, "systemd", "private").exists()
