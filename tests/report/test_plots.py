"""Drawings: round scales, dates that do not run into each other, points that are kept."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckptd.report.growth import day_number
from ckptd.report.layout import Columns, Line, Part, SplitBar
from ckptd.report.plots import draw, nice_step, nice_top
from tests.report.making import GIB

LINE = Line("Growth", "It grew.", day_number("2026-01-20"), tuple(index * GIB // 9 for index in range(300)))


def texts(drawing: str, place: str = "") -> list[str]:
    return re.findall(rf"<text [^>]*{place}[^>]*>([^<]*)</text>", drawing)


def axis(drawing: str) -> list[str]:
    """Give the words below a plot."""
    return texts(drawing, 'y="209"')


@pytest.mark.parametrize(
    ("most", "top"),
    [
        (1, 1),
        (900, 1_000),
        (3.7e8, 400 * 1024**2),
        (4.02 * GIB, 5 * GIB),
        (2 * GIB, 2 * GIB),
        (1_020 * GIB, 1_250 * GIB),
        (1.1e12, 1.25 * 1024**4),
    ],
)
def test_a_scale_ends_in_a_round_number(most, top):
    assert nice_top(most) == pytest.approx(top)


@given(st.floats(1, 2**60))
def test_a_scale_has_at_most_five_lines(most):
    """And reaches what it shows, with less than half of it to spare."""
    top, step = nice_top(most), nice_step(most)
    assert top >= most * 0.999
    assert top <= most * 2.01
    assert 1 <= round(top / step) <= 5
    assert nice_step(top) == step or top / nice_step(top) <= 5.01


def test_the_line_says_where_it_stands():
    drawing = draw(LINE, "k")
    assert "33.2 GiB" in texts(drawing, "strong")
    assert axis(drawing) == ["Mar 2026", "May", "Jul", "Sep", "Nov"]


def test_a_full_disk_and_the_first_look_are_marked():
    drawing = draw(
        replace(LINE, ceiling=60 * GIB, known_from=LINE.first_day + 100, ahead_days=90, ahead=(3e10, 4e10, 5e10)), "k"
    )
    assert "full at 60.0 GiB" in texts(drawing)
    assert 'class="since"' in drawing
    assert 'class="fan"' in drawing
    assert 'class="ahead"' in drawing
    assert "Jan 2027" in axis(drawing)


def test_a_short_line_has_days():
    assert axis(draw(replace(LINE, levels=LINE.levels[:30]), "k")) == ["20 Jan", "27 Jan", "3 Feb", "10 Feb", "17 Feb"]


def test_a_date_that_has_no_room_is_left_out():
    """March stands at the very edge and takes the room of May, which begins a hand's breadth behind it."""
    line = replace(LINE, first_day=day_number("2026-02-25"), levels=tuple(range(360)))
    assert axis(draw(line, "k")) == ["Mar 2026", "Jul", "Sep", "Nov", "Jan 2027"]


def test_years_are_years():
    drawing = draw(replace(LINE, first_day=day_number("2019-05-01"), levels=tuple(range(365 * 6))), "k")
    assert axis(drawing)[:2] == ["2020", "2021"]


def test_a_peak_is_not_lost_among_a_thousand_days():
    """Points are left out evenly; the highest of each step stays."""
    levels = [GIB] * 1_000
    levels[501] = 8 * GIB
    path = re.search(r'<path d="(M[^"]*)" class="level">', draw(replace(LINE, levels=tuple(levels)), "k"))
    assert path is not None
    heights = [float(point.split(",")[1]) for point in path[1][1:].split("L")]
    assert len(heights) < 300
    assert min(heights) == pytest.approx(0)


def test_one_day_is_a_line_too():
    assert "<svg" in draw(replace(LINE, levels=(GIB,)), "k")
    assert "<svg" in draw(replace(LINE, levels=(0,)), "k")


def test_columns_have_a_word_each_for_who_points_at_them():
    drawing = draw(Columns("By month", "d", ("2026-08", "2026-09", "2026-10"), (GIB, 0, 4 * GIB)), "k")
    assert re.findall(r"<title>([^<]*)</title>", drawing) == ["Aug 2026: 1.0 GiB", "Oct 2026: 4.0 GiB"]
    assert "4.0 GiB" in texts(drawing, "strong")
    assert axis(drawing) == ["Aug 2026", "Sep", "Oct"]


def months(count: int) -> tuple[str, ...]:
    return tuple(f"{2024 + number // 12}-{number % 12 + 1:02}" for number in range(count))


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (1, ["Jan 2024"]),
        (6, ["Jan 2024", "Feb", "Mar", "Apr", "May", "Jun"]),
        (13, ["Jan 2024", "Apr", "Jul", "Oct", "Jan 2025"]),
        (18, ["Mar 2024", "Jun", "Sep", "Dec", "Mar 2025", "Jun"]),
        (36, ["Jan 2024", "Jan 2025", "Jan 2026"]),
    ],
)
def test_months_do_not_run_into_each_other(count, words):
    """The last one is named, or each January of many; the year with its first month; on a phone too."""
    assert axis(draw(Columns("By month", "d", months(count), (GIB,) * count), "k")) == words


def test_the_parts_of_a_bar_fill_it():
    """Each has its words in the drawing, and what is hardly there can still be seen."""
    bar = SplitBar("d", "d", (Part("checkpoints", 60, "checkpoints"), Part("free", 39, "free"), Part("trash", 1, "trash")))
    drawing = draw(bar, "k")
    assert re.findall(r'x="([0-9.]+)%"', drawing) == ["0.00", "60.00", "99.00"]
    assert re.findall(r"<title>([^<]*)</title>", drawing) == ["checkpoints: 60 B", "free: 39 B", "trash: 1 B"]
    tiny = draw(replace(bar, parts=(Part("checkpoints", 1, "checkpoints"), Part("free", 10**9, "free"))), "k")
    assert 'width="0.50%"' in tiny


def test_an_empty_disk_is_drawn():
    assert "<svg" in draw(SplitBar("d", "d", (Part("checkpoints", 0, "checkpoints"),)), "k")
