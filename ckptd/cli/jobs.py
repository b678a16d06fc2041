"""The verbs about jobs: jobs, jobs run."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from ckptd.cli.human import format_duration, format_time, format_value
from ckptd.cli.output import print_json
from ckptd.cli.remote import pass_on
from ckptd.cli.request import current_request
from ckptd.cli.table import Column, show_table
from ckptd.cli.verbs import FINE, USAGE, common_options, verb, write_exit_status
from ckptd.text import escape

if TYPE_CHECKING:
    from ckptd.index.runs import JobRun
    from ckptd.jobs.overview import JobView


class _JobsGroup(click.Group):
    """The group of the verbs about jobs, with EXIT STATUS in its help as everywhere."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write what each exit status means."""
        del ctx
        trouble = {1: "a job failed, waits for a person or is overdue; or the index cannot be read"}
        write_exit_status(formatter, {**FINE, **trouble, **USAGE, 4: "another process runs a job; the message names it"})


@click.group("jobs", cls=_JobsGroup, invoke_without_command=True, subcommand_metavar="[run NAME]")
@common_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON; the keys are in docs/json.md.")
@click.pass_context
def jobs(context: click.Context, *, as_json: bool) -> int:
    """Show when each job runs, and how it ran last; or run one now.

    Jobs are run by "ckptd run", at the times of the settings' [schedule], in processes of their own. docs/jobs.md says what
    happens to runs that were missed or broken off.
    """
    if context.invoked_subcommand is not None:
        return 0
    passed_on = pass_on(context, current_request())
    if passed_on is not None:
        return passed_on
    with current_request().open_app() as app:
        views = app.jobs()
    if as_json:
        print_json([_view_to_json(view) for view in views])
    else:
        _show(views)
    return 1 if any(_is_trouble(view) for view in views) else 0


@verb(
    "run",
    exit_status={
        0: "it is done",
        1: "it failed, waits for a person, or was told to stop",
        **USAGE,
        4: "another process runs a job; the message names it",
    },
)
@click.argument("name", metavar="NAME")
def run(name: str, *, as_json: bool) -> int:
    """Run a job now, in this process.

    It does what the scheduled run would do. The first Ctrl-C ends it in good order, the second at once; nothing is lost by
    either.
    """
    with current_request().open_app() as app, _stoppable() as stop:
        done = app.run_job(name, stop)
    if as_json:
        print_json(_run_to_json(done))
    else:
        _show_run(done)
    return 0 if done.outcome.value == "ok" else 1


jobs.add_command(run)


@contextmanager
def _stoppable() -> Iterator[Callable[[], bool]]:
    """Take the first SIGINT or SIGTERM for a wish to end, for as long as the block lasts."""
    asked: list[int] = []
    before: dict[int, Any] = {}

    def note(number: int, _frame: FrameType | None) -> None:
        asked.append(number)
        for one in before:
            signal.signal(one, before[one])

    for wish in (signal.SIGINT, signal.SIGTERM):
        before[wish] = signal.signal(wish, note)
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _is_trouble(view: JobView) -> bool:
    return view.overdue_since is not None or (view.last is not None and view.last.outcome.value in ("failed", "held"))


def _show(views: list[JobView]) -> None:
    titles = ("JOB", "SCHEDULE", "LAST RUN", "OUTCOME", "TOOK", "NEXT RUN")
    columns = [Column(title, number=title == "TOOK") for title in titles]
    show_table(columns, [_row(view) for view in views])
    for view in views:
        if view.overdue_since is not None:
            mark = click.style(f"{view.name}:", fg="red")
            click.echo(f"{mark} it did not run when its time came, {format_time(view.overdue_since)}")
        if view.last is not None and view.last.reason:
            click.echo(f"{view.name}: {escape(view.last.reason, 2_000)}")


def _row(view: JobView) -> list[str]:
    last = view.last
    took = "-" if last is None or last.finished_at is None else format_duration(max(0.0, last.finished_at - last.started_at))
    return [
        view.name,
        view.words,
        "-" if last is None else format_time(last.started_at),
        "-" if last is None else last.outcome.value,
        took,
        "overdue" if view.overdue_since is not None else format_time(view.next_at),
    ]


def _show_run(done: JobRun) -> None:
    took = format_duration(max(0.0, (done.finished_at or done.started_at) - done.started_at))
    reason = f": {escape(done.reason, 2_000)}" if done.reason else ""
    click.echo(f"{done.job}: {done.outcome.value} after {took}{reason}")
    for key, value in done.summary.items():
        click.echo(f"  {escape(key, 40):<20}{format_value(value, 400)}")


def _view_to_json(view: JobView) -> dict[str, Any]:
    return {
        "name": view.name,
        "description": view.description,
        "schedule": view.schedule,
        "words": view.words,
        "last": None if view.last is None else _run_to_json(view.last),
        "next_at": view.next_at,
        "overdue_since": view.overdue_since,
    }


def _run_to_json(run: JobRun) -> dict[str, Any]:
    return {
        "job": run.job,
        "run": run.run,
        "outcome": run.outcome.value,
        "scheduled_for": run.scheduled_for,
        "started_at": run.started_at,
        "finished_at": run.finished_at,
        "reason": run.reason,
        "summary": dict(run.summary),
    }
