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

import contextlib
import fcntl
import json
import os
import re
import secrets
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from types import TracebackType
from typing import Self

from ckptd.errors import StorageError
from ckptd.storage.atomic import write_new
from ckptd.storage.temporary import TEMPORARY_NAME, discard
from ckptd.storage.trash.manifest import (
    INTENT,
    KEPT,
    MOST_BYTES,
    MOST_COMPANIONS,
    OWN_NAMES,
    PURGING,
    RESTORING,
    TRASHED,
    Manifest,
    ManifestError,
    TrashedFile,
    check_path,
    decode_manifest,
    encode_manifest,
)
from ckptd.storage.trash.refusals import Refusal, RefusedError, said_no
from ckptd.text import escape

#: Time of the removal (UTC, so that names sort by it) and eight random bytes.
ENTRY_NAME = re.compile(r"\d{8}T\d{6}\.\d{6}Z-[0-9a-f]{16}")

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_MOST_TRIES = 8


class State(StrEnum):
    """How far an entry got; the value is the name of its manifest then."""

    INTENT = INTENT
    TRASHED = TRASHED
    KEPT = KEPT
    PURGING = PURGING


@dataclass(frozen=True, slots=True)
class Contents:
    """What an entry holds.

    Attributes:
        state: None when there is no manifest, or more than one.
        manifest: None when it can't be read; `problem` says why.
        stored: files of the manifest that are there, by their names.
        others: names that no manifest explains.
        is_restoring: `restoring.json` is there.
    """

    state: State | None
    manifest: Manifest | None
    stored: Mapping[str, TrashedFile]
    others: tuple[str, ...]
    is_restoring: bool
    problem: str = ""

    @property
    def holds_checkpoint(self) -> bool:
        """Say whether the checkpoint itself is there."""
        return self.manifest is not None and self.manifest.checkpoint.stored in self.stored


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


def read_contents(fd: int) -> Contents:
    """Read what an entry holds, believing nothing.

    Raises:
        OSError: the directory can't be read.
    """
    names = set(os.listdir(fd))
    states = [state for state in State if state in names]
    users = sorted(name for name in names if name not in OWN_NAMES)
    is_restoring = RESTORING in names
    if len(states) != 1:
        problem = "it has no manifest" if not states else "it has two manifests"
        return Contents(None, None, {}, tuple(users), is_restoring, problem)
    try:
        manifest = decode_manifest(_read(fd, states[0]))
    except (ManifestError, OSError) as error:
        why = str(error) if isinstance(error, ManifestError) else os.strerror(error.errno or 0)
        return Contents(states[0], None, {}, tuple(users), is_restoring, f"its manifest can't be used: {why}")
    stored = {file.stored: file for file in manifest.files if file.stored in names}
    others = tuple([name for name in users if name not in stored])
    problem = f"it holds what ckptd did not put there: {escape(others[0])}" if others else ""
    return Contents(states[0], manifest, stored, others, is_restoring, problem)


def _read(fd: int, name: str) -> bytes:
    file = os.open(name, _READ, dir_fd=fd)
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise ManifestError("it is no regular file")
        data = b""
        while len(data) <= MOST_BYTES and (block := os.read(file, MOST_BYTES)):
            data += block
    finally:
        os.close(file)
    if len(data) > MOST_BYTES:
        raise ManifestError("it is too long for one")
    return data


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


def note_restoring(entry: OpenEntry, targets: Mapping[str, str]) -> None:
    """Write down where each file goes, so that a kill in the middle of a restore can be finished.

    A full disk must not keep anybody from getting a checkpoint back: then it is done without, and what a kill would leave in
    the entry is restored by a second try.

    Args:
        entry: open and locked.
        targets: name in the entry → path relative to the root.
    """
    data = json.dumps({"targets": dict(targets)}, indent=1).encode("ascii")
    with contextlib.suppress(StorageError):
        write_new(entry.fd, RESTORING, data)


def read_restoring(fd: int) -> dict[str, str]:
    """Read where files were going; empty when that can't be used."""
    try:
        targets = json.loads(_read(fd, RESTORING))["targets"]
        if not isinstance(targets, dict) or len(targets) > MOST_COMPANIONS + 1:
            return {}
        return {stored: check_path(path) for stored, path in targets.items() if isinstance(path, str)}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}


def forget_restoring(entry: OpenEntry) -> None:
    """Remove the note of a restore that is done."""
    discard(entry.fd, RESTORING)
