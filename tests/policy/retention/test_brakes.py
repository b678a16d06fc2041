"""Too much at once waits for a person: by count and by bytes, for a group and for a root, over seven days."""

from __future__ import annotations

import pytest

from ckptd.model import Status
from ckptd.policy.retention.facts import Removal
from ckptd.policy.retention.plan import Action
from tests.policy.retention.making import DAY, NOW, ROOT, fact, plan, tell


def group(name, goes, stays, size_bytes=100, kept_bytes=100, **options):
    """Make a group of which so many go and so many stay."""
    going = [fact(f"{name}{number}", 90 - number, group=name, size_bytes=size_bytes, **options) for number in range(goes)]
    staying = [
        fact(f"{name}kept{number}", 50 - number / 10, group=name, size_bytes=kept_bytes, pins=("pinned",), **options)
        for number in range(stays)
    ]
    return going + staying


def outcome(facts, **options):
    """Give how many go, how many are held, and the alerts."""
    made = plan(facts, **{"max_fraction": 0.25} | options)
    going = sum(1 for one in made.decisions if one.action in (Action.SLIM, Action.ARCHIVE, Action.TRASH))
    return going, made.held, [(alert.code, alert.group) for alert in made.alerts]


BOTH = [("brake-group", "G"), ("brake-root", None)]


@pytest.mark.parametrize(
    ("goes", "stays", "held"),
    [
        (1, 3, False),  # a quarter is not more than a quarter
        (1, 2, True),  # one of three is
        (25, 75, False),
        (26, 75, True),
        (26, 74, True),
        (0, 5, False),
        (9, 1, True),
    ],
)
def test_share_by_count(goes, stays, held):
    """All of the group's removals are held, not only what is too much."""
    assert outcome(group("G", goes, stays)) == ((0, goes, BOTH) if held else (goes, 0, []))


@pytest.mark.parametrize(
    ("size_bytes", "held"),
    [(100, False), (300, False), (301, True), (1000, True)],
)
def test_share_by_bytes(size_bytes, held):
    """One of ten may be most of the bytes."""
    facts = group("G", 1, 9, size_bytes=size_bytes)
    assert outcome(facts) == ((0, 1, BOTH) if held else (1, 0, []))


@pytest.mark.parametrize(("max_fraction", "held"), [(0.09, True), (0.1, False), (0.29, False), (1.0, False)])
def test_max_fraction(max_fraction, held):
    """As the policy says; 1 brakes never."""
    assert outcome(group("G", 1, 9), max_fraction=max_fraction)[1] == held
    assert outcome(group("G", 29, 71), max_fraction=0.29)[1] == 0


def test_one_group_is_held_and_the_others_go():
    """Where the root as a whole loses little."""
    facts = group("G", 2, 2) + group("H", 2, 18)
    made = plan(facts, max_fraction=0.25)
    assert {one.fact.group for one in made.decisions if one.action is Action.HOLD} == {"G"}
    assert {one.fact.group for one in made.decisions if one.action is Action.TRASH} == {"H"}
    assert [(alert.code, alert.root, alert.group) for alert in made.alerts] == [("brake-group", ROOT, "G")]


def test_a_root_is_held_as_a_whole():
    """What its groups hold counts: the policy as it is wants too much, whatever a group by itself may lose."""
    facts = group("G", 12, 4) + group("H", 2, 18)
    made = plan(facts, max_fraction=0.25)
    told = tell(made)
    assert told["G0"] == "hold brake-group brake-root unkept"
    assert told["H0"] == "hold brake-root unkept"
    assert [(alert.code, alert.group) for alert in made.alerts] == BOTH


def test_roots_are_held_apart():
    """One root with too much does not hold another."""
    facts = group("G", 9, 1) + group("H", 1, 9, root="/other")
    made = plan(facts, max_fraction=0.25)
    assert {(one.fact.root, one.action) for one in made.decisions if one.action is not Action.KEEP} == {
        (ROOT, Action.HOLD),
        ("/other", Action.TRASH),
    }


def test_of_what_is_there():
    """All that is good, also what has no group; what is damaged makes a loss no smaller."""
    facts = group("G", 2, 4)
    assert outcome(facts)[1] == 2
    damaged = [fact(f"d{number}", 200 + number, group="G", status=Status.DAMAGED) for number in range(9)]
    assert outcome(facts + damaged) == (0, 2, BOTH)
    unknown = [fact(f"u{number}", 200, group=None) for number in range(9)]
    assert outcome(facts + unknown) == (0, 2, [("brake-group", "G")])


def removal(days=1.0, **options):
    return Removal(**{"root": ROOT, "group": "G", "size_bytes": 100, "at": NOW - days * DAY} | options)


@pytest.mark.parametrize(
    ("recent", "expected"),
    [
        ([], (2, 0, [])),
        # 2 + 2 of 10 + 2
        ([removal(), removal()], (0, 2, BOTH)),
        # 2 + 1 of 10 + 1
        ([removal()], (0, 2, BOTH)),
        ([removal(6.9)], (0, 2, BOTH)),
        ([removal(7.0)], (0, 2, BOTH)),
        ([removal(7.1)], (2, 0, [])),
        # a clock that was set back
        ([removal(-100)], (0, 2, BOTH)),
        # another group's, and one of a group that is no more, count for the root
        ([removal(group="H")], (0, 2, [("brake-root", None)])),
        ([removal(group=None)], (0, 2, [("brake-root", None)])),
        ([removal(root="/other")], (2, 0, [])),
        ([removal(size_bytes=0)], (0, 2, BOTH)),
    ],
)
def test_what_went_before_counts(recent, expected):
    """Slowly is no way around the brake: what went counts with what goes, of what is there and what went."""
    assert outcome(group("G", 2, 8), recent=recent) == expected


def test_many_bytes_that_went_before():
    """By bytes too: 200 + 900 of 4000 + 900."""
    facts = group("G", 2, 38)
    assert outcome(facts, recent=[removal(size_bytes=900)])[1] == 0
    assert outcome(facts, recent=[removal(size_bytes=1100)])[1] == 2


def test_window():
    """As long as the policy says."""
    recent = [removal(3)]
    assert outcome(group("G", 2, 8), recent=recent, window_seconds=2 * DAY) == (2, 0, [])
    assert outcome(group("G", 2, 8), recent=recent, window_seconds=4 * DAY)[1] == 2


SLIM = {"ladder": (Action.SLIM,)}


@pytest.mark.parametrize(
    ("optimizer_bytes", "held"),
    [(0, False), (27, False), (28, True), (66, True)],
)
def test_slimming_counts_by_the_bytes_that_it_drops(optimizer_bytes, held):
    """All but the last are slimmed: that takes no checkpoint away, but optimizer state of nine of ten."""
    facts = [fact(str(number), 90 - number, can_slim=True, optimizer_bytes=optimizer_bytes) for number in range(10)]
    assert outcome(facts, **SLIM) == ((0, 9, BOTH) if held else (9, 0, []))


def test_slimmed_before_counts_by_bytes_and_not_as_a_checkpoint():
    """A quarter of the checkpoints may go although some were slimmed."""
    facts = group("G", 25, 75)
    assert outcome(facts, recent=[removal(action="slim", size_bytes=0)] * 9) == (25, 0, [])
    assert outcome(facts, recent=[removal(action="slim", size_bytes=1000)]) == (0, 25, BOTH)
    assert outcome(facts, recent=[removal(action="archive", size_bytes=0)]) == (0, 25, BOTH)


def test_steps_are_held_together():
    """When a group loses too much nothing of it is touched."""
    facts = [*group("G", 3, 3), fact("s", 200, group="G", can_slim=True, optimizer_bytes=1)]
    made = plan(facts, max_fraction=0.25, ladder=(Action.SLIM, Action.ARCHIVE))
    assert tell(made)["s"] == "hold brake-group brake-root unkept can-slim"
    assert tell(made)["G0"] == "hold brake-group brake-root unkept"
    assert [one.wanted for one in made.decisions if one.action is Action.HOLD] == [Action.SLIM, *[Action.ARCHIVE] * 3]


def test_what_is_held_for_another_reason_counts_too():
    """A broken newest one of a group must not be why the brake lets another group go."""
    facts = group("G", 9, 1) + group("H", 2, 6)
    assert tell(plan(facts, max_fraction=0.25))["H0"] == "hold brake-root unkept"
    told = tell(plan([*facts, fact("bad", 1, group="G", status=Status.DAMAGED)], max_fraction=0.25))
    assert told["G0"] == "hold corrupt-newcomer brake-group brake-root unkept"
    assert told["H0"] == "hold brake-root unkept"
    told = tell(plan(group("G", 9, 1, stored_group="L") + group("H", 2, 6), max_fraction=0.25))
    assert told["G0"] == "hold regrouped brake-group brake-root unkept"
    assert told["H0"] == "hold brake-root unkept"


def test_confirmed():
    """The number of the plan lifts the brakes, of a group and of a root, and no other number does."""
    facts = group("G", 12, 4) + group("H", 2, 18)
    made = plan(facts, max_fraction=0.25)
    assert made.held == 14
    confirmed = plan(facts, max_fraction=0.25, confirmed=made.id)
    assert confirmed.held == 0
    assert tell(confirmed)["G0"] == tell(confirmed)["H0"] == "trash unkept confirmed"
    assert confirmed.alerts == ()
    assert confirmed.frees_bytes[Action.TRASH] == made.frees_bytes[Action.HOLD] == 1400
    assert plan(facts, max_fraction=0.25, confirmed="").held == 14
    assert plan(facts, max_fraction=0.24, confirmed=made.id).held == 14


def test_a_clock_that_was_set_forward_is_braked():
    """Everything is old at once, and the day before is long ago."""
    facts = [fact(str(number), number) for number in range(1, 30)]
    options = {"keep_last": 3, "keep_within_seconds": 60 * DAY, "max_fraction": 0.25}
    assert plan(facts, **options).held == 0
    assert plan(facts, now=NOW + 5000 * DAY, **options).held == 26


def test_files_without_bytes():
    """Shares of nothing are none."""
    assert outcome(group("G", 1, 9, size_bytes=0, kept_bytes=0)) == (1, 0, [])


def test_message():
    """With both shares, the time and the limit."""
    made = plan(group("G", 1, 2, size_bytes=200), max_fraction=0.25)
    assert [alert.message for alert in made.alerts] == [
        "33.3% of its group by count and 50.0% by bytes would be gone within 7 days; more than 25.0% waits for a person",
        "33.3% of its root by count and 50.0% by bytes would be gone within 7 days; more than 25.0% waits for a person",
    ]
    assert made.decisions[0].reasons[0].message == made.alerts[0].message
