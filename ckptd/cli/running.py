"""The verbs that work through files: run, scan, reindex."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from ckptd.cli.human import format_duration, plural
from ckptd.cli.output import print_json
from ckptd.cli.progress import Progress
from ckptd.cli.remote import name_config
from ckptd.cli.request import current_request
from ckptd.cli.verbs import FINE, NEWER, USAGE, verb

if TYPE_CHECKING:
    from ckptd.jobs.scanning import ScanSummary
    from ckptd.settings import Settings

BUSY = {4: "another daemon holds the root; the message names its process"}


@verb(
    "run",
    exit_status={
        0: "ended by SIGTERM or Ctrl-C, in good order",
        1: "could not go on, or a part of it did not end",
        **USAGE,
        **BUSY,
        **NEWER,
    },
    json_help="Log JSON lines, whatever log.format says.",
)
def run(*, as_json: bool) -> int:
    """Watch the roots and look after every checkpoint, in the foreground.

    Each new file is waited for until it is whole, read once by a confined process, indexed, and described in
    NAME_metadata.json beside it. SIGTERM and Ctrl-C end it in good order; what was not finished is done after the next start.
    SIGHUP reads the settings anew; when they are wrong it says why and goes on with those it has.
    """
    from ckptd.logs import configure_logs  # first: it imports structlog without what a daemon does not need

    from ckptd import daemon  # isort: skip

    request, overrides = current_request(), {"log": {"format": "json"}} if as_json else {}

    def read() -> Settings:
        return request.load_settings(**overrides)

    def use(settings: Settings) -> None:
        configure_logs(settings.log)

    settings = read()
    use(settings)
    return daemon.run(settings, read, use, name_config(request))


@verb(
    "scan",
    exit_status={
        0: "every file that was looked at is indexed",
        1: 'a file was rejected ("ckptd ls" shows which), or a loss is not believed',
        **USAGE,
        **BUSY,
        **NEWER,
    },
)
@click.argument("paths", metavar="[PATH]...", nargs=-1, type=click.Path(path_type=str))
@click.option(
    "--believe-losses", is_flag=True, help="Take files that are gone for gone, however many, and a changed root for the root."
)
def scan(paths: tuple[str, ...], *, believe_losses: bool, as_json: bool) -> int:
    """Make one pass over the roots, or over some paths, and end.

    It does what the daemon does when it starts: new and changed files are inspected, indexed and described; files that did
    not change are not read again. When most files of a root are gone at once, that is held for an incident and nothing is
    marked missing, until --believe-losses says that it is meant to be so.
    """
    with current_request().open_app() as app, Progress("scan", quiet=as_json) as progress:
        summary = app.scan(paths, progress, believe_losses=believe_losses)
    return _report(summary, as_json=as_json)


@verb("reindex", exit_status={**FINE, 1: "a file was rejected", **USAGE, **BUSY})
def reindex(*, as_json: bool) -> int:
    """Build the index anew from the files and the journal.

    The index can be thrown away: everything in it comes from the checkpoints, their metadata files and the journal in the
    state directory. Nothing beside the index is changed.
    """
    with current_request().open_app() as app, Progress("reindex", quiet=as_json) as progress:
        summary = app.reindex(progress)
    return _report(summary, as_json=as_json)


def _report(summary: ScanSummary, *, as_json: bool) -> int:
    if as_json:
        print_json(asdict(summary))
    else:
        click.echo(_describe(summary))
    return 1 if summary.rejected or summary.frozen else 0


def _describe(summary: ScanSummary) -> str:
    """Say what was done; what usually does not happen is only named when it did."""
    counts = [f"{getattr(summary, key):,} {key}" for key in ("new", "changed", "unchanged", "rejected", "missing")]
    counts += [f"{getattr(summary, key):,} {key}" for key in ("moved", "unfinished", "exported") if getattr(summary, key)]
    text = f"{plural(summary.seen, 'file')} seen in {format_duration(summary.seconds)}: {', '.join(counts)}"
    if summary.frozen:
        text += f"\n{plural(summary.frozen, 'file')} gone, which is not believed; ckptd scan --believe-losses does"
    return text
