"""Which system calls a confined process may make: the reader's filter and the exporter's.

Three verdicts: what a process needs is allowed; what only an intruder tries ends the whole process at once with SIGSYS; all
the rest answers EPERM, so that a library's harmless curiosity (`isatty`, a `stat`) is an error that it can bear, on C
libraries and kernels that nobody has tried yet.

A reader reads, computes, answers and ends, and runs nobody's code: a program, a process, a socket or a signal is an intruder's.
An exporter runs a model's code, so these are an exception there that names the line, and only what no library does is fatal.
"""

from __future__ import annotations

import ctypes
import mmap
import platform
from collections.abc import Callable, Sequence

from ckptd.sandbox import bpf, kernel
from ckptd.sandbox.bpf import ALLOW, HAS_BIT, KILL_PROCESS, NO_TERMINAL, REFUSE, UNKNOWN, Rule, always, end, one_of, when

#: Source: linux/seccomp.h.
_SET_MODE_FILTER = 1
_FLAG_TSYNC = 1

_COMPUTE = """
    read readv pread64 preadv preadv2 lseek fstat fadvise64 close write writev recvmsg poll ppoll
    brk munmap mremap madvise futex set_robust_list rseq membarrier sched_yield getcpu
    rt_sigaction rt_sigprocmask rt_sigreturn sigaltstack restart_syscall
    clock_gettime clock_getres clock_nanosleep nanosleep gettimeofday time
    getrandom getpid getppid gettid exit exit_group
""".split()

_FATAL_TO_READERS = """
    execve execveat fork vfork kill tkill tgkill ptrace process_vm_readv process_vm_writev
    socket socketpair connect bpf io_uring_setup userfaultfd unshare setns
""".split()

#: Which files these reach is Landlock's to say.  Left out: what it does not govern (modes, owners, times, attributes, locks),
#: links and special files, and memory that lies in no process (memfd_create, shmget).
_FILES = """
    open openat openat2 creat access faccessat faccessat2 stat lstat newfstatat statx getdents64 getcwd chdir fchdir
    readlink readlinkat statfs fstatfs mkdir mkdirat rmdir unlink unlinkat rename renameat renameat2 truncate ftruncate
    copy_file_range sendfile fsync fdatasync sync_file_range pwrite64 pwritev pwritev2 dup dup2 dup3 umask select pselect6
""".split()

#: Machine code that is made at run time (oneDNN, XNNPACK), threads, and questions about the machine and oneself.
_LIBRARIES = """
    mmap mprotect msync getuid geteuid getgid getegid getresuid getresgid getgroups getpgrp getpgid getsid uname sysinfo
    getrusage times getrlimit sched_getaffinity sched_getparam sched_getscheduler getpriority set_tid_address arch_prctl
""".split()

_FATAL_TO_EXPORTERS = """
    ptrace process_vm_readv process_vm_writev pidfd_getfd bpf io_uring_setup userfaultfd perf_event_open unshare setns
    mount umount2 pivot_root chroot move_mount fsopen fsmount fsconfig open_tree mount_setattr
    keyctl add_key request_key init_module finit_module delete_module kexec_load reboot swapon swapoff open_by_handle_at
""".split()

_CLONE_THREAD = 0x00010000
#: CLONE_NEWTIME, NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET.  Source: linux/sched.h.
_CLONE_NAMESPACES = 0x7E020080
_AT_EMPTY_PATH = 0x1000
#: F_DUPFD, GETFD, SETFD, GETFL, DUPFD_CLOEXEC; no lock, lease or signal, and no SETFL: open files are the parent's too.
#: Source: linux/fcntl.h.
_FCNTL = (0, 1, 2, 3, 1030)
#: FIONCLEX, FIOCLEX, FICLONE.  Source: asm-generic/ioctls.h, linux/fs.h.
_IOCTL = (0x5450, 0x5451, 0x40049409)
#: PR_SET_NAME and GET_NAME; not PR_SET_PDEATHSIG, with which a job would outlive its parent.  Source: linux/prctl.h.
_PRCTL = (15, 16)


def restrict(rules: Callable[[], Sequence[Rule]] | None = None) -> None:
    """Install a filter (default: the reader's) on every thread of this process; it can't be taken off again.

    Raises:
        OSError: no filter for this machine or kernel (ENOSYS), or the kernel refused.
    """
    program = assemble(platform.machine(), rules() if rules else None)
    code = ctypes.create_string_buffer(program, len(program))
    # struct sock_fprog: a short (padded to 8 bytes) and a pointer.
    header = kernel.quads(len(program) // 8, ctypes.addressof(code))
    kernel.syscall("seccomp", _SET_MODE_FILTER, _FLAG_TSYNC, header)


def assemble(machine: str, rules: Sequence[Rule] | None = None) -> bytes:
    """Write a filter (default: the reader's) for `machine`.

    Raises:
        OSError: ENOSYS when the machine is not known.
    """
    return bpf.assemble(machine, reader() if rules is None else rules)


def reader() -> list[Rule]:
    """Let a process read what is open, compute, answer and end, and nothing else."""
    return [
        *always(_COMPUTE, ALLOW),
        Rule("mmap", (*when(2, HAS_BIT, mmap.PROT_EXEC, REFUSE), *when(3, HAS_BIT, mmap.MAP_ANONYMOUS, ALLOW), end(REFUSE))),
        Rule("mprotect", (*when(2, HAS_BIT, mmap.PROT_EXEC, REFUSE), end(ALLOW))),
        Rule("newfstatat", one_of(3, [_AT_EMPTY_PATH])),
        *_threads_only(KILL_PROCESS),
        *always(_FATAL_TO_READERS, KILL_PROCESS),
    ]


def exporter(pid: int) -> list[Rule]:
    """Let process `pid` use files, libraries, threads and signals to itself; no other process, program or socket."""
    return [
        *always([*_COMPUTE, *_FILES, *_LIBRARIES], ALLOW),
        Rule("fcntl", one_of(1, _FCNTL)),
        Rule("ioctl", one_of(1, _IOCTL, NO_TERMINAL)),
        Rule("prctl", one_of(0, _PRCTL)),
        # With FALLOC_FL_KEEP_SIZE blocks beyond the limit on a file's size could be had.
        Rule("fallocate", one_of(1, [0])),
        # Of others it can be set, too, where they are the same user's.
        Rule("prlimit64", one_of(0, [0, pid])),
        Rule("kill", one_of(0, [pid])),
        Rule("tgkill", one_of(0, [pid])),
        *_threads_only(REFUSE),
        *always(_FATAL_TO_EXPORTERS, KILL_PROCESS),
    ]


def _threads_only(process: int) -> list[Rule]:
    """Allow threads; `process` is the verdict on a new process."""
    threads = (*when(0, HAS_BIT, _CLONE_NAMESPACES, KILL_PROCESS), *when(0, HAS_BIT, _CLONE_THREAD, ALLOW), end(process))
    # The flags of clone3 lie in memory, where a filter can't look; the C library then takes clone.
    return [*always(["clone3"], UNKNOWN), Rule("clone", threads)]
