"""The stages and adapters of one process that writes, together."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ckptd.index.store import Store
from ckptd.jobs.exporting import Exporting
from ckptd.jobs.holding import RootLocks
from ckptd.jobs.ingest import Ingest
from ckptd.jobs.reading import Reading
from ckptd.jobs.roots import WatchedRoot
from ckptd.storage.journal import Journal
from ckptd.storage.lock import Lock


@dataclass(slots=True)
class Engine:
    """Everything that writes: roots, index and the stages between, under the lock of the state directory.

    Attributes:
        started_at: when the lock was taken, seconds since the epoch.
    """

    roots: list[WatchedRoot]
    store: Store
    journal: Journal
    ingest: Ingest
    exporting: Exporting
    reading: Reading
    lock: Lock
    root_locks: RootLocks
    state_dir: Path
    started_at: float
