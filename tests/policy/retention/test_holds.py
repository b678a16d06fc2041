"""Groups in which nothing goes until a person looked: a broken newest one, and another name for the group."""

from __future__ import annotations

import pytest

from ckptd.model import Openness, Status
from ckptd.policy.retention.plan import Action
from tests.policy.retention.making import DAY, NOW, fact, fates, plan, tell

BAD = {"status": Status.DAMAGED}


def alerts(made):
    return [(alert.code, alert.root, alert.group) for alert in made.alerts]


@pytest.mark.parametrize(
    ("bad", "held"),
    [
        (fact("bad", 10, **BAD), True),
        (fact("bad", 10, sha256=None), True),
        (fact("bad", 60, **BAD), False),  # older than the last good one
        (fact("bad", 50, **BAD), False),  # not newer
        (fact("bad", 10, group="H", **BAD), False),
        (fact("bad", 10, group=None, **BAD), False),
        (fact("bad", 10, root="/other", **BAD), False),
    ],
)
def test_corrupt_newcomer(bad, held):
    """Only one that is newer than the last good one of its own group; it stays itself."""
    facts = [fact("a", 90), fact("m", 50), bad]
    made = plan(facts)
    assert tell(made)["a"] == ("hold corrupt-newcomer unkept" if held else "trash unkept")
    assert tell(made)["bad"].startswith("keep")
    assert alerts(made) == ([("corrupt-newcomer", "/models", "G")] if held else [])


@pytest.mark.parametrize(
    ("bad", "held"),
    [
        ({"days": 99, "epoch": 4}, True),  # by its epoch
        ({"days": 1, "epoch": 2}, True),  # by its time: it was saved over
        ({"days": 99, "epoch": 2}, False),
        ({"days": 1}, True),
        ({"days": 99}, False),
    ],
)
def test_newer_by_either_measure(bad, held):
    """A broken file may say no epoch, or the one of the name that it was saved under."""
    facts = [fact("1", 90, epoch=1), fact("2", 80, epoch=2), fact("3", 70, epoch=3), fact("bad", **bad, **BAD)]
    assert fates(facts)["1"] == ("hold corrupt-newcomer unkept" if held else "trash unkept")


def test_any_broken_one_that_is_newer_counts():
    """Not only the very newest, and the newest of them is named."""
    facts = [
        fact("1", 90, epoch=1),
        fact("2", 80, epoch=2),
        fact("bad3", 5, epoch=1, **BAD),
        fact("old", 99, epoch=0, **BAD),
    ]
    made = plan(facts)
    assert made.alerts[0].message == "bad3.pth is newer than the last good one of its group, and it is damaged"
    made = plan([fact("1", 90), fact("2", 80), fact("x", 7, **BAD), fact("y", 6, status=Status.NOT_A_CHECKPOINT)])
    assert made.alerts[0].message == "y.pth is newer than the last good one of its group, and it is not a checkpoint"
    made = plan([fact("1", 90), fact("2", 80), fact("x", 7, sha256=None)])
    assert made.alerts[0].message == "x.pth is newer than the last good one of its group, and it is not read to its end"


def test_a_group_without_a_good_one_has_nothing_to_hold():
    """All of it is for a person."""
    made = plan([fact("a", 90, **BAD), fact("b", 80, **BAD)])
    assert set(tell(made).values()) == {"keep not-good"}
    assert made.alerts == ()


def test_alert_without_anything_to_hold():
    """That the newest is broken is worth knowing anyway."""
    made = plan([fact("a", 90), fact("bad", 10, **BAD)], keep_last=3)
    assert made.held == 0
    assert alerts(made) == [("corrupt-newcomer", "/models", "G")]


def test_a_corrupt_newcomer_holds_slimming_too():
    """Who goes back to an older one needs its optimizer."""
    facts = [fact("a", 90, can_slim=True, optimizer_bytes=5), fact("m", 50), fact("bad", 10, **BAD)]
    made = plan(facts, ladder=(Action.SLIM,))
    assert tell(made)["a"] == "hold corrupt-newcomer unkept can-slim"
    assert made.decisions[0].wanted is Action.SLIM


def test_no_confirmation_lifts_it():
    """A person puts the newcomer right, or takes it away."""
    facts = [fact("a", 90), fact("b", 80, stored_group="H"), fact("m", 50), fact("bad", 10, **BAD), fact("x", 9, group="K")]
    facts += [fact("y", 8, group="K"), fact("z", 7, group="K")]
    options = {"max_fraction": 0.1}
    made = plan(facts, **options)
    assert tell(made)["x"] == "hold brake-group brake-root unkept"
    confirmed = plan(facts, confirmed=made.id, **options)
    assert tell(confirmed)["x"] == "trash unkept confirmed"
    assert tell(confirmed)["a"] == tell(made)["a"] == "hold corrupt-newcomer regrouped brake-group brake-root unkept"
    assert tell(confirmed)["b"] == tell(made)["b"] == "hold corrupt-newcomer regrouped brake-group brake-root unkept"
    assert [alert.code for alert in confirmed.alerts] == ["corrupt-newcomer"]


def test_regrouped():
    """What counted as another group's is held, and so is what it may have pushed out."""
    facts = [fact("a", 90), fact("b", 80, stored_group="H"), fact("c", 70, stored_group="G"), fact("m", 50)]
    made = plan(facts)
    assert tell(made) == {
        "a": "hold regrouped unkept",
        "b": "hold regrouped unkept",
        "c": "hold regrouped unkept",
        "m": "keep last-good",
    }
    assert [one.reasons[0].message for one in made.decisions[:2]] == [
        "its group took some in: 1 checkpoint of G belonged to H before",
        "it belonged to H before, and belongs to G now",
    ]
    assert [alert.message for alert in made.alerts] == ["1 checkpoint of G belonged to H before"]
    assert alerts(made) == [("regrouped", "/models", "G")]


def test_regrouped_and_kept():
    """It is shown, and holds up what it competes with."""
    facts = [fact("a", 90), fact("b", 80), fact("m", 50, stored_group="H"), fact("n", 40, stored_group="K")]
    made = plan(facts, keep_last=2)
    assert tell(made) == {
        "a": "hold regrouped unkept",
        "b": "hold regrouped unkept",
        "m": "keep last",
        "n": "keep last last-good",
    }
    assert made.alerts[0].message == "2 checkpoints of G belonged to H, K before"


@pytest.mark.parametrize(
    ("stored", "group", "expected"),
    [
        (None, "G", "trash unkept"),
        ("G", "G", "trash unkept"),
        ("H", "G", "hold regrouped unkept"),
        ("", "G", "hold regrouped unkept"),  # it was not known before
        ("H", None, "keep unknown-group"),
        ("", None, "keep unknown-group"),
    ],
)
def test_stored_group(stored, group, expected):
    """Nothing written down is no other group; what is not known now is no candidate anyway."""
    made = plan([fact("a", 90, group=group, stored_group=stored), fact("m", 50)])
    assert tell(made)["a"] == expected
    assert [alert.code for alert in made.alerts] == (["regrouped"] if "hold" in expected else [])


def test_regrouped_from_what_was_not_known():
    """Said in words."""
    made = plan([fact("a", 90, stored_group=""), fact("m", 50)])
    assert made.decisions[0].reasons[0].message == "it belonged to no known group before, and belongs to G now"


def test_confirming_lifts_the_hold_of_a_regrouping():
    """In that plan and in no other."""
    facts = [fact("a", 90), fact("b", 80, stored_group="H"), fact("m", 50)]
    made = plan(facts)
    confirmed = plan(facts, confirmed=made.id)
    assert confirmed.id == made.id
    assert tell(confirmed)["a"] == tell(confirmed)["b"] == "trash unkept confirmed"
    assert confirmed.alerts == ()
    assert plan(facts, confirmed="0" * 12) == made
    assert plan([*facts, fact("c", 70)], confirmed=made.id).held == 3


def test_confirming_lifts_nothing_that_is_open_or_busy():
    """It is left for the next run."""
    facts = [
        fact("a", 90, openness=Openness.OPEN, stored_group="H"),
        fact("b", 80, holds=("it changed",), stored_group="H"),
        fact("c", 80, stored_group="H"),
        fact("m", 50),
    ]
    made = plan(facts)
    assert tell(plan(facts, confirmed=made.id)) == {
        "a": "keep open",
        "b": "keep busy",
        "c": "trash unkept confirmed",
        "m": "keep last-good",
    }


def test_a_person_who_confirms_is_named_only_where_something_was_held():
    """What was not held needs no one."""
    facts = [fact("a", 90), fact("m", 50), fact("b", 90, group="K", stored_group="H"), fact("n", 50, group="K")]
    made = plan(facts)
    told = tell(plan(facts, confirmed=made.id))
    assert told["a"] == "trash unkept"
    assert told["b"] == "trash unkept confirmed"


def test_a_young_broken_one_is_a_newcomer():
    """From the moment that it is indexed."""
    facts = [fact("a", 90), fact("m", 50), fact("bad", modified_at=NOW, first_seen_at=NOW, days=0, **BAD)]
    assert fates(facts, min_age_seconds=DAY)["a"] == "hold corrupt-newcomer unkept"
