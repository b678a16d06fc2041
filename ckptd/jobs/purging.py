"""The purge job, and what people do with the trash by hand: list, bring back, purge."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from ckptd.errors import UsageError
from ckptd.index.archived import DAMAGED, VERIFIED, Archived, find_archives_with, load_archived_digests, load_archives
from ckptd.index.ledger import Gone, add_gone, drop_gone
from ckptd.index.marks import note_restored
from ckptd.jobs.archive_states import ArchiveStates
from ckptd.jobs.registry import JobContext, JobOutcome
from ckptd.jobs.removing import ARCHIVED_IN
from ckptd.jobs.rereading import StoppedError, check_stop
from ckptd.jobs.roots import WatchedRoot
from ckptd.model import Json, Openness, PlaceState
from ckptd.storage.scratch import free_bytes
from ckptd.storage.state import STATE, TRASH
from ckptd.storage.trash import Entry, Healing, PurgeOutcome, list_entries, purge, restore, sweep
from ckptd.storage.trash.manifest import Manifest
from ckptd.text import escape
from ckptd.watch.scanner import RegularFile, observe

_ACCEPTED = (Openness.CLOSED, Openness.UNKNOWN)
#: Outcomes of a purge that are no news: it is tried again by the next run.
_QUIET = (PurgeOutcome.YOUNG, PurgeOutcome.NO_ENTRY)


@dataclass(frozen=True, slots=True)
class Waiting:
    """One entry of the trash.

    Attributes:
        entry: its name.
        path: of its checkpoint, relative to the root; None where no manifest says it.
        allocated_bytes: what its files take on the disk.
        since: when it was put there, seconds since the epoch; None likewise.
        purged_at: when the purge job may end it.
        action: "trash", "archive" or "slim".
        archives: the archives that hold the same content.
        problem: what is wrong with it; "" in good times.
        owner: user id of its checkpoint; None when it has none.
    """

    entry: str
    root: str
    path: str | None
    sha256: str | None
    allocated_bytes: int
    since: float | None
    purged_at: float | None
    group: str | None = None
    reasons: tuple[str, ...] = ()
    archives: tuple[str, ...] = ()
    action: str = "trash"
    problem: str = ""
    owner: int | None = None


@dataclass(frozen=True, slots=True)
class Back:
    """A checkpoint that is back; `note` says what did not come with it."""

    path: str
    source: str
    sha256: str | None
    note: str = ""


@dataclass(slots=True)
class PurgedAll:
    """What a purge did.

    Attributes:
        entries: names of those that are gone.
        left: names of those that are left, with the reason.
        freed_bytes: that came back.
        freed_on: the same for each disk: device number → bytes.
    """

    entries: list[str] = field(default_factory=list)
    left: list[tuple[str, str]] = field(default_factory=list)
    freed_bytes: int = 0
    freed_on: dict[int, int] = field(default_factory=dict)


def list_trash(context: JobContext) -> list[Waiting]:
    """Give what lies in the trash of every root that is to be believed, the oldest first."""
    grace = context.settings.trash.grace_seconds
    archives = context.store.ask(load_archived_digests)
    found = []
    for root in context.roots:
        if root.incident is not None:
            continue
        for entry in list_entries(root.handle.fd):
            manifest = entry.manifest
            if manifest is None:
                found.append(
                    Waiting(entry.name, root.path, None, None, entry.allocated_bytes, None, None, problem=entry.problem or "")
                )
                continue
            since, sha256 = manifest.removed_at, manifest.checkpoint.sha256
            found.append(
                Waiting(
                    entry.name,
                    root.path,
                    manifest.checkpoint.path,
                    sha256,
                    entry.allocated_bytes,
                    since,
                    since + grace,
                    manifest.group,
                    manifest.reasons,
                    archives.get(sha256, ()),
                    "slim" if manifest.replacement is not None else "archive" if sha256 in archives else "trash",
                    entry.problem or "",
                    entry.owner,
                )
            )
    return sorted(found, key=lambda one: (one.since or 0.0, one.entry))


def restore_entry(context: JobContext, name: str, to: str | None = None) -> Back:
    """Bring an entry back to where it lay, or under another path of its root.

    Args:
        context: what a job works with; the caller holds the job lock.
        name: of the entry, or the path of its checkpoint.
        to: relative to the root.

    Raises:
        UsageError: nothing or several things in the trash are called that.
        StorageError: it can't be brought back; it is still in the trash.
    """
    one = find_waiting(context, name)
    if context.only_of is not None and one.owner != context.only_of:
        cure = "its owner, or an administrator, may"
        raise UsageError("restore a checkpoint", path=escape(one.path or name), why="it belongs to somebody else", cure=cure)
    root = next(root for root in context.roots if root.path == one.root)
    back = restore(root.handle.fd, one.entry, to)
    now, path = context.now(), back.path or one.path or name
    context.journal.append([{"event": "restored", "root": root.path, "path": path, "sha256": one.sha256, "at": now}])
    with context.store.batch() as batch:
        batch.tell(drop_gone, root.path, one.path or path)
        if one.sha256 is not None:
            batch.tell(note_restored, one.sha256, now)
        why: dict[str, Json] = {"entry": one.entry}
        batch.audit("checkpoint.restored", root.path, path, one.sha256, now=now, why=why, job="trash")
    context.log.info("checkpoint.restored", root=root.path, path=path, digest=one.sha256, entry=one.entry)
    notes = [f"{left.path} stays in the trash: {left.why}" for left in back.left]
    notes += [f"{damaged} is not what was put into the trash" for damaged in back.damaged]
    return Back(path, f"the trash ({one.entry})", one.sha256, "; ".join(notes))


def find_waiting(context: JobContext, name: str) -> Waiting:
    """Give the entry that a name means: an entry, a path, a file name, the beginning of a digest.

    Raises:
        UsageError: nothing or several things in the trash are called that.
    """
    return _find_named(list_trash(context), name)


def _find_named(entries: Sequence[Waiting], name: str) -> Waiting:
    meanings = (
        [one for one in entries if one.entry == name],
        [one for one in entries if one.path is not None and name in (one.path, f"{one.root}/{one.path}")],
        [one for one in entries if one.path is not None and one.path.rpartition("/")[2] == name],
        [one for one in entries if one.path is not None and one.path.rpartition("/")[2].rpartition(".")[0] == name],
        [one for one in entries if len(name) >= 6 and (one.sha256 or "").startswith(name.lower())],
    )
    found = next((meaning for meaning in meanings if meaning), [])
    if len(found) == 1:
        return found[0]
    if not found:
        raise UsageError(
            "find in the trash", path=escape(name), why="nothing there is called that", cure="see `ckptd trash ls`"
        )
    names = ", ".join(one.entry for one in found[:10])
    raise UsageError("find in the trash", path=escape(name), why=f"this names {len(found)} entries: {names}", cure="name one")


def purge_trash(context: JobContext, names: Sequence[str] = (), *, grace_seconds: float | None = None) -> PurgedAll:
    """Remove for good what waited long enough, or what is named.

    What went because an archive has it goes only while one has it, unless a person names it.

    Args:
        context: what a job works with; the caller holds the job lock.
        names: of entries or paths; with none, all of them that waited long enough.
        grace_seconds: other than the settings'.

    Raises:
        UsageError: nothing or several things in the trash are called that.
    """
    return _purge_waiting(_Purging(context), names, grace_seconds)


def _purge_waiting(purging: _Purging, names: Sequence[str] = (), grace_seconds: float | None = None) -> PurgedAll:
    context, done = purging.context, purging.done
    grace = context.settings.trash.grace_seconds if grace_seconds is None else grace_seconds
    waiting = list_trash(context) if names else []
    named = {(one.root, one.entry) for one in (_find_named(waiting, name) for name in names)}
    with suppress(StoppedError):
        for root in context.roots:
            if root.incident is not None:
                done.left.append((root.path, root.incident))
                continue
            for entry in list_entries(root.handle.fd):
                check_stop(context.stop)
                if (root.path, entry.name) in named:
                    purging.end(root, entry)
                elif not named:
                    purging.end_waiting(root, entry, grace)
    return done


def recover(context: JobContext) -> None:
    """Put in order what a kill left half done in the trash."""
    sweep_trash(context)


def run_purge(context: JobContext) -> JobOutcome:
    """Purge what waited long enough; with trash.purge_when_full also the oldest of the rest while the disk is too full."""
    recover(context)
    before = _find_room(context)
    purging = _Purging(context)
    done = _purge_waiting(purging)
    early = _purge_for_room(purging, before)
    summary: dict[str, Json] = {
        "purged": len(done.entries),
        "freed_bytes": done.freed_bytes,
        "left": len(done.left),
        "early": early,
    }
    if context.stop():
        return JobOutcome("interrupted", summary, "it was told to stop; what is not done yet is done by the next run")
    if done.left:
        name, why = done.left[0]
        return JobOutcome("failed", summary, f"{len(done.left):,} could not be purged: {name}: {why}")
    return JobOutcome("ok", summary, "")


def sweep_trash(context: JobContext) -> int:
    """Finish or undo what a kill left half done in the trash of every root; how much there was."""
    count = 0
    for root in context.roots:
        if root.incident is not None:
            continue
        for healed in sweep(root.handle.fd, context.now()):
            count += 1
            how = healed.healing
            context.log.warning(
                "trash.healed", root=root.path, path=healed.path, entry=healed.entry, how=how.value, reason=healed.why
            )
            if healed.path is not None and healed.sha256 is not None:
                _write_down_healed(context, root, healed.entry, healed.path, healed.sha256, how)
            with context.store.batch() as batch:
                why: dict[str, Json] = {"entry": healed.entry, "how": how.value, "why": healed.why[:1_000]}
                batch.audit("trash.healed", root.path, healed.path, healed.sha256, now=context.now(), why=why, job="trash")
    return count


def _write_down_healed(context: JobContext, root: WatchedRoot, entry: str, path: str, sha256: str, how: Healing) -> None:
    """Bring index and journal to what a sweep made of an entry; the kill came before they were told."""
    now, store = context.now(), context.store
    if how is Healing.FINISHED:
        manifest = next((one.manifest for one in list_entries(root.handle.fd) if one.name == entry), None)
        if manifest is None or manifest.replacement is not None:  # a smaller file has its place, and is read by the daemon
            return
        size = manifest.checkpoint.identity.size_bytes
        line = {"event": "trashed", "root": root.path, "path": path, "sha256": sha256, "group": manifest.group}
        context.journal.append([line | {"size_bytes": size, "action": "trash", "entry": entry, "at": manifest.removed_at}])
        known = store.find_place(root.path, path)
        is_saved_anew = isinstance(observe(root.handle.fd, path, root.wanted), RegularFile)
        with store.batch() as batch:
            if known is not None and known.sha256 == sha256 and not is_saved_anew:
                batch.record_state(root.path, path, PlaceState.TRASHED, now=now)
            batch.tell(add_gone, Gone(root.path, path, sha256, manifest.group, size, "trash", manifest.removed_at))
    elif how is Healing.PURGED:
        _Purging(context).write_down(root, path, sha256, entry, 0)
    else:
        known = store.find_place(root.path, path)
        if known is not None and known.is_missing and isinstance(observe(root.handle.fd, path, root.wanted), RegularFile):
            with store.batch() as batch:
                batch.record_state(root.path, path, PlaceState.READY, now=now)


def _find_room(context: JobContext) -> dict[int, int]:
    """Say how much is free on the disk of each root: device number → bytes; nothing where nothing is purged for room."""
    if not context.settings.trash.purge_when_full:
        return {}
    handles = [root.handle.fd for root in context.roots if root.incident is None]
    return {os.fstat(fd).st_dev: free_bytes(fd) for fd in handles}


def _purge_for_room(purging: _Purging, before: dict[int, int]) -> int:
    """Purge the oldest that gives room back until there is enough; how many went.

    Some file systems say only minutes later what came free (btrfs, ZFS, NFS), so that it is added up here as well.
    """
    context, done = purging.context, purging.done
    floor = context.settings.policy.free_bytes
    if not context.settings.trash.purge_when_full or floor is None:
        return 0
    count, left = len(done.entries), {name for name, _ in done.left}
    with suppress(StoppedError):
        for root in context.roots:
            if root.incident is not None:
                continue
            device = os.fstat(root.handle.fd).st_dev
            entries = sorted(list_entries(root.handle.fd), key=lambda entry: entry.name)
            elsewhere = _find_named_elsewhere(root, entries)
            for entry in entries:
                check_stop(context.stop)
                if max(free_bytes(root.handle.fd), before[device] + done.freed_on.get(device, 0)) >= floor:
                    break
                if entry.name not in left and entry.name not in elsewhere:
                    purging.end_waiting(root, entry, 0.0)
    return len(done.entries) - count


def _find_named_elsewhere(root: WatchedRoot, entries: Sequence[Entry]) -> set[str]:
    """Give the entries whose checkpoint has another name outside of the trash: purging them gives nothing back."""
    several: dict[tuple[int, int], list[tuple[str, int]]] = {}
    for entry in entries:
        if entry.manifest is not None and entry.holds_checkpoint:
            path = f"{STATE}/{TRASH}/{entry.name}/{entry.manifest.checkpoint.stored}"
            with suppress(OSError):  # who purges it says why
                seen = os.stat(path, dir_fd=root.handle.fd, follow_symlinks=False)
                if seen.st_nlink > 1:
                    several.setdefault((seen.st_dev, seen.st_ino), []).append((entry.name, seen.st_nlink))
    return {name for names in several.values() for name, links in names if links > len(names)}


class _Purging:
    """Ends entries one by one, and writes down what became of each.

    Attributes:
        context: what a job works with.
        done: what was done so far.
    """

    def __init__(self, context: JobContext) -> None:
        self.context = context
        self.done = PurgedAll()
        self._archives = {one.id: one for one in context.store.ask(load_archives)}
        self._states = ArchiveStates(context, lambda _bytes: check_stop(context.stop))

    def end_waiting(self, root: WatchedRoot, entry: Entry, grace_seconds: float) -> None:
        """End an entry that waited long enough; one that went because an archive has it only while one has it.

        Raises:
            StoppedError: the job is to end.
        """
        manifest = entry.manifest
        if manifest is not None and self.context.now() - manifest.removed_at >= grace_seconds:
            lack = self._find_lack(manifest) if entry.holds_checkpoint else None
            if lack is not None:
                self._leave(root, entry, manifest.checkpoint.path, lack)
                return
        self.end(root, entry, grace_seconds)

    def end(self, root: WatchedRoot, entry: Entry, grace_seconds: float = 0.0) -> None:
        """End an entry that is old enough, whatever became of its archive."""
        # It lay there for days, or a person named it: that nobody can say who has it open is no reason to keep it for ever.
        now = self.context.now()
        purged = purge(root.handle.fd, entry.name, now, grace_seconds=grace_seconds, accept=_ACCEPTED)
        if purged.outcome is not PurgeOutcome.PURGED:
            if purged.outcome not in _QUIET:
                self._leave(root, entry, purged.path, purged.why or purged.outcome.value)
            return
        done, device = self.done, os.fstat(root.handle.fd).st_dev
        done.entries.append(entry.name)
        done.freed_bytes += purged.freed_bytes
        done.freed_on[device] = done.freed_on.get(device, 0) + purged.freed_bytes
        self.write_down(root, purged.path, purged.sha256, entry.name, purged.freed_bytes)

    def write_down(self, root: WatchedRoot, path: str | None, sha256: str | None, entry: str, freed_bytes: int) -> None:
        """Bring journal and index to what was ended."""
        context, now = self.context, self.context.now()
        holders = [] if sha256 is None else self._find_holders(sha256)
        archives = [one.name for one in holders if self._states.look(one) == VERIFIED]
        state = PlaceState.ARCHIVED if archives else PlaceState.PURGED
        line = {"event": "purged", "root": root.path, "path": path, "sha256": sha256, "state": state.value, "at": now}
        context.journal.append([line])
        known = None if path is None else context.store.find_place(root.path, path)
        with context.store.batch() as batch:
            if path is not None and known is not None and known.state == PlaceState.TRASHED and known.sha256 == sha256:
                batch.record_state(root.path, path, state, now=now)
            why: dict[str, Json] = {"entry": entry, "freed_bytes": freed_bytes, "archives": list(archives)}
            batch.audit("checkpoint.purged", root.path, path, sha256, now=now, why=why, job="purge")
        context.log.info("checkpoint.purged", root=root.path, path=path, digest=sha256, entry=entry, bytes=freed_bytes)

    def _leave(self, root: WatchedRoot, entry: Entry, path: str | None, why: str) -> None:
        self.done.left.append((entry.name, why))
        self.context.log.warning("trash.kept", root=root.path, path=path, entry=entry.name, reason=why)

    def _find_lack(self, manifest: Manifest) -> str | None:
        """Say that no archive has a content for which one was the reason to go; None when it may be purged."""
        reason = next((reason for reason in manifest.reasons if reason.startswith(ARCHIVED_IN)), None)
        if reason is None:
            return None
        holders = self._find_holders(manifest.checkpoint.sha256)
        if any(self._states.read(one) == VERIFIED for one in holders):
            return None
        path, damaged = escape(manifest.checkpoint.path), [one.name for one in holders if self._states.read(one) == DAMAGED]
        if damaged:
            return f"{path}: {', '.join(damaged)} is damaged: restore it and archive it again, or name the entry to end it"
        why = f"it was {escape(reason)}, and no archive that is there has it"
        return f"{path}: {why}: bring that back, or name the entry to end it"

    def _find_holders(self, sha256: str) -> list[Archived]:
        """Give the archives that have a content by the index, the newest first; missing ones too, for they may be back."""
        numbers = self.context.store.ask(find_archives_with, sha256)
        return [self._archives[number] for number in numbers if number in self._archives]
