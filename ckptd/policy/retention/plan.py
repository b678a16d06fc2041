"""The plan: what happens to each checkpoint, and why.

A plan is a value.  It does nothing; `ckptd plan` prints it, and who applies it looks again at each file first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from ckptd.policy.retention.facts import Fact


class Action(StrEnum):
    """What is done to a checkpoint.  HOLD is a removal that a brake stopped; it waits for a person."""

    KEEP = "keep"
    SLIM = "slim"
    ARCHIVE = "archive"
    TRASH = "trash"
    HOLD = "hold"


@dataclass(frozen=True, slots=True)
class Reason:
    """Why, once as a word for programs and once as a phrase for people.

    Attributes:
        code: stable kebab-case word, listed in docs/policy.md ("last", "best", "within", "brake-group").
        message: one phrase; it may hold names out of files as they are, who prints it escapes.
    """

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Decision:
    """What happens to one checkpoint.

    Attributes:
        wanted: what would happen but for a brake; equal to `action` unless that is HOLD.
        reasons: at least one; all rules that keep it, or why the step of the ladder fits it.
        frees_bytes: blocks that come back once it is purged from the trash (slim: that the smaller file saves); hard links
            count when the last of them goes.
    """

    fact: Fact
    action: Action
    wanted: Action
    reasons: tuple[Reason, ...]
    frees_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Alert:
    """Something about the plan that a person should know: a budget that can't be met, a group that is held.

    Attributes:
        code: stable kebab-case word, listed in docs/policy.md.
        root: which root it concerns.
        group: which group, None for the root as a whole.
    """

    code: str
    message: str
    root: str
    group: str | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What happens to every checkpoint.

    Attributes:
        id: twelve hex digits out of the decisions that change something or are held, and the policy: the same facts give the
            same id.  A person confirms a held plan by it.
        at: the time that it was made for, seconds since the epoch.
        decisions: one for each fact, by root, group and order in the group.
        held: how many decisions are held.
        frees_bytes: by action, what it gives back.
    """

    id: str
    at: float
    decisions: tuple[Decision, ...]
    alerts: tuple[Alert, ...] = ()
    frees_bytes: Mapping[Action, int] | None = None

    @property
    def held(self) -> int:
        """Count the decisions that a brake holds."""
        return sum(1 for decision in self.decisions if decision.action is Action.HOLD)
