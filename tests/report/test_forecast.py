"""When a disk is full: a robust middle, an honest range, and silence where nothing is known."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckptd.report.forecast import LEAST_DAYS, MOST_DAYS, days_until, find_range, find_rate, forecast
from tests.report.making import DAY, GIB, NOW, series

STEADY = [index * GIB for index in range(100)]


def test_a_straight_line_goes_on():
    """A hundred days of one GiB each, and forty free: forty days, and no doubt about it."""
    found = forecast(series(*STEADY), 40 * GIB, NOW - 500 * DAY)
    assert found.why_not == ""
    assert found.history_days == 90
    assert found.rate_bytes == pytest.approx(GIB)
    assert found.days == pytest.approx(40)
    assert found.soonest_days == pytest.approx(40)
    assert found.latest_days == pytest.approx(40)
    assert not found.from_survivors


def test_today_is_not_over():
    """A day of which an hour has passed says nothing about a day."""
    assert forecast(series(*STEADY), GIB, 0.0) == forecast(series(*STEADY[:-1], 5_000 * GIB), GIB, 0.0)


def test_one_large_import_does_not_move_the_middle():
    """Somebody copied a disk of 600 GiB here a month ago; that is not how much comes each day."""
    levels = [index * GIB + (600 * GIB if index > 70 else 0) for index in range(100)]
    found = forecast(series(*levels), 100 * GIB, 0.0)
    assert found.rate_bytes < 3 * GIB
    assert found.fast_bytes > 3 * GIB  # but the range admits that it may happen again


@pytest.mark.parametrize("days", [0, 1, 2, LEAST_DAYS])
def test_too_little_history_is_said(days):
    found = forecast(series(*STEADY[: days + 1]), 40 * GIB, 0.0)
    assert found.why_not.startswith("not enough history")
    assert (found.days, found.rate_bytes) == (None, 0.0)


def test_enough_history_is_enough():
    assert forecast(series(*STEADY[: LEAST_DAYS + 2]), 40 * GIB, 0.0).days is not None


def test_nothing_at_all_is_no_history():
    assert forecast(series(), 40 * GIB, None).why_not.startswith("not enough history")


def test_two_files_are_no_habit():
    levels = [GIB if index < 50 else 2 * GIB for index in range(100)]
    assert "hardly anything" in forecast(series(*levels), GIB, 0.0).why_not


def test_what_shrinks_does_not_fill_up():
    found = forecast(series(*STEADY[::-1]), 40 * GIB, 0.0)
    assert found.rate_bytes < 0
    assert (found.days, found.soonest_days, found.latest_days) == (None, None, None)


def test_a_disk_that_says_nothing_has_a_rate_and_no_date():
    found = forecast(series(*STEADY), None, 0.0)
    assert found.rate_bytes == pytest.approx(GIB)
    assert found.days is None
    assert "free" in found.why_not


def test_days_before_the_first_look_know_no_removals():
    """What was removed then is not there to be counted, and the line is steeper than it was."""
    assert forecast(series(*STEADY), GIB, NOW - 30 * DAY).from_survivors
    assert not forecast(series(*STEADY), GIB, NOW - 120 * DAY).from_survivors
    assert forecast(series(*STEADY), GIB, None).from_survivors


def test_bursts_widen_the_range():
    """Weeks of nothing and weeks of much: the range is wider than that of the same bytes evenly."""
    chance = random.Random(1)
    level, levels = 0, []
    for index in range(100):
        level += chance.choice([0, 0, 8 * GIB]) if index // 14 % 2 else 0
        levels.append(level)
    bursts = forecast(series(*levels), 900 * GIB, 0.0)
    assert bursts.slow_bytes < bursts.rate_bytes < bursts.fast_bytes
    assert bursts.fast_bytes - bursts.slow_bytes > GIB


def test_the_range_holds_what_comes():
    """Three quarters of simulated futures lie in it; what the module says was measured with more of them."""
    chance = random.Random(3)
    held, rounds = 0, 60
    for _ in range(rounds):
        level, levels = 0.0, []
        for _ in range(91 + 60):
            level += chance.lognormvariate(2, 0.8) * (chance.random() < 0.5)
            levels.append(round(level * GIB))
        past, future = levels[:91], (levels[-1] - levels[90]) / 60
        slow, fast = find_range(past, find_rate(past), 60.0)
        held += slow <= future <= fast
    assert held >= rounds * 0.6


@given(st.lists(st.integers(0, 10**15), min_size=23, max_size=91))
def test_the_middle_is_in_the_range(levels):
    """Whatever the levels are; and a day that comes sooner is never later."""
    rate = find_rate(levels)
    slow, fast = find_range(levels, rate, 30.0)
    assert slow <= rate <= fast
    found = forecast(series(*levels, 0), 10**15, 0.0)
    known = [days for days in (found.soonest_days, found.days, found.latest_days) if days is not None]
    assert known == sorted(known)


@given(st.lists(st.integers(0, 10**12), min_size=5, max_size=40), st.integers(-(10**9), 10**9), st.integers(0, 10**12))
def test_a_slope_turns_with_its_line(levels, slope, lift):
    """Adding a line adds its slope; adding a constant nothing."""
    turned = [level + slope * index + lift for index, level in enumerate(levels)]
    assert find_rate(turned) == pytest.approx(find_rate(levels) + slope, abs=1e-2 + 1e-9 * max(levels))


@pytest.mark.parametrize(
    ("free", "rate", "days"), [(10, 2.0, 5.0), (0, 2.0, 0.0), (10, 0.0, None), (10, -1.0, None), (None, 1.0, None)]
)
def test_days_until(free, rate, days):
    assert days_until(free, rate) == days


def test_ten_years_is_no_forecast():
    assert days_until(int(MOST_DAYS) + 2, 1.0) is None
