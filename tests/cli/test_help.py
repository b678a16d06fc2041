"""Help: every verb has its line, its options and EXIT STATUS."""

from __future__ import annotations

import click
import pytest

from ckptd.cli.entry import cli
from ckptd.cli.verbs import VERBS


def all_verbs():
    context = click.Context(cli, info_name="ckptd")
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        yield name, command
        if isinstance(command, click.Group):
            yield from ((f"{name} {inner}", one) for inner, one in command.commands.items())


@pytest.mark.parametrize(("name", "command"), list(all_verbs()))
def test_every_help_has_options_and_exit_status(run, name, command):
    """Read as a user reads it."""
    done = run(*name.split(), "--help")
    assert done.status == 0
    assert "EXIT STATUS" in done.out
    assert "--root DIR" in done.out
    assert "--config FILE" in done.out
    assert isinstance(command, click.Group) or "--json" in done.out


@pytest.mark.parametrize("name", list(VERBS))
def test_the_list_of_verbs_says_what_the_verb_says(name):
    """The lines in VERBS spare the import of every module; here they are held against the source."""
    command = dict(all_verbs())[name]
    assert command.help.split("\n")[0] == VERBS[name][2]


def test_the_list_has_every_verb(run):
    """`ckptd --help` and `ckptd` alone show it."""
    out = run("--help").out
    for name in VERBS:
        assert f"\n  {name} " in out
    alone = run()
    assert alone.status == 2
    assert "Verbs:" in alone.err
