"""Lines of the [schedule] table: which are taken, what they mean in words, and what is said of the others."""

from __future__ import annotations

import pytest

from ckptd.errors import SettingsError
from ckptd.jobs.timetable_words import describe_when
from ckptd.settings import load_settings
from ckptd.settings.cron import Cron
from ckptd.settings.when import Every, Never, check_time_zone, check_when, find_zone, parse_when


@pytest.mark.parametrize(
    ("line", "same"),
    [
        ("0 0 * * 7", "0 0 * * 0"),
        ("0 0 * * SUN", "0 0 * * 0"),
        ("0 0 * * 5-7", "0 0 * * 5,6,0"),
        ("0 0 * * fri-sun", "0 0 * * 5,6,0"),
        ("0 0 * * mon-FRI", "0 0 * * 1-5"),
        ("0 0 * * 1-5/2", "0 0 * * 1,3,5"),
        ("0 0 * * */2", "0 0 * * 0,2,4,6"),
        ("0 0 1 Jan *", "0 0 1 1 *"),
        ("0 0 1 jan-mar *", "0 0 1 1,2,3 *"),
        ("*/20 * * * *", "0,20,40 * * * *"),
        ("5-20/5 * * * *", "5,10,15,20 * * * *"),
        ("1-3,2-4,59 0 * * *", "1,2,3,4,59 0 * * *"),
        ("007 0 * * *", "7 0 * * *"),
        ("@daily", "0 0 * * *"),
        ("@Weekly", "0 0 * * sun"),
        ("@hourly", "0 * * * *"),
        ("@monthly", "0 0 1 * *"),
        ("@yearly", "0 0 1 1 *"),
    ],
)
def test_two_spellings_of_the_same_times(line, same):
    """0 and 7 are Sunday; names, ranges, steps and lists mean the numbers that they stand for."""
    one, other = parse_when(line), parse_when(same)
    assert isinstance(one, Cron)
    assert isinstance(other, Cron)
    assert (one.minutes, one.days, one.months, one.weekdays) == (other.minutes, other.days, other.months, other.weekdays)


@pytest.mark.parametrize(
    ("text", "meant"),
    [("", Never()), ("  ", Never()), ("every 6h", Every(21600.0)), ("Every  1m 30s", Every(90.0)), ("every 90", Every(90.0))],
)
def test_intervals_and_nothing(text, meant):
    """A number alone is seconds, as in every duration."""
    assert parse_when(text) == meant


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("0 0 31 2 *", "never fires"),
        ("0 0 30 2 *", "never fires"),
        ("0 0 31 4,6,9,11 *", "never fires"),
        ("0 0 30,31 feb */2", "never fires"),
        ("60 * * * *", "0 to 59"),
        ("* 24 * * *", "0 to 23"),
        ("0 0 0 * *", "1 to 31"),
        ("0 0 * 13 *", "1 to 12"),
        ("0 0 * * 8", "0 to 7"),
        ("0 0 * * monday", "sun to sat"),
        ("* * * *", "five fields"),
        ("* * * * * *", "five fields"),
        ("@reboot", "five fields"),
        ("22-2 * * * *", "22-59,0-2"),
        ("5/10 * * * *", "5-59/10"),
        ("*/0 * * * *", "1 to 59"),
        ("*/90 * * * *", "every 90m"),
        ("0 */48 * * *", "every 48h"),
        ("1-5/6 * * * *", "1 to 4"),
        ("*-5 * * * *", "both sides"),
        ("1,,2 * * * *", "commas"),
        ("-1 * * * *", "commas"),
        ("1- * * * *", "commas"),
        ("0 0 ? * *", "commas"),
        ("0 0 L * *", "1 to 31"),
        ("0 0 15W * *", "1 to 31"),
        ("0 0 * * 1#2", "commas"),
        ("٣ * * * *", "commas"),
        ("99999999999999999999 * * * *", "0 to 59"),
        ("every 0", "at least one second"),
        ("every 500ms", "at least one second"),
        ("every 1e9", "not a duration"),
        ("every " + "9" * 400, "at most ten years"),
        ("every", "five fields"),
        ("every day", "not a duration"),
        ("sometimes", "five fields"),
    ],
)
def test_what_is_refused_says_what_to_write(line, word):
    """One sentence with the part that is wrong; a line that never fires is refused when the settings are read."""
    with pytest.raises(ValueError, match=r".") as caught:
        check_when(line)
    assert word in str(caught.value)


@pytest.mark.parametrize("line", ["0 0 29 2 *", "0 0 29 feb */3", "0 0 31 2 mon", "0 0 31 * *", "0 0 1 1 */2"])
def test_what_is_rare_is_not_never(line):
    """29 February, even on some weekdays; and where the weekday is enough, a day that never comes does no harm."""
    check_when(line)


def test_settings_say_which_line_is_wrong():
    """With the key, as every problem of the settings."""
    with pytest.raises(SettingsError) as caught:
        load_settings(None, {"schedule": {"purge": "0 0 31 2 *", "time_zone": "Europe/Berlinn"}}, {})
    purge, zone = sorted(caught.value.problems)
    assert purge.startswith("command line: schedule.purge: '0 0 31 2 *' never fires")
    assert zone.startswith("command line: schedule.time_zone: 'Europe/Berlinn' is no time zone")


@pytest.mark.parametrize("name", ["", "../etc/passwd", "/etc/localtime", "Europe", "nowhere", "Europe/Berlin\0"])
def test_a_zone_that_is_none(name):
    """Neither a path nor a directory is one."""
    with pytest.raises(ValueError, match="no time zone"):
        check_time_zone(name)


def test_utc_needs_no_list_of_zones(monkeypatch):
    """A small system has none, and the settings' default has to hold there too."""
    monkeypatch.setattr("ckptd.settings.when.ZoneInfo", None)
    assert find_zone("UTC").utcoffset(None).total_seconds() == 0


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("30 3 * * *", "03:30 every day (UTC)"),
        ("0 6 * * sun", "06:00 on Sundays (UTC)"),
        ("0 6 * * 1-5", "06:00 on Mondays to Fridays (UTC)"),
        ("0 6 * * 6,7", "06:00 on Saturdays, Sundays (UTC)"),
        ("* * * * *", "every minute of every hour (UTC)"),
        ("*/15 * * * *", "every 15 minutes of every hour (UTC)"),
        ("7,37 * * * *", "minute 7, 37 of every hour (UTC)"),
        ("30 * * * sat", "minute 30 of every hour on Saturdays (UTC)"),
        ("*/10 8-17 * * *", "every 10 minutes of the hours 8-17 every day (UTC)"),
        ("0 */2 * * *", "minute 0 of the hours 0, 2 … 22 every day (UTC)"),
        ("0 0,6,12,18 * * *", "00:00, 06:00, 12:00, 18:00 every day (UTC)"),
        ("0 0 1,15 * *", "00:00 on day 1, 15 of every month (UTC)"),
        ("0 0 13 * fri", "00:00 on day 13 of every month, and on Fridays (UTC)"),
        ("0 0 1-7 * */6", "00:00 on day 1-7 of every month, but only on Saturdays, Sundays (UTC)"),
        ("0 0 1 jan,jul *", "00:00 on day 1 in January, July (UTC)"),
        ("0 0 1 jan mon", "00:00 on day 1 and on Mondays, in January (UTC)"),
        ("5 4 * jan *", "04:05 every day in January (UTC)"),
        ("every 6h", "every 6 h"),
        ("every 90m", "every 90 min"),
        ("every 1m1s", "every 61 s"),
        ("every 2d", "every 2 d"),
        ("", "never by itself"),
    ],
)
def test_a_line_in_words(line, words):
    """As `ckptd jobs` shows it."""
    assert describe_when(parse_when(line), "UTC") == words
