"""A clock that was set back: ckptd saw checkpoints at times that are still to come."""

from __future__ import annotations

from collections.abc import Iterable

from ckptd.policy.retention.codes import AlertCode
from ckptd.policy.retention.draft import Group, split_by_root
from ckptd.policy.retention.phrases import say_count
from ckptd.policy.retention.plan import Alert


def find_clock_alerts(groups: Iterable[Group], now: float) -> list[Alert]:
    """Say in which roots checkpoints were first seen after `now`; they count as young, so nothing happens to them."""
    alerts = []
    for root, inside in split_by_root(groups):
        late = sum(1 for group in inside for draft in group.drafts if draft.fact.first_seen_at > now)
        if late:
            message = f"{say_count(late, 'checkpoint')} first seen after the time of this plan: was the clock set back?"
            alerts.append(Alert(AlertCode.CLOCK_BEHIND, message, root))
    return alerts
