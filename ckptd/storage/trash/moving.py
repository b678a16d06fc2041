"""Move one user's file into an entry or out of it, and take back what turns out to be another one.

Into the trash: the file is opened and compared (sources.py), held still (holding.py), renamed, and compared once more.  What
was swapped in between goes back to its place, and where that is taken by now, the entry keeps it.  Out of it: never over
anything.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Collection

from ckptd.model import Identity, Openness
from ckptd.storage import kernel
from ckptd.storage.trash.entries import OpenEntry
from ckptd.storage.trash.holding import Hold
from ckptd.storage.trash.refusals import Refusal, RefusedError, said_no
from ckptd.storage.trash.sources import PUT, Source, changed

#: What an operation accepts unless its caller says otherwise.
CLOSED_ONLY: Collection[Openness] = (Openness.CLOSED,)

#: What link() answers where there are no hard links, or none to what is no file.  Source: link(2); FUSE passes ENOSYS on.
_NO_LINKS = frozenset({errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL})


def move_in(entry: OpenEntry, stored: str, source: Source, accept: Collection[Openness]) -> None:
    """Move a file into an entry; the directories are not synced.

    Args:
        entry: one without anything named `stored`.
        stored: the name that the file gets.
        source: from `open_source`.
        accept: what may be known about whether others have it open.

    Raises:
        RefusedError: it changed or is open; it is in its place, but for KEPT_ASIDE.
        StorageError: the disk said no; it is in its place.
    """
    with Hold(source.fd) as hold:
        check_openness(hold, source, accept)
        try:
            _rename_in(source, entry.fd, stored)
        except OSError as error:
            raise said_no(PUT, source.path, error) from error
        refused = find_change(entry.fd, stored, source, hold)
        if refused is not None:
            _give_back(entry, stored, source)
            raise refused


def check_openness(hold: Hold, source: Source, accept: Collection[Openness]) -> None:
    """See that nobody has the file open, and that it did not change until it was held.

    Raises:
        RefusedError: somebody has, or it did.
    """
    if hold.openness not in accept:
        raise open_elsewhere(PUT, source.path, hold.openness)
    if Identity.of(os.fstat(source.fd)) != Identity.of(source.seen):
        raise changed(source.path)


def open_elsewhere(what: str, path: str, openness: Openness) -> RefusedError:
    """Say that a file is open, or may be."""
    if openness is Openness.OPEN:
        return RefusedError(
            Refusal.OPEN, what, path=path, why="a process has it open", cure="it is tried again at the next run"
        )
    why = "nobody can say whether a process has it open: it is another user's, or lies on a network file system"
    cure = "give ckptd CAP_LEASE, or run it as the user whose files these are"
    return RefusedError(Refusal.OPENNESS_UNKNOWN, what, path=path, why=why, cure=cure)


def find_change(entry_fd: int, stored: str, source: Source, hold: Hold) -> RefusedError | None:
    """Compare what came into the entry with what was wanted; None when it is that, and nobody asked for it meanwhile.

    Raises:
        StorageError: the disk said no; the entry has it.
    """
    try:
        here = os.stat(stored, dir_fd=entry_fd, follow_symlinks=False)
    except OSError as error:
        raise said_no(PUT, source.path, error) from error
    if not stat.S_ISREG(here.st_mode) or Identity.of(here)[:4] != Identity.of(source.seen)[:4]:
        return changed(source.path)
    return open_elsewhere(PUT, source.path, Openness.OPEN) if hold.is_wanted() else None


def _rename_in(source: Source, entry_fd: int, stored: str) -> None:
    try:
        kernel.rename_between(source.dir_fd, source.name, entry_fd, stored, kernel.RENAME_NOREPLACE)
    except kernel.Unsupported:
        # The entry is ours alone, locked, and has nothing of this name: there is nothing to be replaced.
        os.rename(source.name, stored, src_dir_fd=source.dir_fd, dst_dir_fd=entry_fd)


def _give_back(entry: OpenEntry, stored: str, source: Source) -> None:
    try:
        rename_out(entry.fd, stored, source.dir_fd, source.name)
    except OSError as error:
        raise kept_aside(entry, source.path, error) from error


def kept_aside(entry: OpenEntry, path: str, error: OSError) -> RefusedError:
    """Say that a file could not go back to its place and where it is."""
    taken = isinstance(error, FileExistsError)
    why = "it was saved while it was moved, and " + (
        "once more since" if taken else f"could not go back to its place ({os.strerror(error.errno or 0)})"
    )
    cure = f"nothing is lost: the earlier of the two is kept in the trash as {entry.name}; compare them" if taken else ""
    cure = cure or f"nothing is lost: it is kept in the trash as {entry.name}; restore it from there"
    return RefusedError(Refusal.KEPT_ASIDE, PUT, path=path, why=why, cure=cure)


def rename_out(entry_fd: int, stored: str, dir_fd: int, name: str) -> None:
    """Move something out of an entry, never over anything.

    Raises:
        FileExistsError: something has that name.
        OSError: EOPNOTSUPP where the file system offers no way to do it safely, else as `rename`.
    """
    try:
        kernel.rename_between(entry_fd, stored, dir_fd, name, kernel.RENAME_NOREPLACE)
    except kernel.Unsupported:
        # A link is as safe: it fails when the name exists.  In the entry, which is ours alone, it can be removed by its name.
        try:
            os.link(stored, name, src_dir_fd=entry_fd, dst_dir_fd=dir_fd, follow_symlinks=False)
        except OSError as error:
            if error.errno in _NO_LINKS:
                raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP), name) from error
            raise
        os.unlink(stored, dir_fd=entry_fd)
