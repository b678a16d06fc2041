"""Compare the full picture with the index: what events say is a hint, this is the truth."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import structlog

from ckptd.index.store import Store
from ckptd.jobs.ingest import TRIED_AGAIN, Ingest
from ckptd.jobs.roots import WatchedRoot
from ckptd.jobs.tidying import find_undescribed, sweep
from ckptd.model import Status
from ckptd.policy.brakes import Freeze, find_freezes
from ckptd.policy.reconcile import Changes, reconcile
from ckptd.watch.scanner import Problem, Scan, scan

_log = structlog.get_logger()

#: Reasons for a look that come by the clock: then only what differs is dealt with.
BY_THE_CLOCK = frozenset({"schedule", "polling"})
#: What has a sidecar, as `metadata.sidecar` has it.
_DESCRIBED = (Status.OK, Status.NEEDS_CODE, Status.UNSAFE, Status.DAMAGED)
#: Our hidden files live for milliseconds; one that is older than this was left behind, whoever wrote it.
_LEFT_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What one look at the full picture found; counts of places.

    Attributes:
        frozen: losses that wait for a person.
        seconds: how long walk, comparison and notes took.
    """

    seen: int = 0
    new: int = 0
    changed: int = 0
    returned: int = 0
    unchanged: int = 0
    moved: int = 0
    missing: int = 0
    frozen: int = 0
    seconds: float = 0.0


def _go_on() -> None:
    """Let a walk go on."""


def reconcile_root(
    root: WatchedRoot,
    store: Store,
    ingest: Ingest,
    why: str,
    *,
    started_at: float,
    believe_losses: bool = False,
    breathe: Callable[[], None] = _go_on,
) -> Reconciled:
    """Walk a root, compare it with the index, and hand every difference to `ingest`.

    Args:
        root: without an incident.
        store: what is known.
        ingest: takes new, changed and returned files, and losses that can be believed.
        why: for the log: "start", "scan", "schedule", "polling" or the word of a doubt.
        started_at: when this process took the lock, seconds since the epoch; what is older and half-written, nobody finishes.
        believe_losses: True when a person said that what is gone is gone.
        breathe: called for each directory of the walk; what it raises ends the look, and nothing of it was used.
    """
    start = time.perf_counter()
    with _without_collections():
        found = scan(root.handle.fd, root.wanted, breathe=breathe)
        ingest.own_exports.pass_over(root.number, found.files, is_whole=True)
        odd = {problem.path: problem for problem in found.problems if problem.identity is not None}
        seen = (
            found.files | {path: problem.identity for path, problem in odd.items() if problem.identity} if odd else found.files
        )
        known = store.load_identities(root.path)
        root.files = len(known)
        # What came back is among what is not known as present: only that is asked for, for what is gone only grows.
        missing = {} if seen.keys() <= known.keys() else store.load_gone(root.path, seen)
        known |= missing
        changes = reconcile(known, seen, missing=missing, unread=found.unread)
    freezes = () if believe_losses else find_freezes(changes, known, found.devices, before=root.freezes)
    _tell_freezes(root, freezes)
    root.freezes = freezes
    root.aliases = found.aliases
    root.told &= {(problem.path, problem.finding.code) for problem in found.problems}
    if found.leftovers:
        sweep(root, found.leftovers, max(started_at, time.time() - _LEFT_SECONDS))
    ingest.keep_only(root.number, seen, found.unread)
    if ingest.unwritten:  # the same differences are found each time, and each time they would be noted once more
        ingest.losses.put_off(root.number)
    else:
        _hand_on(root, store, ingest, changes, odd)
        ingest.upkeep.retry(root.number)
        if why not in BY_THE_CLOCK:
            _look_closer(root, store, ingest, found)
    for problem in found.problems:
        if problem.identity is None:
            ingest.report(root.number, problem)
    done = Reconciled(
        seen=len(found.files),
        new=len(changes.new),
        changed=len(changes.changed),
        returned=len(changes.returned),
        unchanged=changes.same + len(changes.renumbered),
        moved=len(changes.moved),
        missing=len(changes.vanished),
        frozen=sum(len(freeze.lost) for freeze in freezes),
        seconds=round(time.perf_counter() - start, 6),
    )
    # A polled root is looked at twice a minute; that nothing happened is no news.
    tell = _log.debug if why == "polling" and done.seen == done.unchanged and not done.missing else _log.info
    tell("scan.finished", root=root.path, why=why, **{name: getattr(done, name) for name in done.__slots__})
    return done


def _tell_freezes(root: WatchedRoot, freezes: tuple[Freeze, ...]) -> None:
    if freezes == root.freezes:
        return
    cure = "bring them back; if they are meant to be gone, stop ckptd and run `ckptd scan --believe-losses`"
    for freeze in freezes:
        _log.error("root.frozen", root=root.path, part=freeze.part, reason=freeze.why, files=len(freeze.lost), cure=cure)


@contextmanager
def _without_collections() -> Iterator[None]:
    """Let a hundred thousand short-lived tuples come and go without looking for circles among them."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _hand_on(root: WatchedRoot, store: Store, ingest: Ingest, changes: Changes, odd: Mapping[str, Problem]) -> None:
    """Give every difference to its stage; what is no file and bears the name of one is written down as that."""
    number = root.number
    for old, new in changes.moved:
        if new not in odd:
            ingest.losses.expect_move(number, old, new)
    here = (*changes.new, *changes.changed, *changes.returned, *changes.renumbered, *(new for _, new in changes.moved))
    for path in here:
        if path in odd:
            ingest.report(number, odd[path])
        else:
            ingest.expect((number, path))
    for path in (*changes.vanished, *(old for old, new in changes.moved if new in odd)):
        known = store.find_place(root.path, path)
        if known is not None:
            ingest.losses.mark_missing((number, path), known)


def _look_closer(root: WatchedRoot, store: Store, ingest: Ingest, found: Scan) -> None:
    """Do what only a start or a doubt calls for: try again what failed, miss the sidecars that somebody removed."""
    for path in store.find_with_status(root.path, TRIED_AGAIN):
        if path in found.files:
            ingest.expect((root.number, path))
    if ingest.upkeep.enabled:
        described = store.find_with_status(root.path, _DESCRIBED)
        for path in find_undescribed(root, (path for path in described if path in found.files)):
            ingest.upkeep.expect((root.number, path))
