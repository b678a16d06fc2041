"""The verbs of the trash: trash ls, trash restore, trash purge."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ckptd.cli.human import format_time, plural
from ckptd.cli.output import print_json
from ckptd.cli.request import current_request
from ckptd.cli.table import Column, show_table
from ckptd.cli.verbs import FINE, USAGE, common_options, verb, write_exit_status
from ckptd.text import escape, format_size

if TYPE_CHECKING:
    from ckptd.jobs.purging import Waiting

_BUSY = {4: "another ckptd runs a job just now; the message names its process"}


class _TrashGroup(click.Group):
    """The group of the verbs about the trash, with EXIT STATUS in its help as everywhere."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write what each exit status means."""
        del ctx
        write_exit_status(formatter, {**FINE, 1: "something could not be done, and is as it was", **USAGE, **_BUSY})


@click.group("trash", cls=_TrashGroup, subcommand_metavar="VERB")
@common_options
def trash() -> None:
    """See what was removed, bring it back, or remove it for good.

    What the policy removes lies in .ckptd/trash of its root until it is older than trash.grace_seconds.
    """


@verb("ls", exit_status={**FINE, 1: "something lies there that ckptd did not put there", **USAGE})
def ls(*, as_json: bool) -> int:
    """List what lies in the trash, the oldest first."""
    with current_request().open_app() as app:
        found = app.trash()
    if as_json:
        print_json([waiting_to_json(one) for one in found])
    elif found:
        columns = [
            Column("ENTRY"),
            Column("PATH"),
            Column("SIZE", number=True),
            Column("SINCE"),
            Column("PURGED"),
            Column("WHY"),
        ]
        show_table(columns, [_row(one) for one in found])
        click.echo(f"{plural(len(found), 'entry', 'entries')}, {format_size(sum(one.allocated_bytes for one in found))}")
    else:
        click.echo("the trash is empty", err=True)
    return 1 if any(one.problem for one in found) else 0


@verb("restore", exit_status={0: "it is back where it lay", 1: "it could not be brought back", **USAGE, **_BUSY})
@click.argument("names", metavar="ENTRY...", nargs=-1, required=True)
@click.option("--to", "to", metavar="PATH", help="Bring it back under this path, relative to its root.")
def restore(names: tuple[str, ...], *, to: str | None, as_json: bool) -> int:
    """Bring checkpoints back to where they lay.

    ENTRY is what "ckptd trash ls" shows, or the path of the checkpoint. Nothing is ever overwritten.
    """
    if to is not None and len(names) > 1:
        raise click.UsageError("--to goes with one entry")
    with current_request().open_app() as app:
        restored = [one for name in names for one in app.restore_trash(name, to=to)]
    if as_json:
        print_json([{"path": one.path, "source": one.source, "sha256": one.sha256, "note": one.note} for one in restored])
    else:
        for one in restored:
            note = f" ({escape(one.note, 500)})" if one.note else ""
            click.echo(f"restored {escape(one.path, 1_000)}{note}")
    return 0


@verb("purge", exit_status={0: "done", 1: "something could not be purged; it is still there", **USAGE, **_BUSY})
@click.argument("names", metavar="[ENTRY]...", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Also what has not waited for trash.grace_seconds yet.")
def purge(names: tuple[str, ...], *, everything: bool, as_json: bool) -> int:
    """Remove for good what waited long enough, or the entries that are named.

    Each file is read once more: what is no longer what was put there is left and told.
    """
    with current_request().open_app() as app:
        purged = app.purge_trash(names, everything=everything)
    if as_json:
        print_json({"purged": purged.entries, "freed_bytes": purged.freed_bytes, "left": [list(pair) for pair in purged.left]})
    else:
        for name, why in purged.left:
            click.echo(f"{click.style('left', fg='yellow')} {escape(name, 500)}: {escape(why, 1_000)}")
        click.echo(f"{plural(len(purged.entries), 'entry', 'entries')} purged, {format_size(purged.freed_bytes)} freed")
    return 1 if purged.left else 0


trash.add_command(ls)
trash.add_command(restore)
trash.add_command(purge)


def waiting_to_json(one: Waiting) -> dict[str, Any]:
    """Turn an entry of the trash into JSON; docs/json.md has the keys."""
    return {
        "entry": one.entry,
        "root": one.root,
        "path": one.path,
        "sha256": one.sha256,
        "allocated_bytes": one.allocated_bytes,
        "since": one.since,
        "purged_at": one.purged_at,
        "action": one.action,
        "group": one.group,
        "reasons": list(one.reasons),
        "archives": list(one.archives),
        "problem": one.problem,
    }


def _row(one: Waiting) -> list[str]:
    why = one.problem or "; ".join(one.reasons)
    return [
        one.entry,
        one.path or "-",
        format_size(one.allocated_bytes),
        format_time(one.since),
        format_time(one.purged_at),
        why,
    ]
