"""The report as one HTML file: no server, no network, no script; it reads well in light, dark, on a phone and printed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.resources import files

from ckptd.report import plots
from ckptd.report.layout import Cell, KeyFigure, Plot, Report, Section, Table
from ckptd.report.markup import Markup, element, joined

#: The beginning of every file; what begins otherwise is none of ours.
HEAD = "<!doctype html>\n<!-- ckptd report, version 1 -->\n"

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_ICON = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Cpath fill='%230b65b8' "
    "d='M1 9h4v6H1zM6 5h4v10H6zM11 1h4v14h-4z'/%3E%3C/svg%3E"
)


def render_html(report: Report) -> str:
    """Render the whole page."""
    style = Markup((files("ckptd.report") / "style.css").read_text("utf-8"))
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("meta", name="referrer", content="no-referrer"),
        element("title", report.title),
        element("link", rel="icon", href=_ICON),
        element("style", style),
    )
    body = element("body", _PATTERNS, _top(report), element("main", _figures(report), *_sections(report)), _bottom(report))
    return HEAD + element("html", head, body, lang="en") + "\n"


#: Hatchings, so that parts differ without their colours too.
_PATTERNS = Markup(
    '<svg width="0" height="0" class="patterns" aria-hidden="true"><defs>'
    '<pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
    '<rect width="6" height="6" class="hatch-ground"/><rect width="2" height="6" class="hatch-line"/></pattern>'
    '<pattern id="dots" width="6" height="6" patternUnits="userSpaceOnUse">'
    '<rect width="6" height="6" class="dots-ground"/><circle cx="2" cy="2" r="1.2" class="dots-dot"/></pattern>'
    "</defs></svg>"
)


def _top(report: Report) -> Markup:
    links = [element("a", section.title, href=f"#{section.key}") for section in report.sections]
    return element(
        "header",
        element("p", element("b", "ckptd"), " size report", class_="brand"),
        element("h1", report.headline),
        element("p", report.subtitle, class_="subtitle"),
        element("nav", *links, aria_label="Sections"),
    )


def _bottom(report: Report) -> Markup:
    return element("footer", *(element("p", note) for note in report.footnotes))


def _figures(report: Report) -> Markup:
    return element("ul", *(element("li", _figure(one)) for one in report.figures), class_="figures", aria_label="Key figures")


def _figure(one: KeyFigure) -> Markup:
    return element(
        "a",
        element("span", one.label, class_="label"),
        element("span", one.value, class_="value"),
        element("span", one.note, class_="note"),
        href=f"#{one.section}",
        class_=f"tone-{one.tone}" if one.tone else None,
    )


def _sections(report: Report) -> Iterator[Markup]:
    for section in report.sections:
        note = element("p", section.note, class_="note") if section.note else None
        about = element("div", element("h2", section.title), note, class_="about")
        yield element("section", about, element("div", *_content(section), class_="content"), id=section.key)


def _content(section: Section) -> Iterator[Markup]:
    for sentence in section.lead:
        yield element("p", sentence, class_="lead")
    for number, plot in enumerate(section.plots):
        yield _plot(plot, f"{section.key}-{number}")
    tables = [_table(table) for table in section.tables]
    yield element("div", *tables, class_="grid") if section.is_grid else joined(tables)


def _plot(plot: Plot, key: str) -> Markup:
    drawn = plots.draw(plot.figure, key)
    caption = element("figcaption", plot.figure.title)
    numbers = element("details", element("summary", "The numbers"), _table(plot.table))
    return element("figure", caption, drawn, numbers)


def _table(table: Table) -> Markup:
    head = element(
        "tr", *(element("th", one.title, scope="col", class_="number" if one.number else None) for one in table.columns)
    )
    rows = [
        element("tr", *(_cell(cell, is_number=column.number) for cell, column in zip(row, table.columns, strict=True)))
        for row in table.rows
    ]
    caption = element("caption", table.title) if table.title else None
    made = element("table", caption, element("thead", head), element("tbody", *rows))
    return element("div", made, element("p", table.more, class_="more") if table.more else None, class_="table")


_TONES = {"good": "✓ ", "warn": "! ", "bad": "✕ "}


def _cell(cell: Cell, *, is_number: bool) -> Markup:
    text: Markup = element("span", _breakable(cell.text), class_="name") if cell.is_name else joined((cell.text,))
    if cell.tone:
        text = element("span", element("span", _TONES[cell.tone], aria_hidden="true"), cell.text, class_=f"tone-{cell.tone}")
    below = element("span", _breakable(cell.below), class_="below") if cell.below else None
    if cell.share is None:
        return element("td", text, below, class_="number" if is_number else None)
    width = f"width:{min(max(100 * cell.share, 0), 100):.1f}%"
    return element("td", element("div", element("i", style=width), text, below, class_="bar"))


_SEAMS = re.compile(r"(?<=[_/])(?=[^_/])")
_BREAK = Markup("<wbr>")


def _breakable(text: str) -> Markup:
    """Let a name break where its parts meet; a copy of it is the name all the same."""
    parts = _SEAMS.split(text)
    return joined(one for number, part in enumerate(parts) for one in ((_BREAK, part) if number else (part,)))
