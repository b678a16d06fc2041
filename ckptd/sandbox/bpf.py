"""Assemble a seccomp filter out of rules, one for each system call; what a filter decides stands in `seccomp`.

The kernel runs a filter at each system call: a short program that loads words of a small structure, compares them and
returns a verdict.  All jumps go forward, so a filter always ends.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterable
from typing import NamedTuple

from ckptd.sandbox import kernel

#: Source: linux/seccomp.h.
ALLOW = 0x7FFF0000
KILL_PROCESS = 0x80000000
_ERRNO = 0x00050000
REFUSE, UNKNOWN, NO_TERMINAL = _ERRNO | errno.EPERM, _ERRNO | errno.ENOSYS, _ERRNO | errno.ENOTTY

#: Source: linux/bpf_common.h: load a word, jump if equal, if greater or equal, if a bit is set, return.
_LOAD, EQUAL, _AT_LEAST, HAS_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
#: Offsets in struct seccomp_data: the number, the architecture, the low word of the first argument.
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16

#: Source: linux/audit.h.
_AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
#: Set in the numbers of the x32 calls, which share the architecture word of x86_64.
_X32_BIT = 0x40000000

#: One instruction: what to do, how far to jump when a comparison holds and when it doesn't, and its constant.
Step = tuple[int, int, int, int]


class Rule(NamedTuple):
    """What becomes of one system call.

    Attributes:
        name: of the call; one that the machine does not have is passed over.
        body: steps that always return.
    """

    name: str
    body: tuple[Step, ...]


def always(names: Iterable[str], verdict: int) -> list[Rule]:
    """Decide on calls whatever their arguments are."""
    return [Rule(name, (end(verdict),)) for name in names]


def end(verdict: int) -> Step:
    """Return a verdict."""
    return (_RETURN, 0, 0, verdict)


def when(argument: int, test: int, value: int, verdict: int) -> list[Step]:
    """Return a verdict when the low word of an argument passes a test (`EQUAL`, `HAS_BIT`); else go on."""
    return [(_LOAD, 0, 0, _ARGUMENTS + 8 * argument), (test, 0, 1, value), end(verdict)]


def one_of(argument: int, values: Iterable[int], otherwise: int = REFUSE) -> tuple[Step, ...]:
    """Allow a call when the low word of an argument is one of the values."""
    return (*[step for value in values for step in when(argument, EQUAL, value, ALLOW)], end(otherwise))


def assemble(machine: str, rules: Iterable[Rule]) -> bytes:
    """Write a filter for `machine` as the kernel wants it, eight bytes a step; a call without a rule answers EPERM.

    Raises:
        OSError: ENOSYS when the machine is not known.
    """
    if machine not in _AUDIT_ARCH:
        raise OSError(errno.ENOSYS, f"no filter for {machine}")
    steps: list[Step] = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (EQUAL, 1, 0, _AUDIT_ARCH[machine]),
        end(KILL_PROCESS),
        (_LOAD, 0, 0, _NUMBER),
    ]
    if machine == "x86_64":
        steps += [(_AT_LEAST, 0, 1, _X32_BIT), end(KILL_PROCESS)]
    for rule in rules:
        number = kernel.number(rule.name, machine)
        if number is not None:
            # The body always returns, so the number is still loaded for the rule behind it.
            steps += [(EQUAL, 0, len(rule.body), number), *rule.body]
    steps.append(end(REFUSE))
    return b"".join(struct.pack("=HBBI", *step) for step in steps)
