"""The retention job: facts, plan, and what the plan says when the settings let it be done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ckptd.errors import UsageError
from ckptd.index.known import uncollected
from ckptd.index.ledger import Grouping, drop_freezes, load_freezes, put_groupings
from ckptd.index.store import Store
from ckptd.jobs.applying import Applied, Applying
from ckptd.jobs.archiving import adopt_archives
from ckptd.jobs.gathering import Gathered, gather_facts, look_closer, make_policy
from ckptd.jobs.planned import Planned
from ckptd.jobs.purging import sweep_trash
from ckptd.jobs.registry import JobContext, JobOutcome
from ckptd.jobs.roots import WatchedRoot
from ckptd.model import Json
from ckptd.policy.retention.make import check_policy, make_plan
from ckptd.policy.retention.plan import Action, Alert, Decision, Plan, Reason
from ckptd.policy.retention.rules import Policy
from ckptd.settings import Settings

#: Plans made anew because looking closer changed the facts; pressure may turn to other files each time.
_MOST_LOOKS = 8
_DECIDED = {
    Action.KEEP: "kept",
    Action.HOLD: "held",
    Action.SLIM: "to-slim",
    Action.ARCHIVE: "to-archive",
    Action.TRASH: "to-trash",
}
_REMOVALS = (Action.ARCHIVE, Action.TRASH, Action.SLIM)


def plan_retention(
    settings: Settings, store: Store, roots: Sequence[WatchedRoot], now: float, *, confirmed: str | None = None
) -> Planned:
    """Make the plan for a time, of what is there now.

    Args:
        settings: the policy.
        store: the index.
        roots: open, and looked at just now.
        now: seconds since the epoch; another day than today is allowed.
        confirmed: number of the plan whose holds a person lifts.

    Raises:
        UsageError: the policy keeps nothing at all.
    """
    policy = make_policy(settings.policy, settings.schedule.time_zone)
    check_policy(policy)
    with uncollected():  # a hundred thousand facts and decisions, all of which stay
        gathered = gather_facts(settings, store, roots, now)
        plan = _settle(gathered, policy, roots, now, confirmed)
    frozen = store.ask(load_freezes)
    is_confirmed = confirmed is not None and confirmed == plan.id
    if frozen and not is_confirmed:
        plan = _freeze(plan, frozen)
    return Planned(plan, settings.policy.mode, frozen, gathered.incidents, gathered.groupings, is_confirmed)


def apply_retention(context: JobContext, confirmed: str | None = None, told: Any = None) -> Applied:
    """Plan, and do it.

    Args:
        context: what a job works with; the caller holds the job lock.
        confirmed: number of the plan whose holds a person lifts.
        told: called with (path, words) at each step.

    Raises:
        UsageError: `confirmed` is not the number of the plan as it is now; nothing was done.
    """
    planned = plan_retention(context.settings, context.store, context.roots, context.now(), confirmed=confirmed)
    if confirmed is not None and not planned.is_confirmed:
        why = f"by now the plan is another one, {planned.plan.id}"
        raise UsageError("confirm a plan", path=confirmed, why=why, cure="look at it with `ckptd plan`, and confirm that one")
    write_decisions(context, planned)
    if planned.is_confirmed and planned.frozen:
        context.journal.append([{"event": "unfrozen", "names": sorted(planned.frozen), "at": context.now()}])
        with context.store.batch() as batch:
            batch.tell(drop_freezes)
    return Applying(context, planned, told).run()


def recover(context: JobContext) -> None:
    """Put in order what a kill left half done: in the trash, and archives that were written and not yet written down."""
    sweep_trash(context)
    adopt_archives(context)


def run_retention(context: JobContext) -> JobOutcome:
    """Do what the policy says, as far as policy.mode lets it be done by itself."""
    mode = context.settings.policy.mode
    recover(context)  # a command may have been killed, which nobody wrote down
    if mode == "off":
        return JobOutcome("ok", {"mode": mode}, "policy.mode is off")
    if mode == "plan":
        planned = plan_retention(context.settings, context.store, context.roots, context.now())
        _log_plan(context, planned)
        summary: dict[str, Json] = {"mode": mode, "plan": planned.plan.id, **_count(planned.plan)}
        return JobOutcome("ok", summary, _say_held(planned) or "")
    applied = apply_retention(context)
    _log_plan(context, applied.planned)
    totals: dict[str, Json] = {"mode": mode, "plan": applied.planned.plan.id, **_count(applied.planned.plan)}
    totals |= {"done": len(applied.done), "skipped": len(applied.skipped), "archives": list(applied.archives)}
    held = _say_held(applied.planned)
    if applied.is_stopped:
        return JobOutcome("interrupted", totals, "it was told to stop; what is not done yet is done by the next run")
    if applied.failures:
        return JobOutcome("failed", totals, applied.failures[0])
    return JobOutcome("held" if held else "ok", totals, held or "")


def _settle(gathered: Gathered, policy: Policy, roots: Sequence[WatchedRoot], now: float, confirmed: str | None) -> Plan:
    """Make the plan and look closer at what it touches, until looking changes nothing any more."""
    facts = gathered.facts
    looked: set[int] = set()
    for _ in range(_MOST_LOOKS):
        plan = make_plan(facts, policy, now, recent=gathered.removals, disks=gathered.disks, confirmed=confirmed)
        closer = look_closer(plan, facts, roots, looked)
        if closer is None:
            return plan
        facts = closer
    # Files that nobody looked at closely are not touched by a plan that never came to rest.
    unseen = "there was no end to what changed while the plan was made"
    facts = tuple(fact if fact.id in looked else replace(fact, holds=(*fact.holds, unseen)) for fact in facts)
    return make_plan(facts, policy, now, recent=gathered.removals, disks=gathered.disks, confirmed=confirmed)


def write_decisions(context: JobContext, planned: Planned) -> None:
    """Write down the group of each checkpoint, and for each of which another thing is decided than the last time, why.

    So the audit says of every file at any time why it was kept, and grows by what changes.
    """
    now, rows, told = context.now(), [], []
    for decision in planned.plan.decisions:
        fact = decision.fact
        if fact.sha256 is None:
            continue
        stored = planned.groupings.get((fact.root, fact.path))
        known = stored is not None and stored.sha256 == fact.sha256
        group = stored.group if stored is not None and known and not planned.is_confirmed else fact.group
        decided = " ".join(dict.fromkeys((decision.action.value, *(reason.code for reason in decision.reasons))))
        row = Grouping(fact.root, fact.path, fact.sha256, group, decided)
        if row != stored:
            rows.append(row)
        if stored is None or not known or stored.decided != decided:
            told.append(decision)
    lines = [
        {"event": "grouping", "root": one.root, "path": one.path, "sha256": one.sha256, "group": one.group} for one in rows
    ]
    context.journal.append(lines)
    with context.store.batch() as batch:
        batch.tell(put_groupings, rows)
        for decision in told:
            fact = decision.fact
            why: dict[str, Json] = {"plan": planned.plan.id, "group": fact.group}
            why["reasons"] = [reason.message for reason in decision.reasons]
            what = f"retention.{_DECIDED[decision.action]}"
            batch.audit(what, fact.root, fact.path, fact.sha256, now=now, why=why, job="retention")


def _freeze(plan: Plan, frozen: Mapping[str, str]) -> Plan:
    reason = Reason("frozen", "; ".join(frozen.values()))

    def hold(decision: Decision) -> Decision:
        if decision.action not in _REMOVALS:
            return decision
        return replace(decision, action=Action.HOLD, reasons=(reason, *decision.reasons), frees_bytes=0)

    return replace(plan, decisions=tuple(hold(decision) for decision in plan.decisions), frees_bytes={})


def _count(plan: Plan) -> dict[str, int]:
    counts = dict.fromkeys((action.value for action in Action), 0)
    for decision in plan.decisions:
        counts[decision.action.value] += 1
    return counts


def _say_held(planned: Planned) -> str | None:
    if planned.incidents:
        return "; ".join(f"{root}: {why}" for root, why in planned.incidents.items())
    held = planned.plan.held
    if not held:
        return None
    why = next((alert.message for alert in planned.plan.alerts), next(iter(planned.frozen.values()), "a brake stopped it"))
    return f"{held:,} held: {why} (`ckptd plan` shows it, `ckptd apply --confirm {planned.plan.id}` does it)"


def _log_plan(context: JobContext, planned: Planned) -> None:
    plan = planned.plan
    context.log.info("retention.planned", plan=plan.id, mode=planned.mode, **_count(plan))
    for alert in plan.alerts:
        _log_alert(context, alert)
    for root, why in planned.incidents.items():
        context.log.error("retention.stopped", root=root, reason=why)


def _log_alert(context: JobContext, alert: Alert) -> None:
    context.log.warning("retention.held", root=alert.root, group=alert.group, code=alert.code, reason=alert.message)
