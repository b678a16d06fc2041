"""Is the root still the root?  An unmounted share looks like an empty directory, and is an incident, not a deletion.

A root is known by a random id in `<root>/.ckptd/root-id`, because numbers are used again: a new tmpfs got the st_dev of
the old one.  `look` gathers what lies at the path, `judge` says what that means, `mark_root` gives a new root its id.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import stat
from dataclasses import dataclass
from typing import NamedTuple

from ckptd.errors import StorageError

STATE_NAME = ".ckptd"
ID_NAME = "root-id"
#: Known files from which on an empty directory is suspicious even though its id is right.
HUNDREDS = 100

_ID = re.compile(rb"[0-9a-f]{32}\n?")
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class KnownRoot(NamedTuple):
    """What we know of a root: where it was when last seen, its id (None: never marked), and how many files it has.

    dev and ino are None where no place is known: it was away ever since this process began, or its server is gone.
    """

    dev: int | None
    ino: int | None
    root_id: str | None
    files: int


class RootSight(NamedTuple):
    """What a look at the path of a root found; dev and ino are None when there is no directory, and `why` says why.

    `is_empty` is only looked for where there is no id.
    """

    dev: int | None
    ino: int | None
    root_id: str | None
    why: str = ""
    is_empty: bool = False


@dataclass(frozen=True, slots=True)
class Ok:
    """The root is what it was."""


@dataclass(frozen=True, slots=True)
class Unmarked:
    """A directory without an id that may have one: `mark_root` it, and go on if that fails."""


@dataclass(frozen=True, slots=True)
class MountChanged:
    """The same root, by its id, at another device or inode: open it anew, watch it anew, scan it.  Nothing is lost.

    Also a root without an id of which no place is known, when something lies there again: nothing else can be asked of it, and
    as at a start the scan has its brakes.  And another root, by its id, where no file is known: the mount point of a share that
    was away may have got an id meanwhile.
    """


@dataclass(frozen=True, slots=True)
class Missing:
    """There is no directory, or none that we may enter.  Freeze, and keep the record."""

    why: str


@dataclass(frozen=True, slots=True)
class Replaced:
    """Another root, by its id, is in its place, though files are known.  Freeze, and keep the record."""

    why: str


@dataclass(frozen=True, slots=True)
class Emptied:
    """The id is gone though files are known, or hundreds of files are gone.  Freeze, and keep the record.

    When a scan finds the files all the same, only `.ckptd/` was removed, and the operator may have it marked again.
    """

    why: str


Verdict = Ok | Unmarked | MountChanged | Missing | Replaced | Emptied


def is_incident(verdict: Verdict) -> bool:
    """Say whether this verdict freezes what could remove files or records."""
    return isinstance(verdict, Missing | Replaced | Emptied)


def look(path: str | os.PathLike[str], user: int | None = None) -> RootSight:
    """Look at what lies at the path of a root now; a link there is followed, a dead server is a missing root.

    Args:
        path: of the root.
        user: whose mark is believed; this process's own when None.
    """
    try:
        fd = os.open(path, _DIRECTORY)
    except OSError as error:
        return RootSight(None, None, None, os.strerror(error.errno or 0))
    try:
        seen, root_id = os.fstat(fd), read_root_id(fd, user)
        return RootSight(seen.st_dev, seen.st_ino, root_id, is_empty=root_id is None and _is_empty(fd))
    except OSError as error:
        return RootSight(None, None, None, os.strerror(error.errno or 0))
    finally:
        os.close(fd)


def judge(known: KnownRoot, sight: RootSight, files_seen: int | None = None) -> Verdict:
    """Say what a sight means for a known root; pure.

    Args:
        known: what the index, or the last look, says.
        sight: what `look` found.
        files_seen: how many files a scan of it found just now; None when nobody scanned.
    """
    if sight.dev is None:
        return Missing(sight.why or os.strerror(errno.ENOENT))
    is_same_place = (sight.dev, sight.ino) == (known.dev, known.ino)
    if sight.root_id is None:
        # A root that never could be marked (a read-only share) has nothing but its place to be known by.
        if known.files == 0 or (known.root_id is None and is_same_place):
            return Unmarked()
        is_back = known.root_id is None and known.dev is None and not sight.is_empty  # an empty one waits for its mount
        return MountChanged() if is_back else Emptied(_no_id(known))
    if known.root_id is not None and sight.root_id != known.root_id:
        if known.files == 0:
            return MountChanged()
        return Replaced(f"the directory has the id {sight.root_id[:8]}…, expected was {known.root_id[:8]}…")
    if files_seen == 0 and known.files >= HUNDREDS:
        return Emptied(f"{known.files:,} files were known and none is there")
    return Ok() if is_same_place else MountChanged()


def _is_empty(fd: int) -> bool:
    with os.scandir(fd) as entries:
        return next(entries, None) is None


def _no_id(known: KnownRoot) -> str:
    return f"{STATE_NAME}/{ID_NAME} is not there though {known.files:,} files are known: unmounted, or another directory"


def read_root_id(root_fd: int, user: int | None = None) -> str | None:
    """Read the id below an open root; None when there is none, or none that can be trusted.

    Trusted is what lies in a `.ckptd/` that nobody else may write to, of our own user or of another whom the caller names.
    """
    try:
        state_fd = os.open(STATE_NAME, _DIRECTORY | os.O_NOFOLLOW, dir_fd=root_fd)
    except OSError as error:
        if error.errno in (errno.EIO, errno.ESTALE, errno.EMFILE, errno.ENFILE):
            raise
        return None
    try:
        return _read_id(state_fd) if _find_fault(os.fstat(state_fd), user) is None else None
    finally:
        os.close(state_fd)


def _read_id(state_fd: int) -> str | None:
    try:
        fd = os.open(ID_NAME, _READ, dir_fd=state_fd)
    except (FileNotFoundError, PermissionError):
        return None
    except OSError as error:
        if error.errno == errno.ELOOP:
            return None
        raise
    try:
        text = os.read(fd, 64) if stat.S_ISREG(os.fstat(fd).st_mode) else b""
    finally:
        os.close(fd)
    return text.strip().decode("ascii") if _ID.fullmatch(text) else None


def mark_root(root_fd: int) -> str:
    """Give the root an id, or give the one it has; afterwards it is on the disk.

    Raises:
        StorageError: `.ckptd/` cannot be made or trusted, or the id cannot be written.
    """
    try:
        _make_state_directory(root_fd)
        known = read_root_id(root_fd)
        return known or _write_id(root_fd)
    except OSError as error:
        why, cure = os.strerror(error.errno or 0), "let the daemon's user write there"
        raise StorageError("mark the root", path=_name(root_fd), why=why, cure=cure) from error


def _make_state_directory(root_fd: int) -> None:
    try:
        os.mkdir(STATE_NAME, 0o700, dir_fd=root_fd)
    except FileExistsError:
        fault = _find_fault(os.stat(STATE_NAME, dir_fd=root_fd, follow_symlinks=False))
        if fault is not None:
            path = f"{_name(root_fd)}/{STATE_NAME}"
            cure = f"remove it, or make it the daemon's: chown to uid {os.geteuid()}, chmod 700"
            raise StorageError("mark the root", path=path, why=fault, cure=cure) from None


def _find_fault(state: os.stat_result, user: int | None = None) -> str | None:
    if not stat.S_ISDIR(state.st_mode):
        return "it is not a directory"
    if state.st_uid != (os.geteuid() if user is None else user):
        return f"it belongs to uid {state.st_uid}"
    if state.st_mode & 0o077:
        return f"others may enter it (mode {stat.S_IMODE(state.st_mode):04o})"
    return None


def _write_id(root_fd: int) -> str:
    root_id = secrets.token_hex(16)
    temporary = f".{ID_NAME}-{secrets.token_hex(8)}.tmp"
    state_fd = os.open(STATE_NAME, _DIRECTORY | os.O_NOFOLLOW, dir_fd=root_fd)
    try:
        # Whole before it has its name: a torn id would look like another root after a power cut.
        try:
            _write_durably(state_fd, temporary, root_id.encode("ascii") + b"\n")
            os.rename(temporary, ID_NAME, src_dir_fd=state_fd, dst_dir_fd=state_fd)
        except OSError:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary, dir_fd=state_fd)
            raise
        os.fsync(state_fd)
    finally:
        os.close(state_fd)
    return root_id


def _write_durably(dir_fd: int, name: str, data: bytes) -> None:
    fd = os.open(name, _CREATE, 0o600, dir_fd=dir_fd)
    try:
        os.write(fd, data)
        os.fsync(fd)
    finally:
        os.close(fd)


def _name(root_fd: int) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{root_fd}")
    except OSError:
        return "the root"
