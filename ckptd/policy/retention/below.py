"""Checkpoints that fall short of a limit: age keeps none of them where their group has one that meets it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from ckptd.policy.retention.codes import ReasonCode
from ckptd.policy.retention.draft import Draft
from ckptd.policy.retention.plan import Reason
from ckptd.policy.retention.rules import Direction


def drop_below(good: Sequence[Draft], limits: Mapping[str, float], directions: Mapping[str, Direction]) -> None:
    """Take from those below a limit what within, windows and every give; a limit itself is not below.

    Args:
        good: the good checkpoints of one group.
        limits: metric → limit.
        directions: of at least these metrics.
    """
    for metric, limit in sorted(limits.items()):
        sign = 1 if directions[metric] == "max" else -1
        measured = [(value, draft) for draft in good if math.isfinite(value := draft.fact.scores.get(metric, math.nan))]
        if not any(sign * value >= sign * limit for value, _ in measured):
            continue
        for value, draft in measured:
            if sign * value < sign * limit and draft.weak:
                message = f"{metric} {value:.6g} is worse than {limit:.6g}, and its group has better ones"
                draft.below, draft.weak = Reason(ReasonCode.BELOW, message), ()
