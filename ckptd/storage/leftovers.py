"""Clear away what a kill left of our hidden files, and give back a save that was on its way back when it came."""

from __future__ import annotations

import os
import stat
from typing import NamedTuple

from ckptd.errors import StorageError
from ckptd.model import Finding, Identity, Severity
from ckptd.storage.atomic import give_back
from ckptd.storage.compare import digest_of, fingerprint
from ckptd.storage.faults import translated
from ckptd.storage.temporary import SWAP_NAME, TEMPORARY_NAME, discard


class Swept(NamedTuple):
    """What a sweep did: hidden names removed, names that got a save back, and what it could not solve."""

    removed: tuple[str, ...] = ()
    restored: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()


def sweep_leftovers(dir_fd: int, older_than: float) -> Swept:
    """Remove our hidden files of one directory that no living process can be writing any more.

    A half-written file goes when it is a regular one of our user.  A `.swap` file goes when it holds what we wrote or what
    we had replaced; anything else in it is a save that was not yet put back, and is put back now.

    Args:
        dir_fd: a readable descriptor of the directory.
        older_than: seconds since the epoch; a file whose ctime is later is left alone.

    Raises:
        StorageError: the directory can't be read.
    """
    removed, restored, findings = [], [], []
    for name in _old_names(dir_fd, older_than):
        match = SWAP_NAME.fullmatch(name)
        if match is None or _is_spent(dir_fd, name, match["ours"], match["expected"]):
            discard(dir_fd, name)
            removed.append(name)
        elif place := _give_back_found(dir_fd, name, int(match["size"], 16), match["ours"]):
            restored.append(place)
        else:
            findings.append(_kept_aside(name))
    return Swept(tuple(removed), tuple(restored), tuple(findings))


def _old_names(dir_fd: int, older_than: float) -> list[str]:
    names = []
    with translated("look for leftovers", dir_fd, "."), os.scandir(dir_fd) as entries:
        for entry in entries:
            if not entry.name.startswith(".ckptd-"):
                continue
            now = entry.stat(follow_symlinks=False)
            if now.st_ctime < older_than and (SWAP_NAME.fullmatch(entry.name) or _is_own_temporary(entry.name, now)):
                names.append(entry.name)
    return names


def _is_own_temporary(name: str, now: os.stat_result) -> bool:
    return bool(TEMPORARY_NAME.fullmatch(name)) and stat.S_ISREG(now.st_mode) and os.geteuid() in (0, now.st_uid)


def _is_spent(dir_fd: int, swap: str, ours: str, expected: str) -> bool:
    try:
        digest = digest_of(dir_fd, swap)
        identity = Identity.of(os.stat(swap, dir_fd=dir_fd, follow_symlinks=False))
    except OSError:
        return False  # what can't be read was not written by us
    return digest is not None and (digest[:32] in (ours, expected) or fingerprint(identity)[:32] == expected)


def _give_back_found(dir_fd: int, swap: str, size_bytes: int, ours: str) -> str | None:
    try:
        place = _find_ours(dir_fd, size_bytes, ours)
        if place is not None:
            give_back(dir_fd, swap, *place)
    except StorageError:
        return None
    return None if place is None else place[0]


def _find_ours(dir_fd: int, size_bytes: int, ours: str) -> tuple[str, Identity] | None:
    """Find the file that an unfinished exchange put in place: by size, then by content."""
    with translated("look for an unfinished exchange", dir_fd, "."), os.scandir(dir_fd) as entries:
        for entry in entries:
            now = entry.stat(follow_symlinks=False)
            if now.st_size != size_bytes or not stat.S_ISREG(now.st_mode) or entry.name.startswith(".ckptd-"):
                continue
            if (digest_of(dir_fd, entry.name) or "")[:32] == ours:
                return entry.name, Identity.of(now)
    return None


def _kept_aside(name: str) -> Finding:
    return Finding(
        "save-kept-aside",
        Severity.WARNING,
        f"{name} holds a file that somebody saved while ckptd was being killed; compare it with the file that it "
        "was meant for, and remove it or move it there",
    )
