"""The verb about sizes: report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from ckptd.cli.output import print_json
from ckptd.cli.request import current_request
from ckptd.cli.table import Column, show_table
from ckptd.cli.verbs import FINE, USAGE, verb
from ckptd.text import escape

if TYPE_CHECKING:
    from ckptd.report.facts import Facts
    from ckptd.report.layout import Section, Table

#: Rows of each table on a terminal; the page has more.
_MOST = 6


@verb("report", exit_status={**FINE, 1: "the index cannot be read, or a file cannot be written", **USAGE})
@click.option("--html", metavar="FILE", type=click.Path(), help="Write the whole report as one page without script or network.")
@click.option("--markdown", metavar="FILE", type=click.Path(), help="Write the whole report as Markdown.")
def report(*, html: str | None, markdown: str | None, as_json: bool) -> int:
    """Say what takes the room, what grows, and what could go; or write it as a page.

    Without a FILE a summary is printed. A file that is no report of ckptd is never replaced. The report job writes the same
    page each day: see report.directory in the settings, and docs/report.md for what each number means.
    """
    from ckptd.jobs.reporting import write_form  # what it needs takes a second; not for --help
    from ckptd.report.jsonform import report_to_json

    with current_request().open_app() as app:
        facts = app.report()
    for path, form in ((html, "html"), (markdown, "md")):
        if path is not None:
            write_form(facts, form, path)
            click.echo(f"wrote {escape(path, 1_000)}", err=True)
    if as_json:
        print_json(report_to_json(facts))
    elif html is None and markdown is None:
        _show(facts)
    return 0


def _show(facts: Facts) -> None:
    from ckptd.report.sections.overview import compose

    made = compose(facts)
    sections = {section.key: section for section in made.sections}
    click.echo(click.style(made.headline, bold=True))
    click.echo(click.style(made.subtitle, dim=True))
    click.echo()
    show_table(
        [Column("WHAT"), Column("NOW", number=True), Column("")], [[one.label, one.value, one.note] for one in made.figures]
    )
    if not facts.totals.files:
        return
    _show_section(sections["disks"], ())
    _show_section(sections["models"], sections["models"].tables)
    _show_section(sections["policy"], ())
    _show_section(sections["health"], sections["health"].tables[:1] if facts.health.troubles else ())
    _show_section(sections["jobs"], sections["jobs"].tables)
    click.echo()
    click.echo('"ckptd report --html FILE" writes everything as a page')


def _show_section(section: Section, tables: Sequence[Table]) -> None:
    click.echo()
    click.echo(click.style(section.title, bold=True))
    for sentence in section.lead:
        click.echo(sentence)
    for table in tables:
        columns = [Column(column.title.upper(), column.number) for column in table.columns]
        show_table(columns, [[cell.text for cell in row] for row in table.rows[:_MOST]])
        if len(table.rows) > _MOST:
            click.echo(f"and {len(table.rows) - _MOST:,} more")
