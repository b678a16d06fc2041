"""The verb about the JSON file beside a checkpoint: sidecar."""

from __future__ import annotations

import sys
from typing import Any

import click

from ckptd.cli.human import is_terminal
from ckptd.cli.output import print_json
from ckptd.cli.request import current_request
from ckptd.cli.verbs import USAGE, verb
from ckptd.text import escape


@verb(
    "sidecar",
    exit_status={0: "shown, or written", 1: "not written, because nobody agreed or the disk refused", **USAGE},
)
@click.argument("name", metavar="NAME")
@click.option("--regenerate", is_flag=True, help="Make the file anew: show what would change, ask, write.")
@click.option("--yes", is_flag=True, help="With --regenerate: write without asking.")
def sidecar(name: str, *, regenerate: bool, yes: bool, as_json: bool) -> int:
    """Show the metadata file beside a checkpoint, or make it anew.

    Keys and values that a person wrote survive; what would change is shown as a diff before anything is written. Off a
    terminal nothing is written without --yes. NAME is what "ckptd show" takes.
    """
    if yes and not regenerate:
        raise click.UsageError("--yes only means something with --regenerate")
    with current_request().open_app() as app:
        view = app.sidecar(name)
        if not regenerate:
            _print_view(view, written=False, as_json=as_json, diff=False)
            return 0
        changes = view.diff.strip() != ""
        if not as_json:
            click.echo(
                _escape_lines(view.diff)
                if changes
                else f"{escape(str(view.path), 1_000)} is as it would be made; nothing to do"
            )
        agreed = changes and (yes or _ask(str(view.path)))
        if agreed:
            view = app.regenerate_sidecar(name)
    if as_json:
        _print_view(view, written=agreed, as_json=True, diff=True)
    elif agreed:
        click.echo(f"written: {escape(str(view.path), 1_000)}")
    return 0 if agreed or not changes else 1


def _ask(path: str) -> bool:
    if is_terminal(sys.stdin) and is_terminal(sys.stderr):
        return click.confirm(f"Write {escape(path, 1_000)}?", err=True)
    click.echo("ckptd: nothing was written; add --yes to write it", err=True)
    return False


def _print_view(view: Any, *, written: bool, as_json: bool, diff: bool) -> None:
    if as_json:
        value = {"path": str(view.path), "current": view.current, "proposed": view.proposed, "diff": view.diff}
        print_json({**value, "written": written} if diff else value)
        return
    if view.current is None:
        click.echo(f"there is no {escape(str(view.path), 1_000)}; this is what it would say:", err=True)
    click.echo(_escape_lines(view.proposed if view.current is None else view.current))


def _escape_lines(text: str) -> str:
    """Escape line by line: a person's file may hold anything, and its line ends are wanted."""
    return "\n".join(escape(line, 10_000) for line in text.rstrip("\n").split("\n"))
