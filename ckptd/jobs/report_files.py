"""Put reports where people read them, never half written, and never in place of a file that is not ours.

Ours is what bears exactly such a name and begins as every report does.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping

from ckptd.errors import StorageError
from ckptd.model import Identity
from ckptd.storage.atomic import Outcome, exchange_if_same, write_new
from ckptd.storage.beneath import entry_name
from ckptd.storage.faults import NameTakenError, place_of, translated
from ckptd.storage.placing import remove_if_same

_NAME = re.compile(r"ckptd-report-([0-9]{8})\.(html|md|json)")
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def report_name(day: str, ending: str) -> str:
    """Name the report of a day, "20261128"."""
    return f"ckptd-report-{day}.{ending}"


def open_directory(path: str, like: os.stat_result) -> int:
    """Open the directory of the reports, and make it where it is not there; the caller closes the descriptor.

    Args:
        path: its parent has to exist.
        like: of the root, whose group and permission bits a new one takes.

    Raises:
        StorageError: it can't be made or opened.
    """
    above, name = os.path.split(path.rstrip("/"))
    try:
        parent = os.open(above or "/", _DIRECTORY)
    except OSError as error:
        cure = "make it, or set report.directory to a place that exists"
        raise StorageError("open the directory of reports", path=above, why=os.strerror(error.errno or 0), cure=cure) from error
    try:
        with translated("make the directory of reports", parent, name):
            entry_name(name)
            try:
                os.mkdir(name, 0o700, dir_fd=parent)
            except FileExistsError:
                return os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
            made = os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
            _share(made, like)
            os.fsync(parent)
            return made
    finally:
        os.close(parent)


def _share(made: int, like: os.stat_result) -> None:
    """Give a new directory group and bits of the root; where the group can't be set, others keep what everybody has."""
    mode = stat.S_IMODE(like.st_mode) & 0o2777 | 0o700
    if os.fstat(made).st_gid != like.st_gid:
        try:
            os.fchown(made, -1, like.st_gid)
        except OSError:
            mode = mode & ~0o2070 | (mode & 0o007) << 3
    os.fchmod(made, mode)


def place_report(dir_fd: int, name: str, text: str, head: str, like: os.stat_result | None) -> None:
    """Put one report under its name, in place of an older one of ours.

    Args:
        dir_fd: a readable descriptor of the directory.
        name: one entry of it.
        text: the whole report; `head` is how each of its form begins.
        head: likewise.
        like: whose group and permission bits it takes; None leaves them to the umask.

    Raises:
        NameTakenError: a file of that name is none of ours; nothing was changed.
        StorageError: the disk said no; what was there before is there still.
    """
    data = text.encode("utf-8", "backslashreplace")
    try:
        write_new(dir_fd, name, data, like=like)
    except NameTakenError:
        _replace(dir_fd, name, data, head, like)


def _replace(dir_fd: int, name: str, data: bytes, head: str, like: os.stat_result | None) -> None:
    known = find_ours(dir_fd, name, head)
    if known is None:
        why, cure = "a file of this name exists, and it is no report of ckptd", "move or rename it"
        raise NameTakenError("write a report", path=place_of(dir_fd, name), why=why, cure=cure)
    match exchange_if_same(dir_fd, name, known, data, like=like).outcome:
        case Outcome.EXCHANGED:
            return
        case Outcome.UNSUPPORTED:  # a report can be made again: a moment without one is no loss
            if remove_if_same(dir_fd, name, known):
                write_new(dir_fd, name, data, like=like)
                return
        case Outcome.GONE:
            write_new(dir_fd, name, data, like=like)
            return
        case Outcome.CHANGED:
            pass
    raise StorageError("write a report", path=place_of(dir_fd, name), why="somebody else writes it just now", cure="try again")


def find_ours(dir_fd: int, name: str, head: str) -> Identity | None:
    """Give the identity of a file that is a report of ours; None for everything else."""
    try:
        fd = os.open(name, _READ, dir_fd=dir_fd)
    except OSError:
        return None
    try:
        seen, expected = os.fstat(fd), head.encode()
        is_ours = stat.S_ISREG(seen.st_mode) and os.read(fd, len(expected)) == expected
        return Identity.of(seen) if is_ours else None
    except OSError:
        return None
    finally:
        os.close(fd)


def remove_oldest(dir_fd: int, keep: int, today: str, heads: Mapping[str, str]) -> list[str]:
    """Remove the reports of all days but the latest ones; the names that are gone.

    Args:
        dir_fd: a readable descriptor of the directory.
        keep: so many days stay.
        today: whose report stays in any case, whatever a wrong clock once left there.
        heads: ending → how a report of that form begins.

    Raises:
        StorageError: the disk said no.
    """
    found = [match for match in map(_NAME.fullmatch, sorted(os.listdir(dir_fd))) if match is not None]
    days = sorted({match[1] for match in found}, reverse=True)
    gone = []
    for match in found:
        if match[1] in days[:keep] or match[1] == today:
            continue
        known = find_ours(dir_fd, match[0], heads[match[2]])
        if known is not None and remove_if_same(dir_fd, match[0], known):
            gone.append(match[0])
    return gone
