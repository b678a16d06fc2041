"""Write small files so that a kill, a full disk or a neighbour's save never costs anything that was there.

`write_new` makes a file that did not exist; it never replaces one.  `exchange_if_same` replaces a file that is still the
one that was read, and hands the place back to whoever saved in between.  Both write a whole file first (temporary.py): a
new one without any name where the file system can, else under a hidden name in the same directory; what a kill leaves of
those, `leftovers.sweep_leftovers` clears away.
"""

from __future__ import annotations

import hashlib
import os
from enum import StrEnum
from typing import NamedTuple

from ckptd.errors import StorageError
from ckptd.model import Finding, Identity
from ckptd.storage import kernel
from ckptd.storage.beneath import entry_name
from ckptd.storage.compare import fingerprint, is_being_written, is_expected, is_same_entry
from ckptd.storage.faults import NameTakenError, place_of, storage_error, translated
from ckptd.storage.temporary import discard, new_temporary_name, rename_new, swap_name_for, write_nameless, write_temporary

#: Saves that may fall into the microseconds between our exchanges before we stop and keep both files.
_MOST_ROUNDS = 16


class Written(NamedTuple):
    """A file that is in place now, and what is to be said about its group."""

    identity: Identity
    findings: tuple[Finding, ...] = ()


class Outcome(StrEnum):
    """How an exchange ended; in all but the first what is in place is not ours and was left as it is."""

    EXCHANGED = "exchanged"
    #: Somebody saved it after it was read, or has it open for writing now.
    CHANGED = "changed"
    #: It is no longer there.
    GONE = "gone"
    #: The file system cannot exchange two names, and to replace without that could lose a save.
    UNSUPPORTED = "unsupported"


class Exchanged(NamedTuple):
    """How an exchange ended; `written` only when our data is in place."""

    outcome: Outcome
    written: Written | None = None


def write_new(dir_fd: int, name: str, data: bytes, *, like: os.stat_result | None = None, durable: bool = True) -> Written:
    """Make the file `name` with `data`, all of it or nothing, and never over a file that exists.

    Args:
        dir_fd: a readable descriptor of the directory.
        name: one entry of it.
        data: the whole content.
        like: whose group and permission bits the file takes; None leaves it to the umask.
        durable: sync file and directory, so that it survives a power cut; only what can be made again goes without.

    Raises:
        NameTakenError: the name exists; nothing was changed.
        StorageError: the disk said no; nothing was changed.
    """
    try:
        entry_name(name)
        written = Written(*write_nameless(dir_fd, name, data, like, durable=durable))
    except FileExistsError as error:
        raise _taken(dir_fd, name) from error
    except kernel.Unsupported:
        return _write_new_hidden(dir_fd, name, data, like, durable=durable)
    except OSError as error:
        raise storage_error("write a file", dir_fd, name, error) from error
    if durable:
        _sync(dir_fd, name)
    return written


def _write_new_hidden(dir_fd: int, name: str, data: bytes, like: os.stat_result | None, *, durable: bool) -> Written:
    temporary = new_temporary_name()
    identity, findings = write_temporary(dir_fd, name, temporary, data, like, durable=durable)
    try:
        rename_new(dir_fd, temporary, name)
    except FileExistsError as error:
        discard(dir_fd, temporary)
        raise _taken(dir_fd, name) from error
    except OSError as error:
        discard(dir_fd, temporary)
        raise storage_error("put a new file in place", dir_fd, name, error) from error
    return _finish(dir_fd, name, identity, findings, durable=durable)


def _taken(dir_fd: int, name: str) -> NameTakenError:
    return NameTakenError("write a new file", path=place_of(dir_fd, name), why="a file of this name exists")


def exchange_if_same(
    dir_fd: int,
    name: str,
    expected: Identity | str,
    data: bytes,
    *,
    like: os.stat_result | None = None,
    durable: bool = True,
) -> Exchanged:
    """Replace the file `name` by `data` if it still is the one that was read; else leave it as it is.

    The two names are exchanged first and what came out is compared then, so there is no moment in which a save could be
    lost: what was not expected, or is open for writing, goes back.

    Args:
        dir_fd: a readable descriptor of the directory.
        name: one entry of it.
        expected: the SHA-256 of the content that was read, or the identity of the file (but for its ctime).
        data: the whole new content.
        like: whose group and permission bits the file takes; usually the stat of the file that is replaced.
        durable: as in `write_new`.

    Raises:
        StorageError: the disk said no; nothing was lost, and where a file lies elsewhere now, the message names it.
    """
    with translated("write a file", dir_fd, name):
        entry_name(name)
    temporary = new_temporary_name()
    identity, findings = write_temporary(dir_fd, name, temporary, data, like, durable=durable)
    written, digest = Written(identity, findings), hashlib.sha256(data).hexdigest()
    return exchange_written(dir_fd, name, expected, temporary, written, digest, durable=durable)


def exchange_written(
    dir_fd: int, name: str, expected: Identity | str, temporary: str, mine: Written, sha256: str, *, durable: bool = True
) -> Exchanged:
    """Do the same with a file that is whole and lies under a temporary name of ours already; the name is gone afterwards.

    Args:
        dir_fd: a readable descriptor of the directory.
        name: one entry of it.
        expected: what may be replaced.
        temporary: hidden name of the new file, made by `new_temporary_name`.
        mine: the new file.
        sha256: of its content, so that a sweep after a kill can tell it from a person's save.
        durable: sync the directory.

    Raises:
        StorageError: as `exchange_if_same`.
    """
    swap = swap_name_for(temporary, mine.identity.size_bytes, sha256, fingerprint(expected))
    outcome = _exchange(dir_fd, temporary, swap, name)
    if outcome is not Outcome.EXCHANGED:
        return Exchanged(outcome)
    if not is_expected(dir_fd, swap, expected):
        give_back(dir_fd, swap, name, mine.identity)
        return Exchanged(Outcome.CHANGED)
    written = _finish(dir_fd, name, mine.identity, mine.findings, durable=durable)
    discard(dir_fd, swap)
    return Exchanged(Outcome.EXCHANGED, written)


def _exchange(dir_fd: int, temporary: str, swap: str, name: str) -> Outcome:
    # A kill after the exchange leaves what came out under the hidden name, and that may be a person's save.  So before
    # it, and only when the file is whole, it gets the name from which a sweep can tell the two.
    hidden = temporary
    try:
        os.rename(temporary, swap, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
        hidden = swap
        kernel.rename(dir_fd, swap, name, kernel.RENAME_EXCHANGE)
    except kernel.Unsupported:
        discard(dir_fd, hidden)
        return Outcome.UNSUPPORTED
    except FileNotFoundError:
        discard(dir_fd, hidden)
        return Outcome.GONE
    except OSError as error:
        discard(dir_fd, hidden)
        raise storage_error("exchange a file", dir_fd, name, error) from error
    return Outcome.EXCHANGED


def give_back(dir_fd: int, swap: str, name: str, mine: Identity) -> None:
    """Put what came out of `name` back, and let anything that was saved there since win over it.

    After each exchange the hidden name holds what was in place a moment ago.  Is that what we had put there ourselves, the
    work is done; else it is newer than what is in place now, and goes back in turn.  Where nobody can say which of two saves
    is the newer one, both are kept; the next sweep looks again.

    Raises:
        StorageError: it could not go back; the message says under which name it is kept.
    """
    put = mine
    with translated(f"give a file its name back; what was saved last is kept as {swap}", dir_fd, name):
        for _ in range(_MOST_ROUNDS):
            coming = Identity.of(os.stat(swap, dir_fd=dir_fd, follow_symlinks=False))
            try:
                kernel.rename(dir_fd, swap, name, kernel.RENAME_EXCHANGE)
            except FileNotFoundError:  # ours was removed meanwhile
                if _renamed_back(dir_fd, swap, name):
                    return
                continue
            if is_same_entry(dir_fd, swap, put):
                if is_being_written(dir_fd, swap):  # what will be written must land under the name
                    kernel.rename(dir_fd, swap, name, kernel.RENAME_EXCHANGE)
                    break
                discard(dir_fd, swap)
                return
            put = coming
    raise StorageError(
        "replace a file", path=place_of(dir_fd, name), why="it is saved over and over", cure=f"one save is kept as {swap}"
    )


def _renamed_back(dir_fd: int, swap: str, name: str) -> bool:
    try:
        rename_new(dir_fd, swap, name)
    except FileExistsError:
        return False
    return True


def _finish(dir_fd: int, name: str, identity: Identity, findings: tuple[Finding, ...], *, durable: bool) -> Written:
    if durable:
        _sync(dir_fd, name)
    with translated("look at a new file", dir_fd, name):
        try:
            now = Identity.of(os.stat(name, dir_fd=dir_fd, follow_symlinks=False))  # the rename changed its ctime
        except FileNotFoundError:
            return Written(identity, findings)
    return Written(now if now.ino == identity.ino else identity, findings)


def _sync(dir_fd: int, name: str) -> None:
    with translated("sync the directory", dir_fd, name):
        os.fsync(dir_fd)
