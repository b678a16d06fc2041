"""Compare the full picture with the index: what events say is a hint, this is the truth."""

from __future__ import annotations

import time
from dataclasses import dataclass

import structlog

from ckptd.index.store import Store
from ckptd.jobs.ingest import Ingest
from ckptd.jobs.roots import WatchedRoot
from ckptd.policy.brakes import find_freezes
from ckptd.policy.reconcile import Changes, reconcile
from ckptd.watch.scanner import scan

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What one look at the full picture found; counts of places.

    Attributes:
        frozen: how many losses wait for a person.
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


def reconcile_root(root: WatchedRoot, store: Store, ingest: Ingest, why: str, *, believe_losses: bool = False) -> Reconciled:
    """Walk a root, compare it with the index, and hand every difference to `ingest`.

    Args:
        root: without an incident.
        store: what is known.
        ingest: takes new, changed and returned files, and losses that can be believed.
        why: for the log: "start", "schedule", the word of a doubt.
        believe_losses: True when a person said that what is gone is gone.
    """
    start = time.perf_counter()
    found = scan(root.handle.fd, root.wanted)
    places = store.load_places(root.path)
    known = {path: place.identity for path, place in places.items()}
    missing = {path for path, place in places.items() if place.is_missing}
    changes = reconcile(known, found.files, missing=missing, unread=found.unread)
    freezes = () if believe_losses else find_freezes(changes, known, found.devices)
    if freezes and freezes != root.freezes:
        for freeze in freezes:
            _log.error("root.frozen", root=root.path, part=freeze.part, reason=freeze.why, files=len(freeze.lost))
    root.freezes = freezes
    root.aliases = found.aliases
    root.files = len(known) - len(missing)
    unsettled = [path for path, place in places.items() if not place.is_settled and path in found.files]
    _hand_on(root, ingest, changes, unsettled, freezes_losses={path for freeze in freezes for path in freeze.lost})
    for problem in found.problems:
        before = known.get(problem.path)
        if before is None or problem.identity is None or before[1:] != problem.identity[1:]:
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
    _log.info("scan.finished", root=root.path, why=why, **{name: getattr(done, name) for name in done.__slots__})
    return done


def _hand_on(root: WatchedRoot, ingest: Ingest, changes: Changes, unsettled: list[str], freezes_losses: set[str]) -> None:
    number = root.number
    for old, new in changes.moved:
        ingest.expect_move((number, old), (number, new))
    for path in (*changes.new, *changes.changed, *changes.returned, *changes.renumbered, *unsettled):
        ingest.expect((number, path))
    for path in changes.vanished:
        if path not in freezes_losses:
            ingest.mark_missing((number, path))
