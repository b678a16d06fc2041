"""Policies that can't be meant are refused with one clear sentence."""

from __future__ import annotations

import math

import pytest

from ckptd.errors import UsageError
from ckptd.policy.retention.make import check_policy, make_plan
from ckptd.policy.retention.plan import Action
from ckptd.policy.retention.rules import Policy
from ckptd.policy.retention.validate import PolicyError
from tests.policy.retention.making import NOW, fact, policy

NOTHING = {"keep_within_seconds": 0.0}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"min_age_seconds": 9e9},
        {"keep_tags": ("*",)},
        {"total_bytes": 10**12, "free_bytes": 10**9},
        {"keep_best": 3, "best_by": ()},
        {"keep_best": 3, "best_by": ("my_score",)},
        {"keep_best": 3, "directions": {}},
        {"below": {"accuracy": 0.5}},
        {"max_fraction": 0.1},
    ],
)
def test_a_policy_that_keeps_nothing_is_refused(options):
    """Marks and the minimum age are no rules for a group, and neither is a metric that ranks nothing."""
    with pytest.raises(UsageError) as error:
        check_policy(policy(**NOTHING | options))
    assert str(error.value) == (
        "use the policy: it keeps nothing: every keep rule is 0 (set at least one of them, such as keep_last = 3)"
    )


@pytest.mark.parametrize(
    "rule",
    [
        {"keep_last": 1},
        {"keep_best": 1},
        {"keep_within_seconds": 1.0},
        {"keep_hourly": 1},
        {"keep_daily": 1},
        {"keep_weekly": 1},
        {"keep_monthly": 1},
        {"keep_yearly": 1},
        {"keep_every_epochs": 1},
        {"keep_every_steps": 1},
    ],
)
def test_one_rule_is_enough(rule):
    """Each of them is one."""
    check_policy(policy(**NOTHING | rule))


def test_the_default_is_fine():
    """As it comes."""
    check_policy(Policy())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"ladder": ()}, 'its ladder has no steps (write ladder = ["archive"], or mode = "off" to touch nothing)'),
        ({"ladder": (Action.ARCHIVE, Action.KEEP)}, "keep is no step of a ladder (take some of slim archive trash)"),
        ({"ladder": (Action.HOLD,)}, "hold is no step of a ladder (take some of slim archive trash)"),
        (
            {"below": {"my_score": 1.0}},
            'below speaks of my_score, and nobody says whether more of it is better (add directions = { my_score = "max" }',
        ),
        ({"below": {"accuracy": math.nan}}, "the limit of accuracy in below is nan (write a finite number)"),
        ({"below": {"accuracy": math.inf}}, "the limit of accuracy in below is inf"),
        ({"keep_last": -1}, "keep_last is -1 (write a number that is not negative)"),
        ({"keep_within_seconds": math.nan, "keep_last": 1}, "keep_within_seconds is nan"),
        ({"min_age_seconds": -1.0}, "min_age_seconds is -1.0"),
        ({"min_age_seconds": math.nan}, "min_age_seconds is nan"),
        ({"window_seconds": -1.0}, "window_seconds is -1.0"),
        ({"total_bytes": -5}, "total_bytes is -5"),
        ({"free_bytes": -5}, "free_bytes is -5"),
        ({"max_fraction": 0.0}, "max_fraction is 0.0 (write a share above 0 and up to 1)"),
        ({"max_fraction": 1.01}, "max_fraction is 1.01"),
        ({"max_fraction": math.nan}, "max_fraction is nan"),
        ({"time_zone": "Europe/Atlantis"}, "'Europe/Atlantis' is no time zone of this machine (write \"UTC\""),
        ({"time_zone": ""}, "'' is no time zone of this machine"),
        ({"time_zone": "../etc/passwd"}, "'../etc/passwd' is no time zone of this machine"),
    ],
)
def test_what_contradicts_itself_is_refused(options, words):
    """Also a number that is none: it would switch a brake off unseen."""
    with pytest.raises(PolicyError) as error:
        check_policy(policy(**{"keep_last": 1} | options))
    assert str(error.value).startswith(f"use the policy: {words}")
    assert error.value.exit_status == 2


def test_limits_may_be_negative():
    """A reward or a log-likelihood often is."""
    check_policy(policy(below={"accuracy": -5.0}))


@pytest.mark.parametrize("number", [0, 0.0, math.inf])
def test_numbers_that_are_fine(number):
    """Nothing, and without end."""
    check_policy(policy(min_age_seconds=number, window_seconds=number, keep_within_seconds=math.inf))


def test_no_plan_without_a_policy():
    """It is asked before anything is looked at."""
    with pytest.raises(PolicyError):
        make_plan([fact("a")], policy(**NOTHING), NOW)
