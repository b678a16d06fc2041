"""Take one checkpoint away: looked at once more, written down first, moved into the trash, written down again.

The index says `trashed` before the file moves, so that the daemon, which sees it go, does not take it for lost.  A kill in
between leaves a file in place that the next look finds and takes in again.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Any

from ckptd.errors import CkptdError
from ckptd.index.ledger import Gone, add_gone
from ckptd.index.marks import ALIAS, PIN, TAG, Mark, load_marks
from ckptd.jobs.companions import find_companions
from ckptd.jobs.gathering import is_kept_now
from ckptd.jobs.registry import JobContext
from ckptd.jobs.roots import WatchedRoot
from ckptd.model import Identity, Openness, PlaceState
from ckptd.policy.retention.facts import Fact
from ckptd.policy.retention.plan import Action, Decision
from ckptd.storage.beneath import open_beneath
from ckptd.storage.trash import Companion, Removal, put
from ckptd.watch.openness import RecentWriters, find_writer
from ckptd.watch.scanner import RegularFile, observe

#: How the reason begins that names an archive; what went for such a reason is purged only while an archive has it.
ARCHIVED_IN = "archived in "

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
#: What is being done, in messages.
_REMOVE = "remove a checkpoint"
#: Of a younger file, about which nobody can say whether it is open, nothing is believed.
_UNKNOWN_SECONDS = 86_400.0


class ObjectionError(CkptdError):
    """A file stays where it is, though the plan says otherwise; the world has changed since it was made."""

    permanent = False


class Removing:
    """Move checkpoints into the trash of their root.

    Args:
        context: what a job works with.
    """

    def __init__(self, context: JobContext) -> None:
        self._context = context
        self._writers = RecentWriters(time.monotonic)

    def find_objection(self, root: WatchedRoot, fact: Fact) -> str | None:
        """Say why a checkpoint must stay after all, as it is now; None when it may go.

        The facts of the plan may be minutes old: archives take their time.
        """
        try:
            self.compare(root, fact.path, fact.sha256)
        except ObjectionError as error:
            return error.why
        return self._find_claim(root, fact)

    def compare(self, root: WatchedRoot, path: str, sha256: str | None) -> Identity:
        """Give the identity under which the index has this content, of a file that lies there as it was read.

        Raises:
            ObjectionError: nothing or something else lies there, or the index knows another content by this name now.
        """
        seen = observe(root.handle.fd, path, root.wanted)
        if not isinstance(seen, RegularFile):
            raise ObjectionError(_REMOVE, path=path, why="it is not there any more")
        known = self._context.store.find_place(root.path, path)
        if known is None or known.sha256 != sha256 or known.is_missing:
            raise ObjectionError(_REMOVE, path=path, why="the index knows something else by this name now")
        if seen.identity[1:4] != known.identity[1:4]:
            raise ObjectionError(_REMOVE, path=path, why="it changed since it was read")
        return Identity(*known.identity)

    def take(self, root: WatchedRoot, decision: Decision, *, archives: Sequence[str] = ()) -> str:
        """Move one checkpoint with what goes with it into the trash; the name of its entry.

        Args:
            root: where it lies.
            decision: that it shall go.
            archives: in which it was found whole just now.

        Raises:
            ObjectionError: it must stay.
            StorageError: it could not be moved; it is where it was.
        """
        fact = decision.fact
        if fact.sha256 is None:
            raise ObjectionError(_REMOVE, path=fact.path, why="it was never read to its end")
        identity = self.compare(root, fact.path, fact.sha256)
        claim = self._find_claim(root, fact)
        if claim is not None:
            raise ObjectionError(_REMOVE, path=fact.path, why=claim)
        reasons = [reason.message for reason in decision.reasons] + [f"{ARCHIVED_IN}{name}" for name in archives]
        action, group = decision.action, fact.group
        return self.move(root, fact.path, identity, fact.sha256, reasons, action=action, group=group, job="retention")

    def move(
        self,
        root: WatchedRoot,
        path: str,
        identity: Identity,
        sha256: str,
        reasons: Sequence[str],
        *,
        action: Action,
        group: str | None,
        job: str,
    ) -> str:
        """Move the file that was compared with the index, and no other; the name of its entry in the trash.

        Args:
            root: where it lies.
            path: relative to the root.
            identity: that of `compare`.  Who looked anew here would take whatever was saved since for what was decided on.
            sha256: of its content; the bytes are read where the ctime is another by now.
            reasons: why it goes, in phrases.
            action: what the policy calls it.
            group: what it was a checkpoint of.
            job: which takes it.

        Raises:
            StorageError: it is another file by now, or could not be moved; it is where it was.
        """
        context = self._context
        companions = find_companions(context.store, root.path, root.handle.fd, path, exports=context.settings.policy.exports)
        item = Removal(
            path=path,
            identity=identity,
            sha256=sha256,
            removed_at=context.now(),
            reasons=tuple(reasons),
            job=job,
            run=context.run_id,
            group=group,
            companions=tuple(Companion(one.path, one.identity, one.what) for one in companions),
        )
        with self.marked_away(root, path):
            trashed = put(root.handle.fd, item, accept=self.find_accepted(identity.mtime_ns / 1e9))
        self._record(root, path, sha256, identity.size_bytes, action, group, trashed.entry, reasons, job)
        for left in trashed.left:
            context.log.info("trash.left", root=root.path, path=left.path, reason=left.why)
        return trashed.entry

    def find_accepted(self, born_at: float) -> tuple[Openness, ...]:
        """Say what may be known about who has a file open, for it to go: of an old one nobody need be able to tell."""
        is_old = self._context.now() - born_at >= _UNKNOWN_SECONDS
        return (Openness.CLOSED, Openness.UNKNOWN) if is_old else (Openness.CLOSED,)

    def marked_away(self, root: WatchedRoot, path: str) -> _MarkedAway:
        """Have the index say that a place is empty, as long as nothing goes wrong in the block."""
        return _MarkedAway(self._context, root.path, path)

    def _find_claim(self, root: WatchedRoot, fact: Fact) -> str | None:
        """Say why a checkpoint that lies there as it was read must stay all the same."""
        keep = is_kept_now(root.handle.fd, fact.path)
        if keep is not None:
            return f"{keep} lies beside it"
        mark = self._find_mark(fact)
        if mark is not None:
            return f"it has the {mark.kind} {mark.name}".rstrip() if mark.kind != PIN else "it is pinned"
        return self._find_user(root, fact)

    def _find_mark(self, fact: Fact) -> Mark | None:
        """Find a pin, a tag that keeps or an alias that somebody gave it since the plan was made."""
        tags = self._context.settings.policy.keep_tags
        for mark in self._context.store.ask(load_marks):
            is_content = mark.sha256 is not None and mark.sha256 == fact.sha256
            is_place = mark.kind == PIN and (mark.root, mark.path) == (fact.root, fact.path)
            counts = mark.kind in (PIN, ALIAS) or (mark.kind == TAG and ("*" in tags or mark.name in tags))
            if counts and (is_content or is_place):
                return mark
        return None

    def _find_user(self, root: WatchedRoot, fact: Fact) -> str | None:
        try:
            fd = open_beneath(root.handle.fd, fact.path, _READ)
        except OSError as error:
            return f"it can't be opened: {os.strerror(error.errno or 0)}"
        try:
            openness = find_writer(fd, self._writers)
        finally:
            os.close(fd)
        if openness is Openness.OPEN:
            return "a process writes to it"
        if openness is Openness.UNKNOWN and self._context.now() - fact.born_at < _UNKNOWN_SECONDS:
            return "it is younger than a day, and nobody can say whether a process has it open"
        return None

    def _record(
        self,
        root: WatchedRoot,
        path: str,
        sha256: str,
        size_bytes: int,
        action: Action,
        group: str | None,
        entry: str,
        reasons: Sequence[str],
        job: str,
    ) -> None:
        context, now = self._context, self._context.now()
        line: dict[str, Any] = {"event": "trashed", "root": root.path, "path": path, "sha256": sha256, "group": group}
        line |= {"size_bytes": size_bytes, "action": action.value, "entry": entry, "at": now}
        context.journal.append([line])
        with context.store.batch() as batch:
            batch.tell(add_gone, Gone(root.path, path, sha256, group, size_bytes, action.value, now))
            why = {"entry": entry, "action": action.value, "group": group, "reasons": list(reasons)[:20]}
            batch.audit("checkpoint.trashed", root.path, path, sha256, now=now, why=why, job=job)
        values = {"root": root.path, "path": path, "digest": sha256, "entry": entry}
        context.log.info("checkpoint.trashed", **values, action=action.value, reason="; ".join(reasons))


class _MarkedAway:
    """The index says `trashed` while a file is on its way, and what it said before when it stays."""

    def __init__(self, context: JobContext, root: str, path: str) -> None:
        self._context = context
        self._place = root, path
        self._before: str | None = None

    def __enter__(self) -> None:
        known = self._context.store.find_place(*self._place)
        if known is not None:
            self._before = known.state
            self._set(PlaceState.TRASHED)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if kind is not None and self._before is not None:
            self._set(PlaceState(self._before))

    def _set(self, state: PlaceState) -> None:
        now = self._context.now()
        with self._context.store.batch() as batch:
            batch.record_state(*self._place, state, now=now)
