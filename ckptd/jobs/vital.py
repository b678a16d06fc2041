"""Whether a part answers: it is asked now and then, and who keeps silent for too long does not.

Time is an argument, and nothing is asked of a clock here.
"""

from __future__ import annotations

import math

from ckptd.jobs.standing import Sign


class Vital:
    """One part that is asked for a sign of life.

    Threading: any thread may answer.

    Args:
        name: of the part, as people read it.
        patience_seconds: silence after a question that is still no silence.
    """

    def __init__(self, name: str, patience_seconds: float) -> None:
        self.name = name
        self._patience = patience_seconds
        self._asked_at = math.inf

    def ask(self, now: float) -> None:
        """Note that it was asked; while an answer is owed, the first question counts."""
        self._asked_at = min(self._asked_at, now)

    def answer(self) -> None:
        """Note that it answered."""
        self._asked_at = math.inf

    def beat(self, now: float) -> None:
        """Note an answer that comes by itself, and expect the next one."""
        self._asked_at = now

    def excuse(self) -> None:
        """Ask for no answer any more: the part is made anew or not there, or the answer was lost on its way."""
        self._asked_at = math.inf

    def sign(self, now: float) -> Sign:
        """Say whether it answers."""
        silence = now - self._asked_at
        if silence <= self._patience:
            return Sign(self.name, ok=True)
        return Sign(self.name, ok=False, why=f"no answer for {silence:.0f} s")


def find_overdue(name: str, next_due: float | None, now: float, patience_seconds: float) -> Sign:
    """Say whether a part of the loop does what is due.

    Args:
        name: of the part.
        next_due: when it has something to do, by its own word; None when it has not.
        now: on the same clock.
        patience_seconds: how long what is due may be left undone.
    """
    late = 0.0 if next_due is None else now - next_due
    if late <= patience_seconds:
        return Sign(name, ok=True)
    return Sign(name, ok=False, why=f"what was due {late:.0f} s ago is not done")
