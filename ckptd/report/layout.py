"""A report as a value: sections of tables, figures and sentences, the same for HTML, Markdown and the terminal.

All texts in it are escaped and shortened already, as plain text: no markup of any kind has a meaning here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

#: How a figure or a word is meant; always said in words too, since colours say nothing to many.
Tone = Literal["", "good", "warn", "bad"]


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of a table.

    Attributes:
        text: what it says.
        below: a second, smaller line.
        is_name: True for what comes from a file or a path; it is set apart from our own words.
        share: 0 to 1, drawn as a bar behind the text; None for none.
    """

    text: str
    below: str = ""
    is_name: bool = False
    share: float | None = None
    tone: Tone = ""


@dataclass(frozen=True, slots=True)
class Column:
    """A column's heading; `number` aligns it to the right."""

    title: str
    number: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under headings.

    Attributes:
        title: what it is, in a few words; empty where the section's title says it.
        more: a sentence about what is left out; empty when nothing is.
    """

    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    title: str = ""
    more: str = ""


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a whole.

    Attributes:
        style: one of the fixed classes that the style sheet has a colour and a pattern for.
    """

    label: str
    size_bytes: int
    style: str


@dataclass(frozen=True, slots=True)
class SplitBar:
    """A whole in its parts, as one bar: what a disk holds."""

    title: str
    description: str
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Columns:
    """Bytes by month as columns; months without any have 0.

    Attributes:
        labels: "2026-11"; without gaps.
    """

    title: str
    description: str
    labels: tuple[str, ...]
    size_bytes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Line:
    """A level over days, and where it goes.

    Attributes:
        first_day: days since the epoch.
        levels: bytes, day by day.
        known_from: day from which removals are known; None when all are.
        ceiling: bytes at which the disk is full; None when that is far off or not known.
        ahead_days: how far the forecast is drawn; 0 for none.
        ahead: bytes at its end: the slow, the likely and the fast one.
    """

    title: str
    description: str
    first_day: int
    levels: tuple[int, ...]
    known_from: int | None = None
    ceiling: int | None = None
    ahead_days: int = 0
    ahead: tuple[float, float, float] = (0.0, 0.0, 0.0)


Figure = SplitBar | Columns | Line


@dataclass(frozen=True, slots=True)
class Plot:
    """A figure, and the same numbers as a table for who can't see it."""

    figure: Figure
    table: Table


@dataclass(frozen=True, slots=True)
class KeyFigure:
    """One of the few numbers on top.

    Attributes:
        section: key of the section that says more.
    """

    label: str
    value: str
    note: str
    section: str
    tone: Tone = ""


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the report.

    Attributes:
        key: stable word; the anchor in HTML.
        note: what one has to know to read it, small.
        lead: sentences before everything else.
        plots, tables: in their order.
        is_grid: True where its tables are short and may stand side by side.
    """

    key: str
    title: str
    note: str = ""
    lead: tuple[str, ...] = ()
    plots: tuple[Plot, ...] = ()
    tables: tuple[Table, ...] = ()
    is_grid: bool = False


@dataclass(frozen=True, slots=True)
class Report:
    """All of it.

    Attributes:
        headline: one sentence.
        subtitle: of which machine and roots, and when.
    """

    title: str
    headline: str
    subtitle: str
    figures: tuple[KeyFigure, ...]
    sections: tuple[Section, ...]
    footnotes: tuple[str, ...] = field(default=())
