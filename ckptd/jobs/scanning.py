"""One pass over the roots in the foreground: what the daemon does at its start, and then the end."""

from __future__ import annotations

import os
import selectors
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ckptd.errors import RootLostError, UsageError
from ckptd.jobs.engine import Engine
from ckptd.jobs.reconciling import Reconciled, reconcile_root
from ckptd.text import escape

#: Called with (files done, files to do).
Progress = Callable[[int, int], None]

#: The pass looks at what it waits for at least this often.
_LONGEST_SLEEP_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class ScanSummary:
    """What one pass did; counts of files.

    Attributes:
        unfinished: still being written, or young and without an end; the next pass looks again.
        frozen: losses that are not believed; `ckptd scan --believe-losses` does.
        exported: exports that were made and verified.
    """

    seen: int = 0
    new: int = 0
    changed: int = 0
    unchanged: int = 0
    moved: int = 0
    rejected: int = 0
    missing: int = 0
    unfinished: int = 0
    frozen: int = 0
    exported: int = 0
    seconds: float = 0.0


def scan_roots(
    engine: Engine,
    selector: selectors.BaseSelector,
    paths: Sequence[str] = (),
    progress: Progress | None = None,
    *,
    believe_losses: bool = False,
    exports: bool = True,
) -> ScanSummary:
    """Look at everything below the roots, or below `paths` in them, until nothing is left but files in somebody's hands.

    Args:
        engine: all stages.
        selector: that the stages are registered in.
        paths: absolute or relative to the present directory; the whole of all roots when empty.
        progress: told of files.
        believe_losses: take what is gone for gone.
        exports: make the exports that the settings name, too.

    Raises:
        UsageError: a path lies in no root.
        RootLostError: a root is not what it was.
    """
    start = time.perf_counter()
    wanted = [_find_place(engine, path) for path in paths]
    done = [] if paths else [_reconcile(engine, number, believe_losses) for number in range(len(engine.roots))]
    for place in wanted:
        engine.ingest.hint(place, closed=False)
    _drain(engine, selector, progress)
    if exports:
        _export(engine, selector, everything=not paths)
    total = _add(done)
    counts = engine.ingest.counts
    looked_at = len(wanted) if paths else total.seen
    return ScanSummary(
        seen=looked_at,
        new=total.new if not paths else counts.read,
        changed=total.changed,
        unchanged=total.unchanged if not paths else counts.recalled,
        moved=total.moved,
        rejected=counts.rejected,
        missing=total.missing - total.frozen,
        unfinished=engine.ingest.unfinished,
        frozen=total.frozen,
        exported=engine.exporting.verified,
        seconds=round(time.perf_counter() - start, 3),
    )


def _reconcile(engine: Engine, number: int, believe_losses: bool) -> Reconciled:
    root = engine.roots[number]
    if root.incident is not None and believe_losses:
        root.adopt()
        engine.store.save_root(root.path, root.root_id)
    if root.incident is not None:
        cure = "mount it; or, if it is meant to be so, `ckptd scan --believe-losses`"
        raise RootLostError("scan a root", path=root.path, why=root.incident, cure=cure)
    return reconcile_root(
        root, engine.store, engine.ingest, "scan", started_at=engine.started_at, believe_losses=believe_losses
    )


def _drain(engine: Engine, selector: selectors.BaseSelector, progress: Progress | None) -> None:
    ingest = engine.ingest
    total = ingest.waiting
    while True:
        ingest.step()
        if progress is not None and total:
            total = max(total, ingest.waiting)
            progress(total - ingest.waiting, total)
        if ingest.is_idle or (ingest.is_patient and not ingest.hand_over_abandoned(time.time())):
            break
        _wait(selector, ingest.next_due())


def _export(engine: Engine, selector: selectors.BaseSelector, *, everything: bool) -> None:
    """Make the exports of what was found, and of what the index misses, without a wait for quiet."""
    exporting, ingest = engine.exporting, engine.ingest
    if everything:
        for root in engine.roots:
            exporting.look_for_missing(root.number)
    exporting.hurry()
    while not exporting.is_idle:
        exporting.step(time.monotonic())
        ingest.step()
        if exporting.failure is not None:
            raise exporting.failure
        due = [at for at in (exporting.next_due(), ingest.next_due()) if at is not None]
        _wait(selector, min(due, default=None))


def _wait(selector: selectors.BaseSelector, due: float | None) -> None:
    """Wait for something to happen, or until something is due, and not for long."""
    pause = _LONGEST_SLEEP_SECONDS if due is None else max(0.0, min(due - time.monotonic(), _LONGEST_SLEEP_SECONDS))
    for key, _ in selector.select(pause):
        key.data()


def _find_place(engine: Engine, path: str) -> tuple[int, str]:
    real = os.path.join(os.path.realpath(os.path.dirname(path) or "."), os.path.basename(path))
    for root in engine.roots:
        if real == root.path or real.startswith(root.path.rstrip("/") + "/"):
            return root.number, real[len(root.path.rstrip("/")) + 1 :]
    roots = ", ".join(root.path for root in engine.roots)
    raise UsageError(
        "scan a path", path=escape(path), why=f"it lies in none of the roots: {roots}", cure="name its root by --root"
    )


def _add(parts: Sequence[Reconciled]) -> Reconciled:
    names = ("seen", "new", "changed", "returned", "unchanged", "moved", "missing", "frozen")
    return Reconciled(**{name: sum(getattr(part, name) for part in parts) for name in names})
