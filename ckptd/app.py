"""App: what people ask for, each verb a method; it opens what the verb needs and hands it to a job."""

from __future__ import annotations

import platform
import selectors
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from ckptd.errors import CkptdError, UsageError
from ckptd.export.units import Unit
from ckptd.index.archived import Archived, ArchivedMember, load_archives
from ckptd.index.marks import ALIAS, PIN, TAG, Mark
from ckptd.index.runs import JobRun
from ckptd.index.store import Store
from ckptd.jobs.applying import Applied
from ckptd.jobs.applying import Told as StepTold
from ckptd.jobs.archiving_by_hand import ArchivedByHand, archive_records, find_planned, list_members, verify_archives
from ckptd.jobs.asking import RecipeCheck, build_model, check_recipe, export_one, suggest_recipe
from ckptd.jobs.holding import hold_jobs, leave_to_others
from ckptd.jobs.marking import add_marks, check_name, find_marks, take_marks, who_asks
from ckptd.jobs.notifying import ChannelView, OpenAlert, Tried, list_alerts, list_channels, try_channels
from ckptd.jobs.overview import JobView, list_jobs
from ckptd.jobs.planned import Planned
from ckptd.jobs.purging import PurgedAll, Waiting, list_trash, purge_trash, restore_entry
from ckptd.jobs.querying import SidecarView, find_best, find_one, find_records, regenerate_sidecar, view_sidecar
from ckptd.jobs.registry import JobContext
from ckptd.jobs.reindexing import rebuild_index
from ckptd.jobs.resolving import Resolving
from ckptd.jobs.restoring import Restored, restore_checkpoint
from ckptd.jobs.retaining import apply_retention, plan_retention, recover
from ckptd.jobs.roots import open_roots
from ckptd.jobs.running.run import JobPlace, run_job
from ckptd.jobs.scanning import Progress, ScanSummary, scan_roots
from ckptd.model import GONE_STATES, Record, Severity
from ckptd.opening import INDEX_NAME, find_state_dir, open_engine, open_exporting
from ckptd.proof import Export
from ckptd.settings import Settings
from ckptd.storage.journal import Journal
from ckptd.storage.lock import is_held
from ckptd.storage.state import ensure_state_dir
from ckptd.watch.wanted import compile_wanted

if TYPE_CHECKING:
    from ckptd.bundle.parts import Part
    from ckptd.jobs.checks import Check, Patient
    from ckptd.report.facts import Facts


class App:
    """What the command line and `ckptd.open` ask; each method is one verb.

    Nothing is opened before it is needed, so that `scan` takes the lock and `ls` does not.
    """

    def __init__(self, settings: Settings, now: Callable[[], float] = time.time) -> None:
        self.settings = settings
        self._now = now
        self._store: Store | None = None
        self._who: Callable[[], str] = who_asks
        self._only_of: int | None = None
        self._stop: Callable[[], bool] = _go_on

    def act_for(self, name: str, only_of: int | None, stop: Callable[[], bool]) -> None:
        """Do everything in somebody else's name.

        Args:
            name: his, for the record.
            only_of: user id whose files alone are brought back; None for everybody's.
            stop: True once he does not wait any longer.
        """
        self._stop = stop
        self._who = lambda: name
        self._only_of = only_of

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
            state_dir = find_state_dir(self.settings)
            path = state_dir / INDEX_NAME
            if not path.exists():
                cure = "start it with `ckptd run`, or make one pass with `ckptd scan`"
                raise UsageError("there is no index yet", path=path, why="ckptd never looked at this root", cure=cure)
            self._store = Store.open_as_it_is(path) if is_held(state_dir) else Store.open(path)
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
        summary = rebuild_index(
            lambda selector, index: open_engine(self.settings, selector, want_rescan=_no_rescan, next_try=_never, index=index),
            state_dir,
            INDEX_NAME,
            progress,
        )
        with self.working("reindex") as context:
            recover(context)  # the archives are read, and written down again
        return summary

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

    # — what people say —

    def marks(self, record: Record) -> list[Mark]:
        """Give the pins, tags and aliases of a checkpoint."""
        return find_marks(self.store, record)

    def pin(self, record: Record) -> None:
        """Keep a checkpoint, whatever the policy says."""
        self._mark(record, PIN, ("",))

    def unpin(self, record: Record) -> bool:
        """Let the policy decide again; False when it was not pinned."""
        return self._unmark(record, PIN, ("",)) > 0

    def tag(self, record: Record, names: Sequence[str]) -> None:
        """Tag a checkpoint.

        Raises:
            UsageError: one of the names can't be a tag's.
        """
        self._mark(record, TAG, [check_name(name, "a tag") for name in names])

    def untag(self, record: Record, names: Sequence[str]) -> int:
        """Take tags away; how many of them it had."""
        return sum(1 for name in names if self._unmark(record, TAG, (name,)))

    def alias(self, record: Record, name: str) -> None:
        """Give a checkpoint another name; whatever had it before has it no more.

        Raises:
            UsageError: it can't be the name of an alias.
        """
        self._mark(record, ALIAS, (check_name(name, "an alias"),))

    def unalias(self, record: Record, name: str) -> bool:
        """Take an alias away; False when it did not have it."""
        return self._unmark(record, ALIAS, (name,)) > 0

    def _mark(self, record: Record, kind: str, names: Sequence[str]) -> None:
        journal = Journal(find_state_dir(self.settings))
        add_marks(self.store, journal, record, kind, names, now=self._now(), who=self._who())

    def _unmark(self, record: Record, kind: str, names: Sequence[str]) -> int:
        journal = Journal(find_state_dir(self.settings))
        return take_marks(self.store, journal, record, kind, names, now=self._now(), who=self._who())

    # — the policy —

    @contextmanager
    def working(self, job: str | None) -> Iterator[JobContext]:
        """Open what a job works with; a root that is away, or that another ckptd looks after, has an incident and is left out.

        Args:
            job: what is done, for who asks meanwhile; it holds the job lock.  None only looks, and holds nothing.

        Raises:
            AlreadyRunningError: another process runs a job just now.
        """
        store, state_dir = self.store, find_state_dir(self.settings)
        wanted = compile_wanted(self.settings.suffixes, self.settings.ignore)
        with ExitStack() as stack:
            roots = stack.enter_context(open_roots(self.settings.roots, wanted, store))
            leave_to_others(state_dir, roots)
            if job is not None:
                stack.enter_context(hold_jobs(ensure_state_dir(state_dir), roots, job))
            journal, log = Journal(state_dir), structlog.get_logger()
            yield JobContext(
                self.settings, store, journal, roots, state_dir, self._now, store.run, self._stop, log, only_of=self._only_of
            )

    def plan(self, at: float | None = None) -> Planned:
        """Make the plan of the policy, and do nothing.

        Args:
            at: seconds since the epoch; now when None.

        Raises:
            UsageError: the policy keeps nothing at all.
        """
        with self.working(None) as context:
            return plan_retention(self.settings, self.store, context.roots, self._now() if at is None else at)

    def apply(self, confirmed: str | None = None, told: StepTold | None = None) -> Applied:
        """Make the plan of the policy and do it.

        Args:
            confirmed: number of the plan whose holds are lifted.
            told: told of each file.

        Raises:
            AlreadyRunningError: another process runs a job just now.
            UsageError: the policy keeps nothing at all, or `confirmed` is not the plan as it is now.
        """
        with self.working("apply") as context:
            recover(context)
            return apply_retention(context, confirmed, told)

    # — archives and trash —

    def archive(
        self, query: str | None, format_name: str | None = None, *, remove: bool = False, told: StepTold | None = None
    ) -> ArchivedByHand:
        """Archive what fits a query, or what the policy would archive.

        Raises:
            AlreadyRunningError: another process runs a job just now.
            UsageError: the query does not parse.
        """
        with self.working("archive") as context:
            recover(context)
            if query is None:
                planned = set(find_planned(context))
                records = [record for record in self.records() if (record.root, record.path) in planned]
            else:
                records = [record for record in self.records(query) if record.state not in GONE_STATES]
            return archive_records(context, records, format_name, told or _tell_nobody, remove=remove)

    def archives(self) -> list[Archived]:
        """Give every archive, the oldest first."""
        return self.store.ask(load_archives)

    def archive_members(self, name: str) -> list[ArchivedMember]:
        """Give what lies in one archive."""
        with self.working(None) as context:
            return list_members(context, name)

    def verify_archives(self, names: Sequence[str] = (), told: StepTold | None = None) -> dict[str, list[str]]:
        """Read archives from their first to their last byte; name → what is wrong with it, in sentences."""
        with self.working("archive verify") as context:
            return verify_archives(context, names, told or _tell_nobody)

    def restore(self, name: str, *, to: str | None = None, archive: str | None = None) -> list[Restored]:
        """Bring a checkpoint back out of the trash or an archive."""
        with self.working("restore") as context:
            recover(context)
            return restore_checkpoint(context, name, to=to, archive=archive)

    def trash(self) -> list[Waiting]:
        """Give what lies in the trash, the oldest first."""
        with self.working(None) as context:
            return list_trash(context)

    def restore_trash(self, name: str, *, to: str | None = None) -> list[Restored]:
        """Bring an entry of the trash back."""
        with self.working("trash restore") as context:
            recover(context)
            return [restore_entry(context, name, to)]

    def purge_trash(self, names: Sequence[str] = (), *, everything: bool = False) -> PurgedAll:
        """Remove for good what waited long enough in the trash, or what is named, or everything."""
        with self.working("trash purge") as context:
            recover(context)
            return purge_trash(context, names, grace_seconds=0.0 if everything else None)

    # — alerts —

    def alerts(self) -> list[OpenAlert]:
        """Give the alerts that are open, the oldest first."""
        return list_alerts(self.settings, self.store)

    def channels(self) -> list[ChannelView]:
        """Give the channels that are set, with what waits for each."""
        return list_channels(self.settings, self.store)

    def test_channels(self, name: str | None = None) -> list[Tried]:
        """Send a test by one channel or by all.

        Raises:
            UsageError: there is none, or none of that name.
        """
        return try_channels(self.settings, name, platform.node(), self._now())

    # — jobs —

    def jobs(self) -> list[JobView]:
        """Say how each job stands."""
        return list_jobs(self.settings, self.store, find_state_dir(self.settings), self._now())

    def run_job(self, name: str, stop: Callable[[], bool]) -> JobRun:
        """Run a job in this process and give how it ended.

        Args:
            name: of the job.
            stop: True once it is to end, in good order.

        Raises:
            AlreadyRunningError: another process runs a job just now.
            UsageError: there is no such job, or no index yet.
        """
        self.store  # noqa: B018 — says so when there is none yet
        place = JobPlace(self.settings, find_state_dir(self.settings), INDEX_NAME, now=self._now)
        return run_job(place, name, stop)

    def report(self) -> Facts:
        """Gather everything that the size report says, as it is now."""
        from ckptd.jobs.report_facts import gather_report  # the one verb that needs it

        with self.working(None) as context:
            return gather_report(context)

    def doctor(self, config: Path | None = None, *, deep: bool = False, told: StepTold | None = None) -> list[Check]:
        """Look at everything that could be wrong.

        Args:
            config: the settings file that was read; None when there is none.
            deep: read every archive as well, from its first to its last byte.
            told: told of each archive.
        """
        from ckptd.jobs.checks import bad  # the one verb that needs the looks, and all that they import
        from ckptd.jobs.doctoring import check_all
        from ckptd.jobs.doctoring_archives import tell_verified

        checks = check_all(self._patient(config))
        if deep:
            try:
                checks += tell_verified(self.verify_archives(told=told))
            except CkptdError as error:
                checks.append(bad("archives read", str(error), error.cure or "ask again later", Severity.WARNING))
        return checks

    def bundle(
        self, file: Path, checks: Sequence[Check], config: Path | None = None, *, with_names: bool = False
    ) -> list[Part]:
        """Write what somebody who helps needs to know into a new file, without secrets and weights; what went in.

        Args:
            file: to be made.
            checks: what the doctor found.
            config: as for `doctor`.
            with_names: leave the names of checkpoints as they are.

        Raises:
            StorageError: it exists, or can't be written.
        """
        from ckptd.jobs.bundling import write_bundle  # the one verb that needs it

        return write_bundle(self._patient(config), checks, file, with_names=with_names)

    def _patient(self, config: Path | None) -> Patient:
        from ckptd.jobs.checks import Patient

        return Patient(self.settings, find_state_dir(self.settings), INDEX_NAME, self._now(), config)


def _go_on() -> bool:
    """Let a command go on; Ctrl-C ends it at once, and nothing is lost by that."""
    return False


def _tell_nobody(_what: str, _words: str) -> None:
    """Let a step pass."""


def _never(_failures: int, _now: float) -> None:
    """Trying a failed file again is for the next pass."""


def _no_rescan(_number: int, _why: str) -> None:
    """Losses in the middle of a single pass are found by the next one."""
