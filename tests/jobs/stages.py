"""All stages of one process over a real directory and a real index, with a clock of our own and a reader in this process."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from pathlib import Path

import structlog

from ckptd.checkpoint.inspection import inspect_fd
from ckptd.index.store import Store
from ckptd.jobs.describing import Describing
from ckptd.jobs.functions import FunctionShelf
from ckptd.jobs.ingest import Ingest
from ckptd.jobs.losses import Losses
from ckptd.jobs.own_exports import OwnExports
from ckptd.jobs.reading import Read
from ckptd.jobs.reconciling import reconcile_root
from ckptd.jobs.recording import Recording
from ckptd.jobs.roots import WatchedRoot
from ckptd.jobs.settling import Settling
from ckptd.jobs.upkeep import Upkeep
from ckptd.policy.retry import find_next_try
from ckptd.policy.settle import SettleRules
from ckptd.storage.journal import Journal
from ckptd.watch.wanted import compile_wanted


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


class Reader:
    """Reads in this process, at once; what it read can be asked for, and it can be told to fail."""

    room = 64

    def __init__(self):
        self.read = []
        self.errors = {}
        self.meanwhile = lambda _place: None
        self._answers = []

    def __contains__(self, place):
        return any(place == read.place for read in self._answers)

    def __len__(self):
        return len(self._answers)

    @property
    def places(self):
        return {read.place for read in self._answers}

    @property
    def free(self):
        return self.room - len(self._answers)

    @property
    def has_room(self):
        return self.free > 0

    def start(self, place, identity, fd, shown):
        self.read.append(place[1])
        error = self.errors.get(place[1])
        inspection = None if error else inspect_fd(fd, shown)
        os.close(fd)
        self._answers.append(Read(place, identity, inspection, error))
        self.meanwhile(place)

    def finished(self):
        while self._answers:
            yield self._answers.pop(0)

    def next_deadline(self):
        return None

    def tick(self, now):
        pass


class Stages:
    """Everything that `open_engine` builds, but for the pool and the clock."""

    def __init__(self, root: Path, state: Path, *, sidecars: bool = True, suffixes: tuple[str, ...] = (".pth",)):
        self.path = root
        self.clock = Clock()
        self.reader = Reader()
        self.rescans = []
        self.store = Store.open(state / "index.sqlite")
        self.journal = Journal(state)
        self.root = WatchedRoot.open(0, root, compile_wanted(list(suffixes)))
        self.root.learn(self.store)
        self.root.look_again()
        roots, clocks = [self.root], {"now": self.clock, "wall": time.time}
        self.recording = Recording(self.store, self.journal)
        self.describing = Describing(FunctionShelf([], self.clock), enabled=sidecars)
        self.own_exports = OwnExports(roots, self.store)
        self.own_exports.load()
        self.ingest = Ingest(
            roots,
            self.store,
            Settling(roots, SettleRules(), self.clock),
            self.reader,
            Upkeep(roots, self.store, self.recording, self.describing, self.own_exports, **clocks),
            Losses(roots, self.store, self.recording, want_rescan=lambda *why: self.rescans.append(why), **clocks),
            self.recording,
            self.own_exports,
            next_try=find_next_try,
            **clocks,
        )

    def hint(self, path, *, closed=True):
        self.ingest.hint((0, path), closed=closed)

    def settle(self, seconds=0.0):
        """Let time pass and step until nothing more is due now."""
        self.clock.now += seconds
        for _ in range(200):
            self.ingest.step()
            due = self.ingest.next_due()
            if due is None or due > self.clock.now:
                return
        raise AssertionError("the stages do not come to rest")

    def reconcile(self, why="start", **options):
        options = {"started_at": time.time(), **options}
        done = reconcile_root(self.root, self.store, self.ingest, why, **options)
        self.settle()
        return done

    def record(self, path):
        return self.store.find_record(self.root.path, path)

    def close(self):
        self.ingest.close()
        self.store.close()
        self.root.handle.close()


@contextmanager
def staged(root: Path, **options):
    """Give the stages and what they logged, and put everything back."""
    root.mkdir(exist_ok=True)
    state = root.parent / "state"
    state.mkdir(exist_ok=True, mode=0o700)
    with structlog.testing.capture_logs() as log:
        stages = Stages(root, state, **options)
        stages.log = log
        try:
            yield stages
        finally:
            stages.close()


def names(log, *events):
    """Give (event, path) of what was logged, of some events or of all."""
    return [(entry["event"], entry.get("path")) for entry in log if not events or entry["event"] in events]
