"""A seccomp filter that lets a worker read, compute, answer and end, and nothing else.

Three verdicts: what a worker needs is allowed; what only an intruder tries (a program, a process, a socket, a signal to
somebody) ends the whole process at once with SIGSYS; all the rest answers EPERM, so that a library's harmless curiosity
(`isatty`, a `stat`) is an error that it can bear, on C libraries and kernels that nobody has tried yet.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import platform
import struct

from ckptd.sandbox import kernel

#: Source: linux/audit.h.
_AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
#: Set in the numbers of the x32 calls, which share the architecture word of x86_64.
_X32_BIT = 0x40000000

#: Source: linux/seccomp.h.
_SET_MODE_FILTER = 1
_FLAG_TSYNC = 1
_ALLOW = 0x7FFF0000
_KILL_PROCESS = 0x80000000
_ERRNO = 0x00050000

#: Source: linux/bpf_common.h: load a word, jump if equal, if greater or equal, if a bit is set, return.
_LOAD, _JEQ, _JGE, _JSET, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
#: Offsets in struct seccomp_data: the number, the architecture, the low word of the first argument.
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16

_ALLOWED = """
    read readv pread64 preadv preadv2 lseek fstat fadvise64 close write writev recvmsg poll ppoll
    brk munmap mremap madvise futex set_robust_list rseq membarrier sched_yield getcpu
    rt_sigaction rt_sigprocmask rt_sigreturn sigaltstack restart_syscall
    clock_gettime clock_getres clock_nanosleep nanosleep gettimeofday time
    getrandom getpid getppid gettid exit exit_group
""".split()

_FATAL = """
    execve execveat fork vfork kill tkill tgkill ptrace process_vm_readv process_vm_writev
    socket socketpair connect bpf io_uring_setup userfaultfd unshare setns
""".split()

_CLONE_THREAD = 0x00010000
#: CLONE_NEWTIME, NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET.  Source: linux/sched.h.
_CLONE_NAMESPACES = 0x7E020080
_AT_EMPTY_PATH = 0x1000

_Step = tuple[int, int, int, int]


def restrict() -> None:
    """Install the filter on every thread of this process; it can't be taken off again.

    Raises:
        OSError: no filter for this machine or kernel (ENOSYS), or the kernel refused.
    """
    program = assemble(platform.machine())
    code = ctypes.create_string_buffer(program, len(program))
    # struct sock_fprog: a short (padded to 8 bytes) and a pointer.
    header = kernel.quads(len(program) // 8, ctypes.addressof(code))
    kernel.syscall("seccomp", _SET_MODE_FILTER, _FLAG_TSYNC, header)


def assemble(machine: str) -> bytes:
    """Write the filter for `machine` as the kernel wants it: eight bytes a step.

    Raises:
        OSError: ENOSYS when the machine is not known.
    """
    if machine not in _AUDIT_ARCH:
        raise OSError(errno.ENOSYS, f"no filter for {machine}")
    steps: list[_Step] = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_JEQ, 1, 0, _AUDIT_ARCH[machine]),
        (_RETURN, 0, 0, _KILL_PROCESS),
        (_LOAD, 0, 0, _NUMBER),
    ]
    if machine == "x86_64":
        steps += [(_JGE, 0, 1, _X32_BIT), (_RETURN, 0, 0, _KILL_PROCESS)]
    refuse, unknown = _ERRNO | errno.EPERM, _ERRNO | errno.ENOSYS
    steps += [step for name in _ALLOWED for step in _rule(machine, name, [(_RETURN, 0, 0, _ALLOW)])]
    steps += _rule(machine, "mmap", [*_when(2, _JSET, mmap.PROT_EXEC, refuse), *_unless(3, mmap.MAP_ANONYMOUS, refuse)])
    steps += _rule(machine, "mprotect", [*_when(2, _JSET, mmap.PROT_EXEC, refuse), (_RETURN, 0, 0, _ALLOW)])
    steps += _rule(machine, "newfstatat", [*_when(3, _JEQ, _AT_EMPTY_PATH, _ALLOW), (_RETURN, 0, 0, refuse)])
    # Its flags lie in memory, where a filter can't look; the C library then takes clone.
    steps += _rule(machine, "clone3", [(_RETURN, 0, 0, unknown)])
    steps += _rule(
        machine, "clone", [*_when(0, _JSET, _CLONE_NAMESPACES, _KILL_PROCESS), *_unless(0, _CLONE_THREAD, _KILL_PROCESS)]
    )
    steps += [step for name in _FATAL for step in _rule(machine, name, [(_RETURN, 0, 0, _KILL_PROCESS)])]
    steps.append((_RETURN, 0, 0, refuse))
    return b"".join(struct.pack("=HBBI", *step) for step in steps)


def _rule(machine: str, name: str, body: list[_Step]) -> list[_Step]:
    """Decide on one call; the body always returns, so the number is still loaded for the rule behind it."""
    number = kernel.number(name, machine)
    return [] if number is None else [(_JEQ, 0, len(body), number), *body]


def _when(argument: int, test: int, bits: int, verdict: int) -> list[_Step]:
    return [(_LOAD, 0, 0, _ARGUMENTS + 8 * argument), (test, 0, 1, bits), (_RETURN, 0, 0, verdict)]


def _unless(argument: int, bits: int, verdict: int) -> list[_Step]:
    return [*_when(argument, _JSET, bits, _ALLOW), (_RETURN, 0, 0, verdict)]
