"""What a run of the scrub has to say: rows for the index, figures for the summary, and the sentence for a person."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from ckptd.index.ledger import Check, put_check
from ckptd.jobs.registry import JobContext
from ckptd.model import Json
from ckptd.policy.scrub import BAD, Outcome, Turn
from ckptd.text import escape

JOB = "scrub"
#: Checks are written down so many at a time, or after so many seconds; a kill costs their repetition.
_MOST_WAITING = 200
_WAIT_SECONDS = 5.0
#: Bad checkpoints that the summary of a run names.
_MOST_NAMED = 20
_MOST_REASON = 1_000
_EVENTS = {Outcome.ROTTEN: "scrub.rotten", Outcome.UNREADABLE: "scrub.unreadable"}


class Trouble(NamedTuple):
    """A checkpoint that is not good any more.

    Attributes:
        why: one phrase.
        cure: likewise; a command may be in it.
        details: more of it for the log and the audit.
    """

    turn: Turn
    outcome: Outcome
    why: str
    cure: str
    details: Mapping[str, Json]


class _Row(NamedTuple):
    """What is to be written down of one reading; `what` names an event of the audit, "" for none."""

    check: Check
    what: str
    why: dict[str, Json]


class Notes:
    """Collect what one run found, and write it down little by little.

    Args:
        context: what the job works with.
        at: monotonic seconds.
    """

    def __init__(self, context: JobContext, at: float) -> None:
        self._context = context
        self._rows: list[_Row] = []
        self._written_at = at
        self.counts: Counter[Outcome] = Counter()
        self.troubles: list[Trouble] = []

    def note(self, turn: Turn, outcome: Outcome, what: str = "", why: Mapping[str, Json] | None = None) -> None:
        """Note one outcome, with a line for the audit where one is named."""
        self.counts[outcome] += 1
        check = Check(turn.root, turn.path, turn.sha256, self._context.now(), outcome.value)
        self._rows.append(_Row(check, what, dict(why or {})))

    def note_changed(self, turn: Turn) -> None:
        """Note that another file lies there, or none; what was bad stays bad until it was read again."""
        if turn.before in BAD:
            self.counts[Outcome.CHANGED] += 1
        else:
            self.note(turn, Outcome.CHANGED)

    def note_trouble(self, trouble: Trouble) -> None:
        """Tell and write down at once what is bad."""
        turn, what = trouble.turn, _EVENTS[trouble.outcome]
        self.troubles.append(trouble)
        values = {"root": turn.root, "path": turn.path, "digest": turn.sha256, **trouble.details}
        self._context.log.error(what, **values, reason=trouble.why, cure=trouble.cure)
        why = {**trouble.details, "reason": trouble.why[:_MOST_REASON], "cure": trouble.cure[:_MOST_REASON]}
        self.note(turn, trouble.outcome, what, why)
        self._write()

    def write_some(self, at: float) -> None:
        """Write down what waits, when it is enough or has waited long enough; `at` in monotonic seconds."""
        if len(self._rows) >= _MOST_WAITING or at - self._written_at >= _WAIT_SECONDS:
            self.write(at)

    def write(self, at: float) -> None:
        """Write down what waits.

        Raises:
            IndexUnavailableError: it can't be written; what waits is read again by another run.
        """
        self._written_at = at
        self._write()

    def _write(self) -> None:
        if not self._rows:
            return
        with self._context.store.batch() as batch:
            for check, what, why in self._rows:
                batch.tell(put_check, check)
                if what:
                    batch.audit(what, check.root, check.path, check.sha256, now=check.at, why=why, job=JOB)
        self._rows = []

    def count(self) -> dict[str, Json]:
        """Give the figures of the summary."""
        return {"checked": sum(self.counts.values()), **{outcome.value: self.counts[outcome] for outcome in Outcome}}

    def name_bad(self) -> list[Json]:
        """Give the bad ones for the summary."""
        return [
            {
                "root": one.turn.root,
                "path": one.turn.path,
                "outcome": one.outcome.value,
                "reason": one.why[:_MOST_REASON],
                "cure": one.cure[:_MOST_REASON],
            }
            for one in self.troubles[:_MOST_NAMED]
        ]

    def say(self) -> Iterator[str]:
        """Say the worst in one sentence, escaped."""
        if self.troubles:
            turn, _, why, cure, _ = self.troubles[0]
            place = escape(f"{turn.root}/{turn.path}", _MOST_REASON)
            more = f"; {len(self.troubles) - 1:,} more are not good either" if len(self.troubles) > 1 else ""
            yield f"{place}: {escape(why, _MOST_REASON)} ({escape(cure, 2 * _MOST_REASON)}){more}"
