"""Make the plan: start reading at `make_plan`.

One group after the other is put in order and judged by the rules; what nothing keeps gets the first step of the ladder that
fits.  Then come the things that look beyond a group: pressure takes more where a disk needs it, holds and brakes stop what a
person should see first.  Pressure counts what is held as freed: a brake must not be the reason that something else goes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ckptd.policy.retention.below import drop_below
from ckptd.policy.retention.best import Ranking, keep_best, make_ranking
from ckptd.policy.retention.blocks import count_freed
from ckptd.policy.retention.brakes import apply_brakes
from ckptd.policy.retention.clock import find_clock_alerts
from ckptd.policy.retention.codes import AlertCode, ReasonCode
from ckptd.policy.retention.draft import Draft, Group, split_by_root
from ckptd.policy.retention.facts import Disk, Fact, Removal
from ckptd.policy.retention.holds import hold_for_newcomer, hold_regrouped
from ckptd.policy.retention.identity import find_plan_id
from ckptd.policy.retention.ladder import Ladder, make_ladder
from ckptd.policy.retention.last import keep_last, keep_last_good
from ckptd.policy.retention.needs import find_missing, find_needs
from ckptd.policy.retention.ordering import order_group
from ckptd.policy.retention.plan import Action, Alert, Decision, Plan, Reason
from ckptd.policy.retention.pressure import relieve
from ckptd.policy.retention.rules import Policy
from ckptd.policy.retention.single import make_single_rules
from ckptd.policy.retention.validate import check_policy
from ckptd.policy.retention.windows import make_windows

__all__ = ["check_policy", "make_plan"]

_UNKEPT = (Reason(ReasonCode.UNKEPT, "no rule keeps it"),)
_LADDER_ENDS = (Reason(ReasonCode.LADDER_ENDS, "no rule keeps it, but no step of the ladder is left for it"),)
_CONFIRMED = (Reason(ReasonCode.CONFIRMED, "it was held, and a person confirmed the plan"),)
#: (root, group) → its checkpoints.
Split = dict[tuple[str, str | None], list[Fact]]

#: What a confirmation lifts.
_LIFTED = frozenset((AlertCode.REGROUPED, AlertCode.BRAKE_GROUP, AlertCode.BRAKE_ROOT))


def make_plan(
    facts: Iterable[Fact],
    policy: Policy,
    now: float,
    *,
    recent: Sequence[Removal] = (),
    disks: Sequence[Disk] = (),
    confirmed: str | None = None,
) -> Plan:
    """Decide about every checkpoint.

    Pure: the same arguments give the same plan, in whatever order the facts come.

    Args:
        facts: every checkpoint that lies in a root, also those that nothing is known of.
        policy: what keeps, what happens to the rest, and how much of it at once.
        now: seconds since the epoch; a time to come shows what would be if nothing changed until then.
        recent: what went before, at least within `policy.window_seconds`.
        disks: one for each root, where there is a floor.
        confirmed: number of the plan that a person looked at; what can be lifted by that is lifted in that plan alone.

    Raises:
        PolicyError: see `check_policy`.
    """
    check_policy(policy)
    rank, find_step = make_ranking(policy), make_ladder(policy)
    groups = _judge(_split(facts), policy, now, rank, find_step)
    relieve(groups, find_needs(groups, policy, disks), find_step, rank)
    alerts = _hold(groups, policy, now, recent)
    drafts = [draft for group in groups for draft in group.drafts]
    number = find_plan_id(policy, drafts)
    if confirmed == number:
        alerts = [alert for alert in alerts if alert.code not in _LIFTED]
        _lift(drafts)
    freed = _count_blocks(groups)
    alerts += find_missing(groups, policy, disks)
    alerts += find_clock_alerts(groups, now)
    return Plan(number, now, tuple(map(_freeze, drafts)), tuple(alerts), freed)


def _split(facts: Iterable[Fact]) -> Split:
    """Put the facts together by root and group."""
    split: Split = {}
    for fact in facts:
        key = fact.root, fact.group
        if key in split:
            split[key].append(fact)
        else:
            split[key] = [fact]
    return split


def _by_name(item: tuple[tuple[str, str | None], list[Fact]]) -> tuple[str, bool, str]:
    """Sort by root and group; what has no group stands behind the groups of its root."""
    root, name = item[0]
    return root, name is None, name or ""


def _judge(split: Split, policy: Policy, now: float, rank: Ranking, find_step: Ladder) -> list[Group]:
    add_single, keep_windows = make_single_rules(policy, now), make_windows(policy)
    groups = []
    for (root, name), members in sorted(split.items(), key=_by_name):
        ordered = sorted(members, key=lambda fact: (fact.path, fact.id)) if name is None else order_group(members)
        drafts = list(map(Draft, ordered))
        add_single(drafts)
        groups.append(Group(root, name, drafts))
        if name is None:
            continue
        good = [draft for draft in drafts if draft.good]
        keep_last(good, policy.keep_last)
        if policy.keep_best:
            keep_best(good, policy.keep_best, rank)
        keep_last_good(good)
        keep_windows(good)
        drop_below(good, policy.below, policy.directions)
        _take_steps(good, find_step)
    return groups


def _take_steps(drafts: Iterable[Draft], find_step: Ladder) -> None:
    """Give each that nothing keeps the first step that fits."""
    for draft in drafts:
        if draft.strong or draft.weak:
            continue
        step, notes = find_step(draft.fact)
        if step is Action.KEEP:
            draft.strong = _LADDER_ENDS
        else:
            draft.wanted = step
            draft.why = (_UNKEPT if draft.below is None else (draft.below,)) + notes


def _hold(groups: Sequence[Group], policy: Policy, now: float, recent: Sequence[Removal]) -> list[Alert]:
    alerts = []
    for group in groups:
        if group.name is not None:
            alerts += [alert for alert in (hold_for_newcomer(group), hold_regrouped(group)) if alert is not None]
    for root, inside in split_by_root(groups):
        alerts += apply_brakes(root, inside, policy, now, recent)
    return alerts


def _lift(drafts: Iterable[Draft]) -> None:
    for draft in drafts:
        if draft.holds and not draft.firm:
            draft.holds = ()
            draft.why += _CONFIRMED


def _count_blocks(groups: Sequence[Group]) -> dict[Action, int]:
    """Find what each step gives back, and what each kind of step does; what is held comes after what is done."""
    freed = dict.fromkeys((Action.SLIM, Action.ARCHIVE, Action.TRASH, Action.HOLD), 0)
    for _, inside in split_by_root(groups):
        steps = [draft for group in inside for draft in group.drafts if draft.wanted is not Action.KEEP]
        held = [draft for draft in steps if draft.holds]
        done = [draft for draft in steps if not draft.holds]
        count_freed(done + held)
        freed[Action.HOLD] += sum([draft.frees_bytes for draft in held])
        for draft in done:
            freed[draft.wanted] += draft.frees_bytes
    return freed


def _freeze(draft: Draft) -> Decision:
    wanted, holds = draft.wanted, draft.holds
    if wanted is Action.KEEP:
        return Decision(draft.fact, wanted, wanted, draft.strong + draft.weak)
    return Decision(draft.fact, Action.HOLD if holds else wanted, wanted, holds + draft.why, draft.frees_bytes)
