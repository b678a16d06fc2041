"""The verbs about exports and recipes: export, exports, recipe suggest, recipe check."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

import click

from ckptd.cli.human import format_number, is_terminal
from ckptd.cli.output import print_json
from ckptd.cli.progress import Steps
from ckptd.cli.request import current_request
from ckptd.cli.table import Column, show_table
from ckptd.cli.verbs import FINE, USAGE, Verb, common_options, verb, write_exit_status
from ckptd.errors import UsageError
from ckptd.proof import TARGET_NAMES, Export, Verdict
from ckptd.text import escape, format_size
from ckptd.wire_exports import export_to_json

_NO_NAME = {2: "no checkpoint has that name, or several have"}


@verb(
    "export",
    exit_status={0: "every export is in place and verified", 1: "one could not be made, or differs from the original", **USAGE},
)
@click.argument("name", metavar="NAME")
@click.option(
    "--to",
    "targets",
    metavar="TARGETS",
    help=f"Formats, separated by commas: {', '.join(TARGET_NAMES)}. Default: export.targets.",
)
@click.option("--force", is_flag=True, help="Make them again, though nothing changed.")
def export(name: str, *, targets: str | None, force: bool, as_json: bool) -> int:
    """Export a checkpoint, and prove that each export does what the original does.

    The weight formats need no code. The others build the module by a recipe, in a confined process and only when the settings
    trust its code; "ckptd recipe suggest NAME" says what to write. Each export is run by its own runtime in another process
    and compared; one that differs lies aside as FILE.failed. A file of somebody else's is never replaced.
    """
    wanted = _read_targets(targets)
    with current_request().open_app() as app, Steps(quiet=as_json) as steps:
        exports = app.export(name, wanted, force=force, told=steps)
    _show(exports, as_json=as_json)
    return 0 if exports and all(one.verdict is Verdict.VERIFIED for one in exports) else 1


@verb("exports", exit_status={**FINE, 1: "it has none", **USAGE, **_NO_NAME})
@click.argument("name", metavar="NAME")
def exports(name: str, *, as_json: bool) -> int:
    """Show the exports of a checkpoint and how each compared with the original."""
    with current_request().open_app() as app:
        found = app.exports(name)
    _show(found, as_json=as_json)
    return 0 if found else 1


class _RecipeGroup(click.Group):
    """The group of the verbs about recipes, with EXIT STATUS in its help as everywhere."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write what each exit status means."""
        del ctx
        write_exit_status(formatter, {**FINE, 1: "the recipe does not fit, or there is none", **USAGE})


@click.group("recipe", cls=_RecipeGroup, subcommand_metavar="VERB")
@common_options
def recipe() -> None:
    """Write and check recipes: how to build the module whose weights a checkpoint holds.

    docs/recipes.md says where a recipe may stand and whose code may run.
    """


@verb("suggest", exit_status={**FINE, **USAGE, **_NO_NAME})
@click.argument("name", metavar="NAME")
def suggest(name: str, *, as_json: bool) -> int:
    """Say what is known about a checkpoint's layers, as a recipe to fill in."""
    with current_request().open_app() as app:
        text = app.suggest_recipe(name)
    if as_json:
        print_json({"recipe": text})
    else:
        click.echo("\n".join(escape(line, 10_000) for line in text.rstrip("\n").split("\n")))
    return 0


@verb("check", exit_status={0: "the module has the parameters of the checkpoint", 1: "it has not, or cannot be built", **USAGE})
@click.argument("name", metavar="NAME")
def check(name: str, *, as_json: bool) -> int:
    """Build the module by its recipe and compare its parameters with the checkpoint's.

    It is built in a confined process, as for an export. Each difference is named.
    """
    with current_request().open_app() as app:
        found = app.check_recipe(name)
    if as_json:
        print_json(
            {
                "origin": found.origin,
                "callable": found.callable,
                "fits": found.fits,
                "reason": found.reason,
                "differences": list(found.differences),
                "left_out": list(found.left_out),
            }
        )
        return 0 if found.fits else 1
    shown = escape(found.callable or found.origin or "no recipe", 300)
    if found.fits:
        click.echo(f"{shown} fits: every parameter has its place (recipe from {escape(found.origin, 300)})")
    elif found.reason:
        named = "" if found.reason.startswith(shown) else f"{shown}: "
        click.echo(f"{named}{escape(found.reason, 2_000)}")
    else:
        click.echo(f"{shown} does not fit (recipe from {escape(found.origin, 300)}):")
    for line in found.differences:
        click.echo(f"  {escape(line, 500)}")
    if found.left_out:
        click.echo(f"it does not take these hyperparameters, so they were left out: {', '.join(found.left_out)}")
    return 0 if found.fits else 1


RECIPE_VERBS: tuple[Verb, ...] = (suggest, check)
for _verb in RECIPE_VERBS:
    recipe.add_command(_verb)


def _read_targets(text: str | None) -> tuple[str, ...] | None:
    if text is None:
        return None
    names = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    unknown = [name for name in names if name not in TARGET_NAMES]
    if unknown:
        near = difflib.get_close_matches(unknown[0].lower(), TARGET_NAMES, n=1, cutoff=0.6)
        meant = f'; did you mean "{near[0]}"?' if near else f"; there are {', '.join(TARGET_NAMES)}"
        raise UsageError("export", path=f"--to {escape(','.join(unknown))}", why=f'"{escape(unknown[0])}" is no target{meant}')
    if not names:
        raise UsageError("export", path="--to", why="no target is named", cure=f"there are {', '.join(TARGET_NAMES)}")
    return names


def _show(found: Sequence[Export], *, as_json: bool) -> None:
    if as_json:
        print_json([export_to_json(one) for one in found])
        return
    if not found:
        click.echo('there are no exports; "ckptd export NAME --to safetensors,onnx" makes some', err=True)
        return
    columns = [
        Column("TARGET"),
        Column("VERDICT"),
        Column("FILE"),
        Column("SIZE", number=True),
        Column("OF WEIGHTS", number=True),
        Column("DIFFERENCE", number=True),
        Column("SPEED", number=True),
    ]
    show_table(columns, [_row(one) for one in found])
    for one in found:
        if one.reason:
            colour = "red" if one.verdict in (Verdict.FAILED, Verdict.ERROR) else "yellow"
            mark = click.style(f"{escape(one.target, 80)}:", fg=colour if is_terminal() else None)
            click.echo(f"{mark} {escape(one.reason, 2_000)}")


def _row(one: Export) -> list[str]:
    proof: dict[str, Any] = dict(one.proof) if one.verdict in (Verdict.VERIFIED, Verdict.FAILED) else {}
    return [
        one.target,
        one.verdict.value,
        one.file or "-",
        "-" if one.size_bytes is None else format_size(one.size_bytes),
        f"{proof['size_ratio']:.0%}" if isinstance(proof.get("size_ratio"), float) else "-",
        _difference(proof),
        _speed(proof),
    ]


def _difference(proof: dict[str, Any]) -> str:
    """Give the largest absolute difference of an output; of a weight where no output was compared."""
    outputs = proof.get("outputs")
    source = outputs if isinstance(outputs, list) and outputs else [proof.get("weights")]
    values = [one.get("max_abs") for one in source if isinstance(one, dict)]
    numbers = [value for value in values if isinstance(value, int | float)]
    return format_number(float(max(numbers))) if numbers else "-"


def _speed(proof: dict[str, Any]) -> str:
    """Give how many times faster than the original a call is."""
    seconds = proof.get("seconds_per_call")
    if not isinstance(seconds, dict):
        return "-"
    original, ours = seconds.get("original"), seconds.get("export")
    # An exporter's own words: it ran the model's code, which may have said anything.
    if not isinstance(original, int | float) or not isinstance(ours, int | float) or original <= 0 or ours <= 0:
        return "-"
    return f"{original / ours:.2g}x"
