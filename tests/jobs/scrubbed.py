"""Roots with checkpoints in an index, a job's context around them, and rot: a bit flips, and the times stay as they were."""

from __future__ import annotations

import io
import json
import os
import time
from pathlib import Path
from typing import Any

import structlog

from ckptd.archive.interface import Format
from ckptd.checkpoint.inspection import inspect_path
from ckptd.index.archived import load_archives
from ckptd.index.ledger import load_checks
from ckptd.index.store import Store
from ckptd.jobs.archiving import Wanted, write_archive
from ckptd.jobs.drilling import run_drill
from ckptd.jobs.registry import JobContext, JobOutcome
from ckptd.jobs.roots import WatchedRoot
from ckptd.jobs.scrubbing import run_scrub
from ckptd.settings import load_settings
from ckptd.storage.journal import Journal
from ckptd.storage.state import STATE, ensure_state_dir
from ckptd.watch.wanted import compile_wanted

DAY = 86_400.0
NAME = "conv6.weight"


class Ticking:
    """Monotonic seconds; each look at it takes as long as a test says."""

    def __init__(self, step: float = 0.0) -> None:
        self.now = 1_000.0
        self.step = step

    def __call__(self) -> float:
        self.now += self.step
        return self.now


class Stop:
    """Says whether to stop; what it does at which question is a test's."""

    def __init__(self) -> None:
        self.asked = 0
        self.at: dict[int, Any] = {}
        self.after: int | None = None

    def __call__(self) -> bool:
        self.asked += 1
        self.at.get(self.asked, lambda: None)()
        return self.after is not None and self.asked > self.after


class Bench:
    """Some roots, and the jobs that look after them."""

    def __init__(self, place: Path, *names: str, **tables: Any) -> None:
        self.paths = [place / name for name in names or ("models",)]
        for path in self.paths:
            path.mkdir(exist_ok=True)
        self.settings = load_settings(None, {"roots": [str(path) for path in self.paths], **tables}, {})
        self.state_dir = ensure_state_dir(self.paths[0] / STATE)
        self.store = Store.open(self.state_dir / "index.sqlite")
        self.now = time.time()
        self.stop = Stop()
        self.log: list[Any] = []
        self.roots = []
        for number, path in enumerate(self.paths):
            root = WatchedRoot.open(number, path, compile_wanted(self.settings.suffixes))
            root.look_again()
            self.roots.append(root)

    @property
    def context(self) -> JobContext:
        return JobContext(
            self.settings,
            self.store,
            Journal(self.state_dir),
            self.roots,
            self.state_dir,
            lambda: self.now,
            self.store.run,
            self.stop,
            structlog.get_logger(),
        )

    def close(self) -> None:
        self.store.close()
        for root in self.roots:
            root.handle.close()

    # — files —

    def save(
        self, name: str = "a.pth", seed: int = 0, *, how: str = "zip", rows: int = 64, root: int = 0, days: float = 0.0
    ) -> Path:
        """Save a checkpoint of two tensors, and index it as of some days ago."""
        path = self.paths[root] / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(make(seed, how=how, rows=rows))
        self.index(path, days=days)
        return path

    def copy(self, path: Path, name: str) -> Path:
        """Copy a file within its root, and index it; a legacy file has addresses of memory in it, and no second is equal."""
        made = path.parent / name
        made.write_bytes(path.read_bytes())
        self.index(made)
        return made

    def index(self, path: Path, *, days: float = 0.0) -> None:
        """Write down what lies there, as ingest does; when it was first seen, `days` ago, is the first word that counts."""
        root, relative = self.split(path)
        inspection = inspect_path(path)
        assert inspection.sha256 is not None
        assert inspection.identity is not None
        with self.store.batch() as batch:
            batch.record_ready(root, relative, inspection.identity, inspection, now=self.now - days * DAY)

    def split(self, path: Path) -> tuple[str, str]:
        root = next(root for root in self.paths if path.is_relative_to(root))
        return os.path.realpath(root), str(path.relative_to(root))

    def digest(self, path: Path) -> str:
        known = self.store.find_place(*self.split(path))
        assert known is not None
        assert known.sha256 is not None
        return known.sha256

    def archive(self, *paths: Path, format_name: str = "tar.gz") -> Path:
        """Write an archive of some checkpoints of the first root."""
        wanted = [Wanted(self.split(path)[1], self.digest(path), path.stat().st_size, {}) for path in paths]
        stored = write_archive(self.context, self.roots[0], wanted, format_name=format_name)
        return Path(stored.directory, stored.name)

    def fill_disks(self) -> None:
        """Let nothing more be written on any disk."""
        policy = self.settings.policy.model_copy(update={"free_bytes": 1 << 60})
        self.settings = self.settings.model_copy(update={"policy": policy})

    # — jobs —

    def scrub(self, clock: Any = None) -> JobOutcome:
        self.stop.asked = 0
        with structlog.testing.capture_logs() as self.log:
            return run_scrub(self.context, clock or Ticking())

    def drill(self, random: Any) -> JobOutcome:
        with structlog.testing.capture_logs() as self.log:
            return run_drill(self.context, random)

    def events(self, event: str) -> list[Any]:
        return [entry for entry in self.log if entry["event"] == event]

    def outcomes(self) -> dict[str, str]:
        return {path: check.outcome for (_, path), check in self.store.ask(load_checks).items()}

    def archives(self) -> list[Any]:
        return self.store.ask(load_archives)

    def audit(self, what: str) -> list[tuple[str | None, dict[str, Any]]]:
        def read(connection: Any, _host: str) -> list[Any]:
            return connection.exec_driver_sql("SELECT what, path, why FROM audit ORDER BY id").all()

        return [
            (None if path is None else os.fsdecode(path), json.loads(why))
            for found, path, why in self.store.ask(read)
            if found == what
        ]

    def scratch(self) -> list[str]:
        return [str(path) for root in self.paths for path in root.glob(f"{STATE}/scratch/*")]


def make(seed: int, *, how: str = "zip", rows: int = 64) -> bytes:
    """Make the bytes of a checkpoint, in one of the containers."""
    import torch  # a process that only looks at what was saved does not wait for it

    generator = torch.Generator().manual_seed(seed)
    value = {"conv1.bias": torch.randn(32, generator=generator), NAME: torch.randn(rows, 32, generator=generator)}
    buffer = io.BytesIO()
    torch.serialization.set_crc32_options(how != "no crc")
    try:
        torch.save(value, buffer, _use_new_zipfile_serialization=how != "legacy")
    finally:
        torch.serialization.set_crc32_options(True)
    return buffer.getvalue()


def tensor_at(seed: int, rows: int = 64) -> bytes:
    """Give the bytes of the large tensor, by which it is found in the file."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    torch.randn(32, generator=generator)
    return torch.randn(rows, 32, generator=generator).numpy().tobytes()


def rot(path: Path, at: int | bytes) -> None:
    """Flip a bit in place, at an offset or in the middle of some bytes, and leave the times as they were."""
    data, seen = path.read_bytes(), path.stat()
    if isinstance(at, bytes):
        start = data.index(at)
        at = start + len(at) // 2
    with path.open("r+b") as file:
        file.seek(at)
        file.write(bytes([data[at] ^ 0x10]))
    os.utime(path, ns=(seen.st_atime_ns, seen.st_mtime_ns))


class Wrapped:
    """A format of archives whose `restore` does something of a test's instead."""

    def __init__(self, made: Format, restore: Any) -> None:
        self.made = made
        self.restore = restore

    def __getattr__(self, name: str) -> Any:
        return getattr(self.made, name)
