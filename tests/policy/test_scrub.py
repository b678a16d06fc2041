"""What is read again next: nothing waits for ever, whatever the clock says and whatever else there is to read."""

from __future__ import annotations

import random as randomness
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckptd.policy.scrub import BAD, Outcome, Turn, find_bad, find_last, is_hopeless, order_turns

NOW = 1_000_000.0
MIB = 1 << 20


class Row(NamedTuple):
    """As the index has it."""

    sha256: str
    at: float
    outcome: str = "ok"


def turn(path, checked_at=None, *, first=0.0, root="/r", size=0, before=None):
    return Turn(root, path, "d", (1, 1, size, 1, 1), first, checked_at, before)


def ordered(*turns, checked=None, now=NOW):
    return [one.path for one in order_turns(turns, checked or {}, now)]


# — which file of a root —


@pytest.mark.parametrize(
    ("turns", "expected"),
    [
        ([], []),
        ([turn("b", 20.0), turn("a", 30.0), turn("c", 10.0)], ["c", "b", "a"]),  # the longest unread first
        ([turn("old", 1.0), turn("new", first=NOW)], ["new", "old"]),  # what was never read before what was
        ([turn("b", first=20.0), turn("a", first=30.0), turn("c", first=10.0)], ["c", "b", "a"]),  # longest known first
        ([turn("b", 5.0), turn("a", 5.0)], ["a", "b"]),  # equals by name
        ([turn("b", first=5.0), turn("a", first=5.0)], ["a", "b"]),
        ([turn("past", 1.0), turn("future", NOW + 1)], ["future", "past"]),  # nobody knows when that was
        ([turn("future", NOW + 1), turn("never")], ["never", "future"]),
        ([turn("now", NOW), turn("past", 1.0)], ["past", "now"]),
        # What may be repaired comes first; what is bad and as it was waits like all others.
        ([turn("never"), turn("repaired", before=Outcome.ROTTEN, first=9.0)], ["repaired", "never"]),
        ([turn("a", 1.0), turn("b", 2.0, before=Outcome.ROTTEN)], ["a", "b"]),
    ],
)
def test_order_in_a_root(turns, expected):
    """Literal cases."""
    assert ordered(*turns) == expected


TURNS = st.lists(
    st.builds(
        turn,
        st.text("abc", min_size=1, max_size=3),
        st.none() | st.floats(0, 2 * NOW),
        first=st.floats(0, NOW),
        root=st.sampled_from(["/a", "/b", "/c"]),
        size=st.integers(0, 100 * MIB),
        before=st.none() | st.sampled_from(list(Outcome)),
    ),
    max_size=25,
    unique_by=lambda one: (one.root, one.path),
)


@given(TURNS, st.randoms())
def test_order_of_input_does_not_matter_and_nothing_is_left_out(turns, random):
    """Each once, in the same order, however they come."""
    shuffled = turns[:]
    random.shuffle(shuffled)
    found = order_turns(turns, {}, NOW)
    assert sorted(found) == sorted(turns)
    assert order_turns(shuffled, {}, NOW) == found


@given(TURNS)
def test_other_roots_change_nothing_within_a_root(turns):
    """Each root has its own line."""
    found = order_turns(turns, {}, NOW)
    for root in ("/a", "/b", "/c"):
        own = [one for one in turns if one.root == root]
        assert [one for one in found if one.root == root] == order_turns(own, {}, NOW)


@given(TURNS)
def test_roots_get_equal_shares(turns):
    """At no point is a root that has still something to read behind another by more than the largest file of that one."""
    found = order_turns(turns, {}, NOW)
    taken = dict.fromkeys((one.root for one in turns), 0)
    largest = {root: max(one.size_bytes + MIB for one in turns if one.root == root) for root in taken}
    left = {root: sum(one.root == root for one in turns) for root in taken}
    for one in found:
        taken[one.root] += one.size_bytes + MIB
        left[one.root] -= 1
        for waiting in (root for root in left if left[root]):
            assert taken[one.root] - taken[waiting] <= largest[one.root]


def test_small_files_weigh_something():
    """A thousand empty files do not keep another root waiting for a thousand seeks."""
    found = order_turns([turn(f"{n:04}", root="/a") for n in range(50)] + [turn("big", root="/b", size=10 * MIB)], {}, NOW)
    assert [one.path for one in found].index("big") <= 1


@pytest.mark.parametrize(
    ("checked", "first"),
    [
        ({}, "/a"),
        ({"/a": [NOW - 1], "/b": [NOW - 9]}, "/b"),  # the root that waited longest begins
        ({"/a": [NOW - 99, NOW - 1], "/b": [NOW - 9]}, "/b"),
        ({"/a": [NOW - 1]}, "/b"),  # nothing in it was ever read
        ({"/a": [NOW - 1], "/b": [NOW + 99]}, "/b"),  # written under a clock that was ahead
        ({"/a": [NOW - 9, NOW + 99], "/b": [NOW - 1]}, "/a"),
    ],
)
def test_the_root_that_waited_longest_begins(checked, first):
    """So that a root of one huge file, which takes the whole time, takes it every other time only."""
    assert order_turns([turn("x", root="/a"), turn("y", root="/b")], checked, NOW)[0].root == first


class Simulated:
    """Runs that each read a few files, under a clock of the test's."""

    def __init__(self, count, roots=("/r",), size=0):
        self.places = [(root, f"{n:03}") for root in roots for n in range(count)]
        self.size = size
        self.rows = {}
        self.reads = dict.fromkeys(self.places, 0)

    def run(self, now, most):
        turns = []
        for root, path in self.places:
            row = self.rows.get((root, path))
            at, before = find_last(row, "d", 0.0, now)
            turns.append(turn(path, at, root=root, size=self.size, before=before))
        checked = {}
        for (root, _), row in self.rows.items():
            checked.setdefault(root, []).append(row.at)
        for n, one in enumerate(order_turns(turns, checked, now)[:most]):
            self.rows[one.root, one.path] = Row("d", now + n / 1_000)
            self.reads[one.root, one.path] += 1


@pytest.mark.parametrize("jump", [0.0, -900_000.0, 900_000.0, -0.5])
def test_every_file_is_read_in_its_turn_whatever_the_clock_does(jump):
    """Set back or forward once in the middle, for good: after two rounds all were read at least once since."""
    files = Simulated(10)
    now = NOW
    for step in range(40):
        if step == 7:
            now += jump
            files.reads = dict.fromkeys(files.places, 0)
        files.run(now, 3)
        now += 60
    assert min(files.reads.values()) >= (40 - 7) * 3 // 10 - 2
    assert max(files.reads.values()) - min(files.reads.values()) <= 2


def test_a_clock_that_is_set_back_again_and_again_starves_nobody():
    """A machine without a battery begins each day in 1970."""
    files = Simulated(10)
    random = randomness.Random(1)
    for _ in range(60):
        files.run(random.uniform(60, 90), 3)
    assert min(files.reads.values()) >= 5


def test_a_root_of_newcomers_does_not_starve_another():
    """Each run has time for one file only, and one root gets a new one before each."""
    files = Simulated(3, roots=("/a", "/b"), size=MIB)
    for step in range(30):
        files.places.append(("/a", f"new{step}"))
        files.reads["/a", f"new{step}"] = 0
        files.run(NOW + 60 * step, 1)
    assert sum(count for (root, _), count in files.reads.items() if root == "/b") == 15


# — what a reading of the past says —


@pytest.mark.parametrize(
    ("row", "changed_at", "expected"),
    [
        (None, 0.0, (None, None)),
        (Row("d", 5.0), 0.0, (5.0, Outcome.OK)),
        (Row("other", 5.0), 0.0, (None, None)),  # other bytes were never read
        (Row("d", 5.0), 6.0, (5.0, Outcome.OK)),  # a chmod changes no byte
        (Row("d", 5.0, "rotten"), 0.0, (5.0, Outcome.ROTTEN)),
        (Row("d", 5.0, "rotten"), 6.0, (None, Outcome.ROTTEN)),  # it may be repaired
        (Row("d", 5.0, "rotten"), 5.0, (5.0, Outcome.ROTTEN)),
        (Row("d", 5.0, "unreadable"), 6.0, (None, Outcome.UNREADABLE)),
        (Row("d", 5.0, "rotten"), NOW + 1, (5.0, Outcome.ROTTEN)),  # a ctime of the future proves nothing
        (Row("d", 5.0, "unfinished"), 6.0, (5.0, Outcome.UNFINISHED)),
        (Row("d", 5.0, "a word of tomorrow"), 6.0, (5.0, None)),
    ],
)
def test_last_reading(row, changed_at, expected):
    """Literal cases."""
    assert find_last(row, "d", changed_at, NOW) == expected


A, B, C = ("/r", "a"), ("/r", "b"), ("/s", "c")


@pytest.mark.parametrize(
    ("rows", "contents", "expected"),
    [
        ({}, {A: "d"}, {}),
        ({A: Row("d", 1.0)}, {A: "d"}, {}),
        ({A: Row("d", 1.0, "rotten")}, {A: "d"}, {A: Outcome.ROTTEN}),
        ({A: Row("d", 1.0, "unreadable")}, {A: "d"}, {A: Outcome.UNREADABLE}),
        ({A: Row("d", 1.0, "changed")}, {A: "d"}, {}),
        ({A: Row("d", 1.0, "unfinished")}, {A: "d"}, {}),
        ({A: Row("d", 1.0, "rotten")}, {A: "other"}, {}),  # saved anew
        ({A: Row("d", 1.0, "rotten")}, {}, {}),
        ({A: Row("d", 1.0, "rotten")}, {B: "d"}, {B: Outcome.ROTTEN}),  # renamed
        ({A: Row("d", 1.0, "rotten"), B: Row("d", 2.0)}, {B: "d"}, {}),  # read again there
        ({A: Row("d", 1.0, "rotten"), B: Row("old", 2.0)}, {B: "d"}, {B: Outcome.ROTTEN}),
        ({A: Row("d", 1.0, "rotten")}, {A: "d", B: "d"}, {A: Outcome.ROTTEN}),  # a copy beside it is a copy
        ({A: Row("d", 1.0, "rotten")}, {C: "d"}, {}),  # no rename leads to another root
        ({A: Row("d", 1.0, "a word of tomorrow")}, {A: "d"}, {}),
    ],
)
def test_bad_ones(rows, contents, expected):
    """Literal cases."""
    assert find_bad(rows, contents) == expected


def test_bad_is_what_was_rotten_or_not_readable():
    """A file that takes too long, or that somebody changed, is not bad."""
    assert {Outcome.ROTTEN, Outcome.UNREADABLE} == BAD


# — how long one file may take —


@pytest.mark.parametrize(
    ("size", "done", "elapsed", "hopeless"),
    [
        (100, 0, 0.0, False),
        (100, 0, 9.9, False),  # a disk wakes up
        (100, 0, 10.0, True),  # and a share that hangs does not
        (100, 4, 10.0, True),  # 250 seconds
        (100, 5, 10.0, False),  # twice the time is not yet hopeless
        (100, 50, 99.9, False),
        (100, 99, 100.0, True),
        (100, 100, 100.0, False),  # done
        (0, 0, 0.0, False),
    ],
)
def test_hopeless_readings(size, done, elapsed, hopeless):
    """Of a hundred seconds."""
    assert is_hopeless(size, done, elapsed, 100.0) is hopeless


@given(st.integers(1, 1 << 40), st.floats(0, 1e6))
def test_without_a_limit_nothing_is_hopeless(size, elapsed):
    """The second reading of what may be rot is never given up."""
    assert not is_hopeless(size, 0, elapsed, float("inf"))


@given(st.floats(1e-3, 1e6), st.integers(1, 1 << 40), st.floats(0.01, 10))
def test_a_file_that_needs_less_than_its_time_is_never_given_up(limit, size, share):
    """At a steady speed; one that needs more always is, at the latest when its time is up."""
    parts = [n / 50 for n in range(51)]
    given_up = [part for part in parts if is_hopeless(size, int(part * size), part * share * limit, limit)]
    if share < 0.99:
        assert not given_up
    if share > 1.05:
        assert given_up or size < 50
