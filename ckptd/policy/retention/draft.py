"""A decision while it is being made: rules add to it, pressure and brakes change it, and then it is frozen."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import NamedTuple

from ckptd.policy.retention.facts import GOOD, Fact
from ckptd.policy.retention.plan import Action, Reason

Reasons = tuple[Reason, ...]


def is_good(fact: Fact) -> bool:
    """Say whether a checkpoint can be loaded again and has a digest."""
    return fact.status in GOOD and fact.sha256 is not None


class Draft:
    """What is known so far about the fate of one checkpoint.

    Attributes:
        good: see `is_good`; only such ones compete in their group, and only such ones may go.
        strong: reasons that keep it, whatever the disk needs.
        weak: reasons that keep it until the disk needs the room.
        below: why the weak ones that it had don't count; None where they do.
        wanted: what happens to it but for a brake.
        why: reasons for the step that is wanted.
        holds: reasons that stop the step.
        firm: no confirmation lifts them.
        frees_bytes: blocks that come back by the step.
    """

    __slots__ = ("below", "fact", "firm", "frees_bytes", "good", "holds", "strong", "wanted", "weak", "why")

    def __init__(self, fact: Fact) -> None:
        self.fact = fact
        self.good = is_good(fact)
        self.strong: Reasons = ()
        self.weak: Reasons = ()
        self.below: Reason | None = None
        self.wanted = Action.KEEP
        self.why: Reasons = ()
        self.holds: Reasons = ()
        self.firm = False
        self.frees_bytes = 0

    @property
    def goes(self) -> bool:
        """Say whether the checkpoint itself would leave its place; slimming leaves it there."""
        return self.wanted is Action.ARCHIVE or self.wanted is Action.TRASH


class Group(NamedTuple):
    """The checkpoints of one root that compete, in their order, the newest last.

    Attributes:
        name: None for those of which nobody knows what they are checkpoints of; they compete with nobody.
    """

    root: str
    name: str | None
    drafts: list[Draft]


def split_by_root(groups: Iterable[Group]) -> Iterator[tuple[str, list[Group]]]:
    """Give the groups root by root; they come sorted by it."""
    for root, inside in groupby(groups, key=lambda group: group.root):
        yield root, list(inside)
