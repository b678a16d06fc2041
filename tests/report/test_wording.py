"""Numbers, times and names as people read them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckptd.report import wording
from tests.report.making import HOSTILE, NOW


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [(1, 2, "50 %"), (0, 5, "0 %"), (1, 500, "<1 %"), (5, 5, "100 %"), (9_999, 10_000, "99 %"), (1, 0, "-"), (0, 0, "-")],
)
def test_percent(part, whole, text):
    """All but nothing is not all, and a little is not nothing."""
    assert wording.percent(part, whole) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0.2, "less than a day"), (1.2, "1 day"), (41.4, "41 days"), (99.4, "99 days"), (240, "8 months"), (800, "2 years")],
)
def test_days(count, text):
    assert wording.days(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.41, "0.4 s"), (59, "59 s"), (200, "3 min"), (18_000, "5 h"), (864_000, "10 days"), (-3, "0.0 s")]
)
def test_span(seconds, text):
    assert wording.span(seconds) == text


def test_sizes_have_a_sign():
    assert wording.size(1536) == "1.5 KiB"
    assert wording.size(-1536) == "−1.5 KiB"
    assert wording.size(-0.2) == "0 B"
    assert wording.rate(1536.4) == "1.5 KiB a day"


def test_times_are_in_the_zone():
    assert wording.moment(NOW, "UTC") == "2026-11-18 11:06"
    assert wording.moment(NOW, "Europe/Berlin") == "2026-11-18 12:06"
    assert wording.day(NOW, "Pacific/Auckland") == "2026-11-19"


@pytest.mark.parametrize("at", [None, 1e30, -1e30, float("inf"), float("nan")])
def test_a_time_of_no_calendar_is_a_dash(at):
    assert wording.moment(at, "UTC") == "-"


def test_counts_have_their_noun():
    assert wording.plural(1, "file") == "1 file"
    assert wording.plural(2_184, "file") == "2,184 files"
    assert wording.plural(0, "entry", "entries") == "0 entries"


def test_a_long_name_keeps_both_ends():
    """Paths of one run differ at their ends."""
    shown = wording.show_name("runs/" + "x" * 500 + "/epoch_0099.pth")
    assert len(shown) == wording.NAME_CHARACTERS
    assert shown.startswith("runs/")
    assert shown.endswith("/epoch_0099.pth")
    assert "…" in shown


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_is_one_line_of_visible_text(name):
    """No control character, no direction, no half of a character is left."""
    shown = wording.show_name(name)
    assert shown.isprintable()
    assert len(shown) <= wording.NAME_CHARACTERS
    shown.encode()


@given(st.text(st.characters(), max_size=300))
def test_any_name_is_one_line_of_visible_text(name):
    shown = wording.show_name(name)
    assert shown.replace("\u3000", " ").isprintable() or all(char.isprintable() or char.isspace() for char in shown)
    assert "\n" not in shown
    assert "\x1b" not in shown


def test_paths_have_their_root_where_there_are_several():
    assert wording.show_path("/srv/a/", "b.pth", several_roots=True) == "/srv/a/b.pth"
    assert wording.show_path("/srv/a", "b.pth", several_roots=False) == "b.pth"


def test_months_have_names():
    assert wording.month_name("2026-11") == "Nov 2026"
