"""What people do with archives by hand: write one of what they name, verify them, find one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ckptd.errors import CkptdError, UsageError
from ckptd.index.archived import Archived, ArchivedMember, load_archives, load_members
from ckptd.jobs.applying import Told
from ckptd.jobs.archiving import Stored, Wanted, verify_archive, write_archive
from ckptd.jobs.gathering import is_kept_now
from ckptd.jobs.registry import JobContext
from ckptd.jobs.removing import ARCHIVED_IN, Removing
from ckptd.jobs.retaining import plan_retention
from ckptd.jobs.roots import WatchedRoot
from ckptd.model import Json, PlaceState, Record
from ckptd.policy.retention.plan import Action
from ckptd.text import escape


@dataclass(slots=True)
class ArchivedByHand:
    """What was archived: the archives, the originals that went to the trash, and what could not be done, in sentences."""

    stored: list[Stored] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def archive_records(
    context: JobContext, records: Sequence[Record], format_name: str | None, told: Told, *, remove: bool
) -> ArchivedByHand:
    """Archive checkpoints, one archive for each root, split at archive.max_bytes.

    Args:
        context: what a job works with; the caller holds the job lock.
        records: what is to be archived; files that are gone or were never read to their end are problems.
        format_name: other than that of the settings.
        told: told of each archive.
        remove: move the originals to the trash afterwards.
    """
    done = ArchivedByHand()
    ready = []
    for record in records:
        if record.state is not PlaceState.READY or record.sha256 is None:
            done.problems.append(f"{escape(record.path)}: it is {record.state.value}, and only what is whole is archived")
        else:
            ready.append(record)
    for root in context.roots:
        if root.incident is not None:
            done.problems.append(f"{root.path}: {root.incident}")
            continue
        for batch in _batches([one for one in ready if one.root == root.path], context.settings.archive.max_bytes):
            incident = _look_again(root)
            if incident is not None:
                done.problems.append(f"{root.path}: {incident}")
                break
            told(f"{len(batch)} checkpoints", "archive")
            wanted = [Wanted(one.path, one.sha256 or "", one.identity.size_bytes, _facts(one)) for one in batch]
            try:
                stored = write_archive(context, root, wanted, format_name=format_name)
            except CkptdError as error:
                done.problems.append(str(error))
                continue
            done.stored.append(stored)
            done.problems += [f"{escape(path)}: {why}" for path, why in stored.left_out.items()]
            if remove:
                _remove(context, root, [one for one in batch if one.path in stored.paths], stored.name, done)
    return done


def find_planned(context: JobContext) -> list[tuple[str, str]]:
    """Give what the policy would archive: (root, path)."""
    planned = plan_retention(context.settings, context.store, context.roots, context.now())
    return [
        (decision.fact.root, decision.fact.path) for decision in planned.plan.decisions if decision.action is Action.ARCHIVE
    ]


def find_archive(context: JobContext, name: str) -> Archived:
    """Give an archive by the name of its file, with or without its ending.

    Raises:
        UsageError: there is none, or several are called that.
    """
    archives = context.store.ask(load_archives)
    found = [one for one in archives if one.name == name] or [one for one in archives if one.name.partition(".")[0] == name]
    if len(found) == 1:
        return found[0]
    why = "there is none of that name" if not found else f"{len(found)} are called that, in several directories"
    raise UsageError("find an archive", path=escape(name), why=why, cure="see `ckptd archives`")


def list_members(context: JobContext, name: str) -> list[ArchivedMember]:
    """Give what lies in an archive."""
    return context.store.ask(load_members, find_archive(context, name).id)


def verify_archives(context: JobContext, names: Sequence[str], told: Told) -> dict[str, list[str]]:
    """Read archives from their first to their last byte, all of them without names; name → what is wrong, in sentences."""
    archives = [find_archive(context, name) for name in names] if names else context.store.ask(load_archives)
    results = {}
    for archive in archives:
        told(archive.name, "verify")
        try:
            results[archive.name] = verify_archive(context, archive)
        except CkptdError as error:
            results[archive.name] = [str(error)]
    return results


def _look_again(root: WatchedRoot) -> str | None:
    """Say why a root is not to be believed now; it can be unmounted while an archive of it is written."""
    root.look_again()
    return root.incident


def _remove(context: JobContext, root: WatchedRoot, records: Sequence[Record], archive: str, done: ArchivedByHand) -> None:
    removing = Removing(context)
    for record in records:
        keep = is_kept_now(root.handle.fd, record.path)
        if keep is not None:
            done.problems.append(f"{escape(record.path)}: it stays, {keep} lies beside it")
            continue
        metadata = None if record.inspection is None else record.inspection.metadata
        try:
            removing.move(
                root,
                record.path,
                removing.compare(root, record.path, record.sha256),
                record.sha256 or "",
                [f"{ARCHIVED_IN}{archive}, by hand"],
                action=Action.ARCHIVE,
                group=None if metadata is None else metadata.model_name,
                job="archive",
            )
        except CkptdError as error:
            done.problems.append(str(error))
        else:
            done.removed.append(record.path)


def _facts(record: Record) -> dict[str, Json]:
    if record.inspection is None:
        return {}
    metadata = record.inspection.metadata
    return {
        "model": metadata.model_name,
        "dataset": metadata.dataset,
        "epoch": metadata.epoch,
        "step": metadata.step,
        "metrics": dict(metadata.metrics),
        "why": ["by hand"],
    }


def _batches(records: Sequence[Record], most_bytes: int) -> list[list[Record]]:
    batches: list[list[Record]] = []
    size = 0
    for record in records:
        if not batches or size + record.identity.size_bytes > most_bytes:
            batches.append([])
            size = 0
        batches[-1].append(record)
        size += record.identity.size_bytes
    return batches
