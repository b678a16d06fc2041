"""System calls that Python has no function for, by number.

Numbers are known for x86_64 and aarch64; elsewhere every call answers ENOSYS, as a kernel without it would.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import re
from typing import Final

#: name → (x86_64, aarch64), -1 where the architecture has none.
#: Source: asm/unistd_64.h and asm-generic/unistd.h of Linux 6.1; tests compare them with the headers of the machine.
SYSCALLS: Final[dict[str, tuple[int, int]]] = {
    "accept4": (288, 242), "access": (21, -1), "add_key": (248, 217), "arch_prctl": (158, -1), "bind": (49, 200),
    "bpf": (321, 280), "brk": (12, 214), "capset": (126, 91), "chdir": (80, 49), "chroot": (161, 51),
    "clock_getres": (229, 114), "clock_gettime": (228, 113), "clock_nanosleep": (230, 115), "clone": (56, 220),
    "clone3": (435, 435), "close": (3, 57), "connect": (42, 203), "copy_file_range": (326, 285), "creat": (85, -1),
    "delete_module": (176, 106), "dup": (32, 23), "dup2": (33, -1), "dup3": (292, 24), "execve": (59, 221),
    "execveat": (322, 281), "exit": (60, 93), "exit_group": (231, 94), "faccessat": (269, 48), "faccessat2": (439, 439),
    "fadvise64": (221, 223), "fallocate": (285, 47), "fchdir": (81, 50), "fchmod": (91, 52), "fchmodat": (268, 53),
    "fchownat": (260, 54), "fcntl": (72, 25), "fdatasync": (75, 83), "finit_module": (313, 273), "flock": (73, 32),
    "fork": (57, -1), "fsconfig": (431, 431), "fsetxattr": (190, 7), "fsmount": (432, 432), "fsopen": (430, 430),
    "fstat": (5, 80), "fstatfs": (138, 44), "fsync": (74, 82), "ftruncate": (77, 46), "futex": (202, 98),
    "getcpu": (309, 168), "getcwd": (79, 17), "getdents64": (217, 61), "getegid": (108, 177), "geteuid": (107, 175),
    "getgid": (104, 176), "getgroups": (115, 158), "getpgid": (121, 155), "getpgrp": (111, -1), "getpid": (39, 172),
    "getppid": (110, 173), "getpriority": (140, 141), "getrandom": (318, 278), "getresgid": (120, 150),
    "getresuid": (118, 148), "getrlimit": (97, 163), "getrusage": (98, 165), "getsid": (124, 156), "gettid": (186, 178),
    "gettimeofday": (96, 169), "getuid": (102, 174), "init_module": (175, 105), "io_uring_enter": (426, 426),
    "io_uring_setup": (425, 425), "ioctl": (16, 29), "ioprio_set": (251, 30), "kexec_load": (246, 104),
    "keyctl": (250, 219), "kill": (62, 129), "landlock_add_rule": (445, 445), "landlock_create_ruleset": (444, 444),
    "landlock_restrict_self": (446, 446), "linkat": (265, 37), "lseek": (8, 62), "lstat": (6, -1), "madvise": (28, 233),
    "membarrier": (324, 283), "memfd_create": (319, 279), "mkdir": (83, -1), "mkdirat": (258, 34), "mknodat": (259, 33),
    "mmap": (9, 222), "mount": (165, 40), "mount_setattr": (442, 442), "move_mount": (429, 429), "mprotect": (10, 226),
    "mremap": (25, 216), "msync": (26, 227), "munmap": (11, 215), "nanosleep": (35, 101), "newfstatat": (262, 79),
    "open": (2, -1), "open_by_handle_at": (304, 265), "open_tree": (428, 428), "openat": (257, 56),
    "openat2": (437, 437), "perf_event_open": (298, 241), "pidfd_getfd": (438, 438), "pidfd_open": (434, 434),
    "pidfd_send_signal": (424, 424), "pivot_root": (155, 41), "poll": (7, -1), "ppoll": (271, 73), "prctl": (157, 167),
    "pread64": (17, 67), "preadv": (295, 69), "preadv2": (327, 286), "prlimit64": (302, 261),
    "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "pselect6": (270, 72), "ptrace": (101, 117),
    "pwrite64": (18, 68), "pwritev": (296, 70), "pwritev2": (328, 287), "read": (0, 63), "readlink": (89, -1),
    "readlinkat": (267, 78), "readv": (19, 65), "reboot": (169, 142), "recvmsg": (47, 212), "rename": (82, -1),
    "renameat": (264, 38), "renameat2": (316, 276), "request_key": (249, 218), "restart_syscall": (219, 128),
    "rmdir": (84, -1), "rseq": (334, 293), "rt_sigaction": (13, 134), "rt_sigprocmask": (14, 135),
    "rt_sigqueueinfo": (129, 138), "rt_sigreturn": (15, 139), "rt_tgsigqueueinfo": (297, 240),
    "sched_getaffinity": (204, 123), "sched_getparam": (143, 121), "sched_getscheduler": (145, 120),
    "sched_setaffinity": (203, 122), "sched_yield": (24, 124), "seccomp": (317, 277), "select": (23, -1),
    "sendfile": (40, 71), "sendmsg": (46, 211), "sendto": (44, 206), "set_robust_list": (273, 99),
    "set_tid_address": (218, 96), "setns": (308, 268), "setpgid": (109, 154), "setpriority": (141, 140),
    "setrlimit": (160, 164), "setsid": (112, 157), "sigaltstack": (131, 132), "socket": (41, 198),
    "socketpair": (53, 199), "stat": (4, -1), "statfs": (137, 43), "statx": (332, 291), "swapoff": (168, 225),
    "swapon": (167, 224), "symlinkat": (266, 36), "sync_file_range": (277, 84), "sysinfo": (99, 179),
    "tgkill": (234, 131), "time": (201, -1), "times": (100, 153), "tkill": (200, 130), "truncate": (76, 45),
    "umask": (95, 166), "umount2": (166, 39), "uname": (63, 160), "unlink": (87, -1), "unlinkat": (263, 35),
    "unshare": (272, 97), "userfaultfd": (323, 282), "utimensat": (280, 88), "vfork": (58, -1), "write": (1, 64),
    "writev": (20, 66),
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


def release() -> tuple[int, int]:
    """Tell which Linux runs, as (major, minor); (0, 0) where that can't be read."""
    found = re.match(r"(\d+)\.(\d+)", platform.release())
    return (int(found[1]), int(found[2])) if found else (0, 0)


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
    return ctypes.c_long(value) if isinstance(value, int) else ctypes.byref(value)  # type: ignore[arg-type]  # who calls gives ctypes or int


_loaded: list[ctypes.CDLL] = []


def _libc() -> ctypes.CDLL:
    if not _loaded:
        _loaded.append(ctypes.CDLL(None, use_errno=True))
    return _loaded[0]
