"""A plan in short, as a report shows it."""

from __future__ import annotations

from collections import Counter

from ckptd.policy.retention.plan import Action, Decision, Plan
from ckptd.report.upkeep import PlanAlert, PlannedAction, PlannedFile, PlanSummary

#: Held files that a report names; `ckptd plan` names all.
MOST_HELD = 50


def summarise(plan: Plan) -> PlanSummary:
    """Sum a plan up: what it does to how many, what it frees, why things stay, and what it holds."""
    sums = {action: [0, 0, 0] for action in Action}
    reasons: Counter[str] = Counter()
    held: list[Decision] = []
    for decision in plan.decisions:
        sum_ = sums[decision.action]
        sum_[0] += 1
        sum_[1] += decision.fact.size_bytes
        sum_[2] += decision.frees_bytes
        if decision.action is Action.KEEP:
            reasons.update({reason.code for reason in decision.reasons})
        elif decision.action is Action.HOLD:
            held.append(decision)
    held.sort(key=lambda one: (-one.fact.size_bytes, one.fact.root, one.fact.path))
    return PlanSummary(
        id=plan.id,
        at=plan.at,
        frees_bytes=sum(sums[action][2] for action in (Action.SLIM, Action.ARCHIVE, Action.TRASH)),
        actions=tuple(PlannedAction(action.value, *sums[action]) for action in Action if sums[action][0]),
        reasons=tuple(sorted(reasons.items(), key=lambda item: (-item[1], item[0]))),
        held=tuple(_held(decision) for decision in held[:MOST_HELD]),
        held_files=len(held),
        held_bytes=sums[Action.HOLD][2],
        alerts=tuple(PlanAlert(alert.code, alert.root, alert.group, alert.message) for alert in plan.alerts),
    )


def _held(decision: Decision) -> PlannedFile:
    fact = decision.fact
    reasons = tuple(reason.message for reason in decision.reasons)
    return PlannedFile(fact.root, fact.path, decision.wanted.value, fact.size_bytes, reasons)
