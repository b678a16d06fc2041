"""The verbs about the daemon that runs: status, pause, resume, reload."""

from __future__ import annotations

import time
from typing import Any

import click

from ckptd.cli.human import format_duration, format_time, plural
from ckptd.cli.output import print_json
from ckptd.cli.remote import ask_daemon, build_request
from ckptd.cli.request import current_request
from ckptd.cli.table import Column, show_table
from ckptd.cli.verbs import USAGE, verb
from ckptd.control.protocol import NotReachableError
from ckptd.text import escape

#: How long a reload is waited for, seconds: a large index is opened and a root looked at in less.
_RELOAD_SECONDS = 60.0
_AWAY = {4: "no daemon answers, or it does not answer you"}


@verb("status", exit_status={0: "it runs, and every part of it answers", 1: "something is wrong with it", **USAGE, **_AWAY})
def status(*, as_json: bool) -> int:
    """Say what the daemon does just now, and whether all is well with it."""
    code, value = _ask("status")
    if code:
        return code
    if as_json:
        print_json(value)
    else:
        _show(value)
    return 0 if value["is_well"] and not any(root["incident"] for root in value["roots"]) else 1


@verb("pause", exit_status={0: "nothing new is begun", **USAGE, **_AWAY})
@click.option("--for", "how_long", metavar="TIME", default="1h", show_default=True, help='Go on after this, such as "8h".')
def pause(how_long: str, *, as_json: bool) -> int:
    """Begin nothing new for a while: no inspection, no export, no job.

    What runs comes to its end, and what is saved meanwhile is not lost: it is looked at afterwards. The pause ends by itself.
    """
    from ckptd.settings.units import parse_duration

    try:
        seconds = parse_duration(how_long)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--for") from None
    if not isinstance(seconds, int | float):
        raise click.BadParameter(f'"{how_long}" is no time; write "30m" or "8h"', param_hint="--for")
    return _order("pause", as_json=as_json, seconds=float(seconds), done=f"paused for {format_duration(float(seconds))}")


@verb("resume", exit_status={0: "it goes on", **USAGE, **_AWAY})
def resume(*, as_json: bool) -> int:
    """Go on after a pause."""
    return _order("resume", as_json=as_json, done="it goes on")


@verb(
    "reload",
    exit_status={0: "the new settings are in use", 2: "they are wrong, and those from before stay in use", **_AWAY},
)
def reload(*, as_json: bool) -> int:
    """Have the daemon read its settings anew, as SIGHUP does.

    A job that runs goes on with the settings that it began with.
    """
    code, _ = _ask("reload")
    problem = None if code else _wait_for_settings()
    if problem is not None:
        code = 2
        click.echo(f"ckptd: {escape(problem, 4_000)}", err=True)
    if as_json:
        print_json({"status": code})
    elif not code:
        click.echo("the new settings are in use")
    return code


def _wait_for_settings() -> str | None:
    """Wait until the daemon has begun again; give why it goes on with the settings from before, None when it does not.

    What is asked after a reload is answered by the loop that comes after it.
    """
    deadline = time.monotonic() + _RELOAD_SECONDS
    while time.monotonic() < deadline:
        code, now = _ask("status", is_patient=True)
        if not code and now["phase"] != "starting":
            return None if now["settings_problem"] is None else str(now["settings_problem"])
        time.sleep(0.1)
    return f"the daemon has not gone on within {_RELOAD_SECONDS:.0f} seconds"


def _order(what: str, *, as_json: bool, done: str, seconds: float = 0.0) -> int:
    code, _ = _ask(what, seconds)
    if as_json:
        print_json({"status": code})
    elif not code:
        click.echo(done)
    return code


def _ask(what: str, seconds: float = 0.0, *, is_patient: bool = False) -> tuple[int, Any]:
    """Ask for something; who is patient does not mind that there is no answer yet."""
    request = current_request()
    settings = request.load_settings()
    try:
        return ask_daemon(request, settings, build_request(request, settings, what, seconds=seconds), is_quiet=is_patient)
    except NotReachableError as error:
        if not is_patient:
            raise
        return error.exit_status, {}


def _show(value: Any) -> None:
    click.echo(escape(value["status"], 2_000))
    click.echo(f"ckptd {value['version']}, process {value['pid']}, since {format_time(value['started_at'])}")
    if value["paused_until"] is not None:
        click.echo(f"paused until {format_time(value['paused_until'])}")
    if value["settings_problem"] is not None:
        click.echo(f"newer settings are not in use: {escape(value['settings_problem'], 2_000)}")
    click.echo("")
    titles = ("ROOT", "CHECKPOINTS", "WATCHED BY", "LAST LOOK", "STATE")
    columns = [Column(title, number=title == "CHECKPOINTS") for title in titles]
    show_table(columns, [_row(root) for root in value["roots"]])
    for sign in value["signs"]:
        if not sign["ok"]:
            click.echo(f"{click.style(sign['name'], fg='red')}: {escape(sign['why'], 400)}")


def _row(root: Any) -> list[str]:
    state = escape(root["incident"], 200) if root["incident"] else "fine"
    if root["frozen"]:
        state = f"{plural(root['frozen'], 'part')} frozen"
    looked = format_time(root["rescanned_at"])
    return [escape(root["path"], 200), f"{root['files']:,}", root["watched_by"], looked, state]
