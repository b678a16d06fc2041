"""What a reader may use, and the walls that need no Linux of their own: rlimits, priority, capabilities."""

from __future__ import annotations

import json
import os
import resource
from dataclasses import asdict, dataclass

from ckptd.sandbox import kernel

#: Every wall `confine` builds, in its order.
ALL_LAYERS = ("parent_death", "priority", "rlimits", "no_new_privs", "capabilities", "landlock", "seccomp")
#: Every wall `confine_job` builds, in its order.  New credentials, which namespaces bring, may undo parent_death.
JOB_LAYERS = ("priority", "rlimits", "namespaces", "parent_death", "no_new_privs", "capabilities", "landlock", "seccomp")

#: `ioprio_set` for one process, class "idle".  Source: linux/ioprio.h.
_IOPRIO_WHO_PROCESS = 1
_IOPRIO_IDLE = 3 << 13

#: Source: linux/capability.h, _LINUX_CAPABILITY_VERSION_3: a header of two words, then two sets of three words.
_CAPABILITY_VERSION_3 = 0x20080522

#: How much sooner than others a worker is ended when memory is short; training is never to be ended for an inspection.
_OOM_SCORE = "800"


@dataclass(frozen=True, slots=True)
class Limits:
    """What one worker may use, and for how long.

    Attributes:
        memory_bytes: address space, libraries included (they take about 150 MB of it).
        structure_seconds: from the start of a task to its first report of progress, or its answer.
        base_seconds: what every later wait may take at least.
        bytes_per_second: speed below which a file is late, once `base_seconds` are used up.
        start_seconds: from the start of a process until it says that it is confined.
        open_files: descriptors; at least those of the requests that may be on their way.
        nice: priority, 0 to 19; above 0 the disk is read in the idle class too.
        required: refuse to work when a wall is missing, where False reports it and works on.
        layers: the walls to build; one left out is reported as missing, like one that the kernel does not have.
    """

    memory_bytes: int = 2 << 30
    structure_seconds: float = 20.0
    base_seconds: float = 20.0
    bytes_per_second: float = 20e6
    start_seconds: float = 30.0
    open_files: int = 64
    nice: int = 19
    required: bool = False
    layers: tuple[str, ...] = ALL_LAYERS

    def to_text(self) -> str:
        """Write the limits as one argument of a command line."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def from_text(cls, text: str) -> Limits:
        """Read what `to_text` wrote; TypeError or ValueError when it is something else."""
        value = json.loads(text)
        value["layers"] = tuple(value["layers"])
        return cls(**value)


def apply_rlimits(limits: Limits) -> None:
    """Bound memory, descriptors and written files, and forbid core dumps.

    RLIMIT_NPROC is left alone: it counts all processes and threads of the user, so that somebody's training would decide
    whether a worker may start its hashing thread.  That a worker cannot fork is seccomp's work.

    Raises:
        OSError: a limit was refused.
    """
    forbid_resources()
    lower_limit(resource.RLIMIT_FSIZE, 0)
    lower_limit(resource.RLIMIT_NOFILE, limits.open_files)
    lower_limit(resource.RLIMIT_AS, limits.memory_bytes)


def forbid_resources() -> None:
    """Forbid what no confined process needs: core dumps, locked memory, message queues.

    Raises:
        OSError: a limit was refused.
    """
    lower_limit(resource.RLIMIT_CORE, 0)
    if hasattr(resource, "RLIMIT_MEMLOCK"):
        lower_limit(resource.RLIMIT_MEMLOCK, 0)
    if hasattr(resource, "RLIMIT_MSGQUEUE"):
        lower_limit(resource.RLIMIT_MSGQUEUE, 0)


def lower_limit(kind: int, value: int) -> None:
    """Set one limit for good, or to what it was at most; OSError when it was refused."""
    _, hard = resource.getrlimit(kind)
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    try:
        resource.setrlimit(kind, (value, value))
    except ValueError as error:  # what setrlimit makes of EINVAL
        raise OSError(str(error)) from error


def lower_priority(nice: int) -> None:
    """Step back behind everything else on the machine: CPU, disk, and who is ended when memory is short.

    A process that called setsid is a scheduling group of its own where CONFIG_SCHED_AUTOGROUP is set, and its nice value
    then counts only inside that group; so the group gets the value too.

    Raises:
        OSError: a step was refused; the others were made.
    """
    if nice <= 0:
        return
    problem = None
    for step in (
        lambda: os.setpriority(os.PRIO_PROCESS, 0, nice),
        lambda: kernel.syscall("ioprio_set", _IOPRIO_WHO_PROCESS, 0, _IOPRIO_IDLE),
        lambda: _write_own("autogroup", str(nice)) if os.getsid(0) == os.getpid() else None,
        lambda: _write_own("oom_score_adj", _OOM_SCORE),
    ):
        try:
            step()
        except OSError as error:
            problem = error
    if problem is not None:
        raise problem


def _write_own(name: str, value: str) -> None:
    try:
        fd = os.open(f"/proc/self/{name}", os.O_WRONLY | os.O_CLOEXEC)
    except FileNotFoundError:  # a kernel without it has nothing to set
        return
    try:
        os.write(fd, value.encode())
    finally:
        os.close(fd)


def drop_capabilities() -> None:
    """Give up every capability, so that a worker of root is an ordinary process that owns root's files.

    Raises:
        OSError: the kernel refused.
    """
    header = kernel.words(_CAPABILITY_VERSION_3, 0)
    kernel.syscall("capset", header, kernel.words(*[0] * 6))
