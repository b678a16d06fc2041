"""`ckptd inspect`: one read of each file in a confined child.  No index, no torch, pydantic only where there are settings."""

from __future__ import annotations

import click

from ckptd.cli.card import render_card
from ckptd.cli.confined import inspect_file
from ckptd.cli.output import print_json_line
from ckptd.cli.request import Request, current_request
from ckptd.cli.verbs import USAGE, verb
from ckptd.sandbox.limits import Limits
from ckptd.wire import inspection_to_json


@verb(
    "inspect",
    exit_status={
        0: "every file is ok",
        1: "a file is damaged, unreadable or no checkpoint, or its inspection failed",
        **USAGE,
        3: "a file is unsafe, or loading it would run code",
    },
    json_help="Print one line of JSON per file; the keys are a contract, see docs/json.md.",
)
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=str))
def inspect(files: tuple[str, ...], *, as_json: bool) -> int:
    """Say what a file is, without running it and without the index.

    Every FILE is read once, by a process that can do nothing else: its digest, its structure, the health of its values, the
    model and the metrics that its content and its name state. With several files the exit status is the highest one.
    """
    limits = _limits(current_request())
    worst = 0
    for number, file in enumerate(files):
        inspection = inspect_file(file, limits)
        worst = max(worst, inspection.exit_status)
        if as_json:
            print_json_line(inspection_to_json(inspection))
        else:
            click.echo(("\n" if number else "") + render_card(inspection))
    return worst


def _limits(request: Request) -> Limits:
    """Take the limits of the settings where there are any; reading none costs nothing."""
    if not request.has_settings:
        return Limits(nice=0)
    settings = request.load_settings().inspect
    return Limits(
        memory_bytes=settings.memory_bytes,
        structure_seconds=settings.structure_seconds,
        nice=0,  # somebody waits for this one
        required=settings.sandbox == "required",
    )
