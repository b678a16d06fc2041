"""The report as Markdown: tables and sentences, no HTML, so that it reads in a terminal, a mail and on a forge alike."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ckptd.report.layout import Cell, Report, Section, Table

#: The beginning of every file; what begins otherwise is none of ours.
HEAD = "<!-- ckptd report, version 1 -->\n"

#: What can stand between backticks in a cell of a table as it is.
_PLAIN = re.compile(r"[^`|\\]+")
#: What begins or ends markup wherever it stands, ends a cell, or makes a link, a formula or a mention in some dialect.  A "_"
#: between letters is none of that.
_SPECIAL = re.compile(r"[\\`*\[\]<>#|&~^$@]|_(?![A-Za-z0-9])|(?<![A-Za-z0-9])_|:(?=//)|(?<=www)\.", re.IGNORECASE)
#: What begins a list, a heading, a quotation or a line where it stands first.
_LEADING = re.compile(r"\s*(?:[-+=]|[0-9]{1,9}[.)](?=\s|$))")
_NAMED = {"<": "&lt;", ">": "&gt;", "&": "&amp;"}


def render_markdown(report: Report) -> str:
    """Render the whole page."""
    lines = [f"{HEAD}# {_text(report.headline)}", "", _line(report.subtitle), ""]
    lines += ["| | | |", "|---|--:|---|"]
    lines += [f"| {_text(one.label)} | **{_text(one.value)}** | {_text(one.note)} |" for one in report.figures]
    for section in report.sections:
        lines += _section(section)
    lines += ["", "---", ""]
    for note in report.footnotes:
        lines += [_line(note), ""]
    return "\n".join(lines).rstrip("\n") + "\n"


def _section(section: Section) -> Iterator[str]:
    yield from ("", f"## {_text(section.title)}", "")
    for sentence in section.lead:
        yield from (_line(sentence), "")
    for table in (*(plot.table for plot in section.plots), *section.tables):
        yield from _table(table)
    if section.note:
        yield _line(section.note)


def _table(table: Table) -> Iterator[str]:
    if table.title:
        yield from (f"**{_text(table.title)}**", "")
    yield _row(column.title for column in table.columns)
    yield _row("--:" if column.number else "---" for column in table.columns)
    for row in table.rows:
        yield _row(_cell(cell) for cell in row)
    yield ""
    if table.more:
        yield from (_line(table.more), "")


def _row(cells: Iterator[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _cell(cell: Cell) -> str:
    text = _name(cell.text) if cell.is_name else _text(cell.text)
    return f"{text} ({_text(cell.below)})" if cell.below else text


def _name(text: str) -> str:
    return f"`{text}`" if _PLAIN.fullmatch(text) and text.strip() == text else _text(text)


def _line(text: str) -> str:
    """Write text that begins a line."""
    text = _text(text)
    found = _LEADING.match(text)
    return text if found is None else "".join(map(_entity, found[0])) + text[found.end() :]


def _text(text: str) -> str:
    """Write text so that no dialect takes any of it for markup: as entities, which show as what they stand for."""
    return _SPECIAL.sub(lambda found: _entity(found[0]), text)


def _entity(char: str) -> str:
    return _NAMED.get(char, f"&#{ord(char)};")
