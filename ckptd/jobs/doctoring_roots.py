"""Look at the roots: whether they are there, and whether ckptd and the people who share them can work in them."""

from __future__ import annotations

import grp
import os
import pwd
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ckptd.jobs.checks import Check, Patient, bad, good
from ckptd.model import Severity
from ckptd.storage.state import STATE
from ckptd.watch.filesystems import find_filesystem


def check_roots(patient: Patient) -> Iterator[Check]:
    """Say of each root what keeps ckptd, or people, from working in it."""
    user = patient.find_user()
    for path in patient.settings.roots:
        yield from _check_root(path, user)


def _check_root(path: Path, user: int) -> Iterator[Check]:
    name = f"root {path}"
    if not path.is_dir():
        yield bad(name, "there is no such directory", "make it, or correct `roots` in the settings")
        return
    if not os.access(path, os.R_OK | os.X_OK):
        yield bad(name, "it cannot be listed", "give the daemon's user the right to read it")
    elif not os.access(path, os.W_OK):
        cure = "let the daemon's user write there, or set sidecar.enabled = false"
        yield bad(name, "no metadata can be written there", cure, Severity.WARNING)
    else:
        kind = find_filesystem(path)
        how = ", polled since other hosts write there unseen" if kind.is_network else ""
        yield good(name, f"readable and writable, {kind.name}{how}")
    seen = path.stat()
    yield from _check_sharing(name, seen, user)
    yield from _check_renaming(name, seen)
    yield from _check_state(name, path / STATE, user)


def _check_sharing(name: str, seen: os.stat_result, user: int) -> Iterator[Check]:
    """Say what keeps the people who share a root from working with what ckptd leaves there."""
    if seen.st_mode & stat.S_ISVTX:
        cure = "remove the sticky bit if a group is to edit the metadata"
        yield bad(name, "it is sticky: only the owner of a metadata file can replace it", cure, Severity.INFO)
    if not seen.st_mode & stat.S_IWGRP or user == 0:
        return
    group = _name_of_group(seen.st_gid)
    if seen.st_gid not in _groups_of(user):
        cure = f"add the daemon's user to it: usermod -aG {group} {_name_of_user(user)}, and start the daemon again"
        why = f"it is shared by group {group}, and ckptd's user is not in it: what ckptd writes can't have that group"
        yield bad(name, why, cure, Severity.WARNING)
    elif not seen.st_mode & stat.S_ISGID:
        why = f"it is shared by group {group}, and what is made there does not take that group by itself"
        yield bad(name, why, "chmod g+s", Severity.INFO)


def _check_renaming(name: str, seen: os.stat_result) -> Iterator[Check]:
    """Say who could take `.ckptd` away, and the trash with it: without the sticky bit everybody who may write there."""
    if seen.st_mode & stat.S_IWOTH and not seen.st_mode & stat.S_ISVTX:
        why = f"everybody on this machine can write there, rename {STATE} and remove checkpoints"
        yield bad(name, why, "chmod o-w, or chmod +t where everybody has to write there", Severity.WARNING)


def _check_state(name: str, place: Path, user: int) -> Iterator[Check]:
    """Look at the `.ckptd` of a root: whoever can write there could steer what is removed."""
    try:
        seen = place.lstat()
    except OSError:
        return  # none yet: the first start makes it
    if not stat.S_ISDIR(seen.st_mode):
        yield bad(name, f"{STATE} is a link or a file, and is not used", "look at what it is, and move it away")
    elif seen.st_uid != user:
        cure = f"look at what lies there and who made it; then move it away, or chown -R {user} {place}"
        yield bad(name, f"{STATE} belongs to user {seen.st_uid}, and ckptd runs as user {user}: it is not used", cure)
    elif seen.st_mode & 0o077:
        why = (
            f"others may enter {STATE} (mode {stat.S_IMODE(seen.st_mode):04o}), and could steer what is removed: it is not used"
        )
        yield bad(name, why, f"look at what lies there, then chmod 700 {place}")


def _groups_of(user: int) -> set[int]:
    if user == os.geteuid():
        return {os.getegid(), *os.getgroups()}
    with suppress(KeyError):
        known = pwd.getpwuid(user)
        return set(os.getgrouplist(known.pw_name, known.pw_gid))
    return set()


def _name_of_group(number: int) -> str:
    with suppress(KeyError):
        return grp.getgrgid(number).gr_name
    return str(number)


def _name_of_user(number: int) -> str:
    with suppress(KeyError):
        return pwd.getpwuid(number).pw_name
    return str(number)
