"""System calls that Python has no function for, by number.

Numbers are known for x86_64 and aarch64; elsewhere every call answers ENOSYS, as a kernel without it would.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
from typing import Final

#: name → (x86_64, aarch64), -1 where the architecture has none.
#: Source: asm/unistd_64.h and asm-generic/unistd.h of Linux 6.1; tests compare them with the headers of the machine.
SYSCALLS: Final[dict[str, tuple[int, int]]] = {
    "bpf": (321, 280), "brk": (12, 214), "capset": (126, 91), "clock_getres": (229, 114), "clock_gettime": (228, 113),
    "clock_nanosleep": (230, 115), "clone": (56, 220), "clone3": (435, 435), "close": (3, 57), "connect": (42, 203),
    "execve": (59, 221), "execveat": (322, 281), "exit": (60, 93), "exit_group": (231, 94), "fadvise64": (221, 223),
    "fork": (57, -1), "fstat": (5, 80), "futex": (202, 98), "getcpu": (309, 168), "getpid": (39, 172),
    "getppid": (110, 173), "getrandom": (318, 278), "gettid": (186, 178), "gettimeofday": (96, 169),
    "io_uring_setup": (425, 425), "ioprio_set": (251, 30), "kill": (62, 129), "landlock_create_ruleset": (444, 444),
    "landlock_restrict_self": (446, 446), "lseek": (8, 62), "madvise": (28, 233), "membarrier": (324, 283),
    "mmap": (9, 222), "mprotect": (10, 226), "mremap": (25, 216), "munmap": (11, 215), "nanosleep": (35, 101),
    "newfstatat": (262, 79), "poll": (7, -1), "ppoll": (271, 73), "pread64": (17, 67), "preadv": (295, 69),
    "preadv2": (327, 286), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "ptrace": (101, 117),
    "read": (0, 63), "readv": (19, 65), "recvmsg": (47, 212), "restart_syscall": (219, 128), "rseq": (334, 293),
    "rt_sigaction": (13, 134), "rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139), "sched_yield": (24, 124),
    "seccomp": (317, 277), "set_robust_list": (273, 99), "setns": (308, 268), "sigaltstack": (131, 132),
    "socket": (41, 198), "socketpair": (53, 199), "tgkill": (234, 131), "time": (201, -1), "tkill": (200, 130),
    "unshare": (272, 97), "userfaultfd": (323, 282), "vfork": (58, -1), "write": (1, 64), "writev": (20, 66),
}  # fmt: skip

_COLUMN = {"x86_64": 0, "aarch64": 1}

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_NO_NEW_PRIVS = 38


def number(name: str, machine: str | None = None) -> int | None:
    """Find the number of a system call on `machine` (default: this one), None where there is none."""
    column = _COLUMN.get(machine or platform.machine())
    if column is None:
        return None
    found = SYSCALLS[name][column]
    return None if found == -1 else found


def syscall(
    name: str, *arguments: int | ctypes.Array[ctypes.c_uint32] | ctypes.Array[ctypes.c_uint64] | ctypes.Structure
) -> int:
    """Make a system call.

    Raises:
        OSError: as the kernel answered; ENOSYS where the number is not known.
    """
    index = number(name)
    if index is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    result = int(_libc().syscall(ctypes.c_long(index), *[_argument(value) for value in arguments]))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def prctl(option: int, value: int) -> None:
    """Set one attribute of this process; OSError as the kernel answered."""
    if not hasattr(_libc(), "prctl"):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    if _libc().prctl(option, *[ctypes.c_ulong(number) for number in (value, 0, 0, 0)]) < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def words(*values: int) -> ctypes.Array[ctypes.c_uint32]:
    """Lay 32-bit words out in memory for a system call."""
    return (ctypes.c_uint32 * len(values))(*values)


def quads(*values: int) -> ctypes.Array[ctypes.c_uint64]:
    """Lay 64-bit words out in memory for a system call."""
    return (ctypes.c_uint64 * len(values))(*values)


def _argument(value: object) -> object:
    # A bare int would be passed as 32 bits to a function with variable arguments.
    return ctypes.c_long(value) if isinstance(value, int) else ctypes.byref(value)  # type: ignore[arg-type]


_loaded: list[ctypes.CDLL] = []


def _libc() -> ctypes.CDLL:
    if not _loaded:
        _loaded.append(ctypes.CDLL(None, use_errno=True))
    return _loaded[0]
