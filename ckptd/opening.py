"""Open what writes: the one place that builds adapters from the settings and hands them to the stages.

The daemon imports this and nothing of `app`: what people ask for now and then must not lie in its memory for a year.
"""

from __future__ import annotations

import selectors
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import structlog

from ckptd.errors import IndexUnavailableError
from ckptd.export.runner import Runner, Told
from ckptd.index.store import Store
from ckptd.jobs.asking import Drive, run_until_idle
from ckptd.jobs.describing import Describing
from ckptd.jobs.engine import Engine
from ckptd.jobs.exporting import Exporting
from ckptd.jobs.functions import FunctionShelf
from ckptd.jobs.holding import KeptLocks, hold_roots
from ckptd.jobs.ingest import Ingest, NextTry
from ckptd.jobs.losses import Losses
from ckptd.jobs.own_exports import OwnExports
from ckptd.jobs.placing import Placing
from ckptd.jobs.planning import Planning
from ckptd.jobs.reading import Reading
from ckptd.jobs.recording import Recording
from ckptd.jobs.remembering import Remembering
from ckptd.jobs.replaying import has_history, replay_retention
from ckptd.jobs.resolving import Resolving
from ckptd.jobs.roots import WatchedRoot
from ckptd.jobs.settling import Settling
from ckptd.jobs.upkeep import Upkeep
from ckptd.policy.settle import SettleRules
from ckptd.settings import Settings
from ckptd.settings.places import find_state_dir as find_state_dir
from ckptd.storage.journal import Journal
from ckptd.storage.state import ensure_state_dir
from ckptd.watch.wanted import compile_wanted

_log = structlog.get_logger()

#: The index in the state directory; embedded SQLite.
INDEX_NAME = "index.sqlite"


@contextmanager
def open_engine(
    settings: Settings,
    selector: selectors.BaseSelector,
    *,
    want_rescan: Callable[[int, str], None],
    next_try: NextTry,
    open_store: Callable[[Path], Store] = Store.open,
    index: str = INDEX_NAME,
    waits_for_roots: bool = False,
    kept: KeptLocks | None = None,
    yields_roots: bool = False,
) -> Iterator[Engine]:
    """Take the lock and build the stages; give everything back at the end.

    Args:
        settings: what to build.
        selector: of the loop that will call `ingest.step`.
        want_rescan: called when a root is to be looked at as a whole.
        next_try: says when a failed inspection is tried again; a single pass doesn't wait for that.
        open_store: opens the index; for a process that lives long, `open_store_lean`.
        index: file name in the state directory; a reindex builds another one beside it.
        waits_for_roots: take a root that the index knows and that is not there for an incident, and wait for it.
        kept: locks that this process holds already.
        yields_roots: take a root that another process has by now for an incident, and wait for it.

    Raises:
        AlreadyRunningError: another process holds the lock.
        CkptdError: a root, the state directory or the index can't be opened.
    """
    wanted = compile_wanted(settings.suffixes, settings.ignore)
    open_root = WatchedRoot.open_or_wait if waits_for_roots else WatchedRoot.open
    take = (KeptLocks() if kept is None else kept).hold
    with ExitStack() as stack:
        roots = [stack.enter_context(open_root(number, path, wanted)) for number, path in enumerate(settings.roots)]
        state_dir = ensure_state_dir(find_state_dir(settings))
        lock = stack.enter_context(take(state_dir))
        started_at = time.time()
        journal = Journal(state_dir)
        store = stack.enter_context(closing(open_store(state_dir / index)))
        if store.owner != store.host:
            _log.info("index.adopted", owner=store.owner, host=store.host)
        # By what is in it: a file without roots is what a start left that was broken off, or a job that came first.
        if not store.knows_roots():
            if has_history(roots, journal):
                replay_retention(store, journal, [root.path for root in roots], now=started_at)
            else:  # before one is marked: a start that is broken off behind that is no other index that was lost
                _save_roots(store, [root for root in roots if root.absence is None])
        reading = stack.enter_context(closing(Reading(selector, settings.inspect, time.monotonic)))
        for root in roots:
            root.learn(store)
            root.look_again()
            store.save_root(root.path, root.root_id)
        root_locks = stack.enter_context(hold_roots(state_dir, roots, take, yields=yields_roots))
        rules = SettleRules(settings.watch.settle_seconds, settings.watch.incomplete_seconds)
        clocks: Any = {"now": time.monotonic, "wall": time.time}
        recording = Recording(store, journal)
        describing = Describing(FunctionShelf(settings.functions), enabled=settings.sidecar.enabled)
        own_exports = OwnExports(roots, store)
        own_exports.load()
        upkeep = Upkeep(roots, store, recording, describing, own_exports, **clocks)
        runner = stack.enter_context(closing(Runner(selector, settings.export, time.monotonic)))
        exporting = _build_exporting(settings, roots, store, recording, own_exports, upkeep, runner)
        ingest = Ingest(
            roots,
            store,
            Settling(roots, rules, time.monotonic),
            reading,
            upkeep,
            Losses(roots, store, recording, want_rescan=want_rescan, **clocks),
            recording,
            own_exports,
            next_try=next_try,
            recorded=exporting.arrived,
            **clocks,
        )
        upkeep.described = exporting.arrived
        exporting.sweep(started_at)
        yield Engine(roots, store, journal, ingest, exporting, reading, lock, root_locks, state_dir, started_at)
        ingest.close()


@contextmanager
def open_exporting(settings: Settings, store: Store, told: Told) -> Iterator[tuple[Exporting, list[WatchedRoot], Drive]]:
    """Build what exports a checkpoint that the index knows, without the lock: a daemon may run beside it.

    Both write whole rows and whole files, and never one that is not theirs; so the later one of two exports wins, and nothing
    is lost.

    Yields:
        The stage, the roots, and a function that runs the loop until nothing is left to do.
    """
    wanted, clocks = compile_wanted(settings.suffixes, settings.ignore), {"now": time.monotonic, "wall": time.time}
    with ExitStack() as stack:
        selector = stack.enter_context(selectors.DefaultSelector())
        roots = [
            stack.enter_context(WatchedRoot.open_or_wait(number, path, wanted)) for number, path in enumerate(settings.roots)
        ]
        recording = Recording(store, Journal(find_state_dir(settings)))
        describing = Describing(FunctionShelf(settings.functions), enabled=settings.sidecar.enabled)
        own = OwnExports(roots, store)
        own.load()
        upkeep = Upkeep(roots, store, recording, describing, own, **clocks)
        runner = stack.enter_context(closing(Runner(selector, settings.export, time.monotonic, told)))
        exporting = _build_exporting(settings, roots, store, recording, own, upkeep, runner)
        yield exporting, roots, lambda: run_until_idle(exporting, upkeep, selector)
        if not recording.flush(time.monotonic()):
            cure = "ask again: what is in place is taken as it is"
            raise IndexUnavailableError("remember exports", why="the index can't be written just now", cure=cure)


def _save_roots(store: Store, roots: Iterable[WatchedRoot]) -> None:
    """Write down that roots are looked after; which mark they have is not known yet."""
    with store.batch() as batch:
        for root in roots:
            batch.save_root(root.path, None)


def _build_exporting(
    settings: Settings,
    roots: list[WatchedRoot],
    store: Store,
    recording: Recording,
    own: OwnExports,
    upkeep: Upkeep,
    runner: Runner,
) -> Exporting:
    clocks: Any = {"now": time.monotonic, "wall": time.time}
    planning = Planning(store, Resolving(store, settings), settings.export, own, wall=time.time)
    remembering = Remembering(recording, own, now=time.monotonic)
    placing = Placing(own, remembering, wall=time.time)
    return Exporting(roots, store, planning, remembering, placing, upkeep, runner, settings.export, **clocks)
