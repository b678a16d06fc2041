"""Tables: by rich on a terminal, plain aligned columns for a pipe.  Every cell is escaped here, whoever filled it."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

import click

from ckptd.cli.human import is_terminal
from ckptd.text import escape

_CELL_LIMIT = 300
_STYLES = {
    "ok": "green",
    "unsafe": "bold red",
    "damaged": "red",
    "needs_code": "yellow",
    "not_a_checkpoint": "yellow",
    "unreadable": "red",
    "failed": "red",
    "error": "red",
    "warning": "yellow",
    "keep": "green",
    "slim": "cyan",
    "archive": "yellow",
    "trash": "red",
    "hold": "bold magenta",
}


class Column(NamedTuple):
    """A column's heading; `number` aligns it to the right."""

    title: str
    number: bool = False


def show_table(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> None:
    """Write a table to stdout."""
    safe = [[escape(cell, _CELL_LIMIT) for cell in row] for row in rows]
    if is_terminal():
        _show_rich(columns, safe)
    else:
        click.echo(render_plain(columns, safe))


def render_plain(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> str:
    """Align columns with spaces, two between them and none at the end of a line."""
    lines = [[column.title for column in columns], *rows]
    widths = [max(text_width(line[i]) for line in lines) for i in range(len(columns))]
    return "\n".join(
        "  ".join(
            _pad(cell, width, right=column.number) for cell, width, column in zip(line, widths, columns, strict=True)
        ).rstrip()
        for line in lines
    )


def text_width(text: str) -> int:
    """Count the cells a terminal needs: wide characters take two, combining ones none."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def _pad(text: str, width: int, *, right: bool) -> str:
    space = " " * (width - text_width(text))
    return space + text if right else text + space


def _show_rich(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console  # 60 ms, and only a terminal needs it
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column.title, justify="right" if column.number else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell, style=_STYLES.get(cell, "")) for cell in row))  # Text: names may hold rich's own markup
    Console().print(table)
