"""The verbs that work through files: run, scan, reindex."""

from __future__ import annotations

from dataclasses import asdict

import click

from ckptd.cli.human import format_duration, plural
from ckptd.cli.output import print_json
from ckptd.cli.progress import Progress
from ckptd.cli.request import current_request
from ckptd.cli.verbs import FINE, USAGE, verb

BUSY = {4: "another daemon holds the root; the message names its process"}


@verb(
    "run",
    exit_status={0: "ended by SIGTERM or Ctrl-C, in good order", 1: "could not go on", **USAGE, **BUSY},
    json_help="Log JSON lines, whatever log.format says.",
)
def run(*, as_json: bool) -> int:
    """Watch the roots and look after every checkpoint, in the foreground.

    Each new file is waited for until it is whole, read once by a confined process, indexed, and described in
    NAME_metadata.json beside it. SIGTERM and Ctrl-C end it in good order; what was not finished is done after the next start.
    """
    from ckptd import daemon
    from ckptd.logs import configure_logs

    overrides = {"log": {"format": "json"}} if as_json else {}
    settings = current_request().load_settings(**overrides)
    configure_logs(settings.log)
    return daemon.run(settings)


@verb(
    "scan",
    exit_status={
        0: "every file that was looked at is indexed",
        1: 'a file was rejected; "ckptd ls" shows which',
        **USAGE,
        **BUSY,
    },
)
@click.argument("paths", metavar="[PATH]...", nargs=-1, type=click.Path(path_type=str))
def scan(paths: tuple[str, ...], *, as_json: bool) -> int:
    """Make one pass over the roots, or over some paths, and end.

    It does what the daemon does when it starts: new and changed files are inspected, indexed and described; files that did
    not change are not read again.
    """
    with current_request().open_app() as app, Progress("scan", quiet=as_json) as progress:
        summary = app.scan(paths, progress)
    if as_json:
        print_json(asdict(summary))
    else:
        click.echo(_describe(asdict(summary)))
    return 1 if summary.rejected else 0


@verb("reindex", exit_status={**FINE, 1: "a file was rejected", **USAGE, **BUSY})
def reindex(*, as_json: bool) -> int:
    """Build the index anew from the files and the journal.

    The index can be thrown away: everything in it comes from the checkpoints, their metadata files and the journal in the
    state directory. Nothing beside the index is changed.
    """
    with current_request().open_app() as app, Progress("reindex", quiet=as_json) as progress:
        summary = app.reindex(progress)
    if as_json:
        print_json(asdict(summary))
    else:
        click.echo(_describe(asdict(summary)))
    return 1 if summary.rejected else 0


def _describe(summary: dict[str, float]) -> str:
    counts = ", ".join(f"{int(summary[key]):,} {key}" for key in ("new", "changed", "unchanged", "rejected", "missing"))
    return f"{plural(int(summary['seen']), 'file')} seen in {format_duration(summary['seconds'])}: {counts}"
