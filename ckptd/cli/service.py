"""The verbs about systemd: service install, service uninstall, service status."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ckptd.cli.output import print_json
from ckptd.cli.request import current_request
from ckptd.cli.table import Column, show_table
from ckptd.cli.verbs import FINE, USAGE, Verb, common_options, verb, write_exit_status
from ckptd.errors import CkptdError
from ckptd.text import escape

if TYPE_CHECKING:
    from ckptd.service.places import Places
    from ckptd.service.status import ServiceStatus
    from ckptd.service.steps import Plan
    from ckptd.service.surroundings import Surroundings
    from ckptd.service.systemctl import Systemctl

_STATUS = {**FINE, 1: "it can't be done here, or the service does not run; the message says why", **USAGE}
_TEXT_LIMIT = 4_000


class _ServiceGroup(click.Group):
    """The group of the verbs about systemd, with EXIT STATUS in its help as everywhere."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write what each exit status means."""
        del ctx
        write_exit_status(formatter, _STATUS)


@click.group("service", cls=_ServiceGroup, subcommand_metavar="VERB")
@common_options
def service() -> None:
    """Put ckptd in place as a service of systemd, or take it away.

    docs/ops/install.md is what an administrator reads once.
    """


def _check_instance(_ctx: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    if value is not None and (value == "ckptd" or not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}", value)):
        raise click.BadParameter("name it by letters, digits, and _ . - within; it names files, and ckptd is taken")
    return value


def _which(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say which service is meant."""
    user = click.option("--user", is_flag=True, help="Your own service on your own checkpoints, without root.")
    instance = click.option(
        "--instance",
        metavar="NAME",
        callback=_check_instance,
        help="The service ckptd@NAME, which reads /etc/ckptd/NAME.toml; for a root that is to have its own.",
    )
    return user(instance(function))


def _dry_run(function: Callable[..., Any]) -> Callable[..., Any]:
    return click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")(function)


@verb("install", exit_status={0: "it is in place, and runs unless --no-start", **{key: _STATUS[key] for key in (1, 2)}})
@_which
@click.option("--scan/--daemon", default=None, help="A timer that makes one pass an hour, or the daemon. Default: as before.")
@click.option("--no-start", is_flag=True, help="Put it in place and start nothing.")
@_dry_run
def install(*, user: bool, instance: str | None, scan: bool | None, no_start: bool, dry_run: bool, as_json: bool) -> int:
    """Put the service in place for this interpreter, and start it.

    Units go to /etc/systemd/system. What they may write comes from the settings in /etc/ckptd/ckptd.toml, or --config; where
    there are none they are written, with the roots of --root, else /srv/trained_models. A second install changes what is not
    as it should be, and nothing else: it keeps to the --config and --scan of the first, and a file that ckptd did not write,
    or that was changed by hand, is never replaced. What runs is started again when ckptd or its units are others than before.
    """
    from ckptd.service.installing import Order, prepare_install

    if scan is not None and (user or instance):
        raise click.UsageError("--scan and --daemon go with the system's service alone")
    places, around, manager = _look(user=user, instance=instance)
    roots = tuple(Path(os.path.abspath(root.expanduser())) for root in current_request().roots)
    plan = prepare_install(Order(places, roots, scan, start=not no_start), around, manager)
    _carry_out(plan, manager, dry_run=dry_run, as_json=as_json)
    return 0


@verb("uninstall", exit_status={0: "it is gone", **{key: _STATUS[key] for key in (1, 2)}})
@_which
@_dry_run
def uninstall(*, user: bool, instance: str | None, dry_run: bool, as_json: bool) -> int:
    """Stop the service and remove what install wrote.

    Settings, state, the user ckptd, and of course the checkpoints and the files beside them stay.
    """
    from ckptd.service.uninstalling import prepare_uninstall

    places, around, manager = _look(user=user, instance=instance)
    _carry_out(prepare_uninstall(places, around, manager), manager, dry_run=dry_run, as_json=as_json)
    return 0


@verb("status", exit_status={0: "what is started runs", 1: "something is started and does not run, or nothing is", **USAGE})
@_which
def status(*, user: bool, instance: str | None, as_json: bool) -> int:
    """Show what is installed, and how systemd says that it runs."""
    from ckptd.service.status import find_status

    places, around, manager = _look(user=user, instance=instance)
    found = find_status(places, _find_wanted(places, around), manager)
    if as_json:
        print_json({"fine": found.is_fine, **asdict(found)})
    else:
        _show(found)
    return 0 if found.is_fine else 1


def _look(*, user: bool, instance: str | None) -> tuple[Places, Surroundings, Systemctl]:
    from ckptd.service.finding import take_over
    from ckptd.service.places import find_system_places, find_user_places
    from ckptd.service.surroundings import look_around
    from ckptd.service.systemctl import Systemctl

    config = current_request().config
    if (user and instance) or (config is not None and (user or instance)):
        raise click.UsageError("--user, --instance and --config go without each other: each says which settings are read")
    own = None if config is None else Path(os.path.abspath(config))
    places = find_user_places(os.environ) if user else find_system_places(instance, own)
    if own is None:
        places = take_over(places)
    return places, look_around(places, os.environ), Systemctl(is_system=places.is_system)


def _find_wanted(places: Places, around: Surroundings) -> dict[str, str]:
    """Give what an install would write now; nothing where the settings can't be read."""
    from ckptd.service.installing import render_wanted

    try:
        return {str(path): text for path, text in render_wanted(places, around.build).items()}
    except CkptdError:
        return {}


def _carry_out(plan: Plan, manager: Systemctl, *, dry_run: bool, as_json: bool) -> None:
    from ckptd.service.applying import Applier
    from ckptd.service.steps import describe, describe_done

    applier, said = Applier(manager), []
    notes = [escape(note, _TEXT_LIMIT) for note in plan.notes]
    try:
        for step in plan.steps:
            if not dry_run:
                applier.apply(step)
            said.append(escape(describe(step) if dry_run else describe_done(step), _TEXT_LIMIT))
            if not as_json:
                click.echo(("would " if dry_run else "") + said[-1])
        if not plan.steps and not as_json:
            click.echo("nothing to do: all is as it should be")
    finally:  # where a step failed, a note may be what says why: a root that is away, a directory that is closed
        if as_json:
            print_json({"dry_run": dry_run, "steps": said, "notes": notes})
        else:
            for note in notes:
                click.echo(f"note: {note}")


def _show(found: ServiceStatus) -> None:
    if found.units:
        columns = [Column("UNIT"), Column("ACTIVE"), Column("AT BOOT"), Column("RESTARTS", number=True), Column("SAYS")]
        rows = [
            (one.unit, f"{one.active} ({one.detail})", one.at_boot or "-", str(one.restarts), one.text or one.result or "-")
            for one in found.units
        ]
        show_table(columns, rows)
    else:
        click.echo("not installed")
    for path, standing in found.files.items():
        click.echo(f"{escape(path, _TEXT_LIMIT)}: {standing}")


SERVICE_VERBS: tuple[Verb, ...] = (install, uninstall, status)
for _verb in SERVICE_VERBS:
    service.add_command(_verb)
