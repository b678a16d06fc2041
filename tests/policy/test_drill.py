"""Which archive is drilled: what waited longest is likeliest, and none is ever left out."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckptd.policy.drill import weigh_archives

NOW = 1_000_000.0
HOUR = 3_600.0


@pytest.mark.parametrize(
    ("drilled", "weights"),
    [
        ([], []),
        ([None], [2 * HOUR]),
        ([NOW], [HOUR]),
        ([NOW - HOUR, NOW - 3 * HOUR], [2 * HOUR, 4 * HOUR]),
        ([NOW - HOUR, None], [2 * HOUR, 3 * HOUR]),  # never: more than any
        ([NOW - HOUR, NOW + 1], [2 * HOUR, 3 * HOUR]),  # written under a clock that was ahead: as never
    ],
)
def test_weights(drilled, weights):
    """Literal cases."""
    assert weigh_archives(drilled, NOW) == weights


@given(st.lists(st.none() | st.floats(0, 2 * NOW), max_size=20))
def test_longer_ago_weighs_more_and_everything_something(drilled):
    """Whatever the clock was."""
    weights = weigh_archives(drilled, NOW)
    assert all(weight > 0 for weight in weights)
    waited = [float("inf") if at is None or at > NOW else NOW - at for at in drilled]
    for one, weight in zip(waited, weights, strict=True):
        assert all(weight > other for than, other in zip(waited, weights, strict=True) if one > than + 1e-3)


def test_every_archive_is_drilled_in_the_end():
    """A year of weekly drills of ten archives, by a drawn lot."""
    drawn = random.Random(3)
    drilled = [None] * 10
    for week in range(52):
        now = NOW + week * 7 * 24 * HOUR
        drilled[drawn.choices(range(10), weigh_archives(drilled, now))[0]] = now
    assert None not in drilled
