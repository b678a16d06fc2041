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


@pytest.mark.parametrize("machine", ARCHES)
def test_what_nobody_thought_of_is_an_error(machine):
    """Every number without a rule of its own answers EPERM."""
    program = seccomp.assemble(machine)
    named = {kernel.number(name, machine) for name in kernel.SYSCALLS}
    others = [number for number in range(600) if number not in named]
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
