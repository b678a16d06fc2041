"""Who may ask what: the kernel says who is at the other end, the settings say what that means.

    the daemon's user, root, members of `control.admin_group`   everything
    members of `control.group`                                  read, mark, bring back what is theirs
    everybody else                                              nothing

Whoever may write to every root could do as much without ckptd: where no group is named, that group counts.
"""

from __future__ import annotations

import grp
import os
import socket
import struct
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum

#: Source: unix(7) and <asm-generic/socket.h>; Python has no name for it.  Linux 4.13.
_SO_PEERGROUPS = 59
_CREDENTIALS = struct.Struct("iII")
#: Groups that are asked for: getsockopt of Python takes 1,024 bytes.
_MOST_GROUPS = 256


class Right(StrEnum):
    """What a request needs."""

    READ = "read"
    MARK = "mark"
    RESTORE = "restore"
    STEER = "steer"


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end.

    Attributes:
        pid, uid, gid: of the process, when it connected.
        groups: all that it is in.
    """

    pid: int
    uid: int
    gid: int
    groups: frozenset[int]


@dataclass(frozen=True, slots=True)
class Rules:
    """Who is who.

    Attributes:
        owner: user id of the daemon.
        members: ids of the groups whose members read and mark.
        admins: ids of the groups whose members may do everything.
    """

    owner: int
    members: frozenset[int]
    admins: frozenset[int]

    def may(self, peer: Peer, right: Right) -> bool:
        """Say whether a peer may do something."""
        if self.is_admin(peer):
            return True
        return right is not Right.STEER and bool(peer.groups & self.members)

    def is_admin(self, peer: Peer) -> bool:
        """Say whether a peer may do everything, to everybody's files."""
        return peer.uid in (0, self.owner) or bool(peer.groups & self.admins)

    def is_known(self, peer: Peer) -> bool:
        """Say whether a peer may ask anything at all."""
        return self.may(peer, Right.READ)


def find_peer(end: socket.socket) -> Peer:
    """Ask the kernel who connected.

    Raises:
        OSError: it does not say.
    """
    pid, uid, gid = _CREDENTIALS.unpack(end.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return Peer(pid, uid, gid, frozenset({gid, *_find_groups(end)}))


def find_rules(roots: Sequence[str | os.PathLike[str]], group: str, admin_group: str) -> Rules:
    """Make the rules out of names and roots; a name that the system does not know is nobody's.

    Args:
        roots: whose groups count where none is named.
        group: `control.group`; "" for none.
        admin_group: `control.admin_group`; "" for none.
    """
    members = _find_group(group) if group else _find_writers(roots)
    return Rules(os.geteuid(), frozenset(members), frozenset(_find_group(admin_group) if admin_group else ()))


def _find_groups(end: socket.socket) -> Collection[int]:
    try:
        packed = end.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, 4 * _MOST_GROUPS)
    except OSError:  # more groups than Python asks for, or an older kernel: the first group alone counts
        return ()
    return struct.unpack(f"{len(packed) // 4}I", packed)


def _find_group(name: str) -> list[int]:
    try:
        return [grp.getgrnam(name).gr_gid]
    except KeyError:
        return []


def _find_writers(roots: Sequence[str | os.PathLike[str]]) -> list[int]:
    """Give the group whose members may write to every root; none when there are several, or when it is root's."""
    groups = set()
    for root in roots:
        try:
            seen = os.stat(root)
        except OSError:
            return []
        if not seen.st_mode & 0o020 or not seen.st_gid:
            return []
        groups.add(seen.st_gid)
    return [*groups] if len(groups) == 1 else []
