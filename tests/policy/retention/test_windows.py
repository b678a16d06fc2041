"""The last of each hour, day, week, month and year, by the calendar of a time zone."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import pytest

from tests.policy.retention.making import NOW, at, fact, fates, kept

BERLIN = ZoneInfo("Europe/Berlin")


def saved(name, text, zone=None, **options):
    """Make a checkpoint that was saved at a time of the calendar."""
    time = at(text, zone) if zone else at(text)
    return fact(name, modified_at=time, first_seen_at=min(time, NOW), **options)


def kept_of(times, zone="UTC", **options):
    """Make checkpoints of name → time, and say which are kept beside the last good one, "z"."""
    facts = [saved(name, text, ZoneInfo(zone)) for name, text in times.items()]
    return [name for name in kept([*facts, saved("z", "2025-06-30T23:59")], time_zone=zone, **options) if name != "z"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        # "z" is the last of 23 h on 30 June, and takes one place of each window
        ({"keep_hourly": 1}, []),
        ({"keep_hourly": 2}, ["e"]),
        ({"keep_hourly": 3}, ["d", "e"]),
        ({"keep_hourly": 4}, ["c", "d", "e"]),
        ({"keep_hourly": 99}, ["b", "c", "d", "e"]),
        ({"keep_daily": 1}, []),
        ({"keep_daily": 2}, ["d"]),
        ({"keep_daily": 3}, ["c", "d"]),
        ({"keep_daily": 9}, ["c", "d"]),
    ],
)
def test_hours_and_days(options, expected):
    """The last one in each; a day that has none is not counted."""
    times = {
        "a": "2025-06-01T10:00",
        "b": "2025-06-01T10:59",
        "c": "2025-06-01T11:00",
        "d": "2025-06-15T08:00",
        "e": "2025-06-30T08:00",
    }
    assert kept_of(times, **options) == expected


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"keep_weekly": 1}, []),
        ({"keep_weekly": 2}, ["d"]),  # Sunday 29 June is of the week before Monday the 30th
        ({"keep_weekly": 3}, ["b", "d"]),
        ({"keep_monthly": 1}, []),
        ({"keep_monthly": 2}, ["b"]),
        ({"keep_monthly": 3}, ["a", "b"]),
        ({"keep_yearly": 1}, []),
        ({"keep_yearly": 2}, ["a"]),
        ({"keep_yearly": 9}, ["a"]),
    ],
)
def test_weeks_months_and_years(options, expected):
    """Weeks begin on Monday, as ISO 8601 has it."""
    times = {"a": "2024-12-29T00:00", "b": "2025-05-31T23:59", "c": "2025-06-23T00:00", "d": "2025-06-29T23:59"}
    assert kept_of(times, **options) == expected


def test_a_week_may_lie_in_two_years():
    """Monday 30 December 2024 and Thursday 2 January 2025 are of one week, and 2 January 2024 of another."""
    times = {"a": "2024-01-02T12:00", "b": "2024-12-30T12:00", "c": "2025-01-02T12:00"}
    assert kept_of(times, keep_weekly=9) == ["a", "c"]


def test_rules_add_up():
    """One that several windows keep names them all."""
    facts = [saved("a", "2025-05-31T12:00"), saved("z", "2025-06-30T12:00")]
    told = fates(facts, keep_daily=2, keep_monthly=2, keep_yearly=1)
    assert told == {"a": "keep daily monthly", "z": "keep last-good daily monthly yearly"}


def test_the_last_by_order_and_not_by_time():
    """In a group with epochs the last epoch of the day is the last of the day."""
    facts = [
        saved("1", "2025-06-01T15:00", epoch=1),
        saved("2", "2025-06-01T14:00", epoch=2),
        saved("3", "2025-06-10T14:00", epoch=3),
        saved("4", "2025-06-05T14:00", epoch=4),
    ]
    assert kept(facts, keep_daily=9) == ["2", "3", "4"]
    assert kept(facts, keep_monthly=9) == ["4"]
    # the most recent days are those of the calendar: the 10th and the 5th
    assert kept(facts, keep_daily=2) == ["3", "4"]
    assert kept(facts, keep_daily=1) == ["3", "4"]


def test_a_day_begins_in_the_zone_of_the_policy():
    """23:30 in Berlin and 00:30 the next day are of one day in UTC."""
    times = {"a": "2025-06-10T23:30", "b": "2025-06-11T00:30"}
    assert kept_of(times, "Europe/Berlin", keep_daily=3) == ["a", "b"]
    facts = [saved(name, text, BERLIN) for name, text in times.items()]
    assert kept([*facts, saved("z", "2025-06-30")], time_zone="UTC", keep_daily=3) == ["b", "z"]


def test_the_night_with_an_hour_twice():
    """26 October 2025: 02:30 is there twice in Berlin, an hour apart, and the day has 25 hours."""
    facts = [
        saved("a", "2025-10-25T23:59", BERLIN),
        saved("b", "2025-10-26T00:30+02:00"),
        saved("c", "2025-10-26T02:30+02:00"),
        saved("d", "2025-10-26T02:30+01:00"),
        saved("e", "2025-10-26T23:59", BERLIN),
        saved("z", "2025-10-27T00:01", BERLIN),
    ]
    now = at("2026-01-01")
    assert kept(facts, now=now, time_zone="Europe/Berlin", keep_hourly=9) == ["a", "b", "c", "d", "e", "z"]
    assert kept(facts, now=now, time_zone="Europe/Berlin", keep_hourly=3) == ["d", "e", "z"]
    assert kept(facts, now=now, time_zone="Europe/Berlin", keep_daily=9) == ["a", "e", "z"]


def test_the_night_without_an_hour():
    """30 March 2025: after 01:59 comes 03:00 in Berlin, and the day has 23 hours."""
    facts = [
        saved("a", "2025-03-29T23:30", BERLIN),
        saved("b", "2025-03-30T01:59", BERLIN),
        saved("c", "2025-03-30T03:00", BERLIN),
        saved("d", "2025-03-30T23:30", BERLIN),
        saved("z", "2025-03-31T00:30", BERLIN),
    ]
    assert kept(facts, time_zone="Europe/Berlin", keep_hourly=9) == ["a", "b", "c", "d", "z"]
    assert kept(facts, time_zone="Europe/Berlin", keep_daily=9) == ["a", "d", "z"]
    assert facts[2].modified_at - facts[1].modified_at == 60


@pytest.mark.parametrize("zone", ["America/New_York", "UTC", "Pacific/Auckland"])
def test_a_bare_date_is_that_date_in_every_zone(zone):
    """The first of May is of May also where it was still April in UTC's night; a copy made later bears the date."""
    facts = [
        fact("a", dated_at=at("2024-04-30"), modified_at=NOW),
        fact("b", dated_at=at("2024-05-01"), modified_at=NOW),
        fact("z", modified_at=NOW),
    ]
    assert kept(facts, now=NOW + 9 * 86400, time_zone=zone, keep_monthly=3) == ["a", "b", "z"]
    assert kept(facts, now=NOW + 9 * 86400, time_zone=zone, keep_yearly=3) == ["b", "z"]


def test_a_date_with_a_time_is_a_time():
    """02:00 UTC on 1 May is the evening of 30 April in New York."""
    facts = [
        fact("a", dated_at=at("2024-04-30T02:00"), modified_at=NOW),
        fact("b", dated_at=at("2024-05-01T02:00"), modified_at=NOW),
        fact("z", modified_at=NOW),
    ]
    assert kept(facts, now=NOW + 9 * 86400, time_zone="America/New_York", keep_monthly=3) == ["b", "z"]
    assert kept(facts, now=NOW + 9 * 86400, time_zone="UTC", keep_monthly=3) == ["a", "b", "z"]


@pytest.mark.parametrize("zone", ["America/New_York", "Pacific/Auckland"])
def test_times_beyond_every_calendar(zone):
    """Some file systems take them; they are of the first or the last year."""
    facts = [fact("a", modified_at=-9e18), fact("b", modified_at=-9e11), fact("z", modified_at=9e18), fact("y", 50)]
    assert kept(facts, time_zone=zone, keep_yearly=9, keep_hourly=9) == ["b", "y", "z"]


def test_windows_look_at_when_it_was_saved_and_not_when_ckptd_came():
    """A year that is seen for the first time has twelve months."""
    facts = [
        fact(f"{month:02}", modified_at=at(f"2024-{month:02}-15"), first_seen_at=NOW - 90 * 86400) for month in range(1, 13)
    ]
    assert kept(facts, keep_monthly=4) == ["09", "10", "11", "12"]
