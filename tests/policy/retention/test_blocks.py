"""What comes back: real blocks, those of a file with several names once, and only when its last name goes."""

from __future__ import annotations

import pytest

from ckptd.policy.retention.plan import Action
from tests.policy.retention.making import fact, name_of, plan

NEWEST = fact("newest", 50)


def freed(facts, **options):
    """Give what each frees, by name, and all of it by action."""
    made = plan([*facts, NEWEST], **options)
    by_name = {name_of(one.fact): one.frees_bytes for one in made.decisions if name_of(one.fact) != "newest"}
    return by_name, {action.value: amount for action, amount in made.frees_bytes.items() if amount}


def test_blocks_and_not_length():
    """A sparse file gives back what it takes."""
    assert freed([fact("a", size_bytes=1000, allocated_bytes=40)]) == ({"a": 40}, {"trash": 40})


def test_what_is_kept_frees_nothing():
    """Each action has its sum, and none has another's."""
    by_name, sums = freed([fact("a", pins=("pinned",)), fact("b")], ladder=(Action.ARCHIVE,))
    assert by_name == {"a": 0, "b": 100}
    assert sums == {"archive": 100}
    assert set(plan([NEWEST]).frees_bytes) == {Action.SLIM, Action.ARCHIVE, Action.TRASH, Action.HOLD}


def linked(name, days, **options):
    """Make one name of the file 7."""
    return fact(name, days, content="same", **{"inode": (1, 7), "links": 3} | options)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (({}, {}, {}), {"a": 0, "b": 0, "c": 100}),  # the last of its names brings the blocks
        (({}, {"pins": ("pinned",)}, {}), {"a": 0, "b": 0, "c": 0}),  # one name stays
        (({}, {}, None), {"a": 0, "b": 0}),  # one name is not seen
        (({}, {}, {"root": "/other"}), {"a": 0, "b": 0, "c": 0}),  # one lies in another root
        (({}, {}, {"inode": (2, 7)}), {"a": 0, "b": 0, "c": 0}),  # the same number on another disk is another file
    ],
)
def test_hard_links(options, expected):
    """Once, and only when all names go."""
    facts = [
        linked(name, 90 - place, **one) for place, (name, one) in enumerate(zip("abc", options, strict=True)) if one is not None
    ]
    newest = [fact("n", 1, root="/other")]
    by_name, _ = freed(facts + newest)
    assert {name: amount for name, amount in by_name.items() if name != "n"} == expected


def test_names_of_two_files_are_counted_apart():
    """Two files with two names each."""
    facts = [
        fact("a", 99, inode=(1, 7), links=2),
        fact("b", 98, inode=(1, 8), links=2, allocated_bytes=30),
        fact("c", 97, inode=(1, 7), links=2),
        fact("d", 96, inode=(1, 8), links=2, allocated_bytes=30),
    ]
    assert freed(facts) == ({"a": 0, "b": 0, "c": 100, "d": 30}, {"trash": 130})


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"optimizer_bytes": 60}, 60),
        ({"optimizer_bytes": 600}, 100),  # no more than it takes
        ({"optimizer_bytes": 60, "links": 2}, 0),  # the other name keeps the whole
    ],
)
def test_slimming(options, expected):
    """What the smaller file saves."""
    by_name, sums = freed([fact("a", can_slim=True, **options)], ladder=(Action.SLIM,))
    assert by_name == {"a": expected}
    assert sums == ({"slim": expected} if expected else {})


def test_held_ones_say_what_they_would_free():
    """After what is done: the last name of a file that is held brings its blocks to the held ones."""
    facts = [
        fact("a", 99, inode=(1, 7), links=2, stored_group="H"),
        fact("b", 98, group="K", inode=(1, 7), links=2),
        fact("c", 97, allocated_bytes=30),
        fact("k", 60, group="K"),
    ]
    by_name, sums = freed(facts)
    assert by_name == {"a": 100, "b": 0, "c": 30, "k": 0}
    assert sums == {"hold": 130}
