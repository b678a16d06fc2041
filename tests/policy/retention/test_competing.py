"""Rules for which the checkpoints of a group compete: last, best, the last good one, and the limit that some fall short of."""

from __future__ import annotations

import math

import pytest

from ckptd.model import Status
from tests.policy.retention.making import DAY, fact, fates, gone, kept, plan


def series(count, **options):
    """Make so many epochs, a day apart, the last 50 days old."""
    return [fact(str(epoch), 50 + count - epoch, epoch=epoch, **options) for epoch in range(1, count + 1)]


@pytest.mark.parametrize(
    ("keep_last", "expected"),
    [
        (0, ["5"]),
        (1, ["5"]),
        (2, ["4", "5"]),
        (3, ["3", "4", "5"]),
        (5, ["1", "2", "3", "4", "5"]),
        (9, ["1", "2", "3", "4", "5"]),
    ],
)
def test_last(keep_last, expected):
    """The last ones by order; the very last stays even where the rule is off."""
    assert kept(series(5), keep_last=keep_last) == expected


def test_last_reasons():
    """All rules are named, with what they say."""
    made = plan(series(3), keep_last=2)
    assert [[reason.message for reason in decision.reasons] for decision in made.decisions] == [
        ["no rule keeps it"],
        ["one of the last 2 of its group"],
        ["one of the last 2 of its group", "the last good one of its group always stays"],
    ]
    assert plan(series(1), keep_last=1).decisions[0].reasons[0].message == "the last of its group"


def test_groups_and_roots_do_not_compete():
    """The last of each group, and of each root for itself."""
    facts = [
        fact("a1", 9),
        fact("a2", 8),
        fact("b1", 7, group="H"),
        fact("b2", 6, group="H"),
        fact("c1", 5, root="/other"),
        fact("c2", 4, root="/other"),
    ]
    assert gone(facts, keep_last=1) == ["a1", "b1", "c1"]


@pytest.mark.parametrize("status", [Status.DAMAGED, Status.FAILED, Status.UNREADABLE, Status.UNSAFE, Status.NOT_A_CHECKPOINT])
def test_one_that_is_not_good_takes_nobodys_place(status):
    """It is neither last nor best nor the last of its day, and its group stands still while it is the newest."""
    bad = fact("bad", 10, status=status, accuracy=0.99, epoch=99)
    good = series(4, accuracy=0.5)
    told = fates([*good, bad], keep_last=2, keep_best=1, keep_daily=9)
    assert told["bad"] == "keep not-good"
    assert {name for name, fate in told.items() if fate.startswith("keep")} == {"1", "2", "3", "4", "bad"}
    told = fates([*good, bad], keep_last=2)
    assert told["1"] == told["2"] == "hold corrupt-newcomer unkept"
    assert told["3"] == "keep last"
    assert told["4"] == "keep last last-good"


def test_the_last_good_one_stays_whatever_the_rules_say():
    """Also where all that is newer is broken, and where it is old, worse and unloved."""
    facts = [fact("1", 300, epoch=1), fact("2", 200, epoch=2), fact("3", 100, epoch=3, status=Status.DAMAGED)]
    assert fates(facts) == {"1": "hold corrupt-newcomer unkept", "2": "keep last-good", "3": "keep not-good"}


def test_copies_take_no_place_of_their_own():
    """A last.pth that is a copy of epoch 5 makes the last two no less."""
    facts = [*series(5), fact("last", 40, epoch=5, content="5")]
    assert kept(facts, keep_last=2) == ["4", "5", "last"]
    ranked = [fact(str(n), 60 - n, epoch=n, accuracy=n / 10) for n in range(1, 6)]
    assert kept([*ranked, fact("best", 1.5, epoch=5, accuracy=0.5, content="5")], keep_best=2) == ["4", "5", "best"]
    # and where there are fewer contents than the rule keeps, all stay
    three = [
        fact(name, 60, accuracy=value, content=content)
        for name, value, content in [("a", 0.1, "x"), ("b", 0.9, "y"), ("c", 0.9, "y")]
    ]
    assert kept([*three, fact("d", 70, accuracy=0.1, content="x"), fact("z", 1)], keep_best=3) == ["d", "a", "b", "c", "z"]


@pytest.mark.parametrize(
    ("scores", "keep_best", "expected"),
    [
        ({"a": 0.1, "b": 0.4, "c": 0.3, "d": 0.2}, 1, ["b"]),
        ({"a": 0.1, "b": 0.4, "c": 0.3, "d": 0.2}, 2, ["b", "c"]),
        ({"a": 0.1, "b": 0.4, "c": 0.3, "d": 0.2}, 3, ["b", "c", "d"]),
        ({"a": 0.1, "b": 0.4, "c": 0.3, "d": 0.2}, 4, ["a", "b", "c", "d"]),
        ({"a": 0.1, "b": 0.4, "c": 0.3, "d": 0.2}, 0, []),
        # those that equal the last one stay too
        ({"a": 0.4, "b": 0.4, "c": 0.4, "d": 0.2}, 1, ["a", "b", "c"]),
        ({"a": 0.4, "b": 0.3, "c": 0.3, "d": 0.2}, 2, ["a", "b", "c"]),
        ({"a": 0.4, "b": 0.3, "c": 0.3, "d": 0.2}, 3, ["a", "b", "c"]),
        ({"a": 0.4, "b": 0.3, "c": 0.3, "d": 0.3}, 3, ["a", "b", "c", "d"]),
        # what is missing or no finite number abstains
        ({"a": 0.1, "b": math.nan, "c": None, "d": 0.2}, 1, ["d"]),
        ({"a": 0.1, "b": math.inf, "c": -math.inf, "d": 0.2}, 1, ["d"]),
        ({"a": 0.1, "b": math.inf, "c": None, "d": 0.2}, 3, ["a", "d"]),
        ({"a": -1.0, "b": 0.0, "c": -0.0, "d": -2.0}, 1, ["b", "c"]),
    ],
)
def test_best(scores, keep_best, expected):
    """The best ones by the metric; ties keep all."""
    facts = [fact(name, **({} if score is None else {"accuracy": score})) for name, score in scores.items()]
    newest = fact("z", 50)
    assert [name for name in kept([*facts, newest], keep_best=keep_best) if name != "z"] == expected


def test_less_is_better_for_some():
    """By the direction of the metric."""
    facts = [fact("a", 3, loss=0.5), fact("b", 2.5, loss=0.1), fact("c", 2.2, loss=0.3), fact("z", 2, loss=9.0)]
    assert fates(facts, keep_best=2) == {"a": "trash unkept", "b": "keep best", "c": "keep best", "z": "keep last-good"}


def test_each_is_ranked_by_the_first_metric_that_it_has():
    """What has only a loss competes with what has only a loss."""
    facts = [
        fact("a", 9, accuracy=0.9, loss=9.0),
        fact("b", 8, accuracy=0.8, loss=0.1),
        fact("c", 7, loss=0.5),
        fact("d", 6, loss=0.7),
        fact("z", 5),
    ]
    assert fates(facts, keep_best=1) == {
        "a": "keep best",
        "b": "trash unkept",
        "c": "keep best",
        "d": "trash unkept",
        "z": "keep last-good",
    }


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"best_by": ("accuracy", "loss")}, ["a", "z"]),
        ({"best_by": ("loss", "accuracy")}, ["b", "z"]),
        ({"best_by": ("loss", "loss")}, ["b", "z"]),
        ({"best_by": ("loss", "accuracy", "loss")}, ["b", "z"]),  # the first time that it is named counts
        ({"best_by": ("f1", "accuracy")}, ["a", "z"]),  # none has it
        (
            {"best_by": ("loss", "accuracy"), "directions": {"accuracy": "max"}},
            ["a", "z"],
        ),  # nobody says whether less is better
        ({"best_by": ("accuracy",), "directions": {"accuracy": "min"}}, ["b", "z"]),
    ],
)
def test_the_most_telling_metric_with_a_direction(options, expected):
    """In the order that the policy names them."""
    facts = [fact("a", 9, accuracy=0.9, loss=9.0), fact("b", 8, accuracy=0.8, loss=0.1), fact("z", 7)]
    assert kept(facts, keep_best=1, **options) == expected


def test_metric_that_is_no_number_gives_way_to_the_next():
    """The loss is known, the accuracy is not."""
    facts = [fact("a", 9, accuracy=math.nan, loss=0.5), fact("b", 8, loss=0.6), fact("z", 7)]
    assert kept(facts, keep_best=1) == ["a", "z"]


def test_best_message():
    """With the metric and its value."""
    made = plan([fact("a", 9, accuracy=0.9125), fact("z", 8)], keep_best=3)
    assert made.decisions[0].reasons[0].message == "among the best 3 by accuracy (0.9125)"


def test_all_rules_that_keep_are_named():
    """One checkpoint, kept by everything."""
    facts = [fact("a", 9), fact("z", 5, epoch=10, step=100, accuracy=0.9, pins=("pinned",), tags=("x",), aliases=("y",))]
    windows = {f"keep_{window}": 1 for window in ("hourly", "daily", "weekly", "monthly", "yearly")}
    told = fates(
        facts,
        keep_last=1,
        keep_best=1,
        keep_tags=("*",),
        keep_within_seconds=7 * DAY,
        min_age_seconds=6 * DAY,
        keep_every_epochs=5,
        keep_every_steps=50,
        **windows,
    )
    assert told["z"] == (
        "keep pin tag alias young last best last-good within every-epochs every-steps hourly daily weekly monthly yearly"
    )
    assert told["a"] == "trash unkept"


@pytest.mark.parametrize(
    ("below", "expected"),
    [
        ({}, {"a": "keep within", "b": "keep within", "c": "keep within", "z": "keep last-good within"}),
        (
            {"accuracy": 0.7},
            {"a": "trash below", "b": "keep within", "c": "keep within", "z": "keep last-good within"},
        ),
        # the limit itself is good enough
        (
            {"accuracy": 0.71},
            {"a": "trash below", "b": "trash below", "c": "keep within", "z": "keep last-good within"},
        ),
        # nobody in the group meets it
        (
            {"accuracy": 0.91},
            {"a": "keep within", "b": "keep within", "c": "keep within", "z": "keep last-good within"},
        ),
        # less is better; the one without a loss is not judged by it
        (
            {"loss": 0.5},
            {"a": "keep within", "b": "keep within", "c": "trash below", "z": "keep last-good within"},
        ),
        # two limits
        (
            {"accuracy": 0.7, "loss": 0.5},
            {"a": "trash below", "b": "keep within", "c": "trash below", "z": "keep last-good within"},
        ),
        ({"f1": 0.5}, {"a": "keep within", "b": "keep within", "c": "keep within", "z": "keep last-good within"}),
    ],
)
def test_below(below, expected):
    """Age keeps none that falls short of a limit which another of its group meets."""
    facts = [
        fact("a", 9, accuracy=0.61, loss=0.1),
        fact("b", 8, accuracy=0.7, loss=0.5),
        fact("c", 7, accuracy=0.9, loss=0.6),
        fact("z", 6),
    ]
    assert fates(facts, below=below, keep_within_seconds=30 * DAY) == expected


@pytest.mark.parametrize(
    ("options", "policy", "expected"),
    [
        ({"pins": ("pinned",)}, {}, "keep pin"),
        ({"tags": ("x",)}, {"keep_tags": ("*",)}, "keep tag"),
        ({"aliases": ("x",)}, {}, "keep alias"),
        ({}, {"min_age_seconds": 10 * DAY}, "keep young"),
        ({}, {"keep_last": 2}, "keep last"),
        ({}, {"keep_best": 2}, "keep best"),
        ({}, {"keep_hourly": 9, "keep_daily": 9, "keep_weekly": 9, "keep_monthly": 9, "keep_yearly": 9}, "trash below"),
        ({"epoch": 10, "step": 10}, {"keep_every_epochs": 10, "keep_every_steps": 10}, "trash below"),
        ({}, {"keep_within_seconds": 1.0}, "trash unkept"),  # age would not have kept it anyway
    ],
)
def test_below_takes_only_what_age_gives(options, policy, expected):
    """Never pin, tag, alias, young, last or best."""
    facts = [fact("a", 9, accuracy=0.6, **options), fact("z", 8, accuracy=0.9, epoch=11, step=11)]
    assert fates(facts, **{"below": {"accuracy": 0.7}, "keep_within_seconds": 30 * DAY} | policy)["a"] == expected


def test_below_never_takes_the_last_good_one():
    """Though others are better."""
    facts = [fact("a", 9, accuracy=0.9), fact("z", 8, accuracy=0.1)]
    assert fates(facts, below={"accuracy": 0.7}, keep_within_seconds=30 * DAY)["z"] == "keep last-good"


def test_only_a_good_one_of_the_group_makes_others_fall_short():
    """A damaged one that was better, or one of another group, is no reason; nor is a number that is none."""
    short = [fact("a", 9, accuracy=0.6), fact("z", 5, accuracy=0.65)]
    options = {"below": {"accuracy": 0.7}, "keep_within_seconds": 30 * DAY}
    better = [
        fact("b", 7, accuracy=0.9, status=Status.DAMAGED),
        fact("c", 7, accuracy=0.9, group="H"),
        fact("d", 7, accuracy=0.9, group=None),
        fact("e", 7, accuracy=math.inf),
        fact("f", 7, accuracy=math.nan),
    ]
    assert gone([*short, *better], **options) == []
    assert gone([*short, *better, fact("g", 7, accuracy=0.9)], **options) == ["a"]


def test_below_message():
    """With the value, the limit and the reason."""
    made = plan(
        [fact("a", 9, accuracy=0.61), fact("z", 8, accuracy=0.9)], below={"accuracy": 0.7}, keep_within_seconds=30 * DAY
    )
    assert [reason.message for reason in made.decisions[0].reasons] == [
        "accuracy 0.61 is worse than 0.7, and its group has better ones"
    ]
