"""An observer on a real directory whose hints and doubts are kept, and what the kernel's limits are lowered with."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ckptd.watch.observer import Observer

#: Generous: a machine under load.  A test that passes waits milliseconds.
PATIENCE_SECONDS = 20.0

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounts and sysctl need root")


def wait_until(condition: Callable[[], Any], what: str) -> Any:
    """Poll until `condition` gives something true, and give that back."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (value := condition()):
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.002)
    return value


class Watching:
    """Keep what an observer says."""

    def __init__(self, root: Path, **options: Any) -> None:
        self.hints: list[tuple[str, bool]] = []
        self.doubts: list[str] = []
        self.observer = Observer(root, lambda path, closed: self.hints.append((path, closed)), self.doubts.append, **options)

    def paths(self) -> set[str]:
        """Give every path that was hinted at."""
        return {path for path, _ in self.hints}

    def wait_hint(self, path: str, *, closed: bool | None = None) -> None:
        """Wait for a hint at a path, and for its writer to have let go when that is asked."""

        def came() -> bool:
            return any(each == path and closed in (None, said) for each, said in list(self.hints))

        wait_until(came, f"a hint at {path} ({closed=}), got {self.hints[-5:]}")

    def wait_paths(self, paths: set[str]) -> None:
        """Wait for hints at all of these."""
        wait_until(lambda: paths <= self.paths(), f"hints at {sorted(paths - self.paths())[:5]}")

    def wait_doubt(self, why: str, times: int = 1) -> None:
        """Wait for a doubt of that kind."""
        wait_until(lambda: self.doubts.count(why) >= times, f"a doubt for {why!r}, got {self.doubts}")


@contextmanager
def watching(root: Path, **options: Any) -> Iterator[Watching]:
    """Watch a directory for as long as the block lasts."""
    seen = Watching(root, **options)
    seen.observer.start()
    try:
        yield seen
    finally:
        seen.observer.stop()


@contextmanager
def kernel_limit(name: str, value: int) -> Iterator[None]:
    """Set /proc/sys/fs/inotify/NAME for as long as the block lasts."""
    limit = Path("/proc/sys/fs/inotify") / name
    before = limit.read_text()
    limit.write_text(str(value))
    try:
        yield
    finally:
        limit.write_text(before)
