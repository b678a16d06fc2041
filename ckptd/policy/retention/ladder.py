"""Which step of the ladder fits a checkpoint that nothing keeps."""

from __future__ import annotations

from collections.abc import Callable

from ckptd.policy.retention.codes import ReasonCode
from ckptd.policy.retention.draft import Reasons
from ckptd.policy.retention.facts import Fact
from ckptd.policy.retention.phrases import say_names, say_size
from ckptd.policy.retention.plan import Action, Reason
from ckptd.policy.retention.rules import Policy

#: Gives the first step that fits a checkpoint, and what there is to say about it; KEEP where the ladder ends.
Ladder = Callable[[Fact], tuple[Action, Reasons]]


def make_ladder(policy: Policy) -> Ladder:
    """Give what finds the step for a checkpoint."""
    slims = Action.SLIM in policy.ladder
    others = [step for step in policy.ladder if step is not Action.SLIM]
    last: tuple[Action, Reasons] = (others[0] if others else Action.KEEP, ())

    def find(fact: Fact) -> tuple[Action, Reasons]:
        if slims and fact.can_slim and fact.slimmed_at is None:
            message = f"{say_size(fact.optimizer_bytes)} of optimizer state go, the weights stay"
            return Action.SLIM, (Reason(ReasonCode.CAN_SLIM, message),)
        if fact.archives and last[0] is Action.ARCHIVE:
            message = f"{say_names(fact.archives)} holds it already"
            return Action.TRASH, (Reason(ReasonCode.ARCHIVED_ALREADY, message),)
        return last

    return find
