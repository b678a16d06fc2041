"""Landlock: from here on this process can open, make, change and connect to nothing but what rules give back.

What is open stays usable.  Landlock binds the calling thread and what it starts later, never a thread that runs already.  It
does not govern what a path says about itself (stat, readlink) nor modes, owners, times and locks: those are seccomp's.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable
from typing import NamedTuple

from ckptd.sandbox import kernel

#: Rights by the ABI that brought them; everything named here is taken away, where no rule gives it back.
#: Source: linux/landlock.h.  1: the first 13; 2: REFER; 3: TRUNCATE; 5: IOCTL_DEV.
_FILE_RIGHTS = {1: (1 << 13) - 1, 2: 1 << 13, 3: 1 << 14, 5: 1 << 15}
#: TCP bind and connect.
_NETWORK_RIGHTS = {4: 0b11}
#: Abstract UNIX sockets and signals to processes outside.
_SCOPES = {6: 0b11}

#: EXECUTE (which maps a library, too), READ_FILE, READ_DIR.
READ = 0b1101
#: READ and WRITE_FILE, REMOVE_DIR, REMOVE_FILE, MAKE_DIR, MAKE_REG, REFER, TRUNCATE; no device, socket, pipe or link.
WRITE = READ | 0b10 | 0b11 << 4 | 0b11 << 7 | 0b11 << 13
#: What a right can mean for something else than a directory: EXECUTE, WRITE_FILE, READ_FILE, TRUNCATE, IOCTL_DEV.
_OF_A_FILE = 0b111 | 1 << 14 | 1 << 15

_CREATE_RULESET_VERSION = 1
_RULE_PATH_BENEATH = 1


class Grant(NamedTuple):
    """Rights to a file, or to a directory and everything in it.

    Attributes:
        fd: opened with O_PATH at least.
        rights: `READ` or `WRITE`.
    """

    fd: int
    rights: int


def restrict(syscall: Callable[..., int] = kernel.syscall, grants: Iterable[Grant] = ()) -> int:
    """Take every right that this kernel's Landlock knows, the grants apart, and return its ABI.

    Needs no_new_privs or CAP_SYS_ADMIN.  An ABI beyond those above is used as far as it is known here.

    Raises:
        OSError: the kernel has no Landlock (ENOSYS), it is switched off (EOPNOTSUPP), or it refused.
        RuntimeError: other threads run already; they would stay free.
    """
    abi = syscall("landlock_create_ruleset", 0, 0, _CREATE_RULESET_VERSION)
    threads = _count_threads()
    if threads > 1:
        raise RuntimeError(f"{threads} threads run already, and Landlock would bind only one of them")
    # Zeros beyond what an older kernel knows are accepted by it, so the size is always that of ABI 6.
    handled = _rights(_FILE_RIGHTS, abi)
    attributes = kernel.quads(handled, _rights(_NETWORK_RIGHTS, abi), _rights(_SCOPES, abi))
    ruleset = syscall("landlock_create_ruleset", attributes, 24, 0)
    try:
        for grant in grants:
            _add_rule(syscall, ruleset, grant, handled)
        syscall("landlock_restrict_self", ruleset, 0)
    finally:
        os.close(ruleset)
    return abi


def _add_rule(syscall: Callable[..., int], ruleset: int, grant: Grant, handled: int) -> None:
    rights = grant.rights & handled
    if not stat.S_ISDIR(os.fstat(grant.fd).st_mode):
        rights &= _OF_A_FILE
    # struct landlock_path_beneath_attr is packed: eight bytes of rights, four of descriptor.
    syscall("landlock_add_rule", ruleset, _RULE_PATH_BENEATH, kernel.words(rights & 0xFFFFFFFF, rights >> 32, grant.fd), 0)


def _rights(by_abi: dict[int, int], abi: int) -> int:
    return sum(rights for since, rights in by_abi.items() if since <= abi)


def _count_threads() -> int:
    # The link count of the directory is that of its entries and the usual two; needs no listing.
    try:
        return os.stat("/proc/self/task").st_nlink - 2
    except OSError:
        return 1
