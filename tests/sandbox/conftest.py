"""A pool that is driven as the daemon drives it, and always ended."""

import os
import selectors
import time
from pathlib import Path

import pytest

from ckptd.sandbox.command import worker_command
from ckptd.sandbox.limits import Limits
from ckptd.sandbox.pool import Pool, Task

HERE = str(Path(__file__).parent)
ACTS = worker_command("acts_worker", needs=(), paths=[HERE])
#: Far beyond what any test takes; a loop that reaches it is a failure.
PATIENCE_SECONDS = 30


class Driver:
    """A pool with its loop."""

    def __init__(self, file: Path, **options):
        self.selector = selectors.DefaultSelector()
        self.file = file
        self.next_id = 0
        self.closed = False
        options = {"size": 1, "limits": Limits(), "idle_seconds": 60.0, "command": ACTS} | options
        self.pool = Pool(self.selector, options.pop("command"), **options)

    def submit(self, do: str, file: Path | None = None, **request) -> int:
        self.next_id += 1
        fd = os.open(file or self.file, os.O_RDONLY)
        self.pool.submit(Task(self.next_id, fd, {"do": do, **request}))
        return self.next_id

    def step(self, seconds: float = 0.5) -> None:
        due = self.pool.next_deadline()
        timeout = seconds if due is None else max(0.0, min(seconds, due - time.monotonic()))
        for key, _ in self.selector.select(timeout):
            key.data()
        self.pool.tick(time.monotonic())

    def until(self, condition) -> None:
        end = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            assert time.monotonic() < end, "the pool did not get there"
            self.step()

    def results(self, count: int) -> dict:
        self.until(lambda: len(self.pool.results) >= count)
        results = {result.id: result for result in self.pool.results}
        assert len(results) == len(self.pool.results) == count
        self.pool.results.clear()
        return results

    def ask(self, do: str, **request):
        number = self.submit(do, **request)
        return self.results(1)[number]

    def warm(self, count: int = 1) -> list[int]:
        self.pool.warm(count)
        self.until(lambda: all(child.ready for child in self.pool._children))
        return self.pool.pids

    def close(self) -> None:
        if self.closed:
            return
        self.closed = True
        self.pool.close()
        assert not self.selector.get_map(), "the pool left something in the selector"
        self.selector.close()


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"content")
    return path


@pytest.fixture
def drive(file):
    drivers = []

    def make(**options) -> Driver:
        drivers.append(Driver(file, **options))
        return drivers[-1]

    yield make
    for driver in drivers:
        driver.close()
