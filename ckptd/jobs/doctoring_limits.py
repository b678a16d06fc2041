"""Look at the limits of the kernel that ckptd works within: watches, instances, open files."""

from __future__ import annotations

import os
import re
import resource
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ckptd.jobs.checks import Check, Patient, bad, good
from ckptd.model import Severity

_INOTIFY = Path("/proc/sys/fs/inotify")
#: Of a limit; above it a few more directories or programs use it up.
_MOST_SHARE = 0.8
#: A daemon with some roots, workers and exporters was never seen with more than 100 open files.
_LEAST_FILES = 512


def check_limits(patient: Patient) -> Iterator[Check]:
    """Say which limit is nearly used up."""
    yield from _check_watches(patient)
    yield from _check_instances(patient)
    yield from _check_files(patient)


def _check_watches(patient: Patient) -> Iterator[Check]:
    limit = _read(_INOTIFY / "max_user_watches")
    if limit is None:
        return
    directories = sum(sum(1 for _ in os.walk(root)) for root in patient.settings.roots)
    name = "inotify watches"
    if directories > limit * _MOST_SHARE:
        cure = f"sysctl fs.inotify.max_user_watches={max(2 * directories, 65536)}"
        yield bad(name, f"{directories} directories, and the limit of this user is {limit}", cure, Severity.WARNING)
    else:
        yield good(name, f"{directories} directories, limit {limit}")


def _check_instances(patient: Patient) -> Iterator[Check]:
    limit = _read(_INOTIFY / "max_user_instances")
    if limit is None:
        return
    used = count_instances(patient.find_user())
    wanted = used + (0 if patient.find_daemon() is not None else len(patient.settings.roots))
    name = "inotify instances"
    if wanted > limit * _MOST_SHARE:
        cure = f"sysctl fs.inotify.max_user_instances={max(2 * limit, 512)}"
        why = f"programs of this user have {used}, and the limit is {limit}; without one a root is polled"
        yield bad(name, why, cure, Severity.WARNING)
    else:
        yield good(name, f"{used} in use by this user, limit {limit}")


def count_instances(user: int) -> int:
    """Count the inotify instances of the programs of a user, as far as we may look into them."""
    found = 0
    for process in Path("/proc").iterdir():
        with suppress(OSError):
            if process.name.isdigit() and process.stat().st_uid == user:
                found += sum(os.readlink(fd) == "anon_inode:inotify" for fd in (process / "fd").iterdir())
    return found


def _check_files(patient: Patient) -> Iterator[Check]:
    pid = patient.find_daemon()
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0] if pid is None else _read_files_limit(pid)
    if limit is None:
        return
    whose = "of this shell" if pid is None else "of the daemon"
    if limit < _LEAST_FILES:
        cure = "raise it: LimitNOFILE= in the unit, ulimit -n in a shell"
        yield bad("open files", f"the limit {whose} is {limit}", cure, Severity.WARNING)
    else:
        yield good("open files", f"the limit {whose} is {limit}")


def _read_files_limit(pid: int) -> int | None:
    """Read the soft limit of another process.  Source: proc_pid_limits(5)."""
    with suppress(OSError, ValueError):
        found = re.search(r"^Max open files\s+(\d+)", Path(f"/proc/{pid}/limits").read_text(encoding="ascii"), re.MULTILINE)
        return None if found is None else int(found[1])
    return None


def _read(path: Path) -> int | None:
    with suppress(OSError, ValueError):
        return int(path.read_text(encoding="ascii"))
    return None
