"""Look at the roots: whether they are there, and whether ckptd and the people who share them can work in them."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from ckptd.jobs.checks import Check, Patient, bad, good
from ckptd.jobs.reaching import advise, find_closed, is_put_into
from ckptd.model import Severity
from ckptd.storage.access import ENTER, READ, WRITE, Account, name_group, name_user
from ckptd.storage.state import STATE
from ckptd.watch.filesystems import find_filesystem


def check_roots(patient: Patient) -> Iterator[Check]:
    """Say of each root what keeps ckptd, or people, from working in it."""
    account = patient.find_account()
    for path in patient.settings.roots:
        yield from _check_root(path, account)


def _check_root(path: Path, account: Account) -> Iterator[Check]:
    name = f"root {path}"
    try:
        seen = path.stat()
    except PermissionError:
        yield _tell_closed(name, path, account)
        return
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR):
            yield bad(name, os.strerror(error.errno or 0), "is its disk mounted? the kernel's log may say more")
            return
        seen = None
    if seen is None or not stat.S_ISDIR(seen.st_mode):
        yield bad(name, "there is no such directory", "make it, or correct `roots` in the settings")
        return
    yield _check_rights(name, path, account)
    yield from _check_sharing(name, seen, account)
    yield from _check_renaming(name, seen)
    yield from _check_state(name, path / STATE, account.user)


def _tell_closed(name: str, path: Path, account: Account) -> Check:
    if is_put_into(path, account):
        why = "it lies in a home that is closed to who asks; the service is let into it by its unit alone"
        return bad(name, why, "ask as root", Severity.INFO)
    return bad(name, "who asks may not enter a directory above it", "ask as root, or as the daemon's user")


def _check_rights(name: str, path: Path, account: Account) -> Check:
    closed = find_closed(path, account)
    if closed is not None:
        return bad(name, f"{account} may not enter {closed}, above it", f"chmod o+x {closed}, or let a group in that it is in")
    if not account.may(path, READ | ENTER):
        return bad(name, f"it cannot be listed by {account}", advise(path, account))
    if not account.may(path, WRITE):
        cure = f"{advise(path, account)}; or set sidecar.enabled = false"
        return bad(name, f"no metadata can be written there by {account}", cure, Severity.WARNING)
    kind = find_filesystem(path)
    how = ", polled since other hosts write there unseen" if kind.is_network else ""
    return good(name, f"readable and writable for {account}, {kind.name}{how}")


def _check_sharing(name: str, seen: os.stat_result, account: Account) -> Iterator[Check]:
    """Say what keeps the people who share a root from working with what ckptd leaves there."""
    if seen.st_mode & stat.S_ISVTX:
        cure = "remove the sticky bit if a group is to edit the metadata"
        yield bad(name, "it is sticky: only the owner of a metadata file can replace it", cure, Severity.INFO)
    if not seen.st_mode & stat.S_IWGRP or account.user == 0:
        return
    group = name_group(seen.st_gid)
    if seen.st_gid not in account.groups:
        cure = f"add the daemon's user to it: usermod -aG {group} {name_user(account.user)}, and start the daemon again"
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
