"""A budget or a floor takes what only weak rules keep, worst first, and not one more than it needs."""

from __future__ import annotations

import pytest

from ckptd.model import Openness, Status
from ckptd.policy.retention.facts import Disk, Removal
from ckptd.policy.retention.plan import Action
from tests.policy.retention.making import DAY, NOW, ROOT, fact, gone, plan, tell

WITHIN = {"keep_within_seconds": 365 * DAY}


def ranked(accuracies, group="G", **options):
    """Make checkpoints by name → accuracy, all kept by age, and a last one without a metric."""
    facts = [
        fact(name, 100 - place, accuracy=value, group=group, **options)
        for place, (name, value) in enumerate(accuracies.items())
    ]
    return [*facts, fact(f"z{group}", 2, group=group, **options)]


FIVE = {"a": 0.5, "b": 0.1, "c": 0.4, "d": 0.2, "e": 0.3}


@pytest.mark.parametrize(
    ("total_bytes", "expected"),
    [
        (None, []),
        (600, []),
        (599, ["b"]),
        (500, ["b"]),
        (499, ["b", "d"]),
        (400, ["b", "d"]),
        (300, ["b", "d", "e"]),
        (200, ["b", "c", "d", "e"]),
        (100, ["a", "b", "c", "d", "e"]),
        (0, ["a", "b", "c", "d", "e"]),
    ],
)
def test_budget_takes_the_worst_first(total_bytes, expected):
    """As many as it needs; the last good one stays, and then the budget can't be met."""
    made = plan(ranked(FIVE), total_bytes=total_bytes, **WITHIN)
    assert sorted(name for name, fate in tell(made).items() if fate == "trash over-budget") == expected
    assert [alert.code for alert in made.alerts] == (["budget-not-met"] if total_bytes == 0 else [])


@pytest.mark.parametrize(
    ("free_bytes", "free", "trash", "expected"),
    [
        (None, 0, 0, []),
        (100, 100, 0, []),
        (101, 100, 0, ["b"]),
        (300, 100, 0, ["b", "d"]),
        (300, 100, 100, ["b"]),  # what lies in the trash counts as freed
        (300, 100, 200, []),
        (600, 100, 0, ["a", "b", "c", "d", "e"]),
    ],
)
def test_floor(free_bytes, free, trash, expected):
    """What is free, what is in the trash, and what goes anyway."""
    made = plan(ranked(FIVE), free_bytes=free_bytes, disks=[Disk(ROOT, free, trash)], **WITHIN)
    assert sorted(name for name, fate in tell(made).items() if fate == "trash below-floor") == expected
    assert made.alerts == ()


def test_what_the_rules_let_go_counts_first():
    """Only what is still missing is taken from what they keep."""
    facts = [*ranked(FIVE), fact("old", 900), fact("older", 950)]
    told = tell(plan(facts, total_bytes=600, **WITHIN))
    assert {name for name, fate in told.items() if fate.startswith("trash")} == {"old", "older"}
    told = tell(plan(facts, total_bytes=500, **WITHIN))
    assert told["old"] == "trash unkept"
    assert told["b"] == "trash over-budget"
    assert sum(fate.startswith("trash") for fate in told.values()) == 3


def test_a_budget_does_not_count_the_trash():
    """It is about the checkpoints; they are not in the trash."""
    assert gone(ranked(FIVE), total_bytes=599, disks=[Disk(ROOT, 0, 10**9)], **WITHIN) == ["b"]


def test_without_metrics_the_oldest_go_first():
    """By the order of the group."""
    facts = [fact(str(epoch), 50 - epoch, epoch=epoch) for epoch in range(1, 6)]
    assert gone(facts, total_bytes=300, **WITHIN) == ["1", "2"]


def test_equally_bad_ones_go_oldest_first():
    """Ties are no reason to be unpredictable."""
    facts = ranked({"a": 0.1, "b": 0.1, "c": 0.1, "d": 0.9})
    assert gone(facts, total_bytes=300, **WITHIN) == ["a", "b"]


def test_less_is_better_where_it_is():
    """The greatest loss is the worst."""
    facts = [fact("a", 9, loss=0.5), fact("b", 8, loss=0.9), fact("c", 7, loss=0.1), fact("z", 6)]
    assert gone(facts, total_bytes=300, **WITHIN) == ["b"]


@pytest.mark.parametrize(
    ("options", "policy"),
    [
        ({"pins": ("pinned",)}, {}),
        ({"tags": ("x",)}, {"keep_tags": ("x",)}),
        ({"aliases": ("x",)}, {}),
        ({}, {"min_age_seconds": 99.5 * DAY}),
        ({}, {"keep_last": 9}),
        ({}, {"keep_best": 9}),
        ({"group": None}, {}),
        ({"status": Status.DAMAGED}, {}),
        ({"openness": Openness.OPEN}, {}),
        ({"holds": ("busy",)}, {}),
    ],
)
def test_strong_rules_never_give_way(options, policy):
    """Whatever the disk needs; what is missing is told."""
    facts = [fact("a", 99, accuracy=0.1, **options), fact("z", 2, accuracy=0.9)]
    made = plan(facts, total_bytes=0, **WITHIN, **policy)
    assert tell(made)["a"].startswith("keep")
    assert [alert.code for alert in made.alerts] == ["budget-not-met"]


@pytest.mark.parametrize(
    "policy",
    [
        WITHIN,
        {"keep_hourly": 9},
        {"keep_daily": 9},
        {"keep_weekly": 9},
        {"keep_monthly": 9},
        {"keep_yearly": 9},
        {"keep_every_epochs": 5},
        {"keep_every_steps": 5},
    ],
)
def test_weak_rules_give_way(policy):
    """Age, windows and multiples."""
    facts = [fact("a", 99, epoch=5, step=5, modified_at=NOW - 400 * DAY), fact("z", 2, epoch=6, step=6)]
    options = {"keep_within_seconds": 1.0} | policy
    _, rule = tell(plan(facts, **options))["a"].split()
    made = plan(facts, total_bytes=100, **options)
    assert tell(made)["a"] == "trash over-budget"
    assert made.decisions[0].reasons[0].message == f"the budget of 100 B is exceeded, and only {rule} kept it"


def test_groups_give_the_same_share():
    """Of forty in one group and four in another, half of each when half of all has to go."""
    facts = [fact(f"g{number:02}", 99 - number / 10, group="G") for number in range(41)]
    facts += [fact(f"h{number}", 9 - number, group="H") for number in range(5)]
    assert len(gone(facts, total_bytes=2400, **WITHIN)) == 22
    taken = gone(facts, total_bytes=2400, **WITHIN)
    assert [name for name in taken if name.startswith("h")] == ["h0", "h1"]
    # the only one of a group goes last
    small = [fact("s", 90, group="S"), fact("sz", 1, group="S")]
    assert "s" not in gone(facts + small, total_bytes=600, **WITHIN)
    assert "s" in gone(facts + small, total_bytes=300, **WITHIN)


def test_shares_are_of_bytes():
    """One large file is as much of its group as many small ones of theirs."""
    facts = [fact(f"g{number}", 20 - number, group="G", size_bytes=10) for number in range(11)]
    facts += [fact("h0", 30, group="H", size_bytes=50), fact("h1", 29, group="H", size_bytes=50), fact("h2", 1, group="H")]
    # 100 of G and 100 of H may go; at 0.5 both have given half, the older first
    assert gone(facts, total_bytes=110 + 200 - 60, **WITHIN) == ["g0", "h0"]
    assert gone(facts, total_bytes=110 + 200 - 100, **WITHIN) == ["g0", "g1", "g2", "g3", "g4", "h0"]


def test_metrics_of_one_group_are_lines_of_their_own():
    """A loss says nothing against an accuracy: half of what has one, and half of what has the other."""
    facts = [fact(f"a{number}", 50 - number, accuracy=number / 10) for number in range(4)]
    facts += [fact(f"l{number}", 40 - number, loss=number / 10) for number in range(4)]
    facts += [fact(f"n{number}", 30 - number) for number in range(4)]
    assert gone([*facts, fact("z", 1)], total_bytes=700, **WITHIN) == ["a0", "a1", "l2", "l3", "n0", "n1"]


def test_not_one_more_than_needed():
    """A small one that was taken first is given back when a large one had to go anyway."""
    facts = [
        fact("small", 90, size_bytes=10, accuracy=0.1),
        fact("large", 80, size_bytes=500, accuracy=0.2),
        fact("better", 70, size_bytes=500, accuracy=0.3),
        fact("z", 2, size_bytes=10),
    ]
    assert gone(facts, total_bytes=1020 - 10, **WITHIN) == ["small"]
    assert gone(facts, total_bytes=1020 - 11, **WITHIN) == ["large"]
    assert gone(facts, total_bytes=1020 - 500, **WITHIN) == ["large"]
    assert gone(facts, total_bytes=1020 - 505, **WITHIN) == ["small", "large"]
    assert gone(facts, total_bytes=1020 - 510, **WITHIN) == ["small", "large"]
    assert gone(facts, total_bytes=1020 - 511, **WITHIN) == ["large", "better"]


def test_what_a_floor_takes_serves_the_budget():
    """Two needs are not two removals, and the one that serves neither stays."""
    facts = ranked(FIVE)
    disks = [Disk(ROOT, 0)]
    told = tell(plan(facts, total_bytes=500, free_bytes=100, disks=disks, **WITHIN))
    assert [name for name, fate in told.items() if fate.startswith("trash")] == ["b"]
    told = tell(plan(facts, total_bytes=500, free_bytes=300, disks=disks, **WITHIN))
    assert [name for name, fate in told.items() if fate == "trash over-budget"] == ["b"]
    assert sorted(name for name, fate in told.items() if fate == "trash below-floor") == ["d", "e"]
    told = tell(plan(facts, total_bytes=300, free_bytes=100, disks=disks, **WITHIN))
    assert sorted(name for name, fate in told.items() if fate == "trash over-budget") == ["b", "d", "e"]


def test_what_the_budget_took_is_given_back_when_the_floor_takes_more():
    """The small one served the budget until the large one went for the floor."""
    facts = [
        fact("small", 90, size_bytes=10, accuracy=0.1),
        fact("large", 80, size_bytes=500, accuracy=0.2),
        fact("z", 2, size_bytes=10),
    ]
    told = tell(plan(facts, total_bytes=515, free_bytes=500, disks=[Disk(ROOT, 0)], **WITHIN))
    assert told["small"] == "keep within"
    assert told["large"] == "trash below-floor"


def test_a_need_that_can_not_be_met_takes_what_helps_it():
    """Even what is not enough: the alert says how much is missing."""
    made = plan(ranked(FIVE), total_bytes=50, **WITHIN)
    assert sum(fate == "trash over-budget" for fate in tell(made).values()) == 5
    assert made.alerts[0].message == "the budget of 50 B is exceeded: 50 B are missing, and nothing else may go for it"
    assert made.alerts[0].root == ROOT
    made = plan(ranked(FIVE), free_bytes=700, disks=[Disk(ROOT, 50)], **WITHIN)
    assert [alert.code for alert in made.alerts] == ["floor-not-met"]
    assert made.alerts[0].message == "less than 700 B would be free: 150 B are missing, and nothing else may go for it"


def test_floor_without_a_disk():
    """Nothing is taken on a guess."""
    made = plan(ranked(FIVE), free_bytes=10**9, **WITHIN)
    assert made.held == 0
    assert gone(ranked(FIVE), free_bytes=10**9, **WITHIN) == []
    assert [(alert.code, alert.root) for alert in made.alerts] == [("floor-unknown", ROOT)]
    assert plan(ranked(FIVE), disks=[], **WITHIN).alerts == ()


def test_a_disk_without_checkpoints_is_told_too():
    """Its trash may be full, or others use it."""
    made = plan([], free_bytes=100, disks=[Disk("/empty", 1)], **WITHIN)
    assert [(alert.code, alert.root) for alert in made.alerts] == [("floor-not-met", "/empty")]


def test_budgets_are_for_each_root():
    """One that is full does not press another."""
    facts = ranked(FIVE) + ranked({"p": 0.1, "q": 0.2}, group="P", root="/other")
    assert gone(facts, total_bytes=500, **WITHIN) == ["b"]
    assert gone(facts, total_bytes=200, **WITHIN) == ["b", "c", "d", "e", "p"]


def test_floors_of_disks_of_their_own():
    """Two roots on two disks press each for itself."""
    facts = ranked(FIVE) + ranked({"p": 0.1, "q": 0.2}, group="P", root="/other")
    assert gone(facts, free_bytes=100, disks=[Disk(ROOT, 0), Disk("/other", 100)], **WITHIN) == ["b"]
    assert gone(facts, free_bytes=100, disks=[Disk(ROOT, 0), Disk("/other", 0)], **WITHIN) == ["b", "p"]


def test_roots_on_one_disk_give_together():
    """What one gives serves both, what lies in both trashes counts, and the same share is taken of each."""
    facts = ranked(FIVE) + ranked({"p": 0.1, "q": 0.2}, group="P", root="/other")
    disks = [Disk(ROOT, 0, device=1), Disk("/other", 0, device=1)]
    assert gone(facts, free_bytes=100, disks=disks, **WITHIN) == ["b"]
    assert gone(facts, free_bytes=300, disks=disks, **WITHIN) == ["b", "d", "p"]
    disks = [Disk(ROOT, 0, 100, device=1), Disk("/other", 0, 100, device=1)]
    assert gone(facts, free_bytes=300, disks=disks, **WITHIN) == ["b"]
    # each was asked a moment after the other: the smaller number counts
    disks = [Disk(ROOT, 90, device=1), Disk("/other", 190, device=1)]
    assert gone(facts, free_bytes=150, disks=disks, **WITHIN) == ["b"]
    made = plan(facts, free_bytes=10_000, disks=disks, **WITHIN)
    assert [(alert.code, alert.root) for alert in made.alerts] == [("floor-not-met", ROOT), ("floor-not-met", "/other")]


def test_only_what_lies_on_the_disk_serves_its_floor():
    """A mount below a root is another disk."""
    facts = [fact("a", 90, accuracy=0.1, inode=(2, 1)), fact("b", 80, accuracy=0.2), fact("z", 2)]
    assert gone(facts, free_bytes=100, disks=[Disk(ROOT, 0, device=1)], **WITHIN) == ["b"]
    assert gone(facts, free_bytes=100, disks=[Disk(ROOT, 0)], **WITHIN) == ["a"]
    # and what goes anyway on the other disk frees nothing here
    old = fact("old", 900, inode=(2, 9))
    assert gone([*facts, old], free_bytes=100, disks=[Disk(ROOT, 0, device=1)], **WITHIN) == ["old", "b"]
    assert gone([*facts, old], free_bytes=100, disks=[Disk(ROOT, 0)], **WITHIN) == ["old"]


@pytest.mark.parametrize(
    ("ladder", "options", "expected"),
    [
        ((Action.ARCHIVE,), {}, "archive over-budget"),
        ((Action.ARCHIVE,), {"archives": ("a.tar.gz",)}, "trash over-budget archived-already"),
        ((Action.SLIM,), {"can_slim": True, "optimizer_bytes": 60}, "slim over-budget can-slim"),
        ((Action.SLIM,), {}, "keep within"),  # the ladder has no step for it
        ((Action.SLIM,), {"can_slim": True, "optimizer_bytes": 0}, "keep within"),  # nothing would come of it
        ((Action.SLIM, Action.TRASH), {"can_slim": True, "optimizer_bytes": 60}, "slim over-budget can-slim"),
    ],
)
def test_pressure_takes_the_step_of_the_ladder(ladder, options, expected):
    """One step, as for what nothing keeps."""
    facts = [fact("a", 90, **options), fact("z", 2)]
    assert tell(plan(facts, total_bytes=140, ladder=ladder, **WITHIN))["a"] == expected


def test_slimming_serves_with_what_it_drops():
    """Two that are slimmed give what one removal would."""
    facts = [fact(name, 90 - place, can_slim=True, optimizer_bytes=60) for place, name in enumerate("abc")] + [fact("z", 2)]
    assert gone(facts, total_bytes=340, ladder=(Action.SLIM,), **WITHIN) == ["a"]
    assert gone(facts, total_bytes=339, ladder=(Action.SLIM,), **WITHIN) == ["a", "b"]


def linked(*names, count=2, **options):
    return [fact(name, 90 - place, inode=(1, 7), links=count, content="same", **options) for place, name in enumerate(names)]


def test_hard_links_go_together_or_not_at_all():
    """They are one file; half of its names frees nothing."""
    others = [fact("c", 60), fact("z", 2)]
    assert gone([*linked("a", "b"), *others], total_bytes=300, **WITHIN) == []  # counted once: it fits
    assert gone([*linked("a", "b"), *others], total_bytes=200, **WITHIN) == ["a", "b"]
    # a name that is not seen, or that a strong rule keeps, keeps the file
    assert gone([*linked("a", "b", count=3), *others], total_bytes=200, **WITHIN) == ["c"]
    pinned = [*linked("a"), fact("b", 89, inode=(1, 7), links=2, content="same", pins=("pinned",))]
    assert gone([*pinned, *others], total_bytes=200, **WITHIN) == ["c"]
    # the other name goes anyway
    old = fact("b", 900, inode=(1, 7), links=2, content="same")
    assert gone([*linked("a"), old, *others], total_bytes=200, **WITHIN) == ["b", "a"]
    # names in another root are not seen
    away = [*linked("a"), fact("b", 89, inode=(1, 7), links=2, content="same", root="/other"), fact("y", 1, root="/other")]
    assert gone([*away, *others], total_bytes=200, **WITHIN) == ["c"]


def test_a_file_of_several_names_is_worth_what_its_best_name_is():
    """It stands where the last of its names stands."""
    facts = [
        fact("a", 90, inode=(1, 7), links=2, content="same"),
        fact("b", 80),
        fact("c", 70, inode=(1, 7), links=2, content="same"),
        fact("d", 60),
        fact("z", 2),
    ]
    assert gone(facts, total_bytes=300, **WITHIN) == ["b"]
    assert gone(facts, total_bytes=200, **WITHIN) == ["a", "b", "c"]


def test_slimming_one_of_several_names_frees_nothing():
    """The other keeps the whole, so pressure leaves it."""
    facts = [
        *linked("a", "b", can_slim=True, optimizer_bytes=60),
        fact("c", 60, can_slim=True, optimizer_bytes=60),
        fact("z", 2),
    ]
    assert gone(facts, total_bytes=250, ladder=(Action.SLIM,), **WITHIN) == ["c"]


def test_what_a_brake_holds_is_not_made_up_for_by_others():
    """It waits for a person, and the alert says what is missing until then."""
    facts = ranked(FIVE)
    made = plan(facts, total_bytes=400, max_fraction=0.25, **WITHIN)
    assert sorted(name for name, fate in tell(made).items() if fate == "hold brake-group brake-root over-budget") == ["b", "d"]
    assert [alert.code for alert in made.alerts] == ["brake-group", "brake-root", "budget-not-met"]
    confirmed = plan(facts, total_bytes=400, max_fraction=0.25, confirmed=made.id, **WITHIN)
    assert tell(confirmed)["b"] == "trash over-budget confirmed"
    assert confirmed.alerts == ()


def test_what_a_broken_newcomer_holds_is_not_made_up_for_by_others():
    """A corrupt newcomer is never the reason that a good one goes, not even in another group."""
    bad = fact("bad", 1, status=Status.DAMAGED, allocated_bytes=0)
    facts = ranked(FIVE) + ranked({"p": 0.1, "q": 0.2}, group="P")
    without = gone(facts, total_bytes=600, **WITHIN)
    assert without == ["b", "d", "p"]
    told = tell(plan([*facts, bad], total_bytes=600, **WITHIN))
    assert [name for name, fate in told.items() if fate.startswith("trash")] == ["p"]
    assert [name for name, fate in told.items() if fate.startswith("hold")] == ["b", "d"]


def test_pressure_counts_for_the_brake():
    """With what went before."""
    facts = ranked({str(number): number / 100 for number in range(19)})
    assert plan(facts, total_bytes=1600, max_fraction=0.25, **WITHIN).held == 0
    recent = [Removal(ROOT, "G", 100, NOW - DAY)] * 2
    assert plan(facts, total_bytes=1600, max_fraction=0.25, recent=recent, **WITHIN).held == 4


def test_what_falls_short_goes_by_the_rules():
    """It needs no pressure, and has its own reason."""
    facts = ranked(FIVE)
    told = tell(plan(facts, total_bytes=500, below={"accuracy": 0.15}, **WITHIN))
    assert [name for name, fate in told.items() if fate.startswith("trash")] == ["b"]
    assert told["b"] == "trash below"


def test_ladder_ends_is_no_weak_reason():
    """What has no step left is not asked again."""
    made = plan([fact("a", 90), fact("z", 2)], total_bytes=0, ladder=(Action.SLIM,))
    assert tell(made)["a"] == "keep ladder-ends"
