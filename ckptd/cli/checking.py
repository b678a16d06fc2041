"""The verb that looks for trouble: doctor."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ckptd.cli.output import print_json
from ckptd.cli.progress import Steps
from ckptd.cli.request import Request, current_request
from ckptd.cli.verbs import verb
from ckptd.errors import SettingsError
from ckptd.text import escape, format_size

if TYPE_CHECKING:
    from ckptd.bundle.parts import Part
    from ckptd.jobs.checks import Check

_MARKS = {"info": ("note", None), "warning": ("warning", "yellow"), "error": ("error", "red")}
_STATUS = {
    0: "nothing is wrong; notes count for nothing",
    1: "a check found a warning or an error, settings that make no sense among them; or the bundle could not be written",
    2: "the command line makes no sense; nothing was done",
}


@verb("doctor", exit_status=_STATUS)
@click.option("--deep", is_flag=True, help="Read every archive as well, from its first to its last byte.")
@click.option(
    "--bundle",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write what somebody who helps needs into FILE, a new .tar.gz: no secrets, no weights, no names of checkpoints.",
)
@click.option("--with-names", is_flag=True, help="With --bundle: leave the names of checkpoints as they are.")
def doctor(*, deep: bool, bundle: Path | None, with_names: bool, as_json: bool) -> int:
    """Check everything that could be wrong, and say what to do about it.

    Every line says what was looked at; what is not as it should be comes with its cure. Nothing is changed, and a check that
    fails hinders none of the others. docs/ops/watch.md has the list of checks, and of what a bundle holds.
    """
    if with_names and bundle is None:
        raise click.UsageError("--with-names says something about --bundle, and that is not given.")
    request = current_request()
    config = _find_config(request)
    parts: Sequence[Part] = ()
    try:
        with request.open_app() as app, Steps(quiet=as_json) as told:
            checks = app.doctor(config, deep=deep, told=told)
            if bundle is not None:
                parts = app.bundle(bundle, checks, config, with_names=with_names)
    except SettingsError as error:
        checks = _check_without(config, error)
    _show(checks, as_json=as_json)
    if parts and bundle is not None:
        _show_parts(bundle, parts)
    is_unwritten = bundle is not None and not parts
    if is_unwritten:
        click.echo("ckptd: no bundle was written: it needs settings that make sense", err=True)
    return 1 if is_unwritten or any(not check.ok and str(check.severity) != "info" for check in checks) else 0


def _find_config(request: Request) -> Path | None:
    from ckptd.settings.places import find_config

    return find_config(request.config, os.environ)


def _check_without(config: Path | None, error: SettingsError) -> list[Check]:
    from ckptd.jobs.doctoring import check_without_settings  # all that the doctor needs: only where it is asked

    return check_without_settings(config, error.problems)


def _show(checks: Sequence[Check], *, as_json: bool) -> None:
    if as_json:
        print_json([asdict(check) for check in checks])
        return
    for check in checks:
        mark, colour = ("ok", "green") if check.ok else _MARKS[str(check.severity)]
        click.echo(f"{click.style(f'{mark:<8}', fg=colour)} {escape(check.name, 1_000)}: {escape(check.message, 1_000)}")
        if check.cure and not check.ok:
            click.echo(f"{'':<8} what to do: {escape(check.cure, 1_000)}")


def _show_parts(bundle: Path, parts: Sequence[Part]) -> None:
    """Say what went into a bundle; to stderr, since stdout may be JSON."""
    click.echo(f"{escape(str(bundle), 1_000)} was written, for your eyes first; in it are:", err=True)
    for part in parts:
        click.echo(f"  {part.name:<16} {format_size(len(part.data)):>10}  {part.what}", err=True)
