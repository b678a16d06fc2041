"""When a file came, and of which month it is."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import pytest

from ckptd.report.dating import DAY_SECONDS, Births, Months
from tests.report.making import DAY, NOW, TODAY

ROOT = b"/srv/models"


def ns(at: float) -> int:
    return int(at * 1e9)


class TestBirths:
    births = Births({ROOT: NOW - 100 * DAY})

    def test_what_came_later_came_when_it_was_seen(self):
        """`cp -p` keeps an old time: the file takes its room from today all the same."""
        assert self.births.day(ROOT, NOW, ns(NOW - 900 * DAY)) == TODAY

    def test_what_was_there_at_the_first_look_has_the_day_of_its_mtime(self):
        assert self.births.day(ROOT, NOW - 100 * DAY + 60, ns(NOW - 300 * DAY)) == TODAY - 300

    def test_the_first_look_may_take_a_day(self):
        """Half a million files are not read in an hour."""
        at = NOW - 100 * DAY + 0.99 * DAY
        assert self.births.day(ROOT, at, ns(NOW - 300 * DAY)) == TODAY - 300
        assert self.births.day(ROOT, at + DAY, ns(NOW - 300 * DAY)) == int((at + DAY) // DAY_SECONDS)

    @pytest.mark.parametrize("mtime", [0.0, -5.0, 1_000_000_000.0, NOW + 99 * DAY])
    def test_an_mtime_that_can_not_be_true_is_not_believed(self, mtime):
        """An archive unpacks with 0, a clock was wrong: the first sight counts."""
        at = NOW - 100 * DAY
        assert self.births.day(ROOT, at, ns(mtime)) == int(at // DAY_SECONDS)

    def test_a_root_that_is_not_known_has_no_first_look(self):
        assert self.births.day(b"/other", NOW, ns(NOW - 9 * DAY)) == TODAY


class TestMonths:
    months = Months(ZoneInfo("Europe/Berlin"), NOW)

    def test_a_stated_date_goes_before_the_mtime(self):
        assert self.months.month("2025-01-02", ns(NOW)) == "2025-01"
        assert self.months.month("2025-01-02T03:04:05+00:00", ns(NOW)) == "2025-01"

    @pytest.mark.parametrize("date", [None, "", "2025", "2025-13-01", "0001-01-01", "2099-01-01", "x" * 60, "20250102"])
    def test_else_the_mtime_counts(self, date):
        """A date out of a file may be anything, and one in the future is none."""
        assert self.months.month(date, ns(NOW)) == "2026-11"

    def test_a_month_begins_in_the_zone(self):
        """23:30 UTC on 31 October is November in Berlin."""
        assert self.months.month(None, ns(1_793_489_400.0)) == "2026-11"
        assert Months(ZoneInfo("UTC"), NOW).month(None, ns(1_793_489_400.0)) == "2026-10"

    @pytest.mark.parametrize("mtime_ns", [0, -1, (1 << 63) - 1, -(1 << 63), ns(NOW + 60 * DAY)])
    def test_a_time_that_can_not_be_true_has_no_month(self, mtime_ns):
        assert self.months.month(None, mtime_ns) == ""
