"""The order in a group: by run, by step or epoch, and by age where those can't be compared."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from ckptd.model import Status
from ckptd.policy.retention.ordering import find_saved_at, order_group
from tests.policy.retention.making import DAY, NOW, at, fact, kept, name_of


def order(facts):
    """Give the names in their order, and see that the order of the input has no part in it."""
    names = [name_of(one) for one in order_group(facts)]
    for seed in range(5):
        mixed = list(facts)
        random.Random(seed).shuffle(mixed)
        assert [name_of(one) for one in order_group(mixed)] == names
    return names


def test_nothing_and_one():
    """Any number of checkpoints has an order."""
    assert order([]) == []
    assert order([fact("a")]) == ["a"]


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        # by age alone
        ([fact("a", 1), fact("b", 3), fact("c", 2)], ["b", "c", "a"]),
        # the step says more than the age: somebody touched the first
        ([fact("a", 0, step=100), fact("b", 5, step=200), fact("c", 4, step=300)], ["a", "b", "c"]),
        ([fact("a", 0, epoch=1), fact("b", 5, epoch=2), fact("c", 4, epoch=10)], ["a", "b", "c"]),
        # the step says more than the epoch where each has one
        ([fact("a", epoch=2, step=100), fact("b", epoch=1, step=200)], ["a", "b"]),
        # each has an epoch, not each a step: the epoch; in one epoch by step, and the end of the epoch last
        (
            [fact("a", 9, epoch=1, step=900), fact("b", 1, epoch=2, step=50), fact("c", 7, epoch=2), fact("d", 5, epoch=1)],
            ["a", "d", "b", "c"],
        ),
        ([fact("a", 1, epoch=2, step=50), fact("b", 9, epoch=2, step=100), fact("c", 5, epoch=2)], ["a", "b", "c"]),
        # equal numbers: by age, then by when it was first seen, then by path
        ([fact("a", 1, step=5), fact("b", 2, step=5)], ["b", "a"]),
        ([fact("a", 1, epoch=5), fact("b", 2, epoch=5)], ["b", "a"]),
        ([fact("a", 1, step=5), fact("b", 1, step=5, first_seen_at=NOW - 9 * DAY)], ["b", "a"]),
        ([fact("a", 1, epoch=5), fact("b", 1, epoch=5, first_seen_at=NOW - 9 * DAY)], ["b", "a"]),
        ([fact("a", 1), fact("b", 1, first_seen_at=NOW - 9 * DAY)], ["b", "a"]),
        ([fact("b", 1, step=5), fact("a", 1, step=5)], ["a", "b"]),
        ([fact("b", 1, epoch=5), fact("a", 1, epoch=5)], ["a", "b"]),
        ([fact("b", 1), fact("a", 1)], ["a", "b"]),
        # runs come before steps
        ([fact("a", 1, run="2025-01-02", step=9), fact("b", 2, run="2025-01-03", step=1)], ["a", "b"]),
        # numbers in the names of runs are numbers
        ([fact("a", run="run_9"), fact("b", run="run_10"), fact("c", run="run_011")], ["a", "b", "c"]),
        ([fact("a", run="seed"), fact("b", run="seed1"), fact("c", run="seed1b")], ["a", "b", "c"]),
        ([fact("a", run="run_01"), fact("b", run="run_1")], ["a", "b"]),
        ([fact("a", run="x" + "9" * 5000), fact("b", run="x1" + "0" * 5000)], ["a", "b"]),
    ],
)
def test_comparable(facts, expected):
    """By the first of run, step or epoch, age that differs."""
    assert order(facts) == expected


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        # a file without a number comes in by its age
        ([fact("1", 9, epoch=1), fact("2", 7, epoch=2), fact("3", 5, epoch=3), fact("final", 4)], ["1", "2", "3", "final"]),
        ([fact("1", 9, epoch=1), fact("2", 7, epoch=2), fact("3", 5, epoch=3), fact("best", 6)], ["1", "2", "best", "3"]),
        # a touch of the first epoch makes none of the later ones younger
        ([fact("1", 0, epoch=1), fact("2", 7, epoch=2), fact("3", 5, epoch=3), fact("best", 6)], ["1", "2", "best", "3"]),
        # the last epoch was touched: it is the last anyway
        ([fact("1", 9, epoch=1), fact("2", 0, epoch=2), fact("best", 6)], ["1", "best", "2"]),
        # steps and epochs are never compared with each other
        ([fact("s1", 9, step=1000), fact("s2", 5, step=2000), fact("e7", 7, epoch=7)], ["s1", "e7", "s2"]),
        ([fact("s1", 9, step=1), fact("s2", 5, step=2), fact("e7", 7, epoch=7)], ["s1", "e7", "s2"]),
        # where all are of one time, what has no number is older
        ([fact("final", 5), fact("1", 5, epoch=1), fact("2", 5, epoch=2)], ["final", "1", "2"]),
        ([fact("e", 5, epoch=1), fact("s", 5, step=1)], ["e", "s"]),
        # a file without a run comes in among the runs by its age
        (
            [fact("r1", 9, run="2025-01-01"), fact("r2", 5, run="2025-01-03"), fact("latest", 7)],
            ["r1", "latest", "r2"],
        ),
        ([fact("r1", 0, run="a"), fact("r2", 5, run="b"), fact("latest", 4), fact("old", 20)], ["old", "r1", "r2", "latest"]),
        # and runs without numbers in a run with some
        (
            [fact("x", 9, run="a", epoch=1), fact("y", 3, run="a", epoch=2), fact("z", 6, run="a"), fact("w", 7)],
            ["x", "w", "z", "y"],
        ),
    ],
)
def test_mixed(facts, expected):
    """What can't be compared by number is put in by age, and every numbered one stays in its place."""
    assert order(facts) == expected


@pytest.mark.parametrize(
    ("modified", "dated", "expected"),
    [
        ("2025-05-01", None, "2025-05-01"),
        ("2025-05-01", "2025-05-01", "2025-05-01"),
        ("2025-05-20", "2025-05-01", "2025-05-20"),  # a run of three weeks
        ("2025-05-31", "2025-05-01", "2025-05-31"),  # thirty days to the second
        ("2025-05-31T00:00:01", "2025-05-01", "2025-05-01"),  # longer than any run: it was copied
        ("2025-07-01", "2024-01-01", "2024-01-01"),
        ("1970-01-01", "2025-05-01", "1970-01-01"),
        ("2025-05-01", "2099-01-01", "2025-05-01"),
    ],
)
def test_saved_at(modified, dated, expected):
    """The file's time, or its date where the file was copied long after it."""
    one = fact("a", modified_at=at(modified), dated_at=None if dated is None else at(dated))
    assert find_saved_at(one) == at(expected)


def test_order_does_not_ask_when_ckptd_came():
    """A directory of a year that ckptd sees for the first time is in the order in which it was saved, not scanned."""
    facts = [
        replace(fact(name, days), first_seen_at=NOW - seen) for name, days, seen in [("a", 300, 1), ("b", 200, 3), ("c", 90, 2)]
    ]
    assert order(facts) == ["a", "b", "c"]


def test_slimming_makes_nothing_newer():
    """Else what is slimmed would push the next ones out of the last three, and they would be slimmed too, until all are."""
    facts = [fact(str(number), 200 - number) for number in range(6)]
    slimmed = [replace(one, slimmed_at=NOW - 2 * DAY) if one.path in ("0.pth", "1.pth") else one for one in facts]
    assert order(slimmed) == order(facts)
    assert kept(slimmed, keep_last=3) == kept(facts, keep_last=3) == ["3", "4", "5"]


def test_plan_lists_by_root_group_and_order():
    """Those of no known group come behind the groups of their root, by path."""
    facts = [
        fact("z", root="/b"),
        fact("y", root="/a", group="H"),
        fact("x2", 1, root="/a", group="G"),
        fact("x1", 2, root="/a", group="G"),
        fact("u2", 3, root="/a", group=None),
        fact("u1", 2, root="/a", group=None),
        fact("w", root="/b", group=None, status=Status.DAMAGED),
        fact("e", 3, root="/a", group=""),
    ]
    assert kept(facts, keep_last=9) == ["e", "x1", "x2", "y", "u1", "u2", "z", "w"]


def test_what_is_not_good_has_no_say_in_the_order_of_the_others():
    """A broken epoch with an old time would make the epochs before it older than a best.pth, and that one the last."""
    good = [fact("1", 9, epoch=1), fact("2", 5, epoch=2), fact("best", 7)]
    broken = fact("3", 8, epoch=3, status=Status.DAMAGED)
    assert order(good) == ["1", "best", "2"]
    assert [name for name in order([*good, broken]) if name != "3"] == ["1", "best", "2"]
    assert [name for name in order([*good, replace(broken, sha256=None)]) if name != "3"] == ["1", "best", "2"]
