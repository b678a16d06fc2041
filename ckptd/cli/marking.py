"""The verbs with which people say what a checkpoint means to them: pin, unpin, tag, alias."""

from __future__ import annotations

import click

from ckptd.cli.output import print_json
from ckptd.cli.request import current_request
from ckptd.cli.verbs import FINE, USAGE, verb
from ckptd.text import escape

_STATUS = {**FINE, 1: "the index cannot be written", **USAGE, 2: "no checkpoint has that name, or several have"}


@verb("pin", exit_status=_STATUS)
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
def pin(names: tuple[str, ...], *, as_json: bool) -> int:
    """Keep checkpoints for ever, whatever the policy says.

    A pin holds for the content, wherever it lies or is copied to, and for whatever is saved at its place. A file NAME.pth.keep
    beside a checkpoint does the same for one file, a file .keep for all of its directory.
    """
    with current_request().open_app() as app:
        records = [app.show(name) for name in names]
        for record in records:
            app.pin(record)
    _tell([record.path for record in records], "pinned", as_json=as_json)
    return 0


@verb("unpin", exit_status={**_STATUS, 1: "it was not pinned, or the index cannot be written"})
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
def unpin(names: tuple[str, ...], *, as_json: bool) -> int:
    """Let the policy decide again about checkpoints that were pinned."""
    with current_request().open_app() as app:
        records = [app.show(name) for name in names]
        taken = [record.path for record in records if app.unpin(record)]
    _tell(taken, "unpinned", as_json=as_json)
    return 0 if len(taken) == len(names) else 1


@verb("tag", exit_status={**_STATUS, 1: "it did not have the tag, or the index cannot be written"})
@click.argument("name", metavar="NAME")
@click.argument("tags", metavar="[TAG]...", nargs=-1)
@click.option("--remove", is_flag=True, help="Take the tags away again.")
def tag(name: str, tags: tuple[str, ...], *, remove: bool, as_json: bool) -> int:
    """Tag a checkpoint, or show its tags.

    The policy keeps what has a tag of policy.keep_tags, which is any, unless the settings say otherwise.
    """
    with current_request().open_app() as app:
        record = app.show(name)
        gone = app.untag(record, tags) if remove else len(tags)
        if tags and not remove:
            app.tag(record, tags)
        now = [mark.name for mark in app.marks(record) if mark.kind == "tag"]
    if as_json:
        print_json({"path": record.path, "tags": now})
    else:
        click.echo(f"{escape(record.path, 1_000)}: {', '.join(now) or 'no tags'}")
    return 0 if gone == len(tags) else 1


@verb("alias", exit_status={**_STATUS, 1: "there was no such alias, or the index cannot be written"})
@click.argument("name", metavar="NAME")
@click.argument("alias_name", metavar="ALIAS", required=False)
@click.option("--remove", is_flag=True, help="Take the alias away again.")
def alias(name: str, alias_name: str | None, *, remove: bool, as_json: bool) -> int:
    """Give a checkpoint another name that every command takes, or show its aliases.

    An alias names one checkpoint: giving "prod" to another one takes it from the first. The policy keeps what has an alias.
    """
    with current_request().open_app() as app:
        record = app.show(name)
        done = True
        if alias_name is not None:
            if remove:
                done = app.unalias(record, alias_name)
            else:
                app.alias(record, alias_name)
        now = [mark.name for mark in app.marks(record) if mark.kind == "alias"]
    if as_json:
        print_json({"path": record.path, "aliases": now})
    else:
        click.echo(f"{escape(record.path, 1_000)}: {', '.join(now) or 'no aliases'}")
    return 0 if done else 1


def _tell(paths: list[str], what: str, *, as_json: bool) -> None:
    if as_json:
        print_json({what: paths})
        return
    for path in paths:
        click.echo(f"{what} {escape(path, 1_000)}")
    if not paths:
        click.echo(f"nothing was {what}", err=True)
