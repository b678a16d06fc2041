"""The thread that announces times: it puts mail, it never makes up for a flood, and each time comes once."""

from __future__ import annotations

import datetime as dt
import select
import time

import pytest

from ckptd.jobs.inbox import Inbox
from ckptd.jobs.schedule import find_timetables, start_schedule
from ckptd.jobs.schedule_triggers import SteadyTrigger, TimetableTrigger
from ckptd.jobs.timetable import Timetable
from ckptd.settings import load_settings


@pytest.fixture
def inbox():
    box = Inbox()
    yield box
    box.close()


def at(text):
    return dt.datetime.fromisoformat(text)


def test_times_of_jobs_guards_and_rescans_are_announced(inbox):
    """Each as its own mail; who shuts it down is not waited for."""
    timetables = [Timetable.of("every 1s", "UTC"), Timetable.of("", "UTC")]
    schedule = start_schedule(inbox, 2, reconcile_seconds=0.1, guard_seconds=0.1, timetables=timetables)
    seen, end = set(), time.monotonic() + 30
    try:
        while len(seen) < 4 and time.monotonic() < end:
            select.select([inbox], [], [], 1.0)
            mail = inbox.take()
            seen |= {name for name in ("guard", "jobs") if getattr(mail, name)} | set(mail.rescans)
    finally:
        schedule.shutdown(wait=False)
    assert seen == {"guard", "jobs", 0, 1}


def test_the_settings_have_the_times(inbox):
    """In the zone that they say; what is empty is never announced."""
    schedule = {"time_zone": "Europe/Berlin", "retention": "30 3 * * *", "drill": ""}
    timetables = find_timetables(load_settings(None, {"schedule": schedule}, {}))
    after = at("2026-07-01T00:00Z").timestamp()
    assert timetables["retention"].next_after(after) == at("2026-07-01T03:30+02:00").timestamp()
    assert timetables["drill"].next_after(after) is None


def test_a_flood_of_missed_times_is_one():
    """A machine that starts in 1970 and is told the year: neither an interval nor a line lists what passed."""
    born, now = at("1970-01-01T00:01Z"), at("2026-07-01T12:00:01Z")
    steady = SteadyTrigger(5.0)
    assert steady.get_next_fire_time(None, born) == at("1970-01-01T00:01:05Z")
    assert steady.get_next_fire_time(born, now) == at("2026-07-01T12:00:06Z")
    assert steady.get_next_fire_time(now, at("2026-07-01T12:00:02Z")) == at("2026-07-01T12:00:06Z")
    each_minute = TimetableTrigger(Timetable.of("* * * * *", "UTC"))
    assert each_minute.get_next_fire_time(born, now) == at("2026-07-01T12:01Z")


def test_each_time_is_announced_once():
    """Also when the announcement is a little early by the clock."""
    trigger = TimetableTrigger(Timetable.of("0 * * * *", "UTC"))
    first = trigger.get_next_fire_time(None, at("2026-07-01T11:30Z"))
    assert first == at("2026-07-01T12:00Z")
    assert trigger.get_next_fire_time(first, at("2026-07-01T11:59:59.9Z")) == at("2026-07-01T13:00Z")
    assert TimetableTrigger(Timetable.of("", "UTC")).get_next_fire_time(None, first) is None
