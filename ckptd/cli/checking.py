"""The verb that looks for trouble: doctor."""

from __future__ import annotations

from dataclasses import asdict

import click

from ckptd.cli.output import print_json
from ckptd.cli.request import current_request
from ckptd.cli.verbs import USAGE, verb
from ckptd.text import escape

_MARKS = {"info": ("note", None), "warning": ("warning", "yellow"), "error": ("error", "red")}


@verb("doctor", exit_status={0: "nothing is wrong", 1: "a check found a warning or an error", **USAGE})
def doctor(*, as_json: bool) -> int:
    """Check the roots, the state, the index and the sandbox.

    Every line says what was looked at; what is not as it should be comes with its cure.
    """
    with current_request().open_app() as app:
        checks = app.doctor()
    if as_json:
        print_json([asdict(check) for check in checks])
    else:
        for check in checks:
            mark, colour = ("ok", "green") if check.ok else _MARKS[str(check.severity)]
            click.echo(f"{click.style(f'{mark:<8}', fg=colour)} {escape(check.name, 1_000)}: {escape(check.message, 1_000)}")
            if check.cure and not check.ok:
                click.echo(f"{'':<8} what to do: {escape(check.cure, 1_000)}")
    return 1 if any(not check.ok and str(check.severity) != "info" for check in checks) else 0
