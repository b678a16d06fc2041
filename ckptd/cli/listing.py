"""The verbs that ask the index: ls, show, best, find."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import click

from ckptd.cli.card import render_card
from ckptd.cli.human import format_time
from ckptd.cli.output import print_json
from ckptd.cli.records import show_records
from ckptd.cli.request import current_request
from ckptd.cli.verbs import FINE, USAGE, verb
from ckptd.jobs.record_json import marks_to_json, record_to_json
from ckptd.model import Record
from ckptd.text import escape

if TYPE_CHECKING:
    from ckptd.index.marks import Mark


def _order_options(function: Callable[..., Any]) -> Callable[..., Any]:
    sort = click.option(
        "--sort", metavar="KEY", default="path", show_default=True, help='Sort by this: see "Sorting" in docs/queries.md.'
    )
    reverse = click.option("--reverse", is_flag=True, help="Turn the order round.")
    limit = click.option("--limit", metavar="N", type=click.IntRange(min=1), help="Show at most N.")
    return sort(reverse(limit(function)))


@verb("ls", exit_status={**FINE, 1: "the index cannot be read", **USAGE})
@_order_options
def ls(*, sort: str, reverse: bool, limit: int | None, as_json: bool) -> int:
    """List what the index knows.

    One line per file: "ckptd ls --sort size --reverse --limit 10" shows the ten largest.
    """
    return _list(None, sort, limit, reverse=reverse, as_json=as_json)


@verb("find", exit_status={**FINE, 1: "the index cannot be read", **USAGE})
@click.argument("query", metavar="QUERY")
@_order_options
def find(query: str, *, sort: str, reverse: bool, limit: int | None, as_json: bool) -> int:
    """List the checkpoints that fit a query.

    A query compares fields with values and joins the comparisons by "and", "or" and "not":
    "accuracy>0.8 and dataset=ECG and size>10MB and age<30d". docs/queries.md has all fields.
    """
    return _list(query, sort, limit, reverse=reverse, as_json=as_json)


def _list(query: str | None, sort: str, limit: int | None, *, reverse: bool, as_json: bool) -> int:
    with current_request().open_app() as app:
        records = app.records(query, sort, reverse, limit)
    if as_json:
        print_json([record_to_json(record) for record in records])
    elif records:
        show_records(records)
    else:
        click.echo(
            "nothing fits the query" if query else 'the index is empty; "ckptd scan" fills it, "ckptd run" keeps it full',
            err=True,
        )
    return 0


@verb("show", exit_status={**FINE, 1: "the index cannot be read", **USAGE, 2: "no checkpoint has that name, or several have"})
@click.argument("name", metavar="NAME")
def show(name: str, *, as_json: bool) -> int:
    """Show everything that is known about one checkpoint.

    NAME is a number from "ckptd ls", a path, a file name with or without its ending, or the beginning of a digest.
    """
    with current_request().open_app() as app:
        record = app.show(name)
        marks = app.marks(record)
    if as_json:
        print_json(record_to_json(record, whole=True) | marks_to_json(marks))
    else:
        _show_record(record, marks)
    return 0


def _show_record(record: Record, marks: Sequence[Mark]) -> None:
    place = [
        ("place", f"{escape(record.root, 500)}, number {record.id}, {record.state.value}"),
        ("modified", format_time(record.identity.mtime_ns / 1e9)),
        ("first seen", format_time(record.first_seen_at)),
        ("inspected", format_time(record.inspected_at)),
    ]
    if marks:
        place.append(("kept by", ", ".join(dict.fromkeys(_describe(mark) for mark in marks))))
    if record.copies:
        place.append(("copies", ", ".join(escape(path, 200) for path in record.copies)))
    if record.inspection is not None:
        click.echo(render_card(record.inspection, place))
        return
    click.echo(click.style(escape(record.path, 1_000), bold=True))
    for label, text in place:
        click.echo(f"  {label:<14}{text}")


def _describe(mark: Mark) -> str:
    return "a pin" if mark.kind == "pin" else f"the {mark.kind} {mark.name}"


@verb("best", exit_status={0: "at least one checkpoint has the metric", 1: "none has it", **USAGE})
@click.option("--metric", metavar="M", required=True, help="The metric, such as accuracy, f1 or loss.")
@click.option("--group", metavar="G", help="Only this group: a model, or model/dataset.")
@click.option("--min", "mode", flag_value="min", help="The lowest value is the best, as for a loss.")
@click.option("--max", "mode", flag_value="max", help="The highest value is the best. Default: what the metric's name means.")
def best(*, metric: str, group: str | None, mode: Literal["min", "max"] | None, as_json: bool) -> int:
    """Show the best checkpoint of each group by a metric.

    A group is a model with a data set. A checkpoint without the metric takes no part; of equals all are shown.
    """
    with current_request().open_app() as app:
        records = app.best(metric, group, mode)
    if as_json:
        print_json([record_to_json(record) for record in records])
    elif records:
        show_records(records, metric=_canonical(records, metric))
    else:
        click.echo(f"no checkpoint{'' if group is None else ' of ' + escape(group)} has the metric {escape(metric)}", err=True)
    return 0 if records else 1


def _canonical(records: Sequence[Record], metric: str) -> str | None:
    """Find the name under which all records have the metric; None where groups were judged by different ones."""
    known = [record.inspection.metadata for record in records if record.inspection is not None]
    spelt = [name for metadata in known for name, spelling in metadata.spellings.items() if spelling == metric]
    for name in (metric, *spelt):
        if all(name in metadata.metrics for metadata in known):
            return name
    return None
