"""Run something with inotify limits of its own: in a user namespace, so that no other process on the machine feels them.

As a program: `python -m tests.watch.limited SCENARIO ROOT` prints one JSON object.
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.watch.watching import wait_until, watching

_CLONE_NEWUSER = 0x10000000
_REFUSED = 77


def run_limited(scenario: str, root: Path) -> dict[str, Any]:
    """Run a scenario below in a process and a user namespace of its own; give what it printed."""
    command = [sys.executable, "-m", "tests.watch.limited", scenario, root]
    project = Path(__file__).parents[2]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=project)
    if done.returncode == _REFUSED:
        pytest.skip("no user namespace can be made here")
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def enter_namespace() -> None:
    """Become root of a new user namespace, whose limits are its own."""
    user, group = os.geteuid(), os.getegid()
    if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWUSER) != 0:
        sys.exit(_REFUSED)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"0 {user} 1")
    Path("/proc/self/gid_map").write_text(f"0 {group} 1")


def limit(name: str, value: int) -> None:
    """Set /proc/sys/user/NAME of this namespace.  Source: namespaces(7)."""
    (Path("/proc/sys/user") / name).write_text(str(value))


def few_watches(root: Path) -> dict[str, Any]:
    """Forty directories and twenty watches."""
    for number in range(40):
        (root / f"d{number}").mkdir()
    limit("max_inotify_watches", 20)
    with watching(root, polling_seconds=0.05) as seen:
        seen.wait_doubt("polling", times=2)
        (root / "a.pth").write_bytes(b"x")
        seen.wait_hint("a.pth", closed=True)
        return report(seen)


def few_watches_later(root: Path) -> dict[str, Any]:
    """The limit is reached by a directory that is made while the observer runs."""
    with watching(root, polling_seconds=0.05) as seen:
        limit("max_inotify_watches", 1)
        (root / "one-too-many").mkdir()
        seen.wait_doubt("watch limit")
        seen.wait_doubt("polling")
        return report(seen)


def no_watch(root: Path) -> dict[str, Any]:
    """Not even the root can be watched."""
    limit("max_inotify_watches", 0)
    with watching(root, polling_seconds=0.05) as seen:
        seen.wait_doubt("polling")
        return report(seen)


def no_instance(root: Path) -> dict[str, Any]:
    """All inotify instances of this user are taken."""
    limit("max_inotify_instances", 0)
    with watching(root, polling_seconds=0.05) as seen:
        seen.wait_doubt("polling")
        return report(seen)


def many_restarts(root: Path) -> dict[str, Any]:
    """Three instances at a time, and ten restarts that each take one."""
    limit("max_inotify_instances", 2)
    with watching(root) as seen:
        for _ in range(10):
            seen.observer.restart()
        wait_until(seen.observer.alive, "the observer to live")
        return report(seen)


def report(seen: Any) -> dict[str, Any]:
    """Put what is to be asserted into JSON."""
    return {
        "alive": seen.observer.alive(),
        "polling": seen.observer.is_polling,
        "findings": [finding.code for finding in seen.observer.findings],
        "refused": seen.observer.losses.refused_watches,
        "limit_doubts": seen.doubts.count("watch limit"),
    }


if __name__ == "__main__":
    scenarios: dict[str, Callable[[Path], dict[str, Any]]] = {
        each.__name__: each for each in (few_watches, few_watches_later, no_watch, no_instance, many_restarts)
    }
    enter_namespace()
    print(json.dumps(scenarios[sys.argv[1]](Path(sys.argv[2]))))
