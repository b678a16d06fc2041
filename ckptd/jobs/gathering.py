"""The facts for a plan: out of the index first, and then, for what would go, out of the file system once more.

A hundred thousand files are compared with the index in one walk.  What costs a system call or more for each file (blocks,
links, `.keep` files, whether somebody has it open) is only asked of those that the first plan would touch, and then the plan
is made again; what is kept anyway need not be known better.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import lru_cache

from ckptd.checkpoint.metrics import base_of, direction
from ckptd.index.archived import load_archived_digests
from ckptd.index.candidates import Candidate, load_candidates, load_scores
from ckptd.index.ledger import Check, Grouping, load_checks, load_gone, load_groupings
from ckptd.index.marks import ALIAS, PIN, RESTORE, SLIM, TAG, Mark, load_derivations, load_marks
from ckptd.index.store import Store
from ckptd.jobs.grouping import find_group
from ckptd.jobs.roots import WatchedRoot
from ckptd.model import Container, Kind, Openness, RawIdentity, Status
from ckptd.policy.brakes import find_freezes
from ckptd.policy.reconcile import reconcile
from ckptd.policy.retention.facts import Disk, Fact, Removal
from ckptd.policy.retention.plan import Action, Plan
from ckptd.policy.retention.rules import Policy
from ckptd.policy.scrub import BAD, find_bad
from ckptd.settings import PolicySettings, Settings
from ckptd.slim.choosing import can_slim
from ckptd.storage.beneath import open_beneath, open_parent_beneath
from ckptd.storage.scratch import free_bytes
from ckptd.storage.trash import trash_bytes
from ckptd.watch.openness import RecentWriters, find_writer
from ckptd.watch.scanner import scan

#: Which data a metric was measured on, the most telling first; a metric that does not say so stands behind validation.
_SPLITS = {"val": 0, "": 1, "test": 2, "train": 3}
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
#: How far the brake looks back; `Policy.window_seconds`.
_WINDOW_SECONDS = 7 * 86400.0
#: A file of this name pins every checkpoint of its directory; behind the name or the stem of a checkpoint it pins that one.
KEEP = ".keep"


@dataclass(frozen=True, slots=True)
class Gathered:
    """What a plan is made of.

    Attributes:
        removals: what went within the window of the brake.
        groupings: what was written down before: (root, path) → group and last decision.
        incidents: root → why nothing in it is believed just now; it has no facts.
    """

    facts: tuple[Fact, ...]
    disks: tuple[Disk, ...]
    removals: tuple[Removal, ...]
    groupings: Mapping[tuple[str, str], Grouping] = field(default_factory=dict)
    incidents: Mapping[str, str] = field(default_factory=dict)


def make_policy(settings: PolicySettings, time_zone: str) -> Policy:
    """Turn the settings into the policy, with the direction of every metric that it speaks of."""
    spoken = {*settings.best_by, *settings.below, *settings.directions}
    known = {metric: direction(metric) for metric in spoken}
    directions = {metric: way for metric, way in known.items() if way is not None} | settings.directions
    return Policy(
        keep_last=settings.keep_last,
        keep_best=settings.keep_best,
        best_by=settings.best_by,
        directions=directions,
        keep_within_seconds=settings.keep_within_seconds,
        keep_hourly=settings.keep_hourly,
        keep_daily=settings.keep_daily,
        keep_weekly=settings.keep_weekly,
        keep_monthly=settings.keep_monthly,
        keep_yearly=settings.keep_yearly,
        keep_every_epochs=settings.keep_every_epochs,
        keep_every_steps=settings.keep_every_steps,
        keep_tags=settings.keep_tags,
        min_age_seconds=settings.min_age_seconds,
        below=settings.below,
        ladder=tuple(Action(step) for step in settings.ladder),
        max_fraction=settings.max_fraction,
        window_seconds=_WINDOW_SECONDS,
        total_bytes=settings.total_bytes,
        free_bytes=settings.free_bytes,
        time_zone=time_zone,
    )


def gather_facts(settings: Settings, store: Store, roots: Sequence[WatchedRoot], now: float) -> Gathered:
    """Read the index, walk the roots, and say what is known of every checkpoint.

    Args:
        settings: the groups and metrics that matter.
        store: the index.
        roots: each open and looked at just now.
        now: seconds since the epoch.
    """
    known = _Known.load(settings, store)
    facts: list[Fact] = []
    disks, incidents = [], {}
    for root in roots:
        if root.incident is not None:
            incidents[root.path] = root.incident
            continue
        facts += _gather_root(root, store, known)
        fd = root.handle.fd
        disks.append(Disk(root.path, free_bytes(fd), trash_bytes(fd), device=os.fstat(fd).st_dev))
    since = now - _WINDOW_SECONDS
    removals = tuple(
        Removal(gone.root, gone.group, gone.size_bytes, gone.at, action=gone.action) for gone in store.ask(load_gone, since)
    )
    return Gathered(tuple(facts), tuple(disks), removals, known.groupings, incidents)


def look_closer(plan: Plan, facts: Sequence[Fact], roots: Sequence[WatchedRoot], looked: set[int]) -> tuple[Fact, ...] | None:
    """Ask the file system about what a plan touches; the facts with its answers, or None when nothing is new.

    Args:
        plan: made of the facts.
        facts: of all checkpoints.
        roots: in which they lie.
        looked: numbers of those that were looked at before; these here are added.
    """
    touched = {decision.fact.id for decision in plan.decisions if decision.action is not Action.KEEP} - looked
    if not touched:
        return None
    looked |= touched
    by_path = {root.path: root for root in roots}
    writers, names = RecentWriters(_monotonic), _Names()
    closer = tuple(
        _look_at(fact, by_path[fact.root].handle.fd, names, writers) if fact.id in touched else fact for fact in facts
    )
    return None if closer == tuple(facts) else closer


def _monotonic() -> float:
    return os.times().elapsed


@dataclass(slots=True)
class _Known:
    """What the index knows beside the places."""

    settings: Settings
    marks: Mapping[tuple[str, str], list[Mark]]
    by_content: Mapping[str, list[Mark]]
    slimmed: Mapping[str, float]
    restored: Mapping[str, float]
    archives: Mapping[str, tuple[str, ...]]
    groupings: Mapping[tuple[str, str], Grouping]
    checks: Mapping[tuple[str, str], Check]
    choose: Callable[[Iterable[tuple[str, float]]], dict[str, float]]

    @classmethod
    def load(cls, settings: Settings, store: Store) -> _Known:
        by_place: dict[tuple[str, str], list[Mark]] = {}
        by_content: dict[str, list[Mark]] = {}
        for mark in store.ask(load_marks):
            by_place.setdefault((mark.root, mark.path), []).append(mark)
            if mark.sha256 is not None:
                by_content.setdefault(mark.sha256, []).append(mark)
        made = store.ask(load_derivations)
        slimmed = {one.sha256: one.at for one in made if one.how == SLIM}
        restored = {one.sha256: one.at for one in made if one.how == RESTORE}
        checks = store.ask(load_checks)
        archives, groupings = store.ask(load_archived_digests), store.ask(load_groupings)
        return cls(settings, by_place, by_content, slimmed, restored, archives, groupings, checks, _chooser(settings.policy))

    def marks_of(self, root: str, path: str, sha256: str | None) -> list[Mark]:
        """Give the marks that speak of a content, and the pins that speak of its place."""
        if not self.marks:
            return []
        here = [mark for mark in self.marks.get((root, path), ()) if mark.kind == PIN or mark.sha256 == sha256]
        return here + [mark for mark in self.by_content.get(sha256 or "", ()) if (mark.root, mark.path) != (root, path)]

    def find_rotten(self, root: str, candidates: Iterable[Candidate]) -> frozenset[str]:
        """Give the paths where the last scrub found other bytes than were read once, or none that could be read."""
        if not any(check.outcome in BAD for check in self.checks.values()):
            return frozenset()
        contents = {(root, one.path): one.sha256 for one in candidates if one.sha256 is not None}
        return frozenset(path for _, path in find_bad(self.checks, contents))

    def stored_group(self, root: str, path: str, sha256: str | None) -> str | None:
        """Give the group that this content was taken for before; "" when it was none, None when nothing was written down."""
        stored = self.groupings.get((root, path))
        return (stored.group or "") if stored is not None and stored.sha256 == sha256 else None


def _gather_root(root: WatchedRoot, store: Store, known: _Known) -> Iterable[Fact]:
    candidates: list[Candidate] = store.ask(load_candidates, root.path)
    scores = store.ask(load_scores, root.path, known.choose)
    found = scan(root.handle.fd, root.wanted)
    links: dict[str, list[str]] = {}
    for link, target in found.aliases.items():
        links.setdefault(target, []).append(link)
    identities = {one.path: one.identity for one in candidates}
    changes = reconcile(identities, found.files, unread=found.unread)
    rotten = known.find_rotten(root.path, candidates)
    freezes = find_freezes(changes, identities, found.devices)
    for one in candidates:
        seen = found.files.get(one.path)
        if seen is None and not any(freeze.covers(one.path) for freeze in freezes):
            continue  # it is gone, and the index will know it soon
        holds = tuple(freeze.why for freeze in freezes if freeze.covers(one.path))
        if seen is None or not _is_same(one.identity, seen):
            holds = (*holds, "it changed since it was read")
        yield _make_fact(root.path, one, scores.get(one.content or "", {}), holds, links, known, rotten)


def _make_fact(
    root: str,
    one: Candidate,
    scores: dict[str, float],
    holds: tuple[str, ...],
    links: Mapping[str, Sequence[str]],
    known: _Known,
    rotten: frozenset[str],
) -> Fact:
    path, sha256 = one.path, one.sha256
    marks = known.marks_of(root, path, sha256)
    group = find_group(one, one.model_confidence, known.settings.policy)
    status = Status.DAMAGED if path in rotten else _status(one.status)
    pins = ["pinned" for mark in marks if mark.kind == PIN][:1]
    if links:
        pins += [f"{link} points to it" for link in _links_to(path, links)]
    kind = None if one.kind is None else _KINDS.get(one.kind)
    container = _CONTAINERS.get(one.container or "", Container.UNKNOWN)
    dev, ino, size, mtime_ns, _ = one.identity
    return Fact(
        id=one.id,
        root=root,
        path=path,
        sha256=sha256,
        status=status,
        kind=kind,
        size_bytes=size,
        allocated_bytes=size,
        inode=(dev, ino),
        group=group,
        stored_group=known.stored_group(root, path, sha256),
        run=(one.date or "")[:10] if _is_dated(one.date) else "",
        step=one.step,
        epoch=one.epoch,
        modified_at=mtime_ns / 1e9,
        first_seen_at=max(one.first_seen_at, known.restored.get(sha256 or "", 0.0)),  # somebody wanted it back
        dated_at=None if one.date is None else _read_date(one.date),
        slimmed_at=known.slimmed.get(sha256 or ""),
        scores=scores,
        optimizer_bytes=one.optimizer_bytes,
        can_slim=bool(one.optimizer_bytes) and can_slim(kind, status, container, one.optimizer_bytes),
        pins=tuple(pins),
        tags=tuple(mark.name for mark in marks if mark.kind == TAG),
        aliases=tuple(mark.name for mark in marks if mark.kind == ALIAS),
        archives=known.archives.get(sha256 or "", ()),
        holds=holds,
    )


_KINDS = {kind.value: kind for kind in Kind}
_CONTAINERS = {container.value: container for container in Container}
_STATUSES = {status.value: status for status in Status}


def _status(word: str | None) -> Status:
    return _STATUSES.get(word or "", Status.FAILED)


def _chooser(settings: PolicySettings) -> Callable[[Iterable[tuple[str, float]]], dict[str, float]]:
    """Give what makes scores of metrics: for each that the policy speaks of, the value that was measured on the best data."""
    spoken = frozenset((*settings.best_by, *settings.below, *settings.directions))

    @lru_cache(maxsize=4096)
    def read(name: str) -> tuple[str, int] | None:
        split, _, rest = name.partition("_")
        rank, bare = (_SPLITS[split], rest) if split in ("val", "test", "train") else (_SPLITS[""], name)
        base = bare if bare in spoken else base_of(name)
        if base is None or base not in spoken:
            return None
        return base, 2 * rank + (base != bare)  # "accuracy" itself before "balanced_accuracy" that only counts as one

    def choose(metrics: Iterable[tuple[str, float]]) -> dict[str, float]:
        best: dict[str, tuple[int, float]] = {}
        for name, value in metrics:
            meaning = read(name)
            if meaning is not None and value - value == 0.0 and (meaning[0] not in best or meaning[1] < best[meaning[0]][0]):
                best[meaning[0]] = (meaning[1], value)
        return {base: value for base, (_, value) in best.items()}

    return choose


def _is_dated(date: str | None) -> bool:
    return date is not None and len(date) >= 10 and date[4] == "-" and date[7] == "-"


@lru_cache(maxsize=4096)
def _read_date(text: str) -> float | None:
    """Read an ISO date as the end of what it names, in seconds since the epoch; None for one that is no date."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    try:
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def _is_same(known: RawIdentity, seen: RawIdentity) -> bool:
    """Say whether it is the file that was read; numbers of devices change with a mount, a ctime with a chmod."""
    return known[1:4] == seen[1:4]


def _links_to(path: str, links: Mapping[str, Sequence[str]]) -> list[str]:
    """Give the links that point to a file, or to a directory above it."""
    found = list(links.get(path, ()))
    above = path.rpartition("/")[0]
    while above:
        found += links.get(above, ())
        above = above.rpartition("/")[0]
    return found


class _Names:
    """The names in each directory that was looked into, read once."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, str], frozenset[str]] = {}

    def find(self, root_fd: int, directory: str) -> frozenset[str]:
        """Give the names in a directory; none when it can't be read."""
        key = (root_fd, directory)
        if key not in self._known:
            try:
                fd = open_beneath(root_fd, directory, _DIRECTORY) if directory else os.open(".", _DIRECTORY, dir_fd=root_fd)
            except OSError:
                return frozenset()
            try:
                self._known[key] = frozenset(os.listdir(fd))
            finally:
                os.close(fd)
        return self._known[key]


def find_keeps(path: str, names: frozenset[str]) -> list[str]:
    """Give the `.keep` files among the names of its directory that pin a checkpoint."""
    file = path.rpartition("/")[2]
    stem = file.rpartition(".")[0]
    return [name for name in dict.fromkeys((KEEP, file + KEEP, stem + KEEP)) if name in names]


def _look_at(fact: Fact, root_fd: int, names: _Names, writers: Callable[[], frozenset[int]]) -> Fact:
    keeps = find_keeps(fact.path, names.find(root_fd, fact.path.rpartition("/")[0]))
    pins = (*fact.pins, *(f"{name} lies beside it" for name in keeps))
    try:
        fd = open_beneath(root_fd, fact.path, _READ)
    except OSError as error:
        return replace(fact, pins=pins, holds=(*fact.holds, f"it can't be opened: {os.strerror(error.errno or 0)}"))
    try:
        seen = os.fstat(fd)
        openness = find_writer(fd, writers)
    finally:
        os.close(fd)
    holds = fact.holds
    if (seen.st_dev, seen.st_ino) != fact.inode and seen.st_ino != fact.inode[1]:
        holds = (*holds, "it changed since it was read")
    return replace(
        fact,
        pins=pins,
        holds=tuple(dict.fromkeys(holds)),
        allocated_bytes=seen.st_blocks * 512,
        inode=(seen.st_dev, seen.st_ino),
        links=seen.st_nlink,
        openness=openness,
    )


def is_kept_now(root_fd: int, path: str) -> str | None:
    """Say which `.keep` file pins a checkpoint at this moment; asked once more before anything is moved."""
    try:
        parent, _ = open_parent_beneath(root_fd, path)
    except OSError:
        return None
    try:
        keeps = find_keeps(path, frozenset(os.listdir(parent)))
    finally:
        os.close(parent)
    return keeps[0] if keeps else None


def is_open(openness: Openness) -> bool:
    """Say whether somebody writes to a file."""
    return openness is Openness.OPEN
