"""The filter's verdicts on both architectures, by a small machine that runs it, and the kernel's numbers."""

import errno
import re
import struct
from pathlib import Path

import pytest

from ckptd.sandbox import kernel, seccomp

ARCHES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
ALLOW, KILL, EPERM, ENOSYS = "allow", "kill", "EPERM", "ENOSYS"


def run(program: bytes, arch: int, number: int, arguments=()) -> str:
    """Do what the kernel does with a filter."""
    data = struct.pack("=IIQ6Q", number & 0xFFFFFFFF, arch, 0, *(list(arguments) + [0] * 6)[:6])
    steps = list(struct.iter_unpack("=HBBI", program))
    accumulator, at = 0, 0
    while True:
        code, yes, no, k = steps[at]
        at += 1
        match code:
            case 0x20:
                (accumulator,) = struct.unpack_from("=I", data, k)
            case 0x15:
                at += yes if accumulator == k else no
            case 0x35:
                at += yes if accumulator >= k else no
            case 0x45:
                at += yes if accumulator & k else no
            case 0x06:
                if k == 0x7FFF0000:
                    return ALLOW
                if k == 0x80000000:
                    return KILL
                assert k & 0xFFFF0000 == 0x00050000
                return errno.errorcode[k & 0xFFFF]


THREAD = 0x3D0F00
#: (call, arguments, verdict); the same on both architectures.
VERDICTS = [
    ("read", (), ALLOW),
    ("pread64", (), ALLOW),
    ("recvmsg", (), ALLOW),
    ("exit_group", (), ALLOW),
    ("mmap", (0, 4096, 3, 0x22), ALLOW),
    ("mmap", (0, 4096, 7, 0x22), EPERM),
    ("mmap", (0, 4096, 1, 0x02, 5), EPERM),
    ("mprotect", (0, 4096, 3), ALLOW),
    ("mprotect", (0, 4096, 5), EPERM),
    ("newfstatat", (3, 0, 0, 0x1000), ALLOW),
    ("newfstatat", (3, 0, 0, 0), EPERM),
    ("newfstatat", (3, 0, 0, 0x1100), EPERM),
    ("clone", (THREAD,), ALLOW),
    ("clone", (17,), KILL),
    ("clone", (THREAD | 0x10000000,), KILL),
    ("clone", (THREAD | 0x80,), KILL),
    ("clone3", (), ENOSYS),
    ("execve", (), KILL),
    ("execveat", (), KILL),
    ("socket", (), KILL),
    ("kill", (), KILL),
    ("tgkill", (), KILL),
    ("ptrace", (), KILL),
    ("io_uring_setup", (), KILL),
    ("seccomp", (), EPERM),
    ("capset", (), EPERM),
    ("landlock_create_ruleset", (), EPERM),
]


@pytest.mark.parametrize("machine", ARCHES)
@pytest.mark.parametrize(("name", "arguments", "verdict"), VERDICTS)
def test_verdicts(machine, name, arguments, verdict):
    number = kernel.number(name, machine)
    assert run(seccomp.assemble(machine), ARCHES[machine], number, arguments) == verdict


#: Process id of the exporter whose filter is asked, and of another process.
PID, OTHER = 4711, 4712
#: (call, arguments, verdict) of the exporter's filter.
EXPORTER_VERDICTS = [
    ("openat", (-100, 0, 0o102), ALLOW),
    ("openat2", (), ALLOW),
    ("newfstatat", (-100, 0, 0, 0), ALLOW),
    ("getdents64", (), ALLOW),
    ("renameat2", (), ALLOW),
    ("unlinkat", (), ALLOW),
    ("mmap", (0, 4096, 5, 0x02, 5), ALLOW),
    ("mmap", (0, 4096, 7, 0x22), ALLOW),
    ("mprotect", (0, 4096, 5), ALLOW),
    ("clone", (THREAD,), ALLOW),
    ("clone", (17,), EPERM),
    ("clone", (THREAD | 0x10000000,), KILL),
    ("clone3", (), ENOSYS),
    ("execve", (), EPERM),
    ("execveat", (), EPERM),
    ("setsid", (), EPERM),
    ("setpgid", (), EPERM),
    ("kill", (PID, 9), ALLOW),
    ("kill", (OTHER, 9), EPERM),
    ("kill", (0, 9), EPERM),
    ("kill", (-1, 9), EPERM),
    ("kill", (-PID, 9), EPERM),
    ("tgkill", (PID, 1, 6), ALLOW),
    ("tgkill", (OTHER, OTHER, 9), EPERM),
    ("tkill", (PID, 9), EPERM),
    ("rt_sigqueueinfo", (), EPERM),
    ("rt_tgsigqueueinfo", (), EPERM),
    ("pidfd_open", (), EPERM),
    ("pidfd_send_signal", (), EPERM),
    ("prlimit64", (0, 7), ALLOW),
    ("prlimit64", (PID, 7), ALLOW),
    ("prlimit64", (OTHER, 7), EPERM),
    ("setpriority", (), EPERM),
    ("sched_setaffinity", (), EPERM),
    ("prctl", (15,), ALLOW),
    ("prctl", (1, 0), EPERM),
    ("prctl", (4, 1), EPERM),
    ("fcntl", (5, 1030), ALLOW),
    ("fcntl", (5, 3), ALLOW),
    *[("fcntl", (5, command), EPERM) for command in (4, 6, 8, 10, 38, 1024, 1026, 1031)],
    ("ioctl", (5, 0x5451), ALLOW),
    ("ioctl", (5, 0x40049409), ALLOW),
    ("ioctl", (0, 0x5401), "ENOTTY"),
    ("ioctl", (0, 0x5412), "ENOTTY"),
    ("fallocate", (5, 0), ALLOW),
    ("fallocate", (5, 1), EPERM),
    *[(name, (), EPERM) for name in ("socket", "socketpair", "connect", "bind", "sendto", "sendmsg", "accept4")],
    *[(name, (), EPERM) for name in ("symlinkat", "linkat", "mknodat", "fchmod", "fchmodat", "fchownat", "utimensat")],
    *[(name, (), EPERM) for name in ("flock", "fsetxattr", "memfd_create", "setrlimit", "io_uring_enter", "seccomp")],
    *[(name, (), KILL) for name in ("ptrace", "process_vm_readv", "process_vm_writev", "pidfd_getfd", "bpf", "keyctl")],
    *[(name, (), KILL) for name in ("io_uring_setup", "userfaultfd", "unshare", "setns", "mount", "chroot", "kexec_load")],
]


@pytest.mark.parametrize("machine", ARCHES)
@pytest.mark.parametrize(("name", "arguments", "verdict"), EXPORTER_VERDICTS)
def test_verdicts_on_an_exporter(machine, name, arguments, verdict):
    """Files, threads and itself; what a library might try is an exception, what none does is the end."""
    arguments = [argument & 0xFFFFFFFFFFFFFFFF for argument in arguments]
    program = seccomp.assemble(machine, seccomp.exporter(PID))
    assert run(program, ARCHES[machine], kernel.number(name, machine), arguments) == verdict


@pytest.mark.parametrize("machine", ARCHES)
def test_no_rule_of_an_exporter_is_hidden_by_another(machine):
    """Each call has one rule, so that what is written down is what holds."""
    names = [rule.name for rule in seccomp.exporter(PID)]
    assert len(names) == len(set(names))
    assert len([rule.name for rule in seccomp.reader()]) == len({rule.name for rule in seccomp.reader()})
    assert len(seccomp.assemble(machine, seccomp.exporter(PID))) // 8 < 4096  # what the kernel takes


@pytest.mark.parametrize("machine", ARCHES)
def test_what_nobody_thought_of_is_an_error(machine):
    """Every number without a rule of its own answers EPERM."""
    named = {kernel.number(name, machine) for name in kernel.SYSCALLS}
    others = [number for number in range(600) if number not in named]
    for program in (seccomp.assemble(machine), seccomp.assemble(machine, seccomp.exporter(PID))):
        assert {run(program, ARCHES[machine], number) for number in others} == {EPERM}


@pytest.mark.parametrize("machine", ARCHES)
@pytest.mark.parametrize("arch", [0x40000003, 0x40000028, 0, *ARCHES.values()])
def test_another_architecture_ends_the_process(machine, arch):
    """The same number means another call there; i386 code in an x86_64 process is the classic way around a filter."""
    verdict = run(seccomp.assemble(machine), arch, kernel.number("read", machine))
    assert verdict == (ALLOW if arch == ARCHES[machine] else KILL)


def test_x32_ends_the_process():
    program = seccomp.assemble("x86_64")
    assert run(program, ARCHES["x86_64"], 0x40000000) == KILL
    assert run(program, ARCHES["x86_64"], -1) == KILL


def test_a_machine_without_a_filter_says_so():
    with pytest.raises(OSError, match="no filter for riscv64"):
        seccomp.assemble("riscv64")


HEADERS = {
    "x86_64": ("/usr/include/x86_64-linux-gnu/asm/unistd_64.h", r"#define __NR_(\w+)\s+(\d+)"),
    "aarch64": ("/usr/include/asm-generic/unistd.h", r"#define __NR(?:3264)?_(\w+)\s+(\d+)"),
}


@pytest.mark.skipif(not all(Path(path).exists() for path, _ in HEADERS.values()), reason="no kernel headers here")
@pytest.mark.parametrize("machine", HEADERS)
def test_the_numbers_are_the_kernels(machine):
    """Each number is that of the header, and a call that we say is missing is missing there."""
    path, pattern = HEADERS[machine]
    numbers = {name: int(number) for name, number in re.findall(pattern, Path(path).read_text())}
    numbers.setdefault("newfstatat", numbers.get("fstatat", -1))
    assert {name: numbers.get(name) for name in kernel.SYSCALLS} == {
        name: kernel.number(name, machine) for name in kernel.SYSCALLS
    }
