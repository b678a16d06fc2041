"""The entries of the trash: one directory for each removal, whose manifest tells by its name how far it got.

```
intent.json     being put, or a kill came; what was moved is told by what lies beside it
manifest.json   in the trash
kept.json       holds somebody's save that could not go back to its place
purging.json    proved, and being unlinked
restoring.json  beside another one: where things go that are on their way back
```
Whoever works on an entry holds a lock of the kernel on its directory, which a crash releases.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import stat
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from ckptd.storage.atomic import write_new
from ckptd.storage.temporary import TEMPORARY_NAME
from ckptd.storage.trash.contents import State
from ckptd.storage.trash.manifest import INTENT, OWN_NAMES, Manifest, encode_manifest
from ckptd.storage.trash.refusals import Refusal, RefusedError, said_no

#: Time of the removal (UTC, so that names sort by it) and eight random bytes.
ENTRY_NAME = re.compile(r"\d{8}T\d{6}\.\d{6}Z-[0-9a-f]{16}")

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MOST_TRIES = 8


class OpenEntry:
    """An entry, open and locked until it is closed.

    Attributes:
        name: of its directory in the trash.
        fd: readable descriptor of it.
        trash_fd: of the trash; the caller's.
        is_locked: False on a file system without locks.
    """

    def __init__(self, trash_fd: int, name: str, fd: int, *, is_locked: bool) -> None:
        self.trash_fd = trash_fd
        self.name = name
        self.fd = fd
        self.is_locked = is_locked

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        os.close(self.fd)  # and with it the lock


def make_entry(trash_fd: int, now: float, path: str) -> OpenEntry:
    """Make an empty entry and lock it; a sweep of another process may take an empty one for a leftover, so then another.

    Args:
        trash_fd: of the trash.
        now: seconds since the epoch; the entry is named by it.
        path: of the user's file, for messages.

    Raises:
        StorageError: the disk said no; nothing is left.
    """
    for _ in range(_MOST_TRIES):
        name = f"{datetime.fromtimestamp(now, UTC):%Y%m%dT%H%M%S.%fZ}-{secrets.token_hex(8)}"
        try:
            os.mkdir(name, 0o700, dir_fd=trash_fd)
            return open_entry(trash_fd, name)
        except FileExistsError:
            continue
        except RefusedError as error:
            if error.refusal not in (Refusal.BUSY, Refusal.NO_ENTRY):
                raise
        except OSError as error:
            raise said_no("put a file into the trash", path, error) from error
    raise RefusedError(Refusal.BUSY, "put a file into the trash", path=path, why="its entries vanish as soon as they are made")


def open_entry(trash_fd: int, name: str) -> OpenEntry:
    """Open and lock an entry.

    Raises:
        RefusedError: NO_ENTRY when there is none, BUSY while another process works on it.
    """
    if ENTRY_NAME.fullmatch(name) is None:
        raise RefusedError(Refusal.NO_ENTRY, "open an entry of the trash", path=name, why="it is not a name of one")
    try:
        fd = os.open(name, _DIRECTORY, dir_fd=trash_fd)
    except OSError as error:
        cure = "`ckptd trash ls` says what is there"
        why = os.strerror(error.errno or 0)
        raise RefusedError(Refusal.NO_ENTRY, "open an entry of the trash", path=name, why=why, cure=cure) from error
    try:
        is_locked = _lock(fd, name)
        here = os.stat(name, dir_fd=trash_fd, follow_symlinks=False)
    except FileNotFoundError:
        os.close(fd)
        why = "it was removed just now"
        raise RefusedError(Refusal.NO_ENTRY, "open an entry of the trash", path=name, why=why) from None
    except BaseException:
        os.close(fd)
        raise
    if not os.path.samestat(here, os.fstat(fd)):
        os.close(fd)
        raise RefusedError(Refusal.NO_ENTRY, "open an entry of the trash", path=name, why="it was replaced just now")
    return OpenEntry(trash_fd, name, fd, is_locked=is_locked)


def _lock(fd: int, name: str) -> bool:
    """Lock an entry; False where the file system has no locks, and the lock of the job has to do."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        why = "another ckptd works on it just now"
        raise RefusedError(Refusal.BUSY, "open an entry of the trash", path=name, why=why, cure="try again") from None
    except OSError:
        return False
    return True


def write_intent(entry: OpenEntry, manifest: Manifest) -> None:
    """Write the manifest for good before anything is moved.

    Raises:
        StorageError: the disk said no.
    """
    write_new(entry.fd, INTENT, encode_manifest(manifest))
    try:
        os.fsync(entry.trash_fd)
    except OSError as error:
        raise said_no("put a file into the trash", manifest.checkpoint.path, error) from error


def set_state(entry: OpenEntry, old: State, new: State) -> None:
    """Say how far an entry got.

    Raises:
        OSError: the disk said no.
    """
    os.rename(old, new, src_dir_fd=entry.fd, dst_dir_fd=entry.fd)


def remove_entry(entry: OpenEntry) -> bool:
    """Remove an entry in which nothing of anybody's lies; say whether it is gone.  Its manifest goes only with it."""
    try:
        names = os.listdir(entry.fd)
        if not all(name in OWN_NAMES or _is_own_temporary(entry.fd, name) for name in names):
            return False
        for name in names:
            os.unlink(name, dir_fd=entry.fd)
        os.rmdir(entry.name, dir_fd=entry.trash_fd)
        os.fsync(entry.trash_fd)
    except OSError:
        return False  # the next sweep sees it
    return True


def _is_own_temporary(fd: int, name: str) -> bool:
    return TEMPORARY_NAME.fullmatch(name) is not None and stat.S_ISREG(os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode)
