"""Lock this process in, wall by wall, and say which walls stand."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

from ckptd.errors import WorkerError
from ckptd.model import Finding, Json, Severity
from ckptd.sandbox import kernel, landlock, seccomp
from ckptd.sandbox.limits import ALL_LAYERS, JOB_LAYERS, Limits, apply_rlimits, drop_capabilities, lower_priority
from ckptd.text import escape

#: Walls whose absence leaves a worker as safe as before: manners, and a second wall around what others keep in already.
_MANNERS = frozenset({"priority", "namespaces"})
#: Names that a worker may say.
_KNOWN = frozenset({*ALL_LAYERS, *JOB_LAYERS})

#: Descriptors above every one that a process can have.
_LAST_FD = 0x7FFFFFFF


class RefusedError(WorkerError):
    """A worker that must be confined cannot be; another try would end the same way."""

    permanent = True


class Layers(NamedTuple):
    """Which walls stand around a process, and why the others don't.

    Attributes:
        applied: names out of `ALL_LAYERS` or `JOB_LAYERS`, in their order.
        missing: (name, why) of the others.
        landlock_abi: 0 without Landlock.
    """

    applied: tuple[str, ...] = ()
    missing: tuple[tuple[str, str], ...] = ()
    landlock_abi: int = 0

    @property
    def degraded(self) -> bool:
        """True when a wall is missing that keeps a hostile file in."""
        return any(name not in _MANNERS for name, _ in self.missing)

    def findings(self) -> tuple[Finding, ...]:
        """Say what is missing as a finding, or nothing when all walls stand."""
        if not self.degraded:
            return ()
        message = f"the file was read with weaker confinement: {self.describe_missing()}"
        return (Finding("sandbox-degraded", Severity.WARNING, message),)

    def describe_missing(self) -> str:
        """Name the walls that are missing, each with its reason."""
        return "; ".join(f"no {name} ({why})" for name, why in self.missing if name not in _MANNERS)

    def to_json(self) -> dict[str, Json]:
        """Turn it into plain JSON values."""
        missing: list[Json] = [[name, why] for name, why in self.missing]
        return {"applied": list(self.applied), "missing": missing, "landlock_abi": self.landlock_abi}

    @classmethod
    def from_json(cls, value: Any) -> Layers:
        """Read what `to_json` made, out of a process that is not trusted.

        Raises:
            WorkerError: it is something else.
        """
        try:
            applied = tuple(name for name in value["applied"] if name in _KNOWN)
            missing = tuple((escape(str(name), 40), escape(str(why), 200)) for name, why in value["missing"][: len(_KNOWN)])
            return cls(applied, missing, int(value["landlock_abi"]))
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise WorkerError("a worker did not say how it is confined", why=type(error).__name__) from error


def die_with(parent: int) -> None:
    """Have the kernel end this process when `parent` (a process id) ends; at once when it has ended already.

    Raises:
        OSError: the kernel can't.
    """
    kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def confine(limits: Limits, *, keep_fds: Collection[int]) -> Layers:
    """Close every descriptor but `keep_fds`, then build each wall that `limits.layers` names.  There is no way back.

    Everything that will be used must be imported, and no other thread may run.

    Raises:
        RefusedError: a wall is missing and `limits.required` is set.
    """
    close_other_fds(keep_fds)
    parent = os.getppid()
    walls: dict[str, Callable[[], int | None]] = {
        "parent_death": lambda: die_with(parent),
        "priority": lambda: lower_priority(limits.nice),
        "rlimits": lambda: apply_rlimits(limits),
        "no_new_privs": forbid_privileges,
        "capabilities": drop_capabilities,
        "landlock": landlock.restrict,
        "seccomp": seccomp.restrict,
    }
    layers = build_walls(walls, ALL_LAYERS, limits.layers)
    if limits.required:
        refuse_degraded(layers, 'a kernel from 5.13 on with Landlock and seccomp, or inspect.sandbox = "best_effort"')
    return layers


def build_walls(walls: Mapping[str, Callable[[], int | None]], order: Sequence[str], chosen: Collection[str]) -> Layers:
    """Build walls in an order, and say of those that are not chosen or can't be built why they are missing.

    Args:
        walls: by name; that of Landlock returns its ABI.
        order: every name.
        chosen: those to build.
    """
    applied: list[str] = []
    missing: list[tuple[str, str]] = []
    abi = 0
    for name in order:
        try:
            if name not in chosen:
                raise RuntimeError("switched off")
            abi = walls[name]() or abi
            applied.append(name)
        except (OSError, RuntimeError, ValueError) as error:
            missing.append((name, (error.strerror or str(error)) if isinstance(error, OSError) else str(error)))
    return Layers(tuple(applied), tuple(missing), abi)


def refuse_degraded(layers: Layers, cure: str) -> None:
    """Raise RefusedError when a wall is missing that keeps a hostile file in."""
    if layers.degraded:
        raise RefusedError("a worker cannot be confined on this machine", why=layers.describe_missing(), cure=cure)


def close_other_fds(keep: Collection[int]) -> None:
    """Close every descriptor that is not in `keep`."""
    start = 0
    for fd in sorted(keep):
        if start < fd:  # CPython turns an empty range from 0 into "all of them"
            os.closerange(start, fd)
        start = fd + 1
    os.closerange(start, _LAST_FD)


def forbid_privileges() -> None:
    """Give up what a program's file or another process could add to this one; OSError when the kernel refused."""
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    # No core dump, and no look into this memory by other processes of the user.
    kernel.prctl(kernel.PR_SET_DUMPABLE, 0)
