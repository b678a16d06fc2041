"""Gather what a report knows: out of the index, and what only the file systems say."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo

import ckptd
from ckptd.errors import CkptdError, UsageError
from ckptd.index import totals as index
from ckptd.index.ledger import load_freezes
from ckptd.index.store import Store
from ckptd.jobs.registry import JobContext
from ckptd.jobs.retaining import plan_retention
from ckptd.jobs.roots import WatchedRoot
from ckptd.model import Json
from ckptd.report.dating import DAY_SECONDS, Births, Months
from ckptd.report.described import NON_FINITE, describe
from ckptd.report.facts import Disk, Duplicates, DuplicateSet, Facts
from ckptd.report.forecast import forecast
from ckptd.report.growth import Changes, add_gone, build_series
from ckptd.report.planned import summarise
from ckptd.report.totals import TROUBLES, Counted, Troubled, count
from ckptd.report.upkeep import Archives, Health, JobResult, PlanSummary, Trash, Trouble
from ckptd.settings import Settings
from ckptd.storage.trash import list_entries

#: Sets of duplicates in one report.
_MOST_SETS = 50
#: Places that are named of one set of duplicates.
_MOST_PLACES = 5


def gather_report(context: JobContext) -> Facts:
    """Gather everything, as it is now; what a root with an incident says of its disk is not believed."""
    settings, store, roots, now = context.settings, context.store, context.roots, context.now()
    paths = [root.path for root in roots]
    first_looks = store.ask(index.find_first_looks, paths)
    births, months = Births(first_looks), Months(ZoneInfo(settings.schedule.time_zone), now)
    counted = _count(store, paths, births, months)
    changes = store.ask(index.walk_gone, paths, lambda rows: add_gone(dict(counted.arrivals), rows, births, counted.files))
    known_since_at = min(first_looks.values(), default=None)
    archives = store.ask(index.sum_archives)
    trash = tuple(_look_into_trash(root) for root in roots if root.incident is None)
    plan, no_plan = _plan(settings, store, roots, now)
    exports, export_bytes = store.ask(index.sum_exports, paths)
    return Facts(
        at=now,
        zone=settings.schedule.time_zone,
        host=store.host,
        version=ckptd.__version__,
        known_since_at=known_since_at,
        roots=counted.roots,
        totals=counted.totals,
        largest=counted.largest,
        models=counted.models,
        datasets=counted.datasets,
        months=counted.months,
        kinds=counted.kinds,
        dtypes=counted.dtypes,
        duplicates=_find_duplicates(store, paths, counted),
        disks=_weigh_disks(roots, counted, changes, archives, trash, now, known_since_at),
        exports=exports,
        export_bytes=export_bytes,
        trash=trash,
        archives=_sum_archives(archives),
        plan=plan,
        no_plan=no_plan,
        health=_judge(store, roots, counted),
        jobs=tuple(_job_result(one) for one in store.ask(index.load_last_runs, context.run_id)),
    )


def _count(store: Store, paths: Sequence[str], births: Births, months: Months) -> Counted:
    """Read the two large tables; what is known of each content is forgotten before a plan makes as many objects again."""
    descriptions = store.ask(index.walk_contents, describe)
    counted: Counted = store.ask(index.walk_present, paths, lambda rows: count(rows, descriptions, births, months))
    return counted


def _plan(settings: Settings, store: Store, roots: Sequence[WatchedRoot], now: float) -> tuple[PlanSummary | None, str]:
    if settings.policy.mode == "off":
        return None, "policy.mode is off"
    try:
        return summarise(plan_retention(settings, store, roots, now).plan), ""
    except UsageError as error:  # a policy that keeps nothing; the retention job says so too
        return None, str(error)


def _find_duplicates(store: Store, paths: Sequence[str], counted: Counted) -> Duplicates:
    equals = counted.equals
    first = equals[:_MOST_SETS]
    places = store.ask(index.find_equal_places, paths, [one.sha256 for one in first])
    several = len(paths) > 1
    rows = tuple(
        DuplicateSet(one.sha256, one.files, one.size_bytes, _name_places(places.get(one.sha256, ()), several=several))
        for one in first
    )
    return Duplicates(
        sets=len(equals),
        extra_files=sum(one.files - 1 for one in equals),
        wasted_bytes=sum((one.files - 1) * one.size_bytes for one in equals),
        rows=rows,
    )


def _name_places(places: Iterable[tuple[str, str]], *, several: bool) -> tuple[str, ...]:
    named = [os.path.join(root, path) if several else path for root, path in places]
    return tuple(named[:_MOST_PLACES])


def _look_into_trash(root: WatchedRoot) -> Trash:
    try:
        entries = list_entries(root.handle.fd)
    except (CkptdError, OSError):  # the purge job tells it; a report without it is better than none
        return Trash(root.path, 0, 0)
    times = [entry.manifest.removed_at for entry in entries if entry.manifest is not None]
    return Trash(root.path, len(entries), sum(entry.allocated_bytes for entry in entries), min(times, default=None))


@dataclass(slots=True)
class _OneDisk:
    """The roots of one file system, and what lies on it."""

    roots: list[WatchedRoot]
    total_bytes: int | None = None
    free_bytes: int | None = None


def _weigh_disks(
    roots: Sequence[WatchedRoot],
    counted: Counted,
    changes: Changes,
    archives: Sequence[index.ArchiveSums],
    trash: Sequence[Trash],
    now: float,
    known_since_at: float | None,
) -> tuple[Disk, ...]:
    sizes = {share.name: share.size_bytes for share in counted.roots.rows}
    trashed = {one.root: one.size_bytes for one in trash}
    disks = []
    for device, disk in _find_disks(roots).items():
        paths = [root.path for root in disk.roots]
        here = {os.fsencode(path) for path in paths}
        archived = [one for one in archives if one.state != "missing" and _device(one.directory) == device]
        came = [(day, size) for (root, day), size in changes.items() if root in here]
        came += [(int(one.created_at // DAY_SECONDS), one.size_bytes) for one in archived]
        growth = build_series(came, now)
        disks.append(
            Disk(
                name=paths[0],
                roots=tuple(paths),
                total_bytes=disk.total_bytes,
                free_bytes=disk.free_bytes,
                checkpoint_bytes=sum(sizes.get(path, 0) for path in paths),
                trash_bytes=sum(trashed.get(path, 0) for path in paths),
                archive_bytes=sum(one.size_bytes for one in archived),
                growth=growth,
                forecast=forecast(growth, disk.free_bytes, known_since_at),
            )
        )
    return tuple(disks)


def _find_disks(roots: Sequence[WatchedRoot]) -> Mapping[int, _OneDisk]:
    found: dict[int, _OneDisk] = {}
    for root in roots:
        disk = found.setdefault(os.fstat(root.handle.fd).st_dev, _OneDisk([]))
        disk.roots.append(root)
        if root.incident is None and disk.total_bytes is None:
            try:
                seen = os.fstatvfs(root.handle.fd)
            except OSError:
                continue
            if seen.f_blocks:  # some file systems in user space say nothing at all
                disk.total_bytes, disk.free_bytes = seen.f_blocks * seen.f_frsize, seen.f_bavail * seen.f_frsize
    return found


def _device(directory: str) -> int | None:
    try:
        return os.stat(directory).st_dev
    except OSError:
        return None


def _sum_archives(archives: Sequence[index.ArchiveSums]) -> Archives:
    drills = [one.drilled_at for one in archives if one.drilled_at is not None]
    there = [one for one in archives if one.state != "missing"]
    return Archives(
        count=len(archives),
        members=sum(one.members for one in archives),
        size_bytes=sum(one.size_bytes for one in there),
        original_bytes=sum(one.original_bytes for one in archives),
        lost_members=sum(one.lost for one in archives),
        damaged=sum(one.state == "damaged" for one in archives),
        missing=len(archives) - len(there),
        oldest_at=min((one.created_at for one in archives), default=None),
        newest_at=max((one.created_at for one in archives), default=None),
        drilled_at=max(drills, default=None),
    )


def _judge(store: Store, roots: Sequence[WatchedRoot], counted: Counted) -> Health:
    paths = [root.path for root in roots]
    findings = store.ask(index.load_findings, [one.content for one in counted.troubled])
    checked, oldest_check_at, rotten = store.ask(index.sum_checks, paths)
    incidents = [f"{root.path} is not to be believed: {root.incident}" for root in roots if root.incident is not None]
    return Health(
        statuses=counted.statuses,
        troubles=tuple(_trouble(one, findings.get(one.content, ())) for one in counted.troubled),
        trouble_files=counted.trouble_files,
        non_finite_files=counted.non_finite_files,
        rotten=_name_places(rotten, several=len(paths) > 1),
        rotten_files=len(rotten),
        checked_files=checked,
        oldest_check_at=oldest_check_at,
        freezes=(*incidents, *store.ask(load_freezes).values()),
    )


_SEVERITIES = ("error", "warning", "info")


def _trouble(one: Troubled, findings: Sequence[tuple[str, str, str]]) -> Trouble:
    """Say in the words of the finding that weighs most why a checkpoint wants a look."""
    what, told = one.status, sorted(findings, key=lambda found: _severity(found[1]))
    if one.status not in TROUBLES:
        what, told = NON_FINITE, [found for found in findings if found[0] == NON_FINITE]
    return Trouble(one.root, one.path, what, one.size_bytes, told[0][2] if told else "")


def _severity(word: str) -> int:
    return _SEVERITIES.index(word) if word in _SEVERITIES else len(_SEVERITIES)


def _job_result(one: index.RunResult) -> JobResult:
    return JobResult(
        job=one.job,
        outcome=one.outcome,
        started_at=one.started_at,
        finished_at=one.finished_at,
        succeeded_at=one.succeeded_at,
        reason=one.reason,
        summary=_read_summary(one.summary),
    )


def _read_summary(text: str) -> dict[str, Json]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
