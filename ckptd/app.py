"""App: the one place that builds adapters from the settings and hands them to jobs."""

from __future__ import annotations

import os
import selectors
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

from ckptd.errors import IndexUnavailableError, UsageError
from ckptd.export.runner import Runner, Told
from ckptd.export.units import Unit
from ckptd.index.store import Store
from ckptd.jobs.asking import Drive, RecipeCheck, build_model, check_recipe, export_one, run_until_idle, suggest_recipe
from ckptd.jobs.checks import Check
from ckptd.jobs.describing import Describing
from ckptd.jobs.doctoring import check_all
from ckptd.jobs.engine import Engine
from ckptd.jobs.exporting import Exporting
from ckptd.jobs.functions import FunctionShelf
from ckptd.jobs.ingest import Ingest, NextTry
from ckptd.jobs.losses import Losses
from ckptd.jobs.own_exports import OwnExports
from ckptd.jobs.placing import Placing
from ckptd.jobs.planning import Planning
from ckptd.jobs.querying import SidecarView, find_best, find_one, find_records, regenerate_sidecar, view_sidecar
from ckptd.jobs.reading import Reading
from ckptd.jobs.recording import Recording
from ckptd.jobs.reindexing import rebuild_index
from ckptd.jobs.remembering import Remembering
from ckptd.jobs.resolving import Resolving
from ckptd.jobs.roots import WatchedRoot
from ckptd.jobs.scanning import Progress, ScanSummary, scan_roots
from ckptd.jobs.settling import Settling
from ckptd.jobs.upkeep import Upkeep
from ckptd.model import Record
from ckptd.policy.settle import SettleRules
from ckptd.proof import Export
from ckptd.settings import Settings
from ckptd.storage.journal import Journal
from ckptd.storage.lock import hold
from ckptd.storage.state import ensure_state_dir
from ckptd.watch.wanted import compile_wanted

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
) -> Iterator[Engine]:
    """Take the lock and build the stages; give everything back at the end.

    Args:
        settings: what to build.
        selector: of the loop that will call `ingest.step`.
        want_rescan: called when a root is to be looked at as a whole.
        next_try: says when a failed inspection is tried again; a single pass doesn't wait for that.
        open_store: opens the index; for a process that lives long, `open_store_lean`.
        index: file name in the state directory; a reindex builds another one beside it.

    Raises:
        AlreadyRunningError: another process holds the lock.
        CkptdError: a root, the state directory or the index can't be opened.
    """
    wanted = compile_wanted(settings.suffixes, settings.ignore)
    with ExitStack() as stack:
        roots = [stack.enter_context(WatchedRoot.open(number, path, wanted)) for number, path in enumerate(settings.roots)]
        state_dir = ensure_state_dir(find_state_dir(settings))
        lock = stack.enter_context(hold(state_dir))
        started_at = time.time()
        store = stack.enter_context(closing(open_store(state_dir / index)))
        journal = Journal(state_dir)
        reading = stack.enter_context(closing(Reading(selector, settings.inspect, time.monotonic)))
        for root in roots:
            root.learn(*store.load_root(root.path))
            root.look_again()
            store.save_root(root.path, root.root_id)
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
        yield Engine(roots, store, journal, ingest, exporting, reading, lock, state_dir, started_at)
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
        roots = [stack.enter_context(WatchedRoot.open(number, path, wanted)) for number, path in enumerate(settings.roots)]
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


def find_state_dir(settings: Settings) -> Path:
    """Give the state directory: the settings', else `.ckptd` in the first root."""
    return Path(os.path.realpath(settings.state_dir or settings.roots[0] / ".ckptd"))


class App:
    """What the command line and `ckptd.open` ask; each method is one verb.

    Nothing is opened before it is needed, so that `scan` takes the lock and `ls` does not.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._store: Store | None = None

    def close(self) -> None:
        """Give the index back."""
        if self._store is not None:
            self._store.close()
            self._store = None

    @property
    def store(self) -> Store:
        """The index, for reading.

        Raises:
            UsageError: there is none yet.
        """
        if self._store is None:
            path = find_state_dir(self.settings) / INDEX_NAME
            if not path.exists():
                cure = "start it with `ckptd run`, or make one pass with `ckptd scan`"
                raise UsageError("there is no index yet", path=path, why="ckptd never looked at this root", cure=cure)
            self._store = Store.open(path)
        return self._store

    def scan(self, paths: Sequence[str] = (), progress: Progress | None = None, *, believe_losses: bool = False) -> ScanSummary:
        """Make one pass over the roots, or over `paths` in them, and index what is new."""
        with (
            selectors.DefaultSelector() as selector,
            open_engine(self.settings, selector, want_rescan=_no_rescan, next_try=_never) as engine,
        ):
            return scan_roots(engine, selector, paths, progress, believe_losses=believe_losses)

    def reindex(self, progress: Progress | None = None) -> ScanSummary:
        """Build the index anew from files, sidecars and journal, and put it in the place of the old one."""
        self.close()
        state_dir = ensure_state_dir(find_state_dir(self.settings))
        return rebuild_index(
            lambda selector, index: open_engine(self.settings, selector, want_rescan=_no_rescan, next_try=_never, index=index),
            state_dir,
            INDEX_NAME,
            progress,
        )

    def records(
        self, query: str | None = None, sort: str = "path", reverse: bool = False, limit: int | None = None
    ) -> list[Record]:
        """Give the records that match a query, sorted."""
        return find_records(self.store, query, sort=sort, reverse=reverse, limit=limit)

    def show(self, name: str) -> Record:
        """Give one record by id, path, file name, stem or the beginning of its digest."""
        return find_one(self.store, name)

    def best(self, metric: str, group: str | None = None, mode: str | None = None) -> list[Record]:
        """Give the best checkpoint of each group, or of one."""
        return find_best(self.store, metric, group=group, mode=mode)

    def sidecar(self, name: str) -> SidecarView:
        """Show the sidecar of a checkpoint and what it would be if it were written anew."""
        return view_sidecar(self.show(name))

    def regenerate_sidecar(self, name: str) -> SidecarView:
        """Write the sidecar anew; what a person wrote stays."""
        return regenerate_sidecar(self.show(name))

    def export(
        self,
        name: str,
        targets: Sequence[str] | None = None,
        *,
        force: bool = False,
        told: Callable[[str, str], None] = lambda _target, _words: None,
    ) -> list[Export]:
        """Export one checkpoint and give what became of each target, in the order asked for.

        Args:
            name: what `show` takes.
            targets: names of formats; the settings' when None.
            force: make them again, though nothing changed.
            told: told of each step: target and words.

        Raises:
            UsageError: nothing is called that, it can't be exported, or no target is named anywhere.
        """
        record, wanted = self.show(name), tuple(self.settings.export.targets if targets is None else targets)

        def tell(unit: Unit, words: str) -> None:
            told(unit.wanted.target, words)

        with open_exporting(self.settings, self.store, tell) as (exporting, roots, drive):
            return export_one(exporting, roots, record, wanted, drive, force=force)

    def exports(self, name: str) -> list[Export]:
        """Give what is known of the exports of one checkpoint."""
        record = self.show(name)
        return self.store.load_exports(record.root, record.path)

    def suggest_recipe(self, name: str) -> str:
        """Say what is known about a checkpoint's layers, as a recipe to fill in."""
        return suggest_recipe(self.show(name))

    def check_recipe(self, name: str) -> RecipeCheck:
        """Build the module of a checkpoint by its recipe and compare the parameters."""
        record = self.show(name)
        with selectors.DefaultSelector() as selector:
            return check_recipe(Resolving(self.store, self.settings), record, self.settings.export, selector)

    def model(self, record: Record, build: Callable[..., Any] | None = None) -> Any:
        """Build the module of a checkpoint in this process; see `Library.model`."""
        return build_model(Resolving(self.store, self.settings), record, build)

    def doctor(self) -> list[Check]:
        """Look at everything that could be wrong."""
        return check_all(self.settings, find_state_dir(self.settings), INDEX_NAME)


def _never(_failures: int, _now: float) -> None:
    """Trying a failed file again is for the next pass."""


def _no_rescan(_number: int, _why: str) -> None:
    """Losses in the middle of a single pass are found by the next one."""
