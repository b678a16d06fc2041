"""Which jobs are due: a table of histories, and laws for every course of a clock that is stopped, set back and set forward."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ckptd.policy.due import OVERDUE_SECONDS, Due, History, Look, Overdue, Passed, find_due, find_overdue

HOUR = 3600.0
DAY = 24 * HOUR


@dataclass(frozen=True)
class Every:
    """A timetable of equal steps."""

    seconds: float

    def next_after(self, after):
        return (math.floor(after / self.seconds) + 1) * self.seconds

    def previous_at(self, at):
        return math.floor(at / self.seconds) * self.seconds


class Never:
    """A timetable without a time."""

    def next_after(self, _after):
        return None

    def previous_at(self, _at):
        return None


def look(history, now, since=0.0, catch_up="once", step=DAY):
    return find_due({"scrub": Every(step)}, {"scrub": history}, now, since, catch_up)


def days(**values):
    """Give a history whose times are in days."""
    return History(**{key: value * DAY for key, value in values.items()})


@pytest.mark.parametrize(
    ("name", "history", "now", "since", "due"),
    [
        ("nothing is known: the first time is the next one", days(), 100.5, 100.5, None),
        ("its first time came", days(known_at=100.5), 101, 100.5, (101, 101, False)),
        ("its first time came while nothing ran", days(known_at=100), 103.5, 103.5, (103, 101, True)),
        ("its time came in the moment of the start", days(known_at=100), 101, 101, (101, 101, True)),
        ("it ran today", days(done_at=101.1, done_for=101), 101.9, 101, None),
        ("it is due today", days(done_at=100.1, done_for=100), 101.1, 100, (101, 101, False)),
        ("fifty hours down", days(done_at=100.1), 102.2, 102.2, (102, 101, True)),
        ("a person ran it after the time that was missed", days(done_at=101.4), 101.5, 101.5, None),
        ("a person ran it before its time", days(done_at=100.9), 101, 100, (101, 101, False)),
        ("the line was changed after its last run", days(known_at=101.2, done_at=100.1), 101.5, 101.2, None),
        ("its end was written under a clock ahead", days(known_at=99, done_at=2000), 101, 100.5, (101, 101, False)),
        ("the same, and no time came since it is right", days(known_at=99, done_at=2000), 101, 101, None),
        ("the clock went back over the time it ran for", days(done_at=101.1, done_for=101), 101, 100.9, None),
    ],
)
def test_when_a_daily_job_is_due(name, history, now, since, due):
    """(slot, first, late) in days, or nothing."""
    expected = () if due is None else (Due("scrub", due[0] * DAY, due[1] * DAY, is_late=due[2]),)
    assert look(history, now * DAY, since * DAY).due == expected, name


def test_what_was_missed_may_be_left_out():
    """catch_up = "skip": nothing before the start, everything after it."""
    history = days(done_at=100.1)
    assert look(history, 102.9 * DAY, 102.2 * DAY, "skip").due == ()
    assert look(history, 103.0 * DAY, 102.2 * DAY, "skip").due == (Due("scrub", 103 * DAY, 103 * DAY, is_late=False),)


@pytest.mark.parametrize(
    ("broken", "after", "is_due", "retry"),
    [
        (1, 4.0, False, 5.0),
        (1, 5.0, True, None),
        (2, 59.0, False, 60.0),
        (2, 61.0, True, None),
        (3, 599.0, False, 600.0),
        (3, 600.0, True, None),
        (4, 1_000.0, False, None),
        (4, 90_000.0, True, None),
    ],
)
def test_a_run_that_was_broken_off_is_repeated_with_pauses(broken, after, is_due, retry):
    """5, 60 and 600 seconds after it began; after that its next time is waited for."""
    began = 101 * DAY
    history = History(known_at=100.5 * DAY, broken=broken, broken_at=began, broken_for=began)
    found = look(history, began + after)
    assert bool(found.due) is is_due
    assert found.retry_at == (None if retry is None else began + retry)


def test_a_run_by_hand_that_was_broken_off_delays_nothing():
    """It was for no time of the timetable."""
    history = History(known_at=100.5 * DAY, broken=9, broken_at=100.9 * DAY)
    assert look(history, 101 * DAY).due


def test_a_pause_that_began_in_the_future_is_none():
    """The clock was ahead when the run was broken off."""
    history = History(known_at=100.5 * DAY, broken=4, broken_at=2000 * DAY, broken_for=2000 * DAY)
    assert look(history, 101 * DAY).due


def test_a_time_that_comes_while_it_runs_is_left_out():
    """No overlap, and nothing is made up for afterwards."""
    running = History(done_at=99 * DAY, running_at=100.1 * DAY)
    assert look(running, 100.5 * DAY) == Look((), (), 101 * DAY)
    found = look(running, 102.1 * DAY)
    assert found.due == ()
    assert found.passed == (Passed("scrub", 102 * DAY, 101 * DAY, 100.1 * DAY),)
    assert look(History(done_at=102.3 * DAY, done_for=100 * DAY), 102.4 * DAY).due == ()


def test_who_waits_longest_comes_first_and_equals_in_their_order():
    """So that a job of each second starves nobody."""
    tables = {"scrub": Every(1.0), "retention": Every(1.0), "report": Every(DAY)}
    histories = {
        "scrub": History(done_at=100 * DAY + 5.2),
        "retention": History(done_at=100 * DAY + 4.1),
        "report": History(done_at=99.5 * DAY),
    }
    found = find_due(tables, histories, 100 * DAY + 6.5, 99 * DAY)
    assert [one.job for one in found.due] == ["report", "retention", "scrub"]
    same = dict.fromkeys(tables, History(done_at=100 * DAY - 0.5))
    assert [one.job for one in find_due(tables, same, 100 * DAY + 6.5, 99 * DAY).due] == ["scrub", "retention", "report"]


def test_no_time_at_all():
    """A job without a schedule is never due, and nothing waits for it."""
    assert find_due({"scrub": Never()}, {}, DAY, 0.0) == Look()


def test_the_next_time_of_all():
    """Whichever job has it."""
    assert find_due({"a": Every(DAY), "b": Never(), "c": Every(7.0)}, {}, 0.5, 0.5).next_at == 7.0


def test_overdue_is_what_waits_for_an_hour():
    """From its time on, or from when there was somebody to run it; be it that no run began, or that an old one does not end."""
    history = History(done_at=100.5 * DAY)
    late = look(history, 101 * DAY + OVERDUE_SECONDS + 1)
    assert find_overdue(late, 101 * DAY + OVERDUE_SECONDS, 0.0) == ()
    assert find_overdue(late, 101 * DAY + OVERDUE_SECONDS + 1, 0.0) == (Overdue("scrub", 101 * DAY, is_running=False),)
    now = 103 * DAY
    assert find_overdue(look(history, now, now - 10), now, now - 10) == ()
    hung = History(done_at=99 * DAY, running_at=100.5 * DAY)
    assert find_overdue(look(hung, now), now, 0.0) == (Overdue("scrub", 101 * DAY, is_running=True),)


# — laws —

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("pass"), st.floats(0.5, 4 * HOUR)),
        st.tuples(st.just("set"), st.floats(-40 * DAY, 40 * DAY)),
        st.tuples(st.just("down"), st.floats(1.0, 3 * DAY)),
    ),
    max_size=30,
)


class Course:
    """A daemon that looks each minute, and runs what is due in no time; its clock is set and it is stopped as a test says."""

    def __init__(self, catch_up, step=HOUR):
        self.step, self.catch_up = step, catch_up
        self.real, self.offset = 1000.0 * DAY, 0.0
        self.since = self.wall
        self.history = History(known_at=self.wall)
        self.runs = []

    @property
    def wall(self):
        return self.real + self.offset

    def look(self):
        found = find_due({"job": Every(self.step)}, {"job": self.history}, self.wall, self.since, self.catch_up)
        for due in found.due:
            self.runs.append(self.real)
            self.history = History(known_at=self.history.known_at, done_at=self.wall, done_for=due.slot)
        return len(found.due)

    def go(self, seconds):
        end = self.real + seconds
        while self.real < end:
            self.real = min(end, self.real + 60.0)
            self.look()

    def step_on(self, what, amount):
        if what == "pass":
            self.go(amount)
        elif what == "set":
            self.offset += amount
            self.since = self.wall
            self.look()
        else:
            self.real += amount
            self.since = self.wall
            self.look()


@settings(max_examples=80, deadline=None)
@given(steps=STEPS, catch_up=st.sampled_from(["once", "skip"]))
def test_law_of_no_burst_and_no_silence(steps, catch_up):
    """However the clock is set: no more runs than hours that passed and one for each step, and never three hours without."""
    course = Course(catch_up)
    for what, amount in steps:
        before, start = len(course.runs), course.real
        course.step_on(what, amount)
        passed = course.real - start if what == "pass" else 0.0
        assert len(course.runs) - before <= passed / HOUR + 1
    start, before = course.real, len(course.runs)
    course.go(3 * HOUR)
    fresh = [at - start for at in course.runs[before:]]
    assert 2 <= len(fresh) <= 4
    # One time may have been run for already, before the clock was set back over it.
    assert all(b - a <= 2 * HOUR + 60 for a, b in zip([0.0, *fresh], [*fresh, 3 * HOUR], strict=True))


@settings(max_examples=60, deadline=None)
@given(down=st.floats(1.0, 30 * DAY), ago=st.floats(0.0, DAY))
def test_law_of_catching_up_once(down, ago):
    """Whatever was missed while nothing ran is one run at the start, and then there is none before the next time."""
    course = Course("once", step=DAY)
    course.go(ago)
    missed = math.floor((course.wall + down) / DAY) - math.floor(course.wall / DAY)
    course.step_on("down", down)
    course.runs, runs = [], course.runs
    assert course.look() == 0
    assert len(runs) <= 2
    if missed:
        assert runs[-1] == course.real
    assert find_due({"job": Every(DAY)}, {"job": course.history}, course.wall, course.since).due == ()
