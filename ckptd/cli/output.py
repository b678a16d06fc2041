"""JSON to stdout: ASCII, so that no byte of a file's name reaches a terminal as it is."""

from __future__ import annotations

import json
from typing import Any

import click

from ckptd.cli.human import is_terminal


def print_json(value: Any) -> None:
    """Print one JSON document; indented for a terminal, one line for a program."""
    click.echo(json.dumps(value, indent=2 if is_terminal() else None, allow_nan=False))


def print_json_line(value: Any) -> None:
    """Print one JSON document on a line of its own, wherever it goes."""
    click.echo(json.dumps(value, allow_nan=False))
