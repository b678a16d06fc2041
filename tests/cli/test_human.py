"""Sizes, numbers, times and tables as people read them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckptd.cli.human import format_duration, format_metrics, format_number, format_time, format_value
from ckptd.cli.table import Column, render_plain, text_width
from ckptd.text import escape, format_size


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (1 << 20, "1.0 MiB"),
        ((1 << 20) - 1, "1.0 MiB"),
        (5 << 40, "5.0 TiB"),
        (1 << 70, "1048576.0 PiB"),
    ],
)
def test_sizes_are_binary(size, text):
    """And never "1024.0 KiB"."""
    assert format_size(size) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.87, "0.87"),
        (0.123456, "0.1235"),
        (3.0, "3"),
        (1234567, "1,234,567"),
        (1e-9, "1e-09"),
        (1e300, "1e+300"),
        (float("nan"), "nan"),
        (float("inf"), "inf"),
        (-2.5, "-2.5"),
    ],
)
def test_numbers(value, text):
    """Four digits; whole numbers have separators; a hostile float is only odd."""
    assert format_number(value) == text


def test_times_are_local(monkeypatch):
    """Whatever the zone is; a time no calendar has is a dash."""
    import time

    monkeypatch.setenv("TZ", "Etc/GMT-2")
    time.tzset()
    try:
        assert format_time(1_700_000_000) == "2023-11-15 00:13"
    finally:
        monkeypatch.undo()
        time.tzset()
    assert format_time(None) == "-"
    assert format_time(1e30) == "-"
    assert format_time(float("nan")) == "-"


def test_durations_metrics_and_values():
    """Short forms for one line."""
    assert format_duration(0.4) == "0.40 s"
    assert format_duration(185) == "3 min 05 s"
    assert format_metrics({}) == "-"
    assert format_metrics({"a": 1.0, "b": 0.5, "c\x1b": 2.0, "d": 1.0}) == "a 1, b 0.5, c\\x1b 2 …"
    assert format_value([1, "x\n", None, True, {"k": 0.5}]) == "[1, x\\x0a, -, yes, {k: 0.5}]"


def test_plain_columns_align_wide_characters():
    """A name in Chinese takes two cells a character."""
    table = render_plain([Column("NAME"), Column("N", number=True)], [["日本", "1"], ["abcd", "22"]])
    assert table.split("\n") == ["NAME   N", "日本   1", "abcd  22"]


@given(st.lists(st.lists(st.text(max_size=12).map(escape), min_size=3, max_size=3), max_size=6))
def test_every_column_begins_at_one_place(rows):
    """For any escaped cells, no line ends in a space and each is as wide as the columns before it ask."""
    lines = render_plain([Column("A"), Column("B", number=True), Column("C")], rows).split("\n")
    assert len(lines) == len(rows) + 1
    start = max(text_width(r[0]) for r in [["A"], *rows]) + max(text_width(r[1]) for r in [["", "B"], *rows]) + 4
    for line, row in zip(lines[1:], rows, strict=True):
        if row[2].strip() and row[2] == row[2].strip():
            assert text_width(line) == start + text_width(row[2])
