"""Build the index anew beside the old one and put it in its place: from checkpoints, sidecars and the journal."""

from __future__ import annotations

import selectors
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from ckptd.jobs.engine import Engine
from ckptd.jobs.scanning import Progress, ScanSummary, scan_roots

#: Opens the stages on an index file of the given name.
OpenEngine = Callable[[selectors.BaseSelector, str], AbstractContextManager[Engine]]

#: What SQLite keeps beside an index in WAL mode.
_COMPANIONS = ("-wal", "-shm")


def rebuild_index(open_engine: OpenEngine, state_dir: Path, name: str, progress: Progress | None = None) -> ScanSummary:
    """Read every checkpoint again and replace the index; the old one stays until the new one is whole.

    A root that is not what it was is not read and keeps nothing of the old index: such a reindex is refused.

    Raises:
        RootLostError: a root is not there.
        CkptdError: another process holds the lock, or the disk said no; the old index is as it was.
    """
    fresh = f"{name}.new"
    _remove(state_dir, fresh)
    with selectors.DefaultSelector() as selector, open_engine(selector, fresh) as engine:
        engine.store.import_first_seen(find_first_seen(engine.journal.replay()))
        _record_outputs(engine)
        summary = scan_roots(engine, selector, (), progress)
        engine.store.finish()
        engine.store.close()
        # Still under the lock.  The old write-ahead log must not meet the new file; a kill between the two leaves no index,
        # and then one is made anew.
        _remove(state_dir, name)
        (state_dir / fresh).replace(state_dir / name)
        _remove(state_dir, fresh)
    return summary


def find_first_seen(lines: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], float]:
    """Take out of the journal when each place was first seen: (root, path) → seconds since the epoch."""
    first: dict[tuple[str, str], float] = {}
    for line in lines:
        match line:
            case {"event": "seen", "root": str(root), "path": str(path), "at": float(at) | int(at)}:
                first[root, path] = min(at, first.get((root, path), at))
            case {"event": "moved", "root": str(root), "path": str(path), "source": str(source)}:
                if (root, source) in first:
                    first[root, path] = first[root, source]
    return first


def find_outputs(lines: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], tuple[str, float]]:
    """Take out of the journal what we wrote ourselves: (root, path) → (digest, when), the last word for each."""
    outputs: dict[tuple[str, str], tuple[str, float]] = {}
    for line in lines:
        match line:
            case {"event": "output", "root": str(root), "path": str(path), "sha256": str(digest), "at": float(at) | int(at)}:
                outputs[root, path] = digest, at
    return outputs


def _record_outputs(engine: Engine) -> None:
    with engine.store.batch() as batch:
        for (root, path), (digest, at) in find_outputs(engine.journal.replay()).items():
            batch.record_output(root, path, digest, "sidecar", now=at)


def _remove(state_dir: Path, name: str) -> None:
    for ending in ("", *_COMPANIONS):
        (state_dir / (name + ending)).unlink(missing_ok=True)
