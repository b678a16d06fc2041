"""Groups in which nothing goes for the moment: their newest is broken, or they are not the groups that they were."""

from __future__ import annotations

from ckptd.policy.retention.codes import AlertCode, ReasonCode
from ckptd.policy.retention.draft import Draft, Group
from ckptd.policy.retention.facts import Fact
from ckptd.policy.retention.ordering import find_saved_at
from ckptd.policy.retention.phrases import say_count, say_names
from ckptd.policy.retention.plan import Action, Alert, Reason


def hold_for_newcomer(group: Group) -> Alert | None:
    """Hold everything in a group whose newest checkpoint can't be loaded: who would go back needs the older ones."""
    newcomer = _find_corrupt_newcomer(group)
    if newcomer is None:
        return None
    status = newcomer.fact.status.value.replace("_", " ") if not newcomer.fact.is_good else "not read to its end"
    message = f"{newcomer.fact.path} is newer than the last good one of its group, and it is {status}"
    reason = Reason(ReasonCode.CORRUPT_NEWCOMER, message)
    for draft in group.drafts:
        if draft.wanted is not Action.KEEP:
            draft.holds += (reason,)
            draft.firm = True
    return Alert(AlertCode.CORRUPT_NEWCOMER, message, group.root, group.name)


def _find_corrupt_newcomer(group: Group) -> Draft | None:
    corrupt = [seat for seat, draft in enumerate(group.drafts) if not draft.good]
    if not corrupt or len(corrupt) == len(group.drafts):
        return None  # without a good one nothing here may go anyway
    last = max(seat for seat, draft in enumerate(group.drafts) if draft.good)
    saved_at = find_saved_at(group.drafts[last].fact)
    for seat in reversed(corrupt):
        # A broken file seldom says its step or epoch: newer by either measure is newer.
        if seat > last or find_saved_at(group.drafts[seat].fact) > saved_at:
            return group.drafts[seat]
    return None


def hold_regrouped(group: Group) -> Alert | None:
    """Hold what counts as another group's than before, and what such ones may have pushed out here."""
    moved = [draft for draft in group.drafts if draft.fact.stored_group not in (None, group.name)]
    if not moved:
        return None
    before = say_names(sorted({_say_group(draft.fact) for draft in moved}))
    message = f"{say_count(len(moved), 'checkpoint')} of {group.name} belonged to {before} before"
    others = Reason(ReasonCode.REGROUPED, f"its group took some in: {message}")
    for draft in group.drafts:
        if draft.wanted is Action.KEEP:
            continue
        if draft.fact.stored_group in (None, group.name):
            draft.holds += (others,)
        else:
            own = f"it belonged to {_say_group(draft.fact)} before, and belongs to {group.name} now"
            draft.holds += (Reason(ReasonCode.REGROUPED, own),)
    return Alert(AlertCode.REGROUPED, message, group.root, group.name)


def _say_group(fact: Fact) -> str:
    return fact.stored_group or "no known group"
