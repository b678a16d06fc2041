"""Run a function in a forked child: as another user, or killed at its nth system call."""

from __future__ import annotations

import os
import signal
import traceback
from collections.abc import Callable

import pytest

from ckptd.storage import kernel

NOBODY = 65534
#: Every call by which the writers change the disk.
_CALLS = ("open", "write", "fchown", "fchmod", "fsync", "rename", "link", "unlink")


def run_as_nobody(function: Callable[[], object]) -> None:
    """Call it in a child without any right; an assertion that fails there fails here."""

    def inside() -> None:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        function()

    assert run_in_child(inside) == 0


def run_in_child(function: Callable[[], object]) -> int:
    """Call it in a forked child and give its wait status; 0 when it returned."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            function()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return os.waitpid(pid, 0)[1]


def kill_before_call(number: int) -> None:
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
    short = os.write
    os.write = lambda fd, data: short(fd, bytes(data[:700]))  # several writes, so that a kill can fall between them


def killed_at_every_call(action: Callable[[], object], prepare: Callable[[], None], check: Callable[[int], None]) -> int:
    """Prepare, kill the action at its 1st, 2nd … change of the disk, check each time; give how many kills there were."""
    number = 0
    while True:
        number += 1
        prepare()

        def dying() -> None:
            kill_before_call(number)  # noqa: B023 — called within the same turn
            action()

        status = run_in_child(dying)
        if status == 0:
            return number - 1
        if not (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL):
            pytest.fail(f"the action failed by itself, wait status {status}")
        check(number)
