"""Say whether a directory of code is the operator's own: nobody else may be able to change what would run.

The rule is sshd's for authorized_keys (StrictModes): the file and every directory above it belong to root or to the user who
asks, and neither group nor others may write there.  Source: OpenSSH, misc.c, `safe_path`.  Two things differ: a directory
above may be sticky (/tmp), because nobody can rename there what is not theirs, and the path is walked by descriptors, so that
what was looked at is what is opened.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from importlib.machinery import BYTECODE_SUFFIXES, EXTENSION_SUFFIXES, SOURCE_SUFFIXES
from pathlib import PurePath

from ckptd.storage.access import name_user
from ckptd.text import escape

#: Entries of a trusted directory that are looked at.  More is no directory of code, and looking would take a while.
MAX_ENTRIES = 200_000
#: Bytes of one source file.
MAX_SOURCE_BYTES = 16 << 20

_PATH = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
#: Endings that Python imports.
CODE_ENDINGS = tuple(SOURCE_SUFFIXES + BYTECODE_SUFFIXES + EXTENSION_SUFFIXES)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why something is not trusted, and what to do about it; both are parts of one sentence."""

    reason: str
    cure: str

    def __str__(self) -> str:
        return f"{self.reason}: {self.cure}"


class RefusedError(Exception):
    """Somebody else could change this; inside of this module only."""

    def __init__(self, reason: str, cure: str) -> None:
        super().__init__(reason)
        self.refusal = Refusal(reason, cure)


def check_directory(path: str, uid: int) -> str | Refusal:
    """Check a directory, everything above it and all code in it; give its real path, or why it is not trusted.

    Args:
        path: absolute, or relative to the present directory; links on the way to it are followed first, as sshd does.
        uid: of the user who owns what may run, beside root.
    """
    real = os.path.realpath(path)
    try:
        with _opened(real, uid) as fd:
            _check_tree(fd, real, uid)
    except RefusedError as error:
        return error.refusal
    except OSError as error:
        return _unreadable(real, error)
    return real


def read_below(directory: str, path: str, uid: int, most_bytes: int = MAX_SOURCE_BYTES) -> bytes | Refusal:
    """Read a file in a trusted directory; what is read is what was checked.

    Args:
        directory: real path of one that passed `check_directory`.
        path: of a file below it, absolute; no part of it may be a link.
        uid: of the user who owns what may run, beside root.
        most_bytes: a longer file is refused.
    """
    try:
        with _opened_file(directory, path, uid) as fd:
            data = _read(fd, most_bytes)
    except RefusedError as error:
        return error.refusal
    except OSError as error:
        return _unreadable(path, error)
    if data is None:
        return Refusal(f"{_shown(path)} has more than {most_bytes:,} bytes", "no source is as long as that")
    return data


def check_file(directory: str, path: str, uid: int) -> Refusal | None:
    """Check a file in a trusted directory without reading it; see `read_below`."""
    try:
        with _opened_file(directory, path, uid):
            return None
    except RefusedError as error:
        return error.refusal
    except OSError as error:
        return _unreadable(path, error)


def digest_file(path: str, most_bytes: int = MAX_SOURCE_BYTES) -> str | None:
    """Give the SHA-256 of an installed file; None when it can't be read or is no source by its size."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        data = _read(fd, most_bytes) if stat.S_ISREG(os.fstat(fd).st_mode) else None
    except OSError:
        return None
    finally:
        os.close(fd)
    return None if data is None else hashlib.sha256(data).hexdigest()


def lies_in_place(file: str, module: str, directory: str) -> bool:
    """Tell whether a file is where a module of this name lies in a directory, not only somewhere below it.

    "models.lstm" lies at models/lstm.py or models/lstm/__init__.py.  What is in `.venv/lib/python3/site-packages` below a
    trusted directory is not the operator's own, though it lies below.
    """
    try:
        relative = PurePath(os.path.realpath(file)).relative_to(os.path.realpath(directory))
    except ValueError:
        return False
    stem = relative.name.partition(".")[0]
    parts = relative.parts[:-1] if stem == "__init__" else (*relative.parts[:-1], stem)
    return relative.name.endswith(CODE_ENDINGS) and ".".join(parts) == module


@contextmanager
def _opened(real: str, uid: int) -> Iterator[int]:
    """Open a directory from / on, looking at each one on the way."""
    parts = [part for part in real.split("/") if part]
    fd = os.open("/", _PATH | os.O_DIRECTORY)
    try:
        for number, part in enumerate(parts):
            _check(os.fstat(fd), "/" + "/".join(parts[:number]), uid, may_be_sticky=True)
            inner = os.open(part, _PATH | os.O_DIRECTORY, dir_fd=fd)
            os.close(fd)
            fd = inner
        _check(os.fstat(fd), real, uid, may_be_sticky=False)
        yield fd
    finally:
        os.close(fd)


@contextmanager
def _opened_file(directory: str, path: str, uid: int) -> Iterator[int]:
    relative = PurePath(path).relative_to(directory)
    with _opened(directory, uid) as outer:
        fd = os.dup(outer)
        try:
            walked = directory
            for part in relative.parts[:-1]:
                walked = f"{walked}/{part}"
                inner = os.open(part, _PATH | os.O_DIRECTORY, dir_fd=fd)
                os.close(fd)
                fd = inner
                _check(os.fstat(fd), walked, uid, may_be_sticky=False)
            _refuse_link(os.stat(relative.name, dir_fd=fd, follow_symlinks=False), path)
            inner = os.open(relative.name, _READ, dir_fd=fd)
            os.close(fd)
            fd = inner
            told = os.fstat(fd)
            if not stat.S_ISREG(told.st_mode):
                raise RefusedError(f"{_shown(path)} is no regular file", "put the file itself there")
            _check(told, path, uid, may_be_sticky=False)
            yield fd
        finally:
            os.close(fd)


def _check_tree(fd: int, real: str, uid: int) -> None:
    """Look at every file that could be imported: the first module may import all the others."""
    left = MAX_ENTRIES
    stack = [""]
    refusals: list[Refusal] = []
    while stack:
        below = stack.pop()
        with _listed(fd, below) as entries:
            for entry in entries:
                left -= 1
                if left < 0:
                    cure = "name the directory of the code itself"
                    raise RefusedError(f"{_shown(real)} holds more than {MAX_ENTRIES:,} files", cure)
                try:
                    if _check_entry(entry, f"{real}/{below}{entry.name}", real, uid):
                        stack.append(f"{below}{entry.name}/")
                except RefusedError as error:
                    refusals.append(error.refusal)
    if refusals:
        _raise_all(refusals, real)


def _raise_all(refusals: list[Refusal], real: str) -> None:
    """Refuse for all that was found, with one cure where one does: who works with umask 002 has a hundred such files."""
    first = min(refusals, key=lambda refusal: refusal.reason)
    if len(refusals) == 1:
        raise RefusedError(first.reason, first.cure)
    is_modes = all(refusal.cure.startswith("chmod ") for refusal in refusals)
    cure = f"chmod -R go-w {shlex.quote(_shown(real))}" if is_modes else first.cure
    raise RefusedError(f"{first.reason}, and {len(refusals) - 1:,} more are refused below {_shown(real)}", cure)


@contextmanager
def _listed(fd: int, below: str) -> Iterator[Iterator[os.DirEntry[str]]]:
    inner = os.open(below or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
    try:
        with closing(os.scandir(inner)) as entries:
            yield entries
    finally:
        os.close(inner)


def _check_entry(entry: os.DirEntry[str], path: str, real: str, uid: int) -> bool:
    """Check one entry; True when it is a directory that modules may be imported from."""
    is_code = entry.name.endswith(CODE_ENDINGS)
    if entry.is_symlink():
        if is_code or entry.name.isidentifier():
            _check_link(path, real)
        return False
    if entry.is_dir(follow_symlinks=False):
        # A name with a dot or a dash is no package, and workers keep their own bytecode elsewhere.
        if not entry.name.isidentifier() or entry.name == "__pycache__":
            return False
        _check(entry.stat(follow_symlinks=False), path, uid, may_be_sticky=False)
        return True
    if is_code:
        _check(entry.stat(follow_symlinks=False), path, uid, may_be_sticky=False)
    return False


def _check_link(path: str, real: str) -> None:
    """Refuse a link to code elsewhere; what lies inside is looked at where it lies, and a directory of data is no code."""
    target = os.path.realpath(path)
    if target == real or target.startswith(real.rstrip("/") + "/"):
        return
    if os.path.isdir(target):
        try:
            names = os.listdir(target)
        except OSError:
            return
        if not any(name.endswith(CODE_ENDINGS) for name in names):
            return
    elif not os.path.exists(target):
        return
    raise RefusedError(f"{_shown(path)} is a link out of it", f"put a copy there, or trust {_shown(target)} itself")


def _check(told: os.stat_result, path: str, uid: int, *, may_be_sticky: bool) -> None:
    place = path or "/"
    if told.st_uid not in {0, uid}:
        owner = "root" if uid == 0 else "root or the user that runs ckptd"
        raise RefusedError(
            f"{_shown(place)} belongs to {name_user(told.st_uid)} and not to {owner}",
            f"chown {name_user(uid)} {shlex.quote(_shown(place))}",
        )
    if not told.st_mode & _OTHERS_WRITE or (may_be_sticky and told.st_mode & stat.S_ISVTX):
        return
    who = "everybody" if told.st_mode & stat.S_IWOTH else "its group"
    raise RefusedError(f"{_shown(place)} can be written by {who}", f"chmod go-w {shlex.quote(_shown(place))}")


def _refuse_link(told: os.stat_result, path: str) -> None:
    if stat.S_ISLNK(told.st_mode):
        raise RefusedError(f"{_shown(path)} is a link", "put the file itself there")


def _read(fd: int, most_bytes: int) -> bytes | None:
    pieces: list[bytes] = []
    size = 0
    while size <= most_bytes:
        piece = os.read(fd, min(1 << 20, most_bytes + 1 - size))
        if not piece:
            return b"".join(pieces)
        pieces.append(piece)
        size += len(piece)
    return None


def _unreadable(path: str, error: OSError) -> Refusal:
    why = (error.strerror or type(error).__name__).lower()
    return Refusal(f"{_shown(path)} can't be looked at ({why})", "correct the path, or let the user that runs ckptd read it")


def _shown(path: str) -> str:
    return escape(path, 300)
