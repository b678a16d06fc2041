"""A nursery that is driven as a runner of exports drives it."""

import os
import selectors
import time
from pathlib import Path

from ckptd.sandbox.command import worker_command
from ckptd.sandbox.jail import Jail, library_paths
from ckptd.sandbox.nursery import Job, Nursery

JOBS = worker_command("jobs_zygote", needs=(), paths=[str(Path(__file__).parent)])
#: Far beyond what any test takes; a loop that reaches it is a failure.
PATIENCE_SECONDS = 120
READABLE = (*library_paths(), str(Path(__file__).parent))


class Nursing:
    """A nursery with its loop, and a scratch directory that every job may write into."""

    def __init__(self, directory: Path, command=JOBS, **options):
        self.selector = selectors.DefaultSelector()
        self.nursery = Nursery(self.selector, command, **options)
        self.scratch = directory / "scratch"
        self.scratch.mkdir()
        self.fd = os.open(self.scratch, os.O_RDONLY)
        self.next_id = 0
        self.notes = []

    @property
    def zygote(self) -> int:
        return self.nursery.pids[0]

    def submit(self, function: str, *fds: int, jail: dict | None = None, seconds: float = 60.0, readable=(), **request) -> int:
        """Submit a job whose descriptors are the scratch directory, then `fds`."""
        self.next_id += 1
        box = Jail(**({"readable": READABLE, "memory_bytes": 512 << 20, "file_bytes": 8 << 20} | (jail or {})))
        self.nursery.submit(Job(self.next_id, function, request, (self.fd, *fds), (0,), tuple(readable), box, seconds))
        return self.next_id

    def step(self, seconds: float = 0.5) -> None:
        due = self.nursery.next_deadline()
        timeout = seconds if due is None else max(0.0, min(seconds, due - time.monotonic()))
        for key, _ in self.selector.select(timeout):
            key.data()
        self.nursery.tick(time.monotonic())
        self.notes += self.nursery.notes
        self.nursery.notes.clear()

    def until(self, condition) -> None:
        end = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            assert time.monotonic() < end, "the nursery did not get there"
            self.step()

    def results(self, count: int) -> dict:
        self.until(lambda: len(self.nursery.results) >= count)
        results = {result.id: result for result in self.nursery.results}
        assert len(results) == len(self.nursery.results) == count
        self.nursery.results.clear()
        return results

    def ask(self, function: str, *fds: int, **options):
        number = self.submit(function, *fds, **options)
        return self.results(1)[number]

    def attempt(self, function: str, *fds: int, **options) -> str:
        """Give how an attempt went: "done", the name of an error, or why the job has no answer."""
        result = self.ask(f"try_{function}", *fds, **options)
        return result.answer["outcome"] if result.answer else result.error.why

    def clear(self) -> list[str]:
        """Empty the scratch directory and say what was in it."""
        names = sorted(os.listdir(self.fd))
        for name in names:
            os.unlink(name, dir_fd=self.fd)
        return names

    def close(self) -> None:
        self.nursery.close()
        assert not len(self.nursery)
        assert not self.selector.get_map(), "the nursery left something in the selector"
        self.selector.close()
        os.close(self.fd)
