"""The verbs about alerts: notify, notify test."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ckptd.cli.human import format_time
from ckptd.cli.output import print_json
from ckptd.cli.remote import pass_on
from ckptd.cli.request import current_request
from ckptd.cli.table import Column, show_table
from ckptd.cli.verbs import FINE, USAGE, common_options, verb, write_exit_status
from ckptd.text import escape

if TYPE_CHECKING:
    from ckptd.jobs.notifying import ChannelView, OpenAlert, Tried


class _NotifyGroup(click.Group):
    """The group of the verbs about alerts, with EXIT STATUS in its help as everywhere."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write what each exit status means."""
        del ctx
        trouble = {1: "an alert is open, or a channel does not take what it should; or the index cannot be read"}
        write_exit_status(formatter, {**FINE, **trouble, **USAGE})


@click.group("notify", cls=_NotifyGroup, invoke_without_command=True, subcommand_metavar="[test]")
@common_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON; the keys are in docs/json.md.")
@click.pass_context
def notify(context: click.Context, *, as_json: bool) -> int:
    """Show which alerts are open, and what waits to be sent; or test the channels.

    Alerts are sent by "ckptd run", by the channels of the settings' [notify]. docs/alerts.md says what each one means and
    what to do about it.
    """
    if context.invoked_subcommand is not None:
        return 0
    passed_on = pass_on(context, current_request())
    if passed_on is not None:
        return passed_on
    with current_request().open_app() as app:
        alerts, channels = app.alerts(), app.channels()
    if as_json:
        print_json({"alerts": [_alert_to_json(one) for one in alerts], "channels": [_channel_to_json(one) for one in channels]})
    else:
        _show(alerts, channels)
    return 1 if alerts or any(one.trouble for one in channels) else 0


@verb(
    "test",
    exit_status={
        0: "every channel took the message",
        1: "one did not, or refused somebody who is to get it; the reason is told",
        **USAGE,
    },
)
@click.option("--channel", metavar="NAME", help="Only this one: webhook, email or command. Default: all that are set.")
def test(channel: str | None, *, as_json: bool) -> int:
    """Send a message that says that it is a test, and say what became of it.

    It is sent by this very process, with the secrets that it can read; run it as the daemon's user. No alert is opened.
    """
    with current_request().open_app() as app:
        tried = app.test_channels(channel)
    if as_json:
        print_json([_tried_to_json(one) for one in tried])
    else:
        for one in tried:
            click.echo(f"{one.channel}: {_judge(one)}")
    return 1 if any(one.trouble or one.remark for one in tried) else 0


notify.add_command(test)


def _show(alerts: list[OpenAlert], channels: list[ChannelView]) -> None:
    if alerts:
        columns = [Column("SEVERITY"), Column("KIND"), Column("SUBJECT"), Column("SEEN", number=True), Column("SINCE")]
        show_table(columns, [_alert_row(one) for one in alerts])
        for one in alerts:
            if one.alert.text:
                click.echo(f"{one.alert.kind}: {escape(one.alert.text, 2_000)}")
    else:
        click.echo("no alert is open")
    for channel in channels:
        waiting = f"{channel.waiting:,} wait" if channel.waiting else "nothing waits"
        trouble = f": {escape(channel.trouble, 1_000)}" if channel.trouble else ""
        click.echo(f"{channel.name}: {channel.min_severity} and above, {waiting}{trouble}")
    if not channels:
        click.echo("no channel is set: nobody is told (docs/alerts.md)", err=True)


def _alert_row(one: OpenAlert) -> list[str]:
    alert = one.alert
    return [one.severity, alert.kind, alert.subject, f"{alert.count:,}", format_time(alert.first_at)]


def _alert_to_json(one: OpenAlert) -> dict[str, Any]:
    alert = one.alert
    return {
        "kind": alert.kind,
        "severity": one.severity,
        "subject": alert.subject,
        "text": alert.text,
        "count": alert.count,
        "first_at": alert.first_at,
        "last_at": alert.last_at,
        "told_at": alert.told_at,
    }


def _channel_to_json(one: ChannelView) -> dict[str, Any]:
    return {"name": one.name, "min_severity": one.min_severity, "waiting": one.waiting, "trouble": one.trouble}


def _tried_to_json(one: Tried) -> dict[str, Any]:
    return {"channel": one.channel, "message": one.message, "trouble": one.trouble, "remark": one.remark}


def _judge(one: Tried) -> str:
    if one.trouble:
        return click.style(f"not taken: {escape(one.trouble, 1_000)}", fg="red")
    return click.style(f"taken, but {escape(one.remark, 1_000)}", fg="yellow") if one.remark else "taken"
