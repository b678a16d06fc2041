"""Do what a plan says: slim, archive, trash; each file is looked at again before it is touched.

The order is that of safety.  What is slimmed keeps its name and its original waits in the trash.  What is archived goes only
after its archive was read back.  Everything that goes is in the trash first, and only the purge ends it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from ckptd.archive.interface import ArchiveError
from ckptd.errors import CkptdError
from ckptd.index.archived import VERIFIED, load_archives
from ckptd.jobs.archive_states import ArchiveStates
from ckptd.jobs.archiving import Wanted, write_archive
from ckptd.jobs.planned import Planned
from ckptd.jobs.registry import JobContext
from ckptd.jobs.removing import Removing
from ckptd.jobs.roots import WatchedRoot
from ckptd.jobs.slimming import slim_checkpoint_of
from ckptd.policy.retention.plan import Action, Decision

#: Told what is done with a file: its path, and a word or two.
Told = Callable[[str, str], None]


class StoppedError(CkptdError):
    """Somebody asked this process to end; what is not done yet is done by the next run."""

    permanent = False


@dataclass(frozen=True, slots=True)
class Done:
    """What was done to a file; `where` is the trash entry, or the archive."""

    root: str
    path: str
    action: Action
    where: str


@dataclass(frozen=True, slots=True)
class Skipped:
    """What was left as it was, and why."""

    root: str
    path: str
    action: Action
    why: str


@dataclass(slots=True)
class Applied:
    """What became of a plan.

    Attributes:
        archives: names of those that were written.
        failures: what went wrong beyond single files, in sentences.
        is_stopped: True when somebody asked this process to end before all was done.
    """

    planned: Planned
    done: list[Done] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    archives: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    is_stopped: bool = False


class Applying:
    """Carry out one plan.

    Args:
        context: what a job works with.
        planned: what is to be done.
        told: told of each file; None tells nobody.
    """

    def __init__(self, context: JobContext, planned: Planned, told: Told | None) -> None:
        self._context = context
        self._told = told or _tell_nobody
        self._roots = {root.path: root for root in context.roots}
        self._removing = Removing(context)
        self._applied = Applied(planned)
        self._states = ArchiveStates(context, self._step)

    def run(self) -> Applied:
        """Do everything, as far as it goes; what fails is left as it was and told."""
        decisions = self._applied.planned.plan.decisions
        try:
            for decision in _those(decisions, Action.SLIM):
                self._one(decision, self._slim)
            for root in self._roots.values():
                self._archive([one for one in _those(decisions, Action.ARCHIVE) if one.fact.root == root.path], root)
            for decision in _those(decisions, Action.TRASH):
                self._one(decision, self._trash)
        except StoppedError:
            self._applied.is_stopped = True
        return self._applied

    def _one(self, decision: Decision, act: Callable[[Decision, WatchedRoot], str]) -> None:
        """Do one thing to one file; an error leaves that file as it was."""
        self._check_stop()
        fact = decision.fact
        root = self._roots[fact.root]
        self._told(fact.path, decision.action.value)
        try:
            self._look_at_root(root)
            where = act(decision, root)
        except CkptdError as error:
            self._skip(decision, error)
        else:
            self._applied.done.append(Done(fact.root, fact.path, decision.action, where))

    def _slim(self, decision: Decision, root: WatchedRoot) -> str:
        return slim_checkpoint_of(self._context, self._removing, root, decision)

    def _trash(self, decision: Decision, root: WatchedRoot) -> str:
        if decision.fact.archives and not self._is_archived(decision.fact.archives):
            # What the index knows of an archive is no reason to remove anything: the archive itself has to be read.
            self._archive([decision], root)
            raise ArchiveError("remove a checkpoint", path=decision.fact.path, why="its archive is not whole any more")
        return self._removing.take(root, decision, archives=decision.fact.archives)

    def _is_archived(self, names: Sequence[str]) -> bool:
        """Say whether one of these archives is whole, read just now."""
        archives = {one.name: one for one in self._context.store.ask(load_archives)}
        return any(name in archives and self._states.read(archives[name]) == VERIFIED for name in reversed(names))

    def _archive(self, decisions: Sequence[Decision], root: WatchedRoot) -> None:
        for batch in _batches(decisions, self._context.settings.archive.max_bytes):
            self._check_stop()
            try:
                self._look_at_root(root)
                self._archive_batch(batch, root)
            except StoppedError:
                raise
            except CkptdError as error:
                self._applied.failures.append(str(error))
                for decision in batch:
                    self._skip(decision, error)

    def _archive_batch(self, batch: Sequence[Decision], root: WatchedRoot) -> None:
        ready = []
        for decision in batch:
            reason = self._removing.find_objection(root, decision.fact)
            if reason is not None:
                self._skip(decision, reason)
            elif decision.fact.sha256 is not None:
                ready.append(decision)
        if not ready:
            return
        self._told(f"{len(ready)} checkpoints", "archive")
        stored = write_archive(self._context, root, [_wanted(decision) for decision in ready], progress=self._step)
        self._applied.archives.append(stored.name)
        for decision in ready:
            path = decision.fact.path
            if path in stored.left_out:
                self._skip(decision, stored.left_out[path])
                continue
            self._check_stop()
            try:
                self._removing.take(root, decision, archives=(stored.name,))
            except CkptdError as error:
                self._skip(decision, error)
            else:
                self._applied.done.append(Done(root.path, path, Action.ARCHIVE, stored.name))

    def _skip(self, decision: Decision, why: CkptdError | str) -> None:
        fact = decision.fact
        self._applied.skipped.append(Skipped(fact.root, fact.path, decision.action, str(why)))
        self._context.log.warning(
            "retention.skipped", root=fact.root, path=fact.path, action=decision.action.value, reason=str(why)
        )

    def _look_at_root(self, root: WatchedRoot) -> None:
        """Stop at a root that is not the root any more; asked before each step, for it can be unmounted at any time."""
        root.look_again()
        if root.incident is not None:
            raise CkptdError(
                "work in a root", path=root.path, why=root.incident, cure="nothing was touched; see `ckptd doctor`"
            )

    def _step(self, _done_bytes: int) -> None:
        self._check_stop()

    def _check_stop(self) -> None:
        if self._context.stop():
            raise StoppedError("the job was told to stop", why="what is not done yet is done by the next run")


def _tell_nobody(what: str, words: str) -> None:
    del what, words


def _those(decisions: Sequence[Decision], action: Action) -> list[Decision]:
    return [decision for decision in decisions if decision.action is action]


def _batches(decisions: Sequence[Decision], most_bytes: int) -> Iterator[list[Decision]]:
    """Split what is to be archived so that no archive becomes too large; a file that is too large by itself is alone."""
    batch: list[Decision] = []
    size = 0
    for decision in decisions:
        if batch and size + decision.fact.size_bytes > most_bytes:
            yield batch
            batch, size = [], 0
        batch.append(decision)
        size += decision.fact.size_bytes
    if batch:
        yield batch


def _wanted(decision: Decision) -> Wanted:
    fact = decision.fact
    assert fact.sha256 is not None
    return Wanted(
        fact.path,
        fact.sha256,
        fact.size_bytes,
        {
            "group": fact.group,
            "epoch": fact.epoch,
            "step": fact.step,
            "metrics": dict(fact.scores),
            "why": [reason.message for reason in decision.reasons],
        },
    )
