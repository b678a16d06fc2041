"""When a file counts as written: a table for every rule, and laws that hold for every history."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckptd.model import Identity, Openness
from ckptd.policy.settle import (
    Incomplete,
    Ready,
    SettleRules,
    Tracked,
    WaitUntil,
    settle,
    track,
)

RULES = SettleRules(settle_seconds=2.0, incomplete_seconds=600.0)
FILE = Identity(1, 2, 1000, 5, 6)
#: Of sums of floats, in seconds.
ROUNDING = 1e-6
CLOSED, OPEN, UNKNOWN = Openness.CLOSED, Openness.OPEN, Openness.UNKNOWN


@pytest.mark.parametrize(
    ("closed", "complete", "openness", "quiet", "verdict"),
    [
        # complete, and its writer let go: at once
        (True, True, UNKNOWN, 0.0, Ready()),
        (True, True, CLOSED, 0.0, Ready()),
        (False, True, CLOSED, 0.0, Ready()),
        # complete, but nobody knows about the writer: two seconds of quiet
        (False, True, UNKNOWN, 0.0, WaitUntil(102.0)),
        (False, True, UNKNOWN, 1.5, WaitUntil(102.0)),
        (False, True, UNKNOWN, 2.0, Ready()),
        # no end mark in this format: two seconds of quiet, closed or not
        (True, None, CLOSED, 0.0, WaitUntil(102.0)),
        (True, None, UNKNOWN, 1.0, WaitUntil(102.0)),
        (True, None, UNKNOWN, 2.0, Ready()),
        (False, None, UNKNOWN, 2.0, Ready()),
        # a known writer: wait, whatever else speaks for it
        (True, True, OPEN, 0.0, WaitUntil(102.0)),
        (True, True, OPEN, 50.0, WaitUntil(200.0)),
        (False, None, OPEN, 50.0, WaitUntil(200.0)),
        # incomplete: wait ten minutes of quiet, looking again ever more rarely
        (True, False, CLOSED, 0.0, WaitUntil(102.0)),
        (True, False, CLOSED, 2.0, WaitUntil(104.0)),
        (True, False, CLOSED, 100.0, WaitUntil(300.0)),
        (True, False, CLOSED, 400.0, WaitUntil(700.0)),
        (True, False, UNKNOWN, 599.9, WaitUntil(700.0)),
        (True, False, CLOSED, 600.0, Incomplete(600.0)),
        (False, False, OPEN, 600.0, Incomplete(600.0)),
        # held open for ever by a program that does not write: not hidden for ever
        (False, True, OPEN, 600.0, Ready()),
        (False, None, OPEN, 600.0, Ready()),
    ],
)
def test_verdicts(closed, complete, openness, quiet, verdict):
    """Quiet since second 100 of the caller's clock."""
    tracked = Tracked(FILE, 100.0, closed)
    assert settle(tracked, complete=complete, openness=openness, now=100.0 + quiet, rules=RULES) == verdict


@pytest.mark.parametrize(
    ("openness", "quiet", "verdict"),
    [(UNKNOWN, 5.0, WaitUntil(110.0)), (CLOSED, 5.0, Ready()), (UNKNOWN, 600.0, Ready()), (OPEN, 5.0, WaitUntil(110.0))],
)
def test_empty_file_waits_for_its_first_byte(openness, quiet, verdict):
    """torch.save opens the file long before the first byte comes; only a lease shows that it will stay empty."""
    tracked = Tracked(Identity(1, 2, 0, 5, 6), 100.0, closed=True)
    assert settle(tracked, complete=None, openness=openness, now=100.0 + quiet, rules=RULES) == verdict


@pytest.mark.parametrize("changed", [{"dev": 9}, {"ino": 9}, {"size_bytes": 9}, {"mtime_ns": 9}])
def test_any_change_starts_the_quiet_time_anew_and_forgets_the_close(changed):
    """What was closed before the change says nothing about who writes now."""
    first = track(None, FILE, 100.0, closed=True)
    assert track(first, FILE._replace(**changed), 101.0, closed=False) == Tracked(FILE._replace(**changed), 101.0, closed=False)


def test_change_of_owner_or_mode_is_no_writing():
    """A chmod moves ctime alone."""
    first = track(None, FILE, 100.0, closed=True)
    again = track(first, FILE._replace(ctime_ns=99), 101.0, closed=False)
    assert (again.quiet_since, again.closed) == (100.0, True)


def test_close_that_comes_with_the_last_change_counts():
    """The hint and the new size are seen in one look."""
    first = track(None, FILE, 100.0, closed=False)
    assert track(first, FILE._replace(size_bytes=2000), 101.0, closed=True).closed


def test_plain_tuples_serve_as_identities():
    """What a scan gives is compared with what a single look gives."""
    first = track(None, tuple(FILE), 100.0, closed=False)
    assert track(first, FILE, 103.0, closed=False).quiet_since == 100.0


identities = st.builds(
    Identity,
    st.just(1),
    st.integers(1, 3),
    st.integers(0, 3),
    st.integers(-(2**62), 2**62),
    st.integers(-(2**62), 2**62),
)
looks = st.lists(
    st.tuples(
        st.floats(0, 700), st.integers(0, 3), st.booleans(), st.sampled_from([True, False, None]), st.sampled_from(Openness)
    ),
    min_size=1,
    max_size=12,
)
rules = st.builds(SettleRules, st.floats(0, 10), st.floats(0.01, 1000))


@given(looks, rules)
def test_laws_of_every_history(history, rules):
    """Never ready with a known writer or without an end before the long wait; never waiting for a time that is past."""
    tracked, now = None, 0.0
    for pause, version, closed, complete, openness in history:
        now += pause
        tracked = track(tracked, Identity(1, 1, version, version, 0), now, closed=closed)
        verdict = settle(tracked, complete=complete, openness=openness, now=now, rules=rules)
        quiet = now - tracked.quiet_since
        match verdict:
            case Ready():
                assert complete is not False
                assert openness is not OPEN or quiet >= rules.incomplete_seconds - ROUNDING
                assert complete is True or quiet >= rules.settle_seconds - ROUNDING
                assert tracked.closed or openness is CLOSED or quiet >= rules.settle_seconds - ROUNDING
            case Incomplete():
                assert complete is False
                assert quiet >= rules.incomplete_seconds - ROUNDING
            case WaitUntil(at):
                assert at > now
                assert at <= tracked.quiet_since + max(rules.settle_seconds, rules.incomplete_seconds)


@given(
    st.booleans(),
    st.sampled_from([True, False, None]),
    st.sampled_from(Openness),
    st.integers(0, 2),
    st.floats(-1e9, 1e9),
    rules,
)
def test_waiting_always_ends(closed, complete, openness, size, start, rules):
    """A file that nobody touches is decided about after a few looks, at any offset of the clock."""
    tracked = track(None, Identity(1, 1, size, 0, 0), start, closed=closed)
    now = start
    for _ in range(64):
        verdict = settle(tracked, complete=complete, openness=openness, now=now, rules=rules)
        if not isinstance(verdict, WaitUntil):
            return
        assert verdict.at > now
        now = verdict.at
    raise AssertionError("still waiting after 64 looks")


@given(identities, st.integers(), st.booleans(), st.sampled_from([True, False, None]), st.sampled_from(Openness))
def test_wrong_clocks_of_file_servers_change_nothing(identity, skew, closed, complete, openness):
    """Times in the future, before 1970, or off by any amount: only that they stay the same counts."""
    skewed = identity._replace(mtime_ns=identity.mtime_ns + skew, ctime_ns=identity.ctime_ns + skew)
    verdicts = [
        settle(track(None, each, 5.0, closed=closed), complete=complete, openness=openness, now=6.0, rules=RULES)
        for each in (identity, skewed)
    ]
    assert verdicts[0] == verdicts[1]
