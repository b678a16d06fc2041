"""The last ones of a group by its order."""

from __future__ import annotations

from collections.abc import Sequence

from ckptd.policy.retention.codes import ReasonCode
from ckptd.policy.retention.draft import Draft
from ckptd.policy.retention.plan import Reason

_LAST_GOOD = Reason(ReasonCode.LAST_GOOD, "the last good one of its group always stays")


def keep_last(good: Sequence[Draft], count: int) -> None:
    """Keep the last `count` contents among the good checkpoints of a group; a copy of one that stays takes no place."""
    reason = Reason(ReasonCode.LAST, f"one of the last {count:,} of its group" if count > 1 else "the last of its group")
    contents = set()
    for draft in reversed(good):
        contents.add(draft.fact.sha256)
        if len(contents) > count:
            break
        draft.strong += (reason,)


def keep_last_good(good: Sequence[Draft]) -> None:
    """Keep the very last one, whatever the rules say."""
    if good:
        good[-1].strong += (_LAST_GOOD,)
