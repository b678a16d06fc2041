"""Landlock with no rules: from here on this process can open, make, change and connect to nothing.

What is open stays usable.  Landlock binds the calling thread and what it starts later, never a thread that runs already.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from ckptd.sandbox import kernel

#: Rights by the ABI that brought them; everything named here is taken away, as no rule gives it back.
#: Source: linux/landlock.h.  1: the first 13; 2: REFER; 3: TRUNCATE; 5: IOCTL_DEV.
_FILE_RIGHTS = {1: (1 << 13) - 1, 2: 1 << 13, 3: 1 << 14, 5: 1 << 15}
#: TCP bind and connect.
_NETWORK_RIGHTS = {4: 0b11}
#: Abstract UNIX sockets and signals to processes outside.
_SCOPES = {6: 0b11}

_CREATE_RULESET_VERSION = 1


def restrict(syscall: Callable[..., int] = kernel.syscall) -> int:
    """Take every right that this kernel's Landlock knows away from this process, and return its ABI.

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
    attributes = kernel.quads(_rights(_FILE_RIGHTS, abi), _rights(_NETWORK_RIGHTS, abi), _rights(_SCOPES, abi))
    ruleset = syscall("landlock_create_ruleset", attributes, 24, 0)
    try:
        syscall("landlock_restrict_self", ruleset, 0)
    finally:
        os.close(ruleset)
    return abi


def _rights(by_abi: dict[int, int], abi: int) -> int:
    return sum(rights for since, rights in by_abi.items() if since <= abi)


def _count_threads() -> int:
    # The link count of the directory is that of its entries and the usual two; needs no listing.
    try:
        return os.stat("/proc/self/task").st_nlink - 2
    except OSError:
        return 1
