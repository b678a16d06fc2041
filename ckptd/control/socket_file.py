"""The socket as a file: made in a directory in which nobody else can change names, and open to those who are served.

Everything goes by the directory's descriptor and the socket's own: where others may rename, a path means something else from
one moment to the next.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ckptd.control.rights import Rules
from ckptd.errors import StorageError
from ckptd.storage.access_list import (
    GROUP,
    GROUP_OWNER,
    MASK,
    OTHERS,
    OWNER,
    Entry,
    drop_access_list,
    write_access_list,
)

_READ_WRITE = 6
_OWNER_ONLY, _GROUP_TOO, _EVERYBODY = 0o600, 0o660, 0o666


@dataclass(frozen=True, slots=True)
class Made:
    """A socket that was made.

    Attributes:
        end: it listens.
        seen: the file, to know it again.
        keeps_out: who would be refused can't even connect.
    """

    end: socket.socket
    seen: os.stat_result
    keeps_out: bool


def make_socket(path: Path, rules: Rules, backlog: int) -> Made:
    """Listen at a path.

    Raises:
        StorageError: the socket can't be made there, or should not.
    """
    end = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    try:
        with _opened(path.parent) as directory:
            _remove_old(path.name, directory)
            end.bind(f"/proc/self/fd/{directory}/{path.name}")  # a path of its own has 107 bytes at most
            seen, keeps_out = _let_in(path.name, directory, rules, None)
        end.listen(backlog)
    except OSError as error:
        end.close()
        why, cure = error.strerror or str(error), "set control.socket to a path in a directory of the daemon's user"
        raise StorageError("listen for commands", path=path, why=why, cure=cure) from error
    return Made(end, seen, keeps_out)


def let_in(path: Path, seen: os.stat_result, rules: Rules) -> bool:
    """Let others in at a socket that was made; say whether everybody else is kept out.

    Raises:
        OSError: it is not there any more, or can't be changed.
    """
    with _opened(path.parent) as directory:
        return _let_in(path.name, directory, rules, seen)[1]


def is_there(path: Path, seen: os.stat_result) -> bool:
    """Say whether a socket that was made still lies at its path."""
    try:
        return os.path.samestat(seen, os.lstat(path))
    except OSError:
        return False


def remove_socket(path: Path, seen: os.stat_result) -> None:
    """Take a socket away that was made, if it is still there."""
    with suppress(OSError):
        if is_there(path, seen):
            path.unlink()


def point_to(place: Path | None, link: Path) -> None:
    """Let a name in the state directory lead to the socket, so that who knows the state finds it wherever the settings have it.

    Args:
        place: of the socket; where it is the link's own, or None, nothing is to lead elsewhere.
        link: the name; what is neither a link nor a socket of ours is left alone.
    """
    with suppress(OSError), _opened(link.parent) as directory:  # some file systems know no links: it is found by the settings
        seen = _find(link.name, directory)
        if seen is not None and stat.S_ISLNK(seen.st_mode):
            os.unlink(link.name, dir_fd=directory)
        elif place not in (None, link):
            _remove_old(link.name, directory)
        if place is not None and place != link:
            os.symlink(place, link.name, dir_fd=directory)


@contextmanager
def _opened(directory: Path) -> Iterator[int]:
    """Open a directory in which nobody else can put something in the place of the socket.

    Raises:
        OSError: there is none, or others can.
    """
    fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        seen = os.fstat(fd)
        if seen.st_uid not in (0, os.geteuid()):
            raise PermissionError(0, "its directory is somebody else's, who could put another in its place")
        if seen.st_mode & 0o022 and not seen.st_mode & stat.S_ISVTX:
            raise PermissionError(0, "others may write to its directory, and could put another in its place")
        yield fd
    finally:
        os.close(fd)


def _find(name: str, directory: int) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _remove_old(name: str, directory: int) -> None:
    """Remove the socket that a killed daemon left.

    Raises:
        OSError: something else lies there, or somebody listens.
    """
    seen = _find(name, directory)
    if seen is None:
        return
    if not stat.S_ISSOCK(seen.st_mode) or seen.st_uid != os.geteuid():
        raise FileExistsError(0, "something lies there that is no socket of ours")
    if _is_heard(f"/proc/self/fd/{directory}/{name}"):
        raise OSError(errno.EADDRINUSE, "another daemon listens there")
    os.unlink(name, dir_fd=directory)


def _is_heard(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as end:
        try:
            end.connect(path)
        except BlockingIOError:  # more wait than it hears
            return True
        except OSError:
            return False
    return True


def _let_in(name: str, directory: int, rules: Rules, made: os.stat_result | None) -> tuple[os.stat_result, bool]:
    """Let nobody connect who would be refused, as far as a file can say that; who it is decides in any case.

    Raises:
        OSError: what lies there is not what was made.
    """
    fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    try:
        seen = os.fstat(fd)
        if not stat.S_ISSOCK(seen.st_mode) or (made is not None and not os.path.samestat(made, seen)):
            raise FileExistsError(0, "something else lies there than was made")
        return seen, _open_to(f"/proc/self/fd/{fd}", sorted(rules.members | rules.admins))
    finally:
        os.close(fd)


def _open_to(path: str, groups: Sequence[int]) -> bool:
    """Open a file to groups; False when that could only be done by opening it to everybody."""
    os.chmod(path, _OWNER_ONLY)
    drop_access_list(path)
    if not groups:
        return True
    if len(groups) == 1:
        with suppress(OSError):  # it is none of the daemon's own
            os.chown(path, -1, groups[0])
            os.chmod(path, _GROUP_TOO)
            return True
    try:
        write_access_list(path, _list_for(groups))
    except OSError:
        os.chmod(path, _EVERYBODY)
        return False
    return True


def _list_for(groups: Sequence[int]) -> list[Entry]:
    """Let the owner and these groups read and write, and nobody else do anything."""
    let_in = [Entry(GROUP, _READ_WRITE, group) for group in groups]
    return [Entry(OWNER, _READ_WRITE), Entry(GROUP_OWNER, 0), *let_in, Entry(MASK, _READ_WRITE), Entry(OTHERS, 0)]
