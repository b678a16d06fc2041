"""Who may work where: locks of the kernel, which a crash releases.

`lock` in a state directory says that one daemon, or one pass, looks after its checkpoints; each root has one in its `.ckptd`
too, because two state directories may name the same root.  `jobs.lock` beside it says that one job runs.
"""

from __future__ import annotations

import fcntl
import functools
import json
import os
import secrets
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from ckptd import __version__
from ckptd.errors import AlreadyRunningError, StorageError
from ckptd.text import escape

_NAME = "lock"
#: Name of the lock of whoever runs a job.
JOBS = "jobs.lock"
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
_MOST_BYTES = 4096
#: Seconds between tries: who only asks, as `is_held` does, has the lock for some microseconds.
_PAUSES = (0.002, 0.01, 0.03)
#: Tells this process from those of other containers, which have the same number.
_TOKEN = secrets.token_hex(8)
_held: set[int] = set()


class Lock:
    """Keep the lock until `close` or the end of the process, however that comes."""

    def __init__(self, fd: int, path: Path) -> None:
        self._fd = fd
        self.path = path

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def still_held(self) -> bool:
        """Tell whether the lock file is still the one that is locked; somebody may have removed it, and the lock with it.

        Raises:
            OSError: nobody can tell just now, as where a share is away.
        """
        return self._fd >= 0 and _is_same_file(self._fd, self.path)

    def lies_in(self, state_dir: str | os.PathLike[str]) -> bool:
        """Tell whether this is the lock of a state directory, by whatever path; of one that can't be looked at it is not."""
        try:
            return self._fd >= 0 and _is_same_file(self._fd, Path(state_dir) / self.path.name)
        except OSError:
            return False

    def hand_over(self) -> Lock:
        """Give the lock to somebody else; closing this one does nothing any more."""
        fd, self._fd = self._fd, -1
        return Lock(fd, self.path)

    def share(self) -> Lock:
        """Give the same lock once more: it is released when both are closed."""
        fd = os.dup(self._fd)
        _held.add(fd)
        return Lock(fd, self.path)

    def close(self) -> None:
        """Release the lock; a second call does nothing.  The file stays: removing it would open a race."""
        if self._fd >= 0:
            _held.discard(self._fd)
            os.close(self._fd)
            self._fd = -1


def hold(state_dir: str | os.PathLike[str]) -> Lock:
    """Take the lock of a state directory and write our pid, start time and version into it.

    Raises:
        AlreadyRunningError: another process has it; the message names it.
        StorageError: the lock file can't be opened or written.
    """
    return _hold(Path(state_dir) / _NAME, {"version": __version__, "process": _TOKEN}, _already_running)


def hold_job(state_dir: str | os.PathLike[str], job: str) -> Lock:
    """Take the lock of whoever runs a job, and write our pid, start time and the job into it.

    Raises:
        AlreadyRunningError: another process runs a job; the message names both.
        StorageError: the lock file can't be opened or written.
    """
    return _hold(Path(state_dir) / JOBS, {"job": job}, _job_runs)


def read_holder(state_dir: str | os.PathLike[str], name: str = _NAME) -> Mapping[str, object] | None:
    """Give what the last holder wrote, or None; says nothing about whether it lives.

    That is "pid", "started_at", and "version" and "process", or "job".
    """
    try:
        fd = os.open(Path(state_dir) / name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        return _read_holder(fd)
    finally:
        os.close(fd)


def is_held(state_dir: str | os.PathLike[str], name: str = _NAME) -> bool:
    """Say whether a living process holds the lock; asked without keeping it."""
    try:
        fd = os.open(Path(state_dir) / name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(fd)  # and with it what was taken
    return False


def is_same_holder(one: Mapping[str, object], other: Mapping[str, object]) -> bool:
    """Say whether one process wrote both; by its number where an older ckptd wrote one of them."""
    key = "process" if "process" in one and "process" in other else "pid"
    return one.get(key) == other.get(key)


def describe_holder(holder: Mapping[str, object] | None) -> str:
    """Say which process holds a lock, and since when, out of what it wrote there."""
    pid, started_at = (holder or {}).get("pid"), (holder or {}).get("started_at")
    who = f"process {pid}" if isinstance(pid, int) else "another process"
    return f"{who} holds the lock{_since(started_at)}"


def _hold(path: Path, facts: Mapping[str, str], refuse: Callable[[Mapping[str, object], Path], AlreadyRunningError]) -> Lock:
    try:
        while True:
            fd = _open(path)
            try:
                if not _lock(fd):
                    raise refuse(_read_holder(fd) or {}, path)
                if _is_same_file(fd, path):
                    _write_holder(fd, facts)
                    break
            except BaseException:
                os.close(fd)
                raise
            os.close(fd)  # the file was removed between open and lock: the lock is worth nothing
    except OSError as error:
        raise StorageError(
            "lock the state directory", path=path, why=os.strerror(error.errno or 0), cure="see `ckptd doctor`"
        ) from error
    _held.add(fd)
    _close_in_forked_children()
    return Lock(fd, path)


def _open(path: Path) -> int:
    """Open or make a lock file, in a directory that is no link: somebody may have put one in its place."""
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        return os.open(path.name, _FLAGS, 0o600, dir_fd=directory)
    finally:
        os.close(directory)


def _lock(fd: int) -> bool:
    """Take the lock of an open file, unless somebody else keeps it."""
    for pause in (*_PAUSES, 0.0):
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(pause)
        else:
            return True
    return False


def _already_running(holder: Mapping[str, object], path: Path) -> AlreadyRunningError:
    return AlreadyRunningError(
        "another ckptd looks after these checkpoints",
        path=path,
        why=describe_holder(holder),
        cure=f"{_stop(holder)}, or give this one roots and a state_dir of its own",
    )


def _job_runs(holder: Mapping[str, object], path: Path) -> AlreadyRunningError:
    pid, job = holder.get("pid"), holder.get("job")
    who = f"process {pid}" if isinstance(pid, int) else "another process"
    what = f"the job {escape(job, 40)}" if isinstance(job, str) else "a job"
    return AlreadyRunningError(
        "a job runs on these checkpoints",
        path=path,
        why=f"{who} runs {what}{_since(holder.get('started_at'))}",
        cure=f"wait for its end, or {_stop(holder)}",
    )


def _stop(holder: Mapping[str, object]) -> str:
    pid = holder.get("pid")
    return f"stop it (kill {pid})" if isinstance(pid, int) else "stop it"


def _since(started_at: object) -> str:
    is_clean = isinstance(started_at, str) and started_at.isascii() and started_at.isprintable()
    return f" since {started_at}" if is_clean else ""


def _write_holder(fd: int, facts: Mapping[str, str]) -> None:
    os.ftruncate(fd, 0)
    os.pwrite(fd, json.dumps({"pid": os.getpid(), "started_at": _started_at(), **facts}).encode() + b"\n", 0)


def _read_holder(fd: int) -> Mapping[str, object] | None:
    try:
        holder = json.loads(os.pread(fd, _MOST_BYTES, 0))
    except (OSError, ValueError, RecursionError):
        return None
    return holder if isinstance(holder, dict) else None


def _started_at() -> str | None:
    """Give the start of this process in UTC as the kernel knows it.

    Source: proc(5): field 22 of /proc/self/stat in clock ticks since the boot; `btime` of /proc/stat.
    """
    try:
        ticks = int(Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19])
        boot = next(
            int(line.split()[1])
            for line in Path("/proc/stat").read_text(encoding="utf-8").splitlines()
            if line.startswith("btime ")
        )
    except (OSError, ValueError, IndexError, StopIteration):
        return None
    return datetime.fromtimestamp(boot + ticks // os.sysconf("SC_CLK_TCK"), UTC).isoformat(timespec="seconds")


def _is_same_file(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.lstat(path))
    except (FileNotFoundError, NotADirectoryError):
        return False


@functools.cache
def _close_in_forked_children() -> None:
    # A child that was forked and never calls exec would keep the lock after our death.  Closing does not release ours.
    os.register_at_fork(after_in_child=_close_held)


def _close_held() -> None:
    while _held:
        os.close(_held.pop())
