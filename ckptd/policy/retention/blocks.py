"""Which blocks come back: those of a file with several names when the last of them goes, and never before."""

from __future__ import annotations

from collections.abc import Iterable

from ckptd.policy.retention.draft import Draft
from ckptd.policy.retention.facts import Fact
from ckptd.policy.retention.plan import Action

Inode = tuple[int, int]


def count_total(facts: Iterable[Fact]) -> int:
    """Give what the checkpoints of a root take on the disk, hard links once."""
    return sum({fact.inode: fact.allocated_bytes for fact in facts}.values())


def count_freed(drafts: Iterable[Draft]) -> int:
    """Write into the drafts of one root what comes back when their steps are taken in this order, and give the sum.

    A name that ckptd does not see, or that stays, keeps the blocks; so does one in another root.
    """
    gone: dict[Inode, int] = {}
    total = 0
    for draft in drafts:
        fact = draft.fact
        if fact.links > 1 and draft.goes:
            gone[fact.inode] = gone.get(fact.inode, 0) + 1
            draft.frees_bytes = fact.allocated_bytes if gone[fact.inode] == fact.links else 0
        else:
            draft.frees_bytes = find_freed(fact, draft.wanted)
        total += draft.frees_bytes
    return total


def find_freed(fact: Fact, step: Action) -> int:
    """Give the blocks that come back by one step for a file of one name.

    Slimming a file of several names makes a new one beside it, and the old one stays whole under the other names.
    """
    if step is Action.SLIM:
        return min(fact.optimizer_bytes, fact.allocated_bytes) if fact.links == 1 else 0
    return fact.allocated_bytes
