"""Rules that look at one checkpoint alone: what people said of it, its state, its age, its epoch and step."""

from __future__ import annotations

import math

import pytest

from ckptd.model import Openness, Status
from tests.policy.retention.making import DAY, NOW, fact, fates, plan

#: The newest, so that what a test is about is never the last good one.
NEWEST = fact("newest", 50)


def fate(one, **options):
    """Say what becomes of one checkpoint beside a newer one."""
    return fates([one, NEWEST], **options)["a"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, "trash unkept"),
        ({"pins": ("pinned",)}, "keep pin"),
        ({"aliases": ("production",)}, "keep alias"),
        ({"tags": ("paper",)}, "keep tag"),
        ({"pins": ("pinned",), "tags": ("paper",), "aliases": ("x",)}, "keep pin tag alias"),
        ({"group": None}, "keep unknown-group"),
        ({"status": Status.NEEDS_CODE}, "trash unkept"),
        ({"status": Status.DAMAGED}, "keep not-good"),
        ({"status": Status.UNSAFE}, "keep not-good"),
        ({"status": Status.FAILED}, "keep not-good"),
        ({"status": Status.UNREADABLE}, "keep not-good"),
        ({"status": Status.NOT_A_CHECKPOINT}, "keep not-good"),
        ({"sha256": None}, "keep not-good"),
        ({"openness": Openness.OPEN}, "keep open"),
        ({"openness": Openness.UNKNOWN}, "trash unkept"),
        ({"holds": ("it changed since it was read",)}, "keep busy"),
        ({"holds": ("frozen",), "openness": Openness.OPEN}, "keep open busy"),
    ],
)
def test_marks_and_states(options, expected):
    """Each keeps by itself, and all that keep are named."""
    assert fate(fact("a", **options), keep_tags=("*",)) == expected


@pytest.mark.parametrize(
    ("keep_tags", "tags", "expected"),
    [
        ((), ("paper",), "trash unkept"),
        (("*",), ("paper",), "keep tag"),
        (("*",), (), "trash unkept"),
        (("paper",), ("paper", "old"), "keep tag"),
        (("paper", "demo"), ("demo",), "keep tag"),
        (("paper",), ("old",), "trash unkept"),
    ],
)
def test_tags(keep_tags, tags, expected):
    """Only the tags that the policy names, or any."""
    assert fate(fact("a", tags=tags), keep_tags=keep_tags) == expected


@pytest.mark.parametrize(
    ("days", "options", "expected"),
    [
        (0.5, {}, "keep young"),
        (1.0, {}, "trash unkept"),  # exactly the minimum is old enough
        (0.999, {}, "keep young"),
        (2.0, {"min_age_seconds": 3 * DAY}, "keep young"),
        (0.0, {"min_age_seconds": 0.0, "keep_within_seconds": 0.0, "keep_yearly": 1}, "trash unkept"),
        (-0.1, {"min_age_seconds": 0.0, "keep_within_seconds": 0.0, "keep_yearly": 1}, "keep young"),
    ],
)
def test_young(days, options, expected):
    """Nothing younger than the minimum age; a time that is still to come is young whatever the minimum."""
    newest = fact("newest", days - 1, group="G")
    assert fates([fact("a", days), newest], **options)["a"] == expected


@pytest.mark.parametrize("field", ["modified_at", "first_seen_at", "dated_at", "slimmed_at"])
def test_age_is_the_youngest_of_all_times(field):
    """A touched file, one that ckptd sees for the first time, one with a late date, and one that was just slimmed are young."""
    newest = fact("newest", 50, step=2)
    for time, expected in [(NOW - DAY / 2, "keep young"), (NOW - 2 * DAY, "trash unkept"), (NOW + 999 * DAY, "keep young")]:
        assert fates([fact("a", step=1, **{field: time}), newest])["a"].startswith(expected)


def test_a_time_that_is_no_number_is_young():
    """Whatever a file server gave."""
    assert fate(fact("a", modified_at=math.nan, first_seen_at=math.nan)) == "keep young"


def test_within():
    """By age; exactly as old is too old."""
    options = {"keep_within_seconds": 30 * DAY, "min_age_seconds": DAY}
    newest = fact("newest", 0.1)
    ages = {"a": 0.5, "b": 29.9, "c": 30.0, "d": 31.0}
    assert fates([newest, *(fact(name, days) for name, days in ages.items())], **options) == {
        "d": "trash unkept",
        "c": "trash unkept",
        "b": "keep within",
        "a": "keep young within",
        "newest": "keep young last-good within",
    }


def test_a_slimmed_one_is_young_again_and_no_newer_for_within():
    """It waits the minimum age before the next step, and not as long as a new one."""
    one = fact("a", 100, slimmed_at=NOW - 2 * DAY)
    assert fate(one, keep_within_seconds=30 * DAY, min_age_seconds=DAY) == "trash unkept"
    assert fate(one, keep_within_seconds=30 * DAY, min_age_seconds=3 * DAY) == "keep young"


def test_a_clock_that_was_set_back_keeps_everything():
    """Every checkpoint is born after now then."""
    facts = [fact(name, days) for name, days in {"a": 10, "b": 20, "c": 30}.items()]
    made = plan(facts, now=NOW - 400 * DAY)
    assert {decision.action.value for decision in made.decisions} == {"keep"}
    assert all("young" in [reason.code for reason in decision.reasons] for decision in made.decisions)
    assert [alert.code for alert in made.alerts] == ["clock-behind"]
    assert "3 checkpoints" in made.alerts[0].message


def test_the_clock_is_compared_with_what_ckptd_saw_itself():
    """An mtime or a date to come says nothing about our clock."""
    ahead = fact("a", modified_at=NOW + DAY, dated_at=NOW + 9 * DAY)
    assert plan([ahead, NEWEST]).alerts == ()
    assert [alert.code for alert in plan([fact("a", first_seen_at=NOW + 1), NEWEST]).alerts] == ["clock-behind"]
    assert plan([fact("a", first_seen_at=NOW), NEWEST]).alerts == ()


@pytest.mark.parametrize(
    ("days", "expected"),
    [(0.5, "keep maybe-open"), (0.999, "keep maybe-open"), (1.0, "trash unkept"), (2.0, "trash unkept")],
)
def test_maybe_open_for_a_day(days, expected):
    """Where nobody can say whether it is open, a day has to pass; the minimum age may be shorter."""
    one = fact("a", days, openness=Openness.UNKNOWN)
    assert fates([one, fact("newest", 0.2)], min_age_seconds=0.0)["a"] == expected


def test_maybe_open_counts_from_slimming_too():
    """A slimmed file is a new file."""
    one = fact("a", openness=Openness.UNKNOWN, slimmed_at=NOW - DAY / 2)
    assert fate(one, min_age_seconds=0.0) == "keep maybe-open"


@pytest.mark.parametrize(
    ("fields", "options", "expected"),
    [
        ({"epoch": 10}, {"keep_every_epochs": 10}, "keep every-epochs"),
        ({"epoch": 0}, {"keep_every_epochs": 10}, "keep every-epochs"),
        ({"epoch": 15}, {"keep_every_epochs": 10}, "trash unkept"),
        ({"epoch": None}, {"keep_every_epochs": 10}, "trash unkept"),
        ({"epoch": 10}, {"keep_every_epochs": 0}, "trash unkept"),
        ({"epoch": 10}, {"keep_every_steps": 10}, "trash unkept"),
        ({"step": 3000, "epoch": 7}, {"keep_every_steps": 1000}, "keep every-steps"),
        ({"step": 3001}, {"keep_every_steps": 1000}, "trash unkept"),
        ({"step": None}, {"keep_every_steps": 1000}, "trash unkept"),
        ({"step": 20, "epoch": 20}, {"keep_every_steps": 10, "keep_every_epochs": 5}, "keep every-epochs every-steps"),
    ],
)
def test_every(fields, options, expected):
    """A multiple stays, 0 is one; what does not say its number has none."""
    assert fate(fact("a", **fields), **options) == expected


def test_what_is_not_known_or_not_good_is_told_by_all_its_rules():
    """Rules of one checkpoint's own hold for every one."""
    facts = [
        NEWEST,
        fact("a", 5, group=None, epoch=10),
        fact("b", 60, status=Status.DAMAGED, epoch=10),
    ]
    told = fates(facts, keep_within_seconds=30 * DAY, keep_every_epochs=10, keep_last=9)
    assert told == {
        "a": "keep unknown-group within every-epochs",
        "b": "keep not-good every-epochs",
        "newest": "keep last last-good",
    }


def test_messages():
    """What is shown to people."""
    facts = [
        NEWEST,
        fact("pinned", pins=("pinned", "best.pth.keep lies beside it")),
        fact("tagged", tags=("a", "b", "c", "d", "e", "no")),
        fact("known", aliases=("production",)),
        fact("damaged", 99, status=Status.DAMAGED),
        fact("thing", 99, status=Status.NOT_A_CHECKPOINT),
        fact("unread", 99, sha256=None),
        fact("held", holds=("it changed since it was read", "its part is frozen")),
        fact("young", 0.1, group=None),
        fact("slimmed", slimmed_at=NOW - 60),
        fact("epoch", epoch=20),
        fact("step", step=2000),
    ]
    options = {"keep_tags": ("a", "b", "c", "d", "e"), "keep_every_epochs": 10, "keep_every_steps": 1000}
    made = plan(facts, min_age_seconds=36 * 3600, keep_within_seconds=7 * DAY, **options)
    told = {d.fact.path.removesuffix(".pth"): [reason.message for reason in d.reasons] for d in made.decisions}
    assert told["pinned"] == ["pinned; best.pth.keep lies beside it"]
    assert told["tagged"] == ["tagged a, b, c and 2 more"]
    assert told["known"] == ["known as production"]
    assert told["damaged"] == ["it is damaged: a person decides"]
    assert told["thing"] == ["it is not a checkpoint: a person decides"]
    assert told["unread"] == ["it was never read to its end"]
    assert told["held"] == ["it changed since it was read; its part is frozen"]
    assert told["young"] == [
        "what it is a checkpoint of is not known surely enough",
        "younger than 36 hours",
        "younger than 7 days",
    ]
    assert told["slimmed"] == ["slimmed less than 36 hours ago"]
    assert told["epoch"] == ["its epoch is a multiple of 10"]
    assert told["step"] == ["its step is a multiple of 1,000"]
