"""The number of a plan: the same for the same facts, and another for everything that a person should look at again."""

from __future__ import annotations

import random
from dataclasses import fields, replace

import pytest

from ckptd.model import Status
from ckptd.policy.retention.facts import Disk, Removal
from ckptd.policy.retention.plan import Action
from ckptd.policy.retention.rules import Policy
from tests.policy.retention.making import DAY, NOW, ROOT, digest, fact, plan

FACTS = [fact("a", 90), fact("b", 80), fact("c", 70, group="H", stored_group="K"), fact("d", 60, group="H"), fact("e", 50)]


def number(facts=tuple(FACTS), **options):
    return plan(facts, **options).id


def test_form():
    """Twelve hex digits."""
    assert len(number()) == 12
    assert int(number(), 16) >= 0


def test_same_facts_same_number():
    """In whatever order they come, at whatever time, however much is free, and whether it is confirmed."""
    mixed = list(FACTS)
    random.Random(1).shuffle(mixed)
    disks = [Disk(ROOT, 10**9)]
    assert number(mixed) == number()
    assert number(now=NOW + 60) == number()
    assert number(free_bytes=5, disks=disks) == number(free_bytes=5, disks=[Disk(ROOT, 7)])
    assert number(confirmed=number()) == number()
    assert number(recent=[Removal(ROOT, "G", 1, NOW - 99 * DAY)]) == number()


def test_what_is_kept_does_not_count():
    """A new file changes nothing that was looked at."""
    assert number([*FACTS, fact("new", 0.1, group="N")]) == number()
    assert number([*FACTS, fact("odd", group=None)]) == number()
    pinned = [replace(one, pins=("pinned",)) if one.path == "e.pth" else one for one in FACTS]
    assert number(pinned) == number()


def changed(name, **options):
    return [replace(one, **options) if one.path == f"{name}.pth" else one for one in FACTS]


@pytest.mark.parametrize(
    "facts",
    [
        FACTS[1:],
        FACTS[:2] + FACTS[3:],
        [*FACTS, fact("f", 85)],
        changed("a", path="x.pth"),
        changed("a", sha256=digest("other")),
        [replace(one, root="/other") for one in FACTS],
        changed("a", archives=("a.tar.gz",)),
        changed("a", pins=("pinned",)),
        changed("c", stored_group="H"),  # no longer held
        [*FACTS, fact("bad", 5, status=Status.DAMAGED)],  # held now
    ],
)
def test_other_facts_other_number(facts):
    """What goes, where it lies, what it is, what is done with it, and what is held."""
    assert number(facts, ladder=(Action.ARCHIVE,)) != number(ladder=(Action.ARCHIVE,))


OTHER = {
    "keep_last": 1,
    "keep_best": 1,
    "best_by": ("loss",),
    "directions": {"loss": "max"},
    "keep_within_seconds": 2.0,
    "keep_hourly": 1,
    "keep_daily": 1,
    "keep_weekly": 1,
    "keep_monthly": 1,
    "keep_yearly": 1,
    "keep_every_epochs": 1,
    "keep_every_steps": 1,
    "keep_tags": ("x",),
    "min_age_seconds": 1.0,
    "below": {"loss": 1.0},
    "ladder": (Action.ARCHIVE,),
    "max_fraction": 0.99,
    "window_seconds": 1.0,
    "total_bytes": 10**9,
    "free_bytes": 0,
    "time_zone": "Europe/Berlin",
}


@pytest.mark.parametrize("field", [field.name for field in fields(Policy)])
def test_every_part_of_the_policy_counts(field):
    """Though it may change nothing today."""
    assert number(**{field: OTHER[field]}) != number()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"keep_last": 1, "keep_within_seconds": 5}, {"keep_last": 1, "keep_within_seconds": 5.0}),
        ({"directions": {"a": "max", "b": "min"}}, {"directions": {"b": "min", "a": "max"}}),
        (
            {"below": {"accuracy": 1, "loss": 0}},
            {"below": {"loss": 0.0, "accuracy": 1.0}},
        ),
    ],
)
def test_equal_policies_have_equal_numbers(one, other):
    """However they were written."""
    assert number(**one) == number(**other)


def test_parts_can_not_be_mistaken_for_each_other():
    """A path holds no NUL, and whatever else it holds, it is not another plan."""
    one = [fact("x", 90, path="a\nb"), fact("y", 80, path="c"), FACTS[-1]]
    other = [fact("x", 90, path="a"), fact("y", 80, path="b\nc"), FACTS[-1]]
    assert number(one) != number(other)


def test_names_that_are_no_text():
    """Bytes that are not UTF-8 come as lone surrogates."""
    one = [fact("x", 90, path="a\udcff.pth"), FACTS[-1]]
    other = [fact("x", 90, path="a\udcfe.pth"), FACTS[-1]]
    assert number(one) != number(other)


def test_time_of_the_plan():
    """It is in the plan and not in its number."""
    assert plan(FACTS, now=NOW + 5).at == NOW + 5
