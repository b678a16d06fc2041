"""When a line is due: tables of times, both days of DST in several zones, and two laws against slower ways to say the same."""

from __future__ import annotations

import datetime as dt
import itertools
import math
from zoneinfo import ZoneInfo

import pytest
from apscheduler.triggers.cron import CronTrigger
from hypothesis import given, settings
from hypothesis import strategies as st

from ckptd.jobs.timetable import Timetable, next_after, previous_before

BERLIN, NEW_YORK, LORD_HOWE = "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"


def at(text):
    """Read a time with its offset, as seconds since the epoch."""
    return dt.datetime.fromisoformat(text).timestamp()


def times(line, zone, start, count):
    """Give the next times as the clock on the wall shows them, with their offsets."""
    timetable, after, found = Timetable.of(line, zone), at(start), []
    for _ in range(count):
        after = timetable.next_after(after)
        found.append(dt.datetime.fromtimestamp(after, ZoneInfo(zone)).isoformat(timespec="minutes"))
    return found


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("30 3 * * *", ["2026-01-01T03:30", "2026-01-02T03:30", "2026-01-03T03:30"]),
        ("0 0 * * 0", ["2026-01-04T00:00", "2026-01-11T00:00", "2026-01-18T00:00"]),
        ("0 0 * * 7", ["2026-01-04T00:00", "2026-01-11T00:00", "2026-01-18T00:00"]),
        ("0 0 * * sun", ["2026-01-04T00:00", "2026-01-11T00:00", "2026-01-18T00:00"]),
        ("0 12 * * mon-fri", ["2026-01-01T12:00", "2026-01-02T12:00", "2026-01-05T12:00"]),
        ("0 0 13 * fri", ["2026-01-02T00:00", "2026-01-09T00:00", "2026-01-13T00:00"]),
        ("0 0 */13 * fri", ["2026-02-27T00:00", "2026-03-27T00:00", "2026-05-01T00:00"]),
        ("0 0 13 * */5", ["2026-02-13T00:00", "2026-03-13T00:00", "2026-09-13T00:00"]),
        ("0 0 31 * *", ["2026-01-31T00:00", "2026-03-31T00:00", "2026-05-31T00:00"]),
        ("0 0 29 2 *", ["2028-02-29T00:00", "2032-02-29T00:00", "2036-02-29T00:00"]),
        ("0 0 29 2 */6", ["2032-02-29T00:00", "2048-02-29T00:00", "2060-02-29T00:00"]),
        ("15,45 */11 * * *", ["2026-01-01T00:15", "2026-01-01T00:45", "2026-01-01T11:15"]),
        ("59 23 31 12 *", ["2026-12-31T23:59", "2027-12-31T23:59", "2028-12-31T23:59"]),
        ("@hourly", ["2026-01-01T01:00", "2026-01-01T02:00", "2026-01-01T03:00"]),
        ("every 6h", ["2026-01-01T06:00", "2026-01-01T12:00", "2026-01-01T18:00"]),
    ],
)
def test_times_in_utc(line, expected):
    """From the first moment of 2026, a Thursday.  Where day of month and day of week are both restricted either is enough."""
    assert [text.removesuffix("+00:00") for text in times(line, "UTC", "2026-01-01T00:00Z", 3)] == expected


@pytest.mark.parametrize(
    ("line", "zone", "start", "expected"),
    [
        # 02:00 to 03:00 is not there: the first moment after it, once.
        ("30 2 * * *", BERLIN, "2026-03-28T03:00+01:00", ["03-29T03:00+02:00", "03-30T02:30+02:00"]),
        ("30 2 * * *", NEW_YORK, "2026-03-07T03:00-05:00", ["03-08T03:00-04:00", "03-09T02:30-04:00"]),
        ("15 2 * * *", LORD_HOWE, "2026-10-03T03:00+10:30", ["10-04T02:30+11:00", "10-05T02:15+11:00"]),
        ("*/15 2 * * *", BERLIN, "2026-03-28T03:00+01:00", ["03-29T03:00+02:00", "03-30T02:00+02:00"]),
        ("0 2,3 * * *", BERLIN, "2026-03-28T04:00+01:00", ["03-29T03:00+02:00", "03-30T02:00+02:00"]),
        # What comes twice: the first of the two.
        ("30 2 * * *", BERLIN, "2026-10-24T03:00+02:00", ["10-25T02:30+02:00", "10-26T02:30+01:00"]),
        ("30 1 * * *", NEW_YORK, "2026-10-31T03:00-04:00", ["11-01T01:30-04:00", "11-02T01:30-05:00"]),
        ("45 1 * * *", LORD_HOWE, "2026-04-04T03:00+11:00", ["04-05T01:45+11:00", "04-06T01:45+10:30"]),
        ("0,30 2 * * *", BERLIN, "2026-10-24T03:00+02:00", ["10-25T02:00+02:00", "10-25T02:30+02:00", "10-26T02:00+01:00"]),
        # The border itself is no trap.
        ("0 3 * * *", BERLIN, "2026-03-28T04:00+01:00", ["03-29T03:00+02:00", "03-30T03:00+02:00"]),
        ("0 2 * * *", BERLIN, "2026-10-24T03:00+02:00", ["10-25T02:00+02:00", "10-26T02:00+01:00"]),
        ("0 3 * * *", BERLIN, "2026-10-24T04:00+02:00", ["10-25T03:00+01:00", "10-26T03:00+01:00"]),
        # Every hour that passes has its run, the one that comes twice too.
        ("30 * * * *", BERLIN, "2026-03-29T01:00+01:00", ["03-29T01:30+01:00", "03-29T03:30+02:00", "03-29T04:30+02:00"]),
        ("30 * * * *", BERLIN, "2026-10-25T02:00+02:00", ["10-25T02:30+02:00", "10-25T02:30+01:00", "10-25T03:30+01:00"]),
        ("0 * * * *", LORD_HOWE, "2026-10-04T00:30+10:30", ["10-04T01:00+10:30", "10-04T03:00+11:00", "10-04T04:00+11:00"]),
        ("45 * * * *", LORD_HOWE, "2026-04-05T01:00+11:00", ["04-05T01:45+11:00", "04-05T01:45+10:30", "04-05T02:45+10:30"]),
        # Midnight itself may be skipped.
        ("0 0 * * *", "Africa/Cairo", "2026-04-23T12:00+02:00", ["04-24T01:00+03:00", "04-25T00:00+03:00"]),
    ],
)
def test_days_on_which_the_clocks_are_set(line, zone, start, expected):
    """Each time that a line names comes once; a line of every hour follows the wall."""
    found = times(line, zone, start, len(expected))
    assert [text[5:] for text in found] == expected


@pytest.mark.parametrize("zone", [BERLIN, NEW_YORK, LORD_HOWE, "America/St_Johns", "Asia/Kolkata"])
def test_a_daily_job_runs_once_on_each_day_of_the_year(zone):
    """365 days, 365 runs, each on its own date, whatever the clocks do."""
    for line in ("30 2 * * *", "30 1 * * *", "0 0 * * *"):
        dates = [text[:10] for text in times(line, zone, "2026-06-01T12:00Z", 365)]
        assert len(set(dates)) == 365
        assert dt.date.fromisoformat(dates[-1]) - dt.date.fromisoformat(dates[0]) == dt.timedelta(364)


@pytest.mark.parametrize("zone", [BERLIN, NEW_YORK, "America/St_Johns", "Asia/Kolkata"])
@pytest.mark.parametrize("month", ["2026-10-20", "2027-03-10"])
def test_an_hourly_job_runs_in_each_hour_that_passes(zone, month):
    """Twenty days about each change have 480 hours, and no two runs are more or less than an hour apart."""
    timetable, after = Timetable.of("10 * * * *", zone), at(f"{month}T00:00Z")
    end, found = after + 20 * 86400, []
    while (after := timetable.next_after(after)) < end:
        found.append(after)
    assert len(found) == 480
    assert {round(b - a) for a, b in itertools.pairwise(found)} == {3600}


def test_the_function_for_one_question():
    """A text, a zone, a time; strictly later, and strictly earlier."""
    assert next_after("30 3 * * *", "UTC", at("2026-01-01T03:30Z")) == at("2026-01-02T03:30Z")
    assert previous_before("30 3 * * *", "UTC", at("2026-01-02T03:30Z")) == at("2026-01-01T03:30Z")
    assert next_after("", "UTC", 0.0) is None
    assert previous_before("", "UTC", 0.0) is None


@pytest.mark.parametrize("line", ["30 3 * * *", "* * * * *", "0 0 29 2 *", "every 6h"])
def test_a_clock_that_stands_beyond_the_calendar_is_no_crash(line):
    """Somebody's clock says the year 60,000: there is no next time, or a later one."""
    for now in (1e15, 253_402_300_790.0, -1e15):
        timetable = Timetable.of(line, BERLIN)
        upcoming, past = timetable.next_after(now), timetable.previous_at(now)
        assert upcoming is None or upcoming > now
        assert past is None or past <= now


# — laws —

ZONES = {
    BERLIN: ("2026-03-28", "2026-10-24"),
    NEW_YORK: ("2026-03-07", "2026-10-31"),
    LORD_HOWE: ("2026-10-03", "2026-04-04"),
    "America/St_Johns": ("2010-11-06", "2010-03-13"),  # set back one minute after midnight, to the day before
    "America/Havana": ("2026-10-31", "2026-03-07"),
    "Pacific/Apia": ("2011-12-29",),  # a whole day was left out
    "Antarctica/Casey": ("2010-03-04",),  # set back by three hours
}
DAYS = [(zone, start) for zone, starts in ZONES.items() for start in starts]


def numbers(first, last):
    value = st.integers(first, last)
    return st.one_of(
        st.just("*"),
        value.map(str),
        st.tuples(value, value).map(lambda pair: f"{min(pair)}-{max(pair)}"),
        st.lists(value, min_size=2, max_size=3).map(lambda values: ",".join(map(str, values))),
        st.integers(2, 7).filter(lambda step: step <= (6 if last == 7 else last) - first).map(lambda step: f"*/{step}"),
    )


LINES = st.tuples(numbers(0, 59), st.one_of(numbers(0, 4), numbers(20, 23)), numbers(1, 31), numbers(0, 7)).map(
    lambda f: f"{f[0]} {f[1]} {f[2]} * {f[3]}"
)


def walk(cron, zone, start, end):
    """Say the same by looking at the wall each minute that passes."""
    found, seen = [], None
    for now in range(int(start) - 86_400, int(end), 60):
        wall = dt.datetime.fromtimestamp(now, zone).replace(tzinfo=None)
        if cron.is_hourly:
            shown = [wall]
        else:  # each time that the wall reaches or skips, when it does so first
            shown = []
            while seen is not None and seen < wall:
                seen += dt.timedelta(minutes=1)
                shown.append(seen)
            seen = wall if seen is None else max(seen, wall)
        if now >= start and any(cron.fits(one.date()) and one.hour * 60 + one.minute in cron.minutes for one in shown):
            found.append(float(now))
    return found


@settings(max_examples=25, deadline=None)
@given(line=LINES, day=st.sampled_from(DAYS))
def test_law_it_is_what_the_wall_shows(line, day):
    """Forwards and backwards, over two days on which the clocks are set: what a watcher of the wall would say."""
    timetable = Timetable.of(line, day[0])
    start = at(f"{day[1]}T12:00Z")
    end = start + 2 * 86400
    expected = walk(timetable.when, timetable.zone, start, end)
    forwards, now = [], start - 1
    while (now := timetable.next_after(now)) is not None and now < end:
        forwards.append(now)
    backwards, now = [], end - 1
    while (now := timetable.previous_at(now)) is not None and now >= start:
        backwards.append(now)
        now = math.nextafter(now, -math.inf)
    assert forwards == expected
    assert backwards[::-1] == expected


NAMES = ("sun", "mon", "tue", "wed", "thu", "fri", "sat", "sun")


@settings(max_examples=100, deadline=None)
@given(
    minute=numbers(0, 59),
    hour=numbers(0, 23),
    month=numbers(1, 12),
    day=st.one_of(numbers(1, 28).map(lambda text: (text, "*")), st.integers(0, 7).map(lambda day: ("*", str(day)))),
    now=st.integers(1_700_000_000, 1_900_000_000),
)
def test_law_in_utc_it_is_what_apscheduler_says(minute, hour, month, day, now):
    """Where it means the same: no summer time, weekdays by name, and not both kinds of days restricted."""
    date, weekday = day
    spelled = NAMES[int(weekday)] if weekday.isdigit() else weekday
    trigger = CronTrigger(minute=minute, hour=hour, day=date, month=month, day_of_week=spelled, timezone="UTC")
    theirs = trigger.get_next_fire_time(None, dt.datetime.fromtimestamp(now + 1, dt.UTC))
    assert next_after(f"{minute} {hour} {date} {month} {weekday}", "UTC", now) == theirs.timestamp()
