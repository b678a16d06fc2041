"""The scrub job: read checkpoints again, the longest unread first, and say which are no longer what they were.

Bytes that differ in a file that nobody touched are rot.  It is believed after a second reading, told with the names of the
tensors and with the last good copy, and written down, so that no policy counts such a file as a good one.  Nothing is repaired
and nothing is removed here.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from ckptd.index.candidates import load_candidates
from ckptd.index.ledger import load_checks
from ckptd.jobs.copies import Lost, Search, good_copy
from ckptd.jobs.registry import JobContext, JobOutcome
from ckptd.jobs.rereading import Reread, StoppedError, check_stop, make_pace, open_known, read_again
from ckptd.jobs.roots import WatchedRoot
from ckptd.jobs.rot import Damage, compare_copies, find_damage, limits_of
from ckptd.jobs.scratch_files import sweep_scratches
from ckptd.jobs.scrub_notes import Notes, Trouble
from ckptd.model import Json
from ckptd.policy.retention.facts import GOOD
from ckptd.policy.scrub import BAD, Outcome, Turn, find_bad, find_last, order_turns
from ckptd.text import escape, format_size

_GOOD = frozenset(status.value for status in GOOD)
_MOST_BAD_COPIES = 20


def run_scrub(context: JobContext, clock: Callable[[], float] = time.monotonic) -> JobOutcome:
    """Read checkpoints again for as long as the settings say.

    Args:
        context: what a job works with.
        clock: monotonic seconds.
    """
    return _Scrubbing(context, clock).run()


def recover(context: JobContext) -> None:
    """Remove the scratch files that a kill left."""
    sweep_scratches(context)


class _Scrubbing:
    """One run."""

    def __init__(self, context: JobContext, clock: Callable[[], float]) -> None:
        self._context = context
        self._clock = clock
        self._began = clock()
        self._notes = Notes(context, self._began)
        self._roots = {root.path: root for root in context.roots}
        self._lost = {root.path: root.incident for root in context.roots if root.incident is not None}
        self._done_bytes = 0

    def run(self) -> JobOutcome:
        """Go through the turns until the time is up."""
        turns = self._find_turns()
        begun, is_stopped = 0, False
        try:
            for turn in turns:
                if self._clock() - self._began >= self._context.settings.scrub.seconds:
                    break
                check_stop(self._context.stop)
                if turn.root in self._lost:
                    continue
                self._check(self._roots[turn.root], turn)
                self._notes.write_some(self._clock())
                begun += 1
        except StoppedError:
            is_stopped = True
        finally:
            self._notes.write(self._clock())
        return self._conclude(len(turns) - begun, is_stopped=is_stopped)

    def _find_turns(self) -> list[Turn]:
        now, store = self._context.now(), self._context.store
        checks = store.ask(load_checks)
        turns: list[Turn] = []
        for root in self._roots:
            for one in store.ask(load_candidates, root):
                if one.sha256 is not None and one.status in _GOOD:
                    at, before = find_last(checks.get((root, one.path)), one.sha256, one.identity[4] / 1e9, now)
                    turns.append(Turn(root, one.path, one.sha256, one.identity, one.first_seen_at, at, before))
        bad = find_bad(checks, {(turn.root, turn.path): turn.sha256 for turn in turns})
        if bad:
            turns = [turn._replace(before=bad.get((turn.root, turn.path), turn.before)) for turn in turns]
        checked_at: dict[str, list[float]] = {}
        for check in checks.values():
            checked_at.setdefault(check.root, []).append(check.at)
        return order_turns(turns, checked_at, now)

    def _check(self, root: WatchedRoot, turn: Turn) -> None:
        reread = self._read(root, turn, self._context.settings.scrub.seconds)
        if reread.outcome is Outcome.OK and reread.sha256 != turn.sha256:
            self._suspect(root, turn, reread)
        else:
            self._note(root, turn, reread)

    def _read(self, root: WatchedRoot, turn: Turn, limit_seconds: float) -> Reread:
        pace = make_pace(turn.size_bytes, limit_seconds, self._clock, self._context.stop)
        reread = read_again(root.handle.fd, turn.path, turn.identity, self._context.now(), pace)
        self._done_bytes += reread.done_bytes
        return reread

    def _suspect(self, root: WatchedRoot, turn: Turn, first: Reread) -> None:
        """Read once more what does not have its digest: memory, cables and controllers flip bits too."""
        second = self._read(root, turn, float("inf"))
        if second.outcome is Outcome.OK and second.sha256 != turn.sha256:
            self._rotten(root, turn, is_steady=first.sha256 == second.sha256)
            return
        if second.outcome is Outcome.OK:
            reason = "a first reading gave other bytes than a second one, which was right: look at memory, cable and controller"
            self._context.log.warning("scrub.unsteady", root=turn.root, path=turn.path, digest=turn.sha256, reason=reason)
        self._note(root, turn, second)

    def _note(self, root: WatchedRoot, turn: Turn, reread: Reread) -> None:
        """Write down every outcome but rot."""
        values = {"root": turn.root, "path": turn.path, "digest": turn.sha256}
        match reread.outcome:
            case Outcome.OK if turn.before in BAD:
                self._context.log.info("scrub.healed", **values)
                self._notes.note(turn, Outcome.OK, "scrub.healed", {"before": str(turn.before)})
            case Outcome.UNFINISHED:
                limit = f"{self._context.settings.scrub.seconds:g} seconds"
                reason = f"its {format_size(turn.size_bytes)} take longer than the {limit} of scrub.seconds: raise it"
                self._context.log.warning("scrub.unfinished", **values, reason=reason)
                still_bad = turn.before if turn.before in BAD else None
                self._notes.note(turn, still_bad or Outcome.UNFINISHED)
            case Outcome.CHANGED:
                self._context.log.debug("scrub.changed", **values, reason=reread.why)
                self._notes.note_changed(turn)
            case Outcome.UNREADABLE:
                self._unreadable(root, turn, reread)
            case _:
                self._notes.note(turn, Outcome.OK)

    def _unreadable(self, root: WatchedRoot, turn: Turn, reread: Reread) -> None:
        if self._is_lost(root):
            return
        why = f"it can't be read: {reread.why}"
        if not reread.is_broken:
            cure = "give the user that runs ckptd the right to read it"
            self._notes.note_trouble(Trouble(turn, Outcome.UNREADABLE, why, cure, {}))
            return
        with good_copy(self._context, _lost(turn), self._keep_going) as search:
            self._tell(turn, Outcome.UNREADABLE, Damage((), why), search)

    def _rotten(self, root: WatchedRoot, turn: Turn, *, is_steady: bool) -> None:
        if self._is_lost(root):
            return
        with good_copy(self._context, _lost(turn), self._keep_going) as search:
            damage = self._find_damage(root, turn, search)
            words = ["its bytes are no longer those that were saved", damage.words]
            words += [] if is_steady else ["two readings differ from each other too"]
            self._tell(turn, Outcome.ROTTEN, Damage(damage.tensors, ": ".join(filter(None, words))), search)

    def _find_damage(self, root: WatchedRoot, turn: Turn, search: Search) -> Damage:
        """Say what is damaged, by the file's own CRCs, or else by what the good copy has in its place."""
        limits = limits_of(self._context.settings.inspect)
        try:
            fd = open_known(root.handle.fd, turn.path, turn.identity)
        except OSError as error:
            return Damage((), f"what of it is damaged could not be found out: {error.strerror or error}")
        try:
            damage = find_damage(fd, turn.path, limits)
            if damage.tensors or search.fd is None:
                return damage
            return compare_copies(fd, search.fd, limits)
        finally:
            os.close(fd)

    def _tell(self, turn: Turn, outcome: Outcome, damage: Damage, search: Search) -> None:
        """Tell what is bad, with what can be done about it."""
        found = search.found
        details: dict[str, Json] = {"tensors": list(damage.tensors), "bad_copies": list(search.bad[:_MOST_BAD_COPIES])}
        if found is None:
            cure = "no other good copy of it is known: take one from a backup of your own, or train it again"
        else:
            is_read = "read just now" if search.fd is not None else "not read just now, since there is no scratch room for it"
            cure = f"a good copy is in {found.shown}, {is_read}: {found.command}"
            details |= {"copy": found.shown, "command": found.command}
        self._notes.note_trouble(Trouble(turn, outcome, damage.words, cure, details))

    def _keep_going(self, _done_bytes: int) -> None:
        check_stop(self._context.stop)

    def _is_lost(self, root: WatchedRoot) -> bool:
        """Say whether a root is not to be believed any more: then its files are not bad, but out of reach."""
        root.look_again()
        if root.incident is not None:
            self._lost[root.path] = root.incident
        return root.incident is not None

    def _conclude(self, left: int, *, is_stopped: bool) -> JobOutcome:
        summary: dict[str, Json] = {
            **self._notes.count(),
            "checked_bytes": self._done_bytes,
            "left": left,
            "seconds": round(self._clock() - self._began, 3),
            "roots_lost": list[Json](self._lost),
        }
        self._context.log.info("scrub.finished", **summary)
        summary["bad"] = self._notes.name_bad()
        problems = [*self._notes.say()]
        problems += [f"{escape(root, 1_000)}: not all of it was read: {escape(why, 500)}" for root, why in self._lost.items()]
        if problems:
            return JobOutcome("failed", summary, "; ".join(problems))
        if is_stopped:
            return JobOutcome(
                "interrupted", summary, f"stopped, with {left:,} checkpoints left; the next run goes on with them"
            )
        return JobOutcome("ok", summary)


def _lost(turn: Turn) -> Lost:
    return Lost(turn.root, turn.path, turn.sha256)
