"""What a user may do with a file, whoever asks: by its owner, its group, its mode and its access list."""

from __future__ import annotations

import grp
import os
import pwd
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ckptd.storage.access_list import GROUP, GROUP_OWNER, MASK, OTHERS, USER, Entry, read_access_list

READ, WRITE, ENTER = os.R_OK, os.W_OK, os.X_OK
#: Groups below this are the system's own: disk, shadow, docker.  Source: login.defs(5), GID_MIN.
FIRST_ORDINARY_GROUP = 1000

_GROUPS = (GROUP_OWNER, GROUP)


@dataclass(frozen=True, slots=True)
class Account:
    """A user as the kernel knows one.

    Attributes:
        user: its number.
        groups: the numbers of all of its groups.
    """

    user: int
    groups: frozenset[int] = frozenset()

    def __str__(self) -> str:
        return f"the user {name_user(self.user)}"

    def may(self, path: Path, rights: int) -> bool:
        """Say whether this user has all of the rights on what lies there, links followed; not whether he gets there.

        Of ourselves the kernel says it.  What we may not look at ourselves is taken to be as it should.
        """
        if self.user == os.geteuid():
            return os.access(path, rights, effective_ids=True)
        try:
            seen = path.stat()
        except OSError:
            return True
        owned = Owned(seen.st_uid, seen.st_gid, seen.st_mode, read_access_list(path))
        return self.user == 0 or judge(self, owned, rights)

    def find_closed(self, path: Path) -> Path | None:
        """Give the first directory on the way to a path that this user may not enter; None when he gets there."""
        ways = (Path(os.path.abspath(path)), Path(os.path.realpath(path)))  # he goes by the links, too
        above = (place for way in ways for place in reversed(way.parents) if os.path.exists(place))
        return next((place for place in above if not self.may(place, ENTER)), None)


def find_account(user: int, pid: int | None = None) -> Account:
    """Give a user with his groups: those of a process of his, of ourselves where we are he, else those that the system knows.

    Args:
        user: its number.
        pid: of a process that runs as this user; None when there is none.
    """
    groups = set() if pid is None else _read_groups(pid)
    if not groups and user == os.geteuid():
        groups = {os.getegid(), *os.getgroups()}
    with suppress(KeyError):
        if not groups:
            known = pwd.getpwuid(user)
            groups = set(os.getgrouplist(known.pw_name, known.pw_gid))
    return Account(user, frozenset(groups))


def name_user(number: int) -> str:
    """Give the name of a user; the number where there is none."""
    with suppress(KeyError):
        return pwd.getpwuid(number).pw_name
    return str(number)


def name_group(number: int) -> str:
    """Give the name of a group; the number where there is none."""
    with suppress(KeyError):
        return grp.getgrgid(number).gr_name
    return str(number)


def _read_groups(pid: int) -> set[int]:
    """Read the groups of a process.  Source: proc_pid_status(5): the fourth number of Gid is that of files."""
    with suppress(OSError, ValueError, KeyError, IndexError):
        found = dict(
            re.findall(r"^(Gid|Groups):\s*(.*)$", Path(f"/proc/{pid}/status").read_text(encoding="utf-8"), re.MULTILINE)
        )
        return {int(found["Gid"].split()[3]), *map(int, found["Groups"].split())}
    return set()


class Owned(NamedTuple):
    """What says who may do something with a file.

    Attributes:
        user, group: whose it is.
        mode: its permission bits at least.
        entries: its access list; empty where it has none.
    """

    user: int
    group: int
    mode: int
    entries: Sequence[Entry] = ()


def judge(account: Account, owned: Owned, rights: int) -> bool:
    """Say whether a user who is not root has all of the rights; the first rule that fits counts, and no other.

    Source: acl(5), "Access check algorithm".
    """
    if account.user == owned.user:
        given = owned.mode >> 6
    elif owned.entries:
        given = _judge_by_list(account, owned.group, owned.entries, rights)
    else:
        given = owned.mode >> (3 if owned.group in account.groups else 0)
    return rights & given == rights


def _judge_by_list(account: Account, group: int, entries: Sequence[Entry], rights: int) -> int:
    mask = next((given for tag, given, _ in entries if tag == MASK), 0o7)
    for tag, given, number in entries:
        if tag == USER and number == account.user:
            return given & mask
    of = [(group if tag == GROUP_OWNER else number, given) for tag, given, number in entries if tag in _GROUPS]
    groups = [given & mask for number, given in of if number in account.groups]
    if groups:  # one that gives all that is asked for is enough; two halves are not
        return next((given for given in groups if rights & given == rights), 0)
    return next((given for tag, given, _ in entries if tag == OTHERS), 0)
