"""The verbs of archives: archive, archives, restore."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ckptd.cli.human import format_time, plural
from ckptd.cli.output import print_json
from ckptd.cli.progress import Steps
from ckptd.cli.remote import pass_on
from ckptd.cli.request import current_request
from ckptd.cli.table import Column, show_table
from ckptd.cli.verbs import FINE, USAGE, common_options, verb, write_exit_status
from ckptd.jobs.record_json import archive_to_json
from ckptd.text import escape, format_size

if TYPE_CHECKING:
    from ckptd.index.archived import Archived, ArchivedMember
    from ckptd.jobs.restoring import Restored

_BUSY = {4: "another ckptd runs a job just now; the message names its process"}
_FORMATS = ("tar.gz", "tar.zst", "pack")


class _ArchiveGroup(click.Group):
    """`ckptd archive QUERY` writes; a first word that names one of the verbs below is that verb."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        """Take whatever is no verb for the arguments of `write`."""
        if args and args[0] in self.commands:
            return super().resolve_command(ctx, args)
        return "write", self.commands["write"], args

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write what each exit status means."""
        del ctx
        write_exit_status(formatter, {0: "done", 1: "an archive could not be written, or has lost something", **USAGE, **_BUSY})


@click.group("archive", cls=_ArchiveGroup, invoke_without_command=True, subcommand_metavar="[QUERY] | VERB")
@common_options
@click.pass_context
def archive(ctx: click.Context) -> int:
    """Put checkpoints into an archive that was read back, or verify archives.

    "ckptd archive QUERY" archives what fits the query of "ckptd find"; without a query, what the policy would archive. The
    originals stay where they are, unless --remove moves them to the trash.
    """
    if ctx.invoked_subcommand is not None:
        return 0
    passed_on = pass_on(ctx, current_request())
    if passed_on is not None:
        return passed_on
    status: int = ctx.invoke(write, query=None, format_name=None, remove=False, as_json=False)
    return status


@verb("write", exit_status={0: "every checkpoint is in a verified archive", 1: "one could not be archived", **USAGE, **_BUSY})
@click.argument("query", metavar="[QUERY]", required=False)
@click.option(
    "--format", "format_name", type=click.Choice(_FORMATS), help="Default: archive.format of the settings.", metavar="FORMAT"
)
@click.option("--remove", is_flag=True, help="Move the originals to the trash once the archive was read back.")
def write(query: str | None, *, format_name: str | None, remove: bool, as_json: bool) -> int:
    """Write an archive of what fits a query, read it back from the disk and compare every digest.

    Metadata files go in beside their checkpoints, and exports too with policy.exports = "follow". FORMAT is tar.gz, tar.zst
    or pack.
    """
    with current_request().open_app() as app, Steps(quiet=as_json) as steps:
        done = app.archive(query, format_name, remove=remove, told=steps)
    if as_json:
        print_json(
            {
                "archives": [
                    {"name": one.name, "directory": one.directory, "paths": list(one.paths), "left_out": one.left_out}
                    for one in done.stored
                ],
                "removed": list(done.removed),
                "problems": list(done.problems),
            }
        )
        return 1 if done.problems else 0
    for one in done.stored:
        where = escape(f"{one.directory}/{one.name}", 1_000)
        click.echo(f"{where}: {plural(len(one.paths), 'checkpoint')}, read back, every digest compared")
    for problem in done.problems:
        click.echo(f"{click.style('left', fg='yellow')} {escape(problem, 1_000)}")
    if done.removed:
        click.echo(f"{plural(len(done.removed), 'original')} moved to the trash")
    if not done.stored and not done.problems:
        click.echo("there is nothing to archive", err=True)
    return 1 if done.problems else 0


@verb("verify", exit_status={0: "every archive is whole", 1: "one is damaged, or not there", **USAGE, **_BUSY})
@click.argument("names", metavar="[ARCHIVE]...", nargs=-1)
def verify(names: tuple[str, ...], *, as_json: bool) -> int:
    """Read archives from their first to their last byte and compare every digest.

    What is lost is named, and noted in the index; the rest can still be restored.
    """
    with current_request().open_app() as app, Steps(quiet=as_json) as steps:
        results = app.verify_archives(names, told=steps)
    if as_json:
        print_json([{"archive": name, "problems": problems} for name, problems in results.items()])
    else:
        for name, problems in results.items():
            verdict = click.style("damaged", fg="red") if problems else click.style("whole", fg="green")
            click.echo(f"{escape(name, 300)}: {verdict}")
            for problem in problems:
                click.echo(f"  {escape(problem, 1_000)}")
        if not results:
            click.echo("there are no archives", err=True)
    return 1 if any(results.values()) else 0


archive.add_command(write)
archive.add_command(verify)


@verb("archives", exit_status={**FINE, 1: "one is damaged or missing", **USAGE})
@click.argument("name", metavar="[ARCHIVE]", required=False)
def archives(name: str | None, *, as_json: bool) -> int:
    """List the archives, or what lies in one of them."""
    with current_request().open_app() as app:
        found = app.archives()
        if name is not None:
            return _show_members(app.archive_members(name), as_json=as_json)
    if as_json:
        print_json([archive_to_json(one) for one in found])
    elif found:
        columns = [
            Column("ARCHIVE"),
            Column("FORMAT"),
            Column("STATE"),
            Column("FILES", number=True),
            Column("SIZE", number=True),
            Column("WRITTEN"),
            Column("READ BACK"),
            Column("DRILLED"),
        ]
        show_table(columns, [_archive_row(one) for one in found])
    else:
        click.echo("there are no archives", err=True)
    return 1 if any(one.state != "verified" for one in found) else 0


@verb("restore", exit_status={0: "restored, its digest compared", 1: "it could not be restored", **USAGE, **_BUSY})
@click.argument("name", metavar="NAME")
@click.option("--to", "to", metavar="DIR", help="Restore into this directory. Default: where it lay.")
@click.option("--from", "source", metavar="ARCHIVE", help="Take it out of this archive. Default: the newest that has it.")
def restore(name: str, *, to: str | None, source: str | None, as_json: bool) -> int:
    """Bring a checkpoint back, out of the trash or an archive.

    NAME is a path, a file name, or the beginning of a digest. Nothing is ever overwritten; its digest is compared before it
    gets its name. Its metadata file comes back with it where its place is free.
    """
    with current_request().open_app() as app:
        restored = app.restore(name, to=to, archive=source)
    if as_json:
        print_json([restored_to_json(one) for one in restored])
    else:
        for one in restored:
            note = f" ({escape(one.note, 500)})" if one.note else ""
            click.echo(f"restored {escape(one.path, 1_000)} from {escape(one.source, 300)}{note}")
    return 0


def restored_to_json(one: Restored) -> dict[str, Any]:
    """Turn what was restored into JSON; docs/json.md has the keys."""
    return {"path": one.path, "source": one.source, "sha256": one.sha256, "note": one.note}


def _archive_row(one: Archived) -> list[str]:
    return [
        one.name,
        one.format,
        one.state,
        f"{one.members:,}",
        format_size(one.size_bytes),
        format_time(one.created_at),
        format_time(one.verified_at),
        format_time(one.drilled_at),
    ]


def _show_members(members: list[ArchivedMember], *, as_json: bool) -> int:
    if as_json:
        print_json(
            [
                {
                    "name": one.name,
                    "what": one.what,
                    "root": one.root,
                    "path": one.path,
                    "sha256": one.sha256,
                    "size_bytes": one.size_bytes,
                    "is_lost": one.is_lost,
                }
                for one in members
            ]
        )
    else:
        columns = [Column("PATH"), Column("WHAT"), Column("SIZE", number=True), Column("SHA256"), Column("STATE")]
        rows = [
            [one.path, one.what, format_size(one.size_bytes), one.sha256[:12], "lost" if one.is_lost else "ok"]
            for one in members
        ]
        show_table(columns, rows)
    return 1 if any(one.is_lost for one in members) else 0
