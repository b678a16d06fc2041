"""Wishes for rescans are folded, and a root rests after each."""

from ckptd.jobs.rescans import Rescans


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def test_the_first_reason_counts_and_a_wish_is_fulfilled_once():
    """Ten doubts about one root are one rescan."""
    rescans = Rescans(Clock())
    for why in ("start", "overflow", "losses"):
        rescans.want(0, why)
    rescans.want(1, "schedule")
    assert list(rescans.take()) == [(0, "start"), (1, "schedule")]
    assert list(rescans.take()) == []
    assert rescans.next_due() is None


def test_a_root_rests_for_three_times_as_long_as_its_rescan_took():
    """One doubt after another never costs more than a quarter of a core, and other roots do not wait for it."""
    clock = Clock()
    rescans = Rescans(clock)
    rescans.want(0, "start")
    assert list(rescans.take()) == [(0, "start")]
    clock.now += 2.0
    rescans.finished(0)
    rescans.want(0, "losses")
    rescans.want(1, "losses")
    assert rescans.next_due() == clock.now
    assert list(rescans.take()) == [(1, "losses")]
    assert rescans.next_due() == clock.now + 6.0
    clock.now += 6.0
    assert list(rescans.take()) == [(0, "losses")]


def test_a_wish_for_later_waits_and_an_earlier_one_brings_it_forward():
    """The earliest time counts."""
    clock = Clock()
    rescans = Rescans(clock)
    rescans.want(0, "index", delay=1.0)
    assert rescans.next_due() == clock.now + 1.0
    assert list(rescans.take()) == []
    rescans.want(0, "losses")
    assert list(rescans.take()) == [(0, "index")]
