"""A jail for one job that runs a model's code: it may read libraries, write into its own directory, and compute.

Where a reader (`confine`) can open nothing at all, a job imports modules and writes files; so its walls let more through, and
each says what.  The process must have been forked for this job alone and have one thread.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import resource
import site
import sysconfig
from collections.abc import Callable, Collection, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import ckptd
from ckptd.model import Json
from ckptd.sandbox import kernel, landlock, seccomp
from ckptd.sandbox.command import packages_on_path
from ckptd.sandbox.confine import Layers, build_walls, close_other_fds, die_with, forbid_privileges, refuse_degraded
from ckptd.sandbox.landlock import Grant
from ckptd.sandbox.limits import JOB_LAYERS, drop_capabilities, forbid_resources, lower_limit, lower_priority

_CURE = 'a kernel from 5.13 on with Landlock and seccomp, or export.sandbox = "best_effort"'

#: Address space beyond the memory of a job: libraries that are mapped late, and arenas that the C library reserves.
_ADDRESS_SLACK_BYTES = 512 << 20

#: What libraries ask about the machine.  Source: strace of torch 2.13 exporters and onnxruntime 1.32.
_MACHINE = ("/proc/cpuinfo", "/proc/meminfo", "/sys/devices/system/cpu", "/sys/devices/system/node")
_SYSTEM_LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/etc/ld.so.cache")
_DEVICES = {"/dev/null": landlock.WRITE, "/dev/zero": landlock.READ, "/dev/urandom": landlock.READ}

#: Threads of one job; those with small stacks take little memory, and the machine has 32,768 process ids for all.  The kernel
#: holds everybody to it but root, whose daemon should not run models.  Libraries start one for each processor.
MOST_THREADS = 2048
#: The Linux that counts RLIMIT_NPROC in each user namespace by itself.  Source: commit 21d1c5e386bc, "Reimplement RLIMIT_NPROC
#: on top of ucounts".
_COUNTED_BY_NAMESPACE = (5, 14)

#: CLONE_NEWUSER, NEWNET; and NEWUTS, NEWIPC, which only repeat what the filter of system calls says.  Source: linux/sched.h.
_NAMESPACES = 0x50000000
_FURTHER_NAMESPACES = 0x0C000000


@dataclass(frozen=True, slots=True)
class Jail:
    """What one job may do.

    Attributes:
        readable: absolute paths of files and directories whose content it may read, list and map; missing ones are passed over.
        memory_bytes: beyond what it was forked with.
        file_bytes: size of each file that it writes.
        open_files: descriptors.
        nice: priority, 0 to 19; above 0 the disk is used in the idle class too.
        required: refuse to work when a wall is missing, where False reports it and works on.
        layers: the walls to build.
    """

    readable: tuple[str, ...] = ()
    memory_bytes: int = 2 << 30
    file_bytes: int = 2 << 30
    open_files: int = 256
    nice: int = 19
    required: bool = True
    layers: tuple[str, ...] = JOB_LAYERS

    def to_json(self) -> dict[str, Json]:
        """Turn it into plain JSON values."""
        value = asdict(self)
        return {**value, "readable": list(self.readable), "layers": list(self.layers)}

    @classmethod
    def from_json(cls, value: Any) -> Jail:
        """Read what `to_json` made; KeyError or TypeError when it is something else."""
        return cls(**{**value, "readable": tuple(value["readable"]), "layers": tuple(value["layers"])})


def confine_job(
    jail: Jail, *, keep_fds: Collection[int], readable_fds: Collection[int] = (), writable_fds: Collection[int] = ()
) -> Layers:
    """Close every descriptor but `keep_fds`, then build each wall that `jail.layers` names.  There is no way back.

    Args:
        jail: what is allowed.
        keep_fds: what stays open; the others have to be among them.
        readable_fds: files and directories that may be opened again, to read.
        writable_fds: directories in which files and directories may be made, changed and removed.

    Raises:
        RefusedError: a wall is missing and `jail.required` is set.
    """
    close_other_fds(keep_fds)
    parent = os.getppid()
    walls: dict[str, Callable[[], int | None]] = {
        "priority": lambda: lower_priority(jail.nice),
        "rlimits": lambda: _apply_rlimits(jail),
        "namespaces": _leave_namespaces,
        "parent_death": lambda: die_with(parent),
        "no_new_privs": forbid_privileges,
        "capabilities": drop_capabilities,
        "landlock": lambda: _restrict_files(jail.readable, readable_fds, writable_fds),
        "seccomp": lambda: seccomp.restrict(lambda: seccomp.exporter(os.getpid())),
    }
    layers = build_walls(walls, JOB_LAYERS, jail.layers)
    if jail.required:
        refuse_degraded(layers, _CURE)
    return layers


def library_paths() -> tuple[str, ...]:
    """Tell what a job has to read to import what is installed beside this interpreter: absolute paths, each once."""
    names = ("stdlib", "platstdlib", "purelib", "platlib")
    found = [sysconfig.get_path(name) for name in names]
    # `site` tells them even where -S kept it from adding them.
    found += [*site.getsitepackages(), *packages_on_path(), str(Path(ckptd.__file__).parent)]
    found += os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep)
    found += [*_SYSTEM_LIBRARIES, "/etc/localtime", "/usr/share/zoneinfo", *_MACHINE]
    return tuple(dict.fromkeys(path for path in found if path and os.path.isabs(path)))


def _apply_rlimits(jail: Jail) -> None:
    """Bound memory, descriptors and files.  RLIMIT_NPROC counts other processes of the user here, and is set later."""
    size_pages, _, _, _, _, data_pages, _ = Path("/proc/self/statm").read_text(encoding="ascii").split()
    forbid_resources()
    lower_limit(resource.RLIMIT_FSIZE, jail.file_bytes)
    lower_limit(resource.RLIMIT_NOFILE, jail.open_files)
    lower_limit(resource.RLIMIT_DATA, int(data_pages) * mmap.PAGESIZE + jail.memory_bytes)
    # Shared memory counts here only.
    lower_limit(resource.RLIMIT_AS, int(size_pages) * mmap.PAGESIZE + jail.memory_bytes + _ADDRESS_SLACK_BYTES)


def _leave_namespaces() -> None:
    """Go where there is no network, no System V memory and no other user, keeping the own user and group by their numbers."""
    uid, gid = os.geteuid(), os.getegid()
    try:
        kernel.syscall("unshare", _NAMESPACES | _FURTHER_NAMESPACES)
    except PermissionError:  # our unit of systemd allows no others than these two
        kernel.syscall("unshare", _NAMESPACES)
    # A group can be mapped by an ordinary user only after this.
    for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
        Path(f"/proc/self/{name}").write_text(text, encoding="ascii")
    if kernel.release() >= _COUNTED_BY_NAMESPACE:
        lower_limit(resource.RLIMIT_NPROC, MOST_THREADS)


def _restrict_files(readable: Iterable[str], readable_fds: Collection[int], writable_fds: Collection[int]) -> int:
    with contextlib.ExitStack() as stack:
        grants = [Grant(fd, landlock.READ) for fd in readable_fds] + [Grant(fd, landlock.WRITE) for fd in writable_fds]
        for path, rights in (*_DEVICES.items(), *((path, landlock.READ) for path in readable)):
            with contextlib.suppress(OSError):  # not there, or not ours to reach
                fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
                stack.callback(os.close, fd)
                grants.append(Grant(fd, rights))
        return landlock.restrict(grants=grants)
