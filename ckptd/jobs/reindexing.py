"""Build the index anew beside the old one and put it in its place: from checkpoints, sidecars and the journal.

What alerts and hooks were about is in none of these: it is taken over from the old index, where that can be read.
"""

from __future__ import annotations

import os
import selectors
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import structlog

from ckptd.errors import CkptdError, WorkerError
from ckptd.index.carrying import Followed, begin_carrying, end_carrying, load_followed
from ckptd.index.store import Store
from ckptd.jobs.engine import Engine
from ckptd.jobs.replaying import replay_places
from ckptd.jobs.scanning import Progress, ScanSummary, scan_roots
from ckptd.model import Identity, RawIdentity
from ckptd.proof import Export, Recipe
from ckptd.wire_exports import export_from_json, raw_identity, recipe_from_json
from ckptd.wire_values import read_digest, read_identity

_log = structlog.get_logger()

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
        followed = _read_followed(state_dir / name)
        if followed is not None:
            with engine.store.batch() as batch:
                batch.tell(begin_carrying, followed)
        engine.store.import_first_seen(find_first_seen(engine.journal.replay()))
        _remember_outputs(engine)
        summary = scan_roots(engine, selector, (), progress, exports=False)
        replay_places(engine.store, engine.journal.replay(), [root.path for root in engine.roots])
        if followed is not None:
            with engine.store.batch() as batch:
                batch.tell(end_carrying, followed)
        engine.store.finish()
        engine.store.close()
        # Still under the lock.  The old write-ahead log must not meet the new file; a kill between the two leaves no index,
        # and then one is made anew.
        _remove(state_dir, name)
        with _opened(state_dir) as directory:
            os.rename(fresh, name, src_dir_fd=directory, dst_dir_fd=directory)
        _remove(state_dir, fresh)
    return summary


def _read_followed(file: Path) -> Followed | None:
    """Read what the new index takes over from the old one; None where there is none, or none that can be read."""
    if not file.exists():
        return None
    try:
        with closing(Store.open_to_look(file)) as store:
            return store.ask(load_followed)
    except CkptdError as error:
        _log.warning("index.unfollowed", reason=str(error))
        return None


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


class Output(NamedTuple):
    """A file that we wrote, as the journal has it."""

    sha256: str
    at: float
    what: str = "sidecar"
    identity: RawIdentity | None = None


def find_outputs(lines: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], Output]:
    """Take out of the journal what we wrote ourselves: (root, path) → what it was, the last word for each."""
    outputs: dict[tuple[str, str], Output] = {}
    for line in lines:
        match line:
            case {"event": "output", "root": str(root), "path": str(path), "sha256": str(digest), "at": float(at) | int(at)}:
                what = "export" if line.get("what") == "export" else "sidecar"
                outputs[root, path] = Output(digest, at, what, _read_identity(line.get("identity")))
    return outputs


def find_exports(lines: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str, str], tuple[Export, float]]:
    """Take out of the journal what became of each export: (root, path, target) → (export, when), the last word for each.

    A checkpoint that was renamed has none until they are made again under its new name.
    """
    exports: dict[tuple[str, str], dict[str, tuple[Export, float]]] = {}
    for line in lines:
        match line:
            case {"event": "export", "root": str(root), "path": str(path), "target": str(target), "at": float(at) | int(at)}:
                known = exports.setdefault((root, path), {})
                export = _read_export(line.get("export"))
                if export is not None and export.target == target:
                    known[target] = export, at
            case {"event": "moved", "root": str(root), "source": str(source)}:
                exports.pop((root, source), None)
    return {(*place, target): found for place, known in exports.items() for target, found in known.items()}


def find_recipes(lines: Iterable[Mapping[str, Any]]) -> dict[str, tuple[Recipe, str | None, float]]:
    """Take out of the journal the recipes that fit: group → (recipe, digest of what it was learnt on, when), the last word."""
    recipes: dict[str, tuple[Recipe, str | None, float]] = {}
    for line in lines:
        match line:
            case {"event": "recipe", "group": str(group), "at": float(at) | int(at)}:
                with suppress(WorkerError):
                    recipes[group] = recipe_from_json(line.get("recipe")), read_digest(line.get("sha256"), "sha256"), at
    return recipes


def _read_export(value: object) -> Export | None:
    try:
        return export_from_json(value)
    except WorkerError:
        return None


def _read_identity(value: object) -> RawIdentity | None:
    if not isinstance(value, list) or len(value) != len(Identity._fields):
        return None
    try:
        return raw_identity(read_identity(dict(zip(Identity._fields, value, strict=True))))
    except WorkerError:
        return None


def _remember_outputs(engine: Engine) -> None:
    """Write what the journal knows of our own files, exports and recipes into the new index."""
    with engine.store.batch() as batch:
        for (root, path), output in find_outputs(engine.journal.replay()).items():
            batch.record_output(root, path, output.sha256, output.what, now=output.at, identity=output.identity)
        for (root, path, _), (export, at) in find_exports(engine.journal.replay()).items():
            batch.record_export(root, path, export, now=at)
        for group, (recipe, sha256, at) in find_recipes(engine.journal.replay()).items():
            batch.record_recipe(group, recipe, sha256=sha256, now=at)
    engine.ingest.own_exports.load()


def _remove(state_dir: Path, name: str) -> None:
    with _opened(state_dir) as directory:
        for ending in ("", *_COMPANIONS):
            with suppress(FileNotFoundError):
                os.unlink(name + ending, dir_fd=directory)


@contextmanager
def _opened(state_dir: Path) -> Iterator[int]:
    """Open the state directory; where a link was put in its place by now, nothing is done there."""
    fd = os.open(state_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)
