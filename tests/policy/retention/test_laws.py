"""What holds for every set of facts and every policy."""

from __future__ import annotations

import math
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from ckptd.model import Openness, Status
from ckptd.policy.retention.codes import REASONS, AlertCode, Force, ReasonCode
from ckptd.policy.retention.facts import GOOD
from ckptd.policy.retention.make import make_plan
from ckptd.policy.retention.ordering import order_group
from ckptd.policy.retention.plan import Action
from tests.policy.retention.histories import many_facts, policies, worlds
from tests.policy.retention.making import DAY, NOW, digest

GOES = (Action.ARCHIVE, Action.TRASH)
PRESSED = {ReasonCode.OVER_BUDGET, ReasonCode.BELOW_FLOOR}


def make(world, **options):
    facts, policy, recent, disks = world
    return make_plan(facts, policy, NOW, recent=recent, disks=disks, **options)


def touched(made):
    """Give the ids of what something is really done to."""
    return {one.fact.id for one in made.decisions if one.action not in (Action.KEEP, Action.HOLD)}


def wanted(made):
    """Give the ids of what something would be done to but for holds."""
    return {one.fact.id for one in made.decisions if one.wanted is not Action.KEEP}


def codes_of(decision):
    return [reason.code for reason in decision.reasons]


def is_good(one):
    return one.status in GOOD and one.sha256 is not None


def groups_of(facts):
    """Give the good checkpoints of each group in their order."""
    found = {}
    for one in facts:
        if one.group is not None and is_good(one):
            found.setdefault((one.root, one.group), []).append(one)
    return [order_group(members) for members in found.values()]


@given(worlds)
def test_every_checkpoint_has_one_decision_and_a_reason(world):
    """In the form that the plan promises."""
    made = make(world)
    assert sorted(one.fact.id for one in made.decisions) == sorted(one.id for one in world[0])
    for one in made.decisions:
        forces = [REASONS[ReasonCode(code)].force for code in codes_of(one)]
        match one.action:
            case Action.KEEP:
                assert one.wanted is Action.KEEP
                assert one.frees_bytes == 0
                assert forces
                assert set(forces) <= {Force.STRONG, Force.WEAK}
            case Action.HOLD:
                assert one.wanted in (Action.SLIM, *GOES)
                assert forces[0] is Force.HOLDS
                assert Force.GOES in forces
            case _:
                assert one.wanted is one.action
                assert set(forces) == {Force.GOES}
        assert all(reason.message for reason in one.reasons)
        assert len(set(codes_of(one))) == len(one.reasons)
    assert all(AlertCode(alert.code) and alert.message for alert in made.alerts)
    assert made.held == sum(one.action is Action.HOLD for one in made.decisions)


@given(worlds)
def test_what_must_stay_is_never_wanted(world):
    """Pinned, known by an alias, tagged, young, open, busy, broken, without a group: not even a hold speaks of it."""
    policy = world[1]
    for one in make(world).decisions:
        it = one.fact
        born_at = max(it.modified_at, it.first_seen_at, it.dated_at or -math.inf, it.slimmed_at or -math.inf)
        must = {
            ReasonCode.PIN: bool(it.pins),
            ReasonCode.ALIAS: bool(it.aliases),
            ReasonCode.TAG: bool(it.tags) and bool({"*", *it.tags} & set(policy.keep_tags)),
            ReasonCode.UNKNOWN_GROUP: it.group is None,
            ReasonCode.NOT_GOOD: not is_good(it),
            ReasonCode.OPEN: it.openness is Openness.OPEN,
            ReasonCode.MAYBE_OPEN: it.openness is Openness.UNKNOWN and NOW - born_at < DAY,
            ReasonCode.BUSY: bool(it.holds),
            ReasonCode.YOUNG: NOW - born_at < policy.min_age_seconds or born_at > NOW,
        }
        for code, must_stay in must.items():
            assert (code in codes_of(one)) == must_stay
            assert not must_stay or one.wanted is Action.KEEP


@given(worlds)
def test_the_last_good_one_always_stays(world):
    """Of every group, whatever the policy."""
    by_id = {one.fact.id: one for one in make(world).decisions}
    marked = {one.fact.id for one in by_id.values() if ReasonCode.LAST_GOOD in codes_of(one)}
    last = {group[-1].id for group in groups_of(world[0])}
    assert marked == last
    assert all(by_id[number].wanted is Action.KEEP for number in last)


@given(worlds)
def test_the_last_ones_stay(world):
    """As many contents as the policy says, found in another way than the engine does."""
    count = world[1].keep_last
    made = make(world)
    found = {one.fact.id for one in made.decisions if ReasonCode.LAST in codes_of(one)}
    expected = set()
    for group in groups_of(world[0]):
        for place, one in enumerate(group):
            if len({later.sha256 for later in group[place:]}) <= count:
                expected.add(one.id)
    assert found == expected
    assert not found & wanted(made)


@given(worlds)
def test_the_best_ones_stay(world):
    """Better than all but so many contents of those that are ranked with it, found in another way than the engine does."""
    policy, made = world[1], make(world)
    found = {one.fact.id for one in made.decisions if ReasonCode.BEST in codes_of(one)}
    expected = set()
    for group in groups_of(world[0]):
        lines = {}
        for one in group:
            for metric in policy.best_by:
                if math.isfinite(one.scores.get(metric, math.nan)):
                    lines.setdefault(metric, []).append(one)
                    break
        for metric, line in lines.items():
            sign = 1 if policy.directions[metric] == "max" else -1
            for one in line:
                better = {other.sha256 for other in line if sign * other.scores[metric] > sign * one.scores[metric]}
                if len(better) < policy.keep_best:
                    expected.add(one.id)
    assert found == expected
    assert not found & wanted(made)


@given(many_facts, policies(pressure=False), st.data())
def test_more_rules_never_want_more(facts, policy, data):
    """Larger numbers, further rules and a longer minimum age; without pressure, which turns to others where one is kept.

    It is what the rules want.  What a brake lets pass may be more: less at once is what it is there for.
    """
    more = {
        name: getattr(policy, name) + data.draw(st.integers(0, 2))
        for name in ("keep_last", "keep_best", "keep_hourly", "keep_daily", "keep_weekly", "keep_monthly", "keep_yearly")
    }
    more |= {
        name: data.draw(st.integers(1, 3))
        for name in ("keep_every_epochs", "keep_every_steps")
        if getattr(policy, name) == 0 and data.draw(st.booleans())
    }
    more["keep_within_seconds"] = policy.keep_within_seconds * data.draw(st.integers(1, 3))
    more["min_age_seconds"] = policy.min_age_seconds + data.draw(st.integers(0, 5)) * DAY
    more["keep_tags"] = (*policy.keep_tags, *data.draw(st.sampled_from([(), ("*",), ("x",)])))
    more["below"] = policy.below if data.draw(st.booleans()) else {}
    assert wanted(make_plan(facts, replace(policy, **more), NOW)) <= wanted(make_plan(facts, policy, NOW))


@given(many_facts, policies(brakes=False, pressure=False), st.data())
def test_a_mark_never_moves_anything_else_without_pressure(facts, policy, data):
    """A pin keeps one, and takes no other's place."""
    if facts:
        chosen = data.draw(st.sampled_from(facts)).id
        pinned = [replace(one, pins=("pinned",)) if one.id == chosen else one for one in facts]
        assert wanted(make_plan(pinned, policy, NOW)) == wanted(make_plan(facts, policy, NOW)) - {chosen}


@given(worlds, st.randoms())
def test_same_facts_same_plan_in_any_order(world, random):
    """The whole plan, with its number, reasons and alerts."""
    facts, policy, recent, disks = world
    mixed, removed, others = list(facts), list(recent), list(disks)
    for each in (mixed, removed, others):
        random.shuffle(each)
    assert make((mixed, policy, removed, others)) == make(world)


@given(worlds)
def test_a_plan_never_exceeds_the_brake(world):
    """By count and by bytes, of each group and each root, with what went in seven days; unless a person confirmed it."""
    _, policy, recent, _ = world
    made = make(world)
    for root in ("/a", "/b"):
        for group in ("G", "H", "*"):
            inside = [
                one
                for one in made.decisions
                if one.fact.root == root and is_good(one.fact) and (group in ("*", one.fact.group))
            ]
            before = [one for one in recent if one.root == root and group in ("*", one.group) and one.at >= NOW - 7 * DAY]
            gone = [one for one in inside if one.action in GOES]
            went = [one for one in before if one.action != "slim"]
            if not [one for one in inside if one.action in (Action.SLIM, *GOES)]:
                continue
            assert len(gone) + len(went) <= policy.max_fraction * (len(inside) + len(went)) + 1e-9
            lost = sum(one.fact.size_bytes for one in gone) + sum(one.size_bytes for one in before)
            lost += sum(min(one.fact.optimizer_bytes, one.fact.size_bytes) for one in inside if one.action is Action.SLIM)
            there = sum(one.fact.size_bytes for one in inside) + sum(one.size_bytes for one in before)
            assert lost <= policy.max_fraction * there + 1e-9


@given(worlds)
def test_confirming_does_what_was_shown_and_nothing_else(world):
    """The same number, the same wishes; only what a broken newcomer holds is still held."""
    made = make(world)
    confirmed = make(world, confirmed=made.id)
    assert confirmed.id == made.id
    for before, after in zip(made.decisions, confirmed.decisions, strict=True):
        assert (after.fact, after.wanted) == (before.fact, before.wanted)
        firm = ReasonCode.CORRUPT_NEWCOMER in codes_of(before)
        assert after.action is (Action.HOLD if firm else before.wanted)
        assert (ReasonCode.CONFIRMED in codes_of(after)) == (before.action is Action.HOLD and not firm)
    assert make(world, confirmed="x" + made.id[1:]) == made


def freed_by(decisions):
    """Give what comes back when steps are taken: (root, device) → bytes; found in another way than the engine does."""
    found = {}
    for root in ("/a", "/b"):
        inside = [one for one in decisions if one.fact.root == root]
        for inode in {one.fact.inode for one in inside}:
            names = [one for one in inside if one.fact.inode == inode]
            going = [one for one in names if one.wanted in GOES]
            amount = 0
            if len(going) == names[0].fact.links:
                amount = names[0].fact.allocated_bytes
            elif names[0].wanted is Action.SLIM and names[0].fact.links == 1:
                amount = min(names[0].fact.optimizer_bytes, names[0].fact.allocated_bytes)
            found[root, inode[0]] = found.get((root, inode[0]), 0) + amount
    return found


def total_of(facts, root):
    return sum({one.inode: one.allocated_bytes for one in facts if one.root == root}.values())


def missing(world, decisions):
    """Give for each target how many bytes are missing when these steps are taken."""
    facts, policy, _, disks = world
    freed = freed_by(decisions)
    found = {}
    for root in ("/a", "/b"):
        if policy.total_bytes is not None and any(one.root == root for one in facts):
            left = total_of(facts, root) - sum(amount for (where, _), amount in freed.items() if where == root)
            found["budget", root] = left - policy.total_bytes
    if policy.free_bytes is not None and disks:
        if disks[0].device is None:
            for disk in disks:
                gained = sum(amount for (where, _), amount in freed.items() if where == disk.root)
                found["floor", disk.root] = policy.free_bytes - disk.free_bytes - disk.trash_bytes - gained
        else:
            gained = sum(amount for (_, device), amount in freed.items() if device == disks[0].device)
            free = min(disk.free_bytes for disk in disks) + sum(disk.trash_bytes for disk in disks)
            found["floor", "both"] = policy.free_bytes - free - gained
    return found


@settings(max_examples=400)
@given(worlds)
def test_pressure_takes_what_it_needs_and_nothing_more(world):
    """Without any one of its removals a target would be missed, or missed by more; the trash counts as freed."""
    made = make(world)
    steps = [one for one in made.decisions if one.wanted is not Action.KEEP]
    pressed = [one for one in steps if PRESSED & set(codes_of(one))]
    after = missing(world, steps)
    for one in pressed:
        without = missing(world, [other for other in steps if other is not one])
        assert any(without[target] > max(after[target], 0) for target in after)


@settings(max_examples=400)
@given(worlds)
def test_pressure_takes_only_what_weak_rules_keep(world):
    """What it takes, the same plan without targets keeps by weak rules alone; everything else is as it would be."""
    facts, policy, recent, disks = world
    made = make(world)
    calm = {
        one.fact.id: one for one in make((facts, replace(policy, total_bytes=None, free_bytes=None), recent, disks)).decisions
    }
    weak = {code for code in ReasonCode if REASONS[code].force is Force.WEAK}
    for one in made.decisions:
        if PRESSED & set(codes_of(one)):
            assert calm[one.fact.id].action is Action.KEEP
            assert set(codes_of(calm[one.fact.id])) <= weak
        else:
            assert one.wanted is calm[one.fact.id].wanted


@settings(max_examples=400)
@given(worlds)
def test_pressure_is_met_or_told(world):
    """Where a target is missed after all that is really done, an alert says so; and nothing weak is left that would help."""
    policy = world[1]
    made = make(world)
    really = [one for one in made.decisions if one.action in (Action.SLIM, *GOES)]
    budgets = {root for (kind, root), amount in missing(world, really).items() if kind == "budget" and amount > 0}
    assert {alert.root for alert in made.alerts if alert.code == "budget-not-met"} == budgets
    floors = {root for (kind, root), amount in missing(world, really).items() if kind == "floor" and amount > 0}
    told = {alert.root for alert in made.alerts if alert.code == "floor-not-met"}
    assert told == ({"/a", "/b"} if floors == {"both"} else floors)
    steps = [one for one in made.decisions if one.wanted is not Action.KEEP]
    weak = [
        one
        for one in made.decisions
        if one.action is Action.KEEP and all(REASONS[ReasonCode(code)].force is Force.WEAK for code in codes_of(one))
    ]
    if policy.ladder == (Action.TRASH,):
        for target, amount in missing(world, steps).items():
            if amount > 0:
                more = steps + [replace(one, wanted=Action.TRASH) for one in weak]
                assert missing(world, more)[target] == amount


@given(worlds)
def test_what_comes_back_is_counted_once(world):
    """By action, by decision, and as the disk will see it."""
    made = make(world)
    for action in (Action.SLIM, Action.ARCHIVE, Action.TRASH, Action.HOLD):
        assert made.frees_bytes[action] == sum(one.frees_bytes for one in made.decisions if one.action is action)
    really = [one for one in made.decisions if one.action in (Action.SLIM, *GOES)]
    assert sum(one.frees_bytes for one in really) == sum(freed_by(really).values())
    everything = [one for one in made.decisions if one.wanted is not Action.KEEP]
    assert sum(one.frees_bytes for one in everything) == sum(freed_by(everything).values())


@settings(max_examples=300)
@given(worlds, st.sampled_from(["G", "H"]), st.sampled_from(["/a", "/b"]))
def test_a_corrupt_newcomer_never_makes_a_good_one_go(world, group, root):
    """Nothing of its group goes, and elsewhere nothing goes that would not have gone without it; its own bytes left aside."""
    facts, policy, recent, disks = world
    before = make(world)
    model = next((one for one in facts if (one.root, one.group) == (root, group) and is_good(one)), None)
    if model is None:
        return
    bad = replace(
        model,
        id=99,
        path="99.pth",
        inode=(1, 99),
        links=1,
        allocated_bytes=0,
        size_bytes=10**9,
        status=Status.DAMAGED,
        sha256=digest("bad"),
        run="run_99",
        modified_at=NOW + 10 * DAY,
        stored_group=None,
        dated_at=None,
    )
    after = make(([*facts, bad], policy, recent, disks))
    assert touched(after) <= touched(before)
    assert not [
        one for one in after.decisions if one.fact.id in touched(after) and (one.fact.root, one.fact.group) == (root, group)
    ]
    assert ("corrupt-newcomer", root, group) in [(alert.code, alert.root, alert.group) for alert in after.alerts]


@given(worlds)
def test_a_group_with_a_broken_newest_one_stands_still(world):
    """However the newest came to be there."""
    made = make(world)
    for group in {(one.fact.root, one.fact.group) for one in made.decisions if one.fact.group is not None}:
        inside = [one for one in made.decisions if (one.fact.root, one.fact.group) == group]
        good = [place for place, one in enumerate(inside) if is_good(one.fact)]
        if good and good[-1] != len(inside) - 1:
            assert all(one.action in (Action.KEEP, Action.HOLD) for one in inside)


@given(worlds)
def test_what_counted_as_another_group_is_not_touched(world):
    """Nor is anything else of the group that it came to."""
    made = make(world)
    moved = {(one.root, one.group) for one in world[0] if one.group is not None and one.stored_group not in (None, one.group)}
    for one in made.decisions:
        if (one.fact.root, one.fact.group) in moved:
            assert one.action in (Action.KEEP, Action.HOLD)
    assert moved == {(alert.root, alert.group) for alert in made.alerts if alert.code == "regrouped"}


@given(many_facts)
def test_order_is_one_line_that_respects_every_number(facts):
    """Within a run steps stand in their order, and so do epochs where not every one has a step."""
    assert sorted(one.id for one in order_group(facts)) == sorted(one.id for one in facts)
    facts = [one for one in facts if is_good(one)]
    for run in {one.run for one in facts}:
        inside = [one for one in order_group(facts) if one.run == run]
        numbered = [one for one in inside if one.step is not None or one.epoch is not None]
        if all(one.epoch is not None for one in numbered) and not all(one.step is not None for one in numbered):
            epochs = [one.epoch for one in numbered]
            assert epochs == sorted(epochs)
        else:
            steps = [one.step for one in numbered if one.step is not None]
            assert steps == sorted(steps)
            epochs = [one.epoch for one in numbered if one.step is None]
            assert epochs == sorted(epochs)
    named = [one.run for one in order_group(facts) if one.run]
    assert named == sorted(named, key=["run_9", "run_10"].index)


@given(many_facts)
def test_what_is_not_good_moves_no_good_one(facts):
    """The order of the good ones is the same with it and without it."""
    for group in {(one.root, one.group) for one in facts}:
        members = [one for one in facts if (one.root, one.group) == group]
        assert [one for one in order_group(members) if is_good(one)] == order_group([one for one in members if is_good(one)])


@given(many_facts, policies(brakes=False, pressure=False), st.integers(0, 500))
def test_a_clock_set_back_takes_nothing_more(facts, policy, back):
    """What is done at an earlier time is also wanted at the later one, where no window is counted in days."""
    calm = replace(policy, keep_within_seconds=max(policy.keep_within_seconds, 1.0))
    assert wanted(make_plan(facts, calm, NOW - back * DAY)) <= wanted(make_plan(facts, calm, NOW))


@given(policies(pressure=False))
def test_nothing_is_a_plan_too(policy):
    """No facts, no decisions, no alerts."""
    made = make_plan([], policy, NOW)
    assert (made.decisions, made.alerts, made.held) == ((), (), 0)
