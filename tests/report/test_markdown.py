"""The Markdown form, as a real parser reads it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from markdown_it import MarkdownIt

from ckptd.report.layout import Cell, Column, Report, Section, Table
from ckptd.report.markdown import HEAD, render_markdown
from ckptd.report.sections.overview import compose
from ckptd.report.wording import show_name
from tests.report.making import HOSTILE, empty_facts, facts

#: What only our own words may make: headings, tables, paragraphs, bold figures, the line before the notes.
ALLOWED = {"heading", "table", "thead", "tbody", "tr", "th", "td", "paragraph", "inline", "hr", "html_block"}
ALLOWED_INLINE = {"text", "text_special", "strong", "code_inline"}


def parse(text: str) -> list[Any]:
    return MarkdownIt("commonmark").enable("table").parse(text)


def kinds(tokens: list[Any]) -> set[str]:
    return {token.type.removesuffix("_open").removesuffix("_close") for token in tokens}


def inlines(tokens: list[Any]) -> Iterator[Any]:
    for token in tokens:
        yield from token.children or ()


def text_of(token: Any) -> str:
    """Give the words of a paragraph or cell as a reader sees them."""
    return "".join(child.content for child in token.children)


@pytest.mark.parametrize("made", [facts(), facts(HOSTILE), empty_facts()], ids=["usual", "hostile", "empty"])
def test_nothing_but_our_own_markup_is_in_it(made):
    """Whatever a name holds: no HTML, no link, no picture, no list, no emphasis comes of it."""
    tokens = parse(render_markdown(compose(made)))
    assert kinds(tokens) <= ALLOWED
    assert kinds(list(inlines(tokens))) <= ALLOWED_INLINE
    assert [token.content for token in tokens if token.type == "html_block"] == [HEAD]


def test_each_row_has_its_cells():
    """A pipe in a name ends no cell."""
    report = compose(facts(HOSTILE))
    tokens = parse(render_markdown(report))
    width, widths = 0, []
    for token in tokens:
        if token.type in ("th_open", "td_open"):
            width += 1
        elif token.type == "tr_close":
            widths.append(width)
            width = 0
    tables = [table for section in report.sections for table in (*(plot.table for plot in section.plots), *section.tables)]
    expected = [3] * (1 + len(report.figures))
    for table in tables:
        expected += [len(table.columns)] * (1 + len(table.rows))
    assert widths == expected


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_reads_as_it_is(name):
    """The parser gives back the very words, in a cell, in a sentence and where a line begins."""
    shown = show_name(name)
    table = Table((Column("File"),), ((Cell(shown, is_name=True),), (Cell(shown),)))
    report = Report("t", "h", shown, (), (Section("k", "s", note=shown, lead=(shown,), tables=(table,)),))
    tokens = [token for token in parse(render_markdown(report)) if token.type == "inline"]
    assert [text_of(token) for token in tokens].count(shown) == 5


def test_plain_names_are_code():
    """They are read and copied as they stand, also where nothing renders them."""
    assert "`net_a`" in render_markdown(compose(facts()))


def test_every_figure_has_its_numbers():
    """A reader of Markdown sees no drawing, so each one's table is there."""
    text = render_markdown(compose(facts()))
    assert "**Growth on /srv/models**" in text
    assert "**Bytes by month**" in text
    assert "**What /srv/models holds**" in text
    assert "<svg" not in text
