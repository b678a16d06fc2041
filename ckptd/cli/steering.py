"""The verbs about the daemon that runs: status, pause, resume, reload."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ckptd.cli.human import format_duration, format_time, plural
from ckptd.cli.output import print_json
from ckptd.cli.remote import Reply, ask_daemon, build_order, find_settings
from ckptd.cli.request import current_request
from ckptd.cli.table import Column, show_table
from ckptd.cli.verbs import USAGE, verb
from ckptd.control.protocol import NotReachableError, SilentError
from ckptd.errors import SettingsError
from ckptd.text import escape

if TYPE_CHECKING:
    from ckptd.settings import Settings

#: How long a reload is waited for, seconds: a large index is opened and a root looked at in less.
_RELOAD_SECONDS = 60.0
#: How long an answer is waited for, seconds; the loop is held up by a look at a share, and by an index that somebody locks.
_PATIENCE_SECONDS = 60.0
_AWAY = {4: "no daemon answers, or it does not answer you"}
_SILENT = {1: "it does not answer in time"}


@verb("status", exit_status={0: "it runs, and every part of it answers", 1: "something is wrong with it", **USAGE, **_AWAY})
def status(*, as_json: bool) -> int:
    """Say what the daemon does just now, and whether all is well with it."""
    reply = _ask("status", *_find_settings())
    if reply.status:
        return reply.status
    value: Any = reply.value
    if as_json:
        print_json(value)
    else:
        _show(value)
    return 0 if value["is_well"] and not any(root["incident"] for root in value["roots"]) else 1


@verb("pause", exit_status={0: "nothing new is begun", **_SILENT, **USAGE, **_AWAY})
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


@verb("resume", exit_status={0: "it goes on", **_SILENT, **USAGE, **_AWAY})
def resume(*, as_json: bool) -> int:
    """Go on after a pause."""
    return _order("resume", as_json=as_json, done="it goes on")


@verb(
    "reload",
    exit_status={
        0: "the new settings are in use",
        **_SILENT,
        2: "they are wrong, and those from before stay in use",
        **_AWAY,
    },
)
def reload(*, as_json: bool) -> int:
    """Have the daemon read its settings anew, as SIGHUP does.

    A job that runs goes on with the settings that it began with.
    """
    settings, trouble = _find_settings()
    reply = _ask("reload", settings, trouble)
    code = reply.status
    problem = None if code else _wait_for_settings(settings, reply.place)
    if problem is not None:
        code = 2
        click.echo(f"ckptd: {escape(problem, 4_000)}", err=True)
    if as_json:
        print_json({"status": code})
    elif not code:
        click.echo("the new settings are in use")
    return code


def _wait_for_settings(settings: Settings | None, place: Path) -> str | None:
    """Wait until the daemon has begun again; give why it goes on with the settings from before, None when it does not.

    What is asked after a reload is answered by the loop that comes after it, where it listened before or where it does now.

    Args:
        settings: those that it was to read, if they can be read here.
        place: where it heard the wish.
    """
    deadline = time.monotonic() + _RELOAD_SECONDS
    while time.monotonic() < deadline:
        try:
            reply = _ask("status", settings, None, first=place, is_quiet=True)
        except NotReachableError:
            if settings is not None and not settings.control.enabled:
                return None  # it hears nobody any more, as it was told
        except SilentError:
            pass
        else:
            now: Any = reply.value
            if not reply.status and now["phase"] != "starting":
                return None if now["settings_problem"] is None else str(now["settings_problem"])
        time.sleep(0.1)
    return f"the daemon has not gone on within {_RELOAD_SECONDS:.0f} seconds"


def _order(what: str, *, as_json: bool, done: str, seconds: float = 0.0) -> int:
    code = _ask(what, *_find_settings(), seconds=seconds).status
    if as_json:
        print_json({"status": code})
    elif not code:
        click.echo(done)
    return code


def _find_settings() -> tuple[Settings | None, SettingsError | None]:
    """Read the settings, or give what is wrong with them: the daemon has those from before, and may be found all the same."""
    try:
        return find_settings(current_request()), None
    except SettingsError as error:
        return None, error


def _ask(
    what: str,
    settings: Settings | None,
    trouble: SettingsError | None,
    *,
    seconds: float = 0.0,
    first: Path | None = None,
    is_quiet: bool = False,
) -> Reply:
    """Ask for something.

    Raises:
        NotReachableError: no daemon answers.
        SettingsError: none answers where it can be without settings, and these are wrong.
        SilentError: it does not answer in time.
    """
    request = current_request()
    order = build_order(request, settings, what, seconds)
    try:
        return ask_daemon(request, settings, order, first=first, is_quiet=is_quiet, patience_seconds=_PATIENCE_SECONDS)
    except NotReachableError:
        if trouble is not None:
            raise trouble from None
        raise


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
