"""The verbs about settings: config show, config check, config schema."""

from __future__ import annotations

import os

import click

from ckptd.cli.output import print_json
from ckptd.cli.request import current_request
from ckptd.cli.verbs import Verb, common_options, verb, write_exit_status
from ckptd.errors import SettingsError
from ckptd.text import escape

_STATUS = {0: "the settings are fine", 2: "they are not; every problem is on a line of its own"}


class _ConfigGroup(click.Group):
    """The group of the verbs about settings, with EXIT STATUS in its help as everywhere."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write what each exit status means."""
        del ctx
        write_exit_status(formatter, _STATUS)


@click.group("config", cls=_ConfigGroup, subcommand_metavar="VERB")
@common_options
def config() -> None:
    """Show or check the settings.

    docs/settings.md has every key; config/ckptd.toml is a file to start from.
    """


@verb("show", exit_status=_STATUS)
def show(*, as_json: bool) -> int:
    """Print the settings that hold, as a settings file.

    They come from the command line, the environment, the settings file and the defaults, in this order.
    """
    from ckptd.settings.sample import render_settings

    settings = current_request().load_settings()
    if as_json:
        print_json(settings.model_dump(mode="json"))
    else:
        click.echo("\n".join(escape(line, 10_000) for line in render_settings(settings).rstrip("\n").split("\n")))
    return 0


@verb("check", exit_status=_STATUS)
def check(*, as_json: bool) -> int:
    """Read the settings and report every problem.

    Each is one line, "source: key: message"; nothing else is started.
    """
    from ckptd.settings import find_config

    request = current_request()
    problems: tuple[str, ...] = ()
    try:
        request.load_settings()
    except SettingsError as error:
        if not as_json:
            raise
        problems = error.problems
    path = find_config(request.config, os.environ)
    if as_json:
        print_json({"file": None if path is None else str(path), "problems": list(problems)})
    else:
        click.echo(f"{'the defaults (no settings file)' if path is None else escape(str(path), 1_000)}: fine")
    return 2 if problems else 0


@verb("schema", exit_status={0: "printed"}, json_help="The schema is JSON in any case.")
def schema(*, as_json: bool) -> int:
    """Print the JSON schema of the settings file, for editors."""
    from ckptd.settings.sample import render_schema

    del as_json
    click.echo(render_schema(), nl=False)
    return 0


SETTINGS_VERBS: tuple[Verb, ...] = (show, check, schema)
for _verb in SETTINGS_VERBS:
    config.add_command(_verb)
