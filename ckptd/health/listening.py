"""Open and close the socket that is listened on: a port of this machine, or a unix socket with a mode and a group."""

from __future__ import annotations

import errno
import grp
import os
import socket
import stat
from contextlib import suppress
from dataclasses import dataclass

from ckptd.errors import CkptdError
from ckptd.sandbox.closing import close_door
from ckptd.settings.health import Address, SocketAddress, TcpAddress

#: Connections that the kernel keeps until they are taken.
BACKLOG = 128
_SETTING = "correct health.listen in the settings"


class ListenError(CkptdError):
    """The place where metrics are to be served can't be had."""


@dataclass(frozen=True, slots=True)
class Listener:
    """A socket that is bound, and where; `file` is (dev, ino) of a unix socket, so that only ours is removed."""

    sock: socket.socket
    address: Address
    file: tuple[int, int] | None = None

    def shut(self) -> None:
        """Let nobody in any more."""
        if self.sock.family == socket.AF_UNIX:
            close_door(self.sock)
        else:
            self.sock.close()

    def close(self) -> None:
        """Give the place back."""
        self.shut()
        if isinstance(self.address, SocketAddress) and self.file is not None:
            with suppress(OSError):
                if _file_of(self.address.path) == self.file:
                    os.unlink(self.address.path)


def open_listener(address: Address, *, mode: int, group: str) -> Listener:
    """Bind the socket.

    Args:
        address: where.
        mode: permission bits of a unix socket.
        group: of a unix socket; "" leaves the daemon's.

    Raises:
        ListenError: the place is taken, or can't be used.
    """
    if isinstance(address, TcpAddress):
        return _open_port(address)
    return _open_socket(address, mode, group)


def _open_port(address: TcpAddress) -> Listener:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        sock = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise _trouble(address, error) from error
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((address.host, address.port))
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        raise _trouble(address, error) from error
    return Listener(sock, TcpAddress(address.host, sock.getsockname()[1]))


def _open_socket(address: SocketAddress, mode: int, group: str) -> Listener:
    gid = _find_group(address, group)
    _clear_stale(address)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # Source: unix_bind of the kernel takes the mode of the socket itself; so there is no moment in which it is open to all.
        os.fchmod(sock.fileno(), 0o600)
        sock.bind(address.path)
        file = _file_of(address.path)
        _hand_over(address.path, gid, mode)
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        raise _trouble(address, error) from error
    return Listener(sock, address, file)


def _hand_over(path: str, gid: int, mode: int) -> None:
    """Set group and mode of what was bound just now, and of nothing that somebody put in its place."""
    fd = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if not stat.S_ISSOCK(os.fstat(fd).st_mode):
            raise OSError(errno.EEXIST, os.strerror(errno.EEXIST))
        if gid >= 0:
            os.chown(f"/proc/self/fd/{fd}", -1, gid)
        os.chmod(f"/proc/self/fd/{fd}", mode)
    finally:
        os.close(fd)


def _clear_stale(address: SocketAddress) -> None:
    """Remove a socket that a killed daemon left; anything else that has the name stays, and is told when it is bound."""
    with suppress(OSError):
        if not stat.S_ISSOCK(os.lstat(address.path).st_mode):
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(1.0)
            if probe.connect_ex(address.path) == errno.ECONNREFUSED:
                os.unlink(address.path)


def _find_group(address: SocketAddress, group: str) -> int:
    if not group:
        return -1
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        cure = "make the group, or correct health.socket_group"
        raise ListenError("serve metrics", path=address, why=f"there is no group {group!r}", cure=cure) from None


def _trouble(address: Address, error: OSError) -> ListenError:
    why = os.strerror(error.errno or 0)
    cure = _SETTING
    if error.errno == errno.EADDRINUSE:
        why, cure = "something else has this place", "end it, or name another one in health.listen"
    elif error.errno == errno.EPERM:
        cure = "health.socket_group has to be a group of the daemon's user"
    return ListenError("serve metrics", path=address, why=why, cure=cure)


def _file_of(path: str) -> tuple[int, int]:
    found = os.lstat(path)
    return found.st_dev, found.st_ino
