"""Kill a process at every call by which it changes the disk, as often as there are such calls."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import pytest

from ckptd.storage import kernel
from tests.storage.forks import run_in_child

#: Every call by which the trash changes the disk.
_CALLS = ("open", "write", "fchown", "fchmod", "utime", "fsync", "mkdir", "rmdir", "rename", "link", "unlink")


def die_before(number: int) -> None:
    """Have SIGKILL end this process just before its nth change to the disk; only for a child."""
    left = [number]

    def dying(real: Callable) -> Callable:
        def call(*args, **kwargs):
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*args, **kwargs)

        return call

    for name in _CALLS:
        setattr(os, name, dying(getattr(os, name)))
    kernel.rename = dying(kernel.rename)
    kernel.rename_between = dying(kernel.rename_between)


def without_flags() -> None:
    """Have this process work on a file system that knows neither RENAME_NOREPLACE nor files without a name, as NFS."""

    def refuse(*_: object) -> None:
        raise kernel.Unsupported(22, os.strerror(22))

    kernel.rename = kernel.rename_between = refuse


def is_killed(number: int, action: Callable[[], object], before: Callable[[], object] = lambda: None) -> bool:
    """Run an action in a child that dies just before its nth change to the disk; False when it came to its end."""

    def dying() -> None:
        before()
        die_before(number)
        action()

    status = run_in_child(dying)
    if status != 0 and not (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL):
        pytest.fail(f"the action failed by itself, wait status {status}")
    return status != 0
