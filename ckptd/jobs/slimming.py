"""Slim one checkpoint: write the smaller file beside, prove it equal, swap it with the original, which waits in the trash."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from ckptd.errors import StorageError
from ckptd.index.ledger import Gone, add_gone
from ckptd.index.marks import SLIM, Derivation, load_marks, put_derivation
from ckptd.jobs.archiving import LEAST_FREE_BYTES
from ckptd.jobs.marking import move_marks
from ckptd.jobs.registry import JobContext
from ckptd.jobs.removing import ObjectionError, Removing
from ckptd.jobs.roots import WatchedRoot
from ckptd.model import Identity
from ckptd.policy.retention.plan import Decision
from ckptd.slim.refusal import NothingToDropError
from ckptd.storage.beneath import open_beneath
from ckptd.storage.scratch import free_bytes
from ckptd.storage.trash import Removal, Replaced, Replacement, exchange, replacement_file

if TYPE_CHECKING:
    from ckptd.slim.slimming import Slimmed

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY


def slim_checkpoint_of(context: JobContext, removing: Removing, root: WatchedRoot, decision: Decision) -> str:
    """Put a smaller file in the place of a checkpoint; the name of the trash entry that has the original.

    Raises:
        ObjectionError: it must stay as it is.
        SlimError: it can't be made smaller, or the smaller file could not be proved to hold the rest unchanged.
        StorageError: the disk said no; the checkpoint is as it was.
    """
    fact = decision.fact
    objection = removing.find_objection(root, fact)
    if objection is not None or fact.sha256 is None:
        raise ObjectionError("slim a checkpoint", path=fact.path, why=objection or "it was never read to its end")
    floor = max(context.settings.policy.free_bytes or 0, LEAST_FREE_BYTES)
    room = free_bytes(root.handle.fd) - (fact.size_bytes - fact.optimizer_bytes)
    if room < floor:
        why = f"the smaller file does not fit above the floor of {floor:,} free bytes"
        raise StorageError("slim a checkpoint", path=fact.path, why=why, cure="free some space")
    with replacement_file(root.handle.fd) as target:
        try:
            identity, made = _make(root, decision, target, floor)
        except NothingToDropError:
            _note_slim_already(context, decision)
            raise
        if made.source_sha256 != fact.sha256:
            raise ObjectionError("slim a checkpoint", path=fact.path, why="it changed since it was read")
        objection = removing.find_objection(root, fact)  # the proof took its time
        if objection is not None:
            raise ObjectionError("slim a checkpoint", path=fact.path, why=objection)
        item = Removal(
            path=fact.path,
            identity=identity,
            sha256=fact.sha256,
            removed_at=context.now(),
            reasons=tuple(reason.message for reason in decision.reasons),
            job="retention",
            run=context.run_id,
            group=fact.group,
        )
        _write_down(context, decision, made)
        accept = removing.find_accepted(fact.born_at)
        replaced = exchange(root.handle.fd, item, Replacement(target, made.sha256), accept=accept)
    _tell(context, decision, made, replaced)
    return replaced.entry


def _note_slim_already(context: JobContext, decision: Decision) -> None:
    """Remember that nothing can be dropped, so that the next run takes the next step of the ladder instead of trying again."""
    fact, now = decision.fact, context.now()
    assert fact.sha256 is not None
    line: dict[str, Any] = {"event": "derived", "how": SLIM, "root": fact.root, "path": fact.path, "at": now}
    context.journal.append([line | {"sha256": fact.sha256, "source_sha256": fact.sha256}])
    with context.store.batch() as batch:
        batch.tell(put_derivation, Derivation(fact.sha256, fact.sha256, SLIM, now))


def _make(root: WatchedRoot, decision: Decision, target: int, floor: int) -> tuple[Identity, Slimmed]:
    """Write the smaller file; the descriptor of the larger one is closed again, for it would count as somebody's."""
    from ckptd.slim.slimming import slim_checkpoint  # the reader and writer of containers, for the few who slim

    source = open_beneath(root.handle.fd, decision.fact.path, _READ)
    try:
        return Identity.of(os.fstat(source)), slim_checkpoint(source, target, free_bytes=floor, progress=lambda _done: None)
    finally:
        os.close(source)


def _write_down(context: JobContext, decision: Decision, made: Slimmed) -> None:
    """Link the two digests and let pins, tags and aliases speak of both, before the smaller file gets the name."""
    fact, now = decision.fact, context.now()
    assert fact.sha256 is not None
    line: dict[str, Any] = {"event": "derived", "how": SLIM, "root": fact.root, "path": fact.path, "at": now}
    line |= {"sha256": made.sha256, "source_sha256": fact.sha256}
    with context.store.batch() as batch:
        batch.tell(put_derivation, Derivation(made.sha256, fact.sha256, SLIM, now))
        marks = [mark for mark in context.store.ask(load_marks) if mark.sha256 == fact.sha256]
        lines = move_marks(batch, marks, made.sha256)
    context.journal.append([line, *lines])


def _tell(context: JobContext, decision: Decision, made: Slimmed, replaced: Replaced) -> None:
    fact, now = decision.fact, context.now()
    dropped = max(0, fact.size_bytes - made.size_bytes)
    line: dict[str, Any] = {
        "event": "trashed",
        "root": fact.root,
        "path": fact.path,
        "sha256": fact.sha256,
        "group": fact.group,
    }
    context.journal.append([line | {"size_bytes": dropped, "action": "slim", "entry": replaced.entry, "at": now}])
    with context.store.batch() as batch:
        batch.tell(add_gone, Gone(fact.root, fact.path, fact.sha256, fact.group, dropped, "slim", now))
        why: dict[str, Any] = {"entry": replaced.entry, "from": fact.sha256, "dropped": list(made.dropped)}
        why |= {"size_bytes": made.size_bytes, "was_bytes": fact.size_bytes}
        batch.audit("checkpoint.slimmed", fact.root, fact.path, made.sha256, now=now, why=why, job="retention")
    values = {"root": fact.root, "path": fact.path, "digest": made.sha256, "entry": replaced.entry}
    context.log.info("checkpoint.slimmed", **values, bytes=made.size_bytes, was=fact.size_bytes, dropped=list(made.dropped))
