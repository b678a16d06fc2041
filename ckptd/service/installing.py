"""Gather what is there and say what an install does; `applying` does it, and a dry run only prints it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ckptd.service import refusing
from ckptd.service.drop_in import Reach, find_readable, find_writable, render_drop_in
from ckptd.service.faults import ServiceError
from ckptd.service.finding import find_instances, read_all
from ckptd.service.first_settings import FirstSettings
from ckptd.service.members import find_members
from ckptd.service.mounts import find_unreached
from ckptd.service.notes import find_access_notes, find_group_notes
from ckptd.service.places import Places
from ckptd.service.plan import Running, Wanted, plan_install
from ckptd.service.stamp import judge, stamp
from ckptd.service.steps import Plan
from ckptd.service.surroundings import Directory, Surroundings, find_groups, find_user, look_at_writable
from ckptd.service.systemctl import Systemctl
from ckptd.service.units import (
    SERVICE,
    TEMPLATE,
    TIMER,
    UnitFile,
    render_system_units,
    render_sysusers,
    render_user_units,
)
from ckptd.settings import Settings, load_settings

_WHAT = "install the service"


@dataclass(frozen=True, slots=True)
class Order:
    """What somebody asked for.

    Attributes:
        places: where things go.
        roots: for a new settings file, absolute; empty takes the usual one.
        scan: a pass every hour and no daemon; None keeps to what an install before this one chose.
        start: False leaves everything as it runs, or does not run.
    """

    places: Places
    roots: tuple[Path, ...] = ()
    scan: bool | None = None
    start: bool = True

    @property
    def unit(self) -> str:
        """What is started."""
        return TIMER if self.scan else self.places.service


def prepare_install(order: Order, around: Surroundings, manager: Systemctl) -> Plan:
    """Say what is to be done for a service of this interpreter, or why it can't be.

    Raises:
        ServiceError: it can't work here, or would replace what ckptd did not write.
        SettingsError: the settings that the service would read make no sense.
    """
    places, user = order.places, find_user()
    refusing.check_authority(places, around, _WHAT)
    refusing.check_runtime(places, around, _WHAT)
    refusing.check_config(places, [os.geteuid(), *(() if user is None else (user.uid,))], _WHAT)
    settings, config = _find_settings(order)
    refusing.check_paths(find_writable(settings), _WHAT)
    refusing.check_links(places, (*find_writable(settings), *find_readable(settings)), _WHAT)
    directories = look_at_writable(settings)
    reach = _find_reach(settings, directories)
    refusing.check_roots(places, reach.writable, _WHAT)
    members = find_members(places, directories)
    files = render_files(places, reach, members.groups, around.build)
    found = read_all(files)
    refusing.check_standings(((path, judge(found[path], text)) for path, text in files.items()), _WHAT)
    first = directories[0]
    new_root = first.path if config is not None and not order.roots and first.mode is None else None
    kept = replace(order, scan=_is_scan(order, manager))
    running = _look_at_units(kept, directories, manager)
    wanted = Wanted(files, kept.unit, running, config, new_root, places.sysusers, reach.groups, order.start)
    notes = [*_find_notes(order, kept, manager, is_running=running.is_running)]
    if places.is_system:
        lasting = [one for one in directories if one.path != new_root]
        notes += find_access_notes(places, settings, lasting, reach.groups, user)
        notes += find_group_notes(reach.groups, members.given_up, user)
    return Plan(plan_install(wanted, found), tuple(notes))


def _is_scan(order: Order, manager: Systemctl) -> bool:
    """Keep to the timer, where an install before this one started it in place of the daemon."""
    if order.scan is not None or not order.places.is_system or order.places.service != SERVICE:
        return bool(order.scan)
    return manager.is_enabled(TIMER) and not manager.is_enabled(SERVICE)


def _look_at_units(order: Order, directories: Sequence[Directory], manager: Systemctl) -> Running:
    """Ask what runs of the unit that is meant, and of the instances of the template, which every install writes."""
    places, unit = order.places, order.unit
    if not places.is_system:
        return Running(manager.is_active(unit))
    instances = [one for one in find_instances(places) if one != unit]
    active = tuple(one for one in instances if manager.is_active(one))
    is_running = manager.is_active(unit)
    there = [one.path for one in directories if one.mode is not None]
    is_behind = is_running and bool(find_unreached(manager.find_pid(unit), there))
    stopped: tuple[str, ...] = ()
    if places.service == SERVICE:  # as for an upgrade, before which all of them are stopped
        stopped = tuple(one for one in instances if one not in active and manager.is_enabled(one))
    return Running(is_running, is_behind, active, stopped)


def _find_notes(order: Order, kept: Order, manager: Systemctl, *, is_running: bool) -> Iterator[str]:
    """Say what a person has to know about settings and units."""
    places, service = order.places, order.places.service
    if places.is_taken_over:
        yield f"the settings are {places.config}, as the service that is in place has them; --config names others"
    if not order.start:
        verb = "restart" if is_running else "enable --now"
        yield f"nothing was started: systemctl {verb} {kept.unit} does that"
    if not places.is_system:
        yield "it runs while you are logged in; loginctl enable-linger keeps it running"
    elif kept.scan and order.scan is None:
        yield f"a timer in place of a daemon, as an install before this one chose; --daemon starts {service}"
    elif kept.scan and manager.is_wanted(service):
        yield f"{service} goes on beside it; systemctl disable --now {service} stops it"
    elif service == SERVICE and manager.is_enabled(TIMER):
        yield f"{TIMER} goes on beside it; systemctl disable --now {TIMER} stops it"


def render_wanted(places: Places, build: str = "") -> Mapping[Path, str]:
    """Give every file that an install of today writes by the settings that are in place.

    Raises:
        CkptdError: they can't be read.
    """
    settings = load_settings(places.config, {}, {})
    directories = look_at_writable(settings)
    reach = _find_reach(settings, directories)
    return render_files(places, reach, find_members(places, directories).groups, build)


def render_files(places: Places, reach: Reach, members: Iterable[str], build: str) -> Mapping[Path, str]:
    """Give every file that an install writes, with its stamp, in the order in which they are written.

    Args:
        places: where each goes.
        reach: what the service has to reach.
        members: names of the groups that the user of the service is in.
        build: digest of the code that is started.
    """
    files = {} if places.sysusers is None else {places.sysusers: stamp(render_sysusers(members))}
    files |= {places.units / unit.name: stamp(unit.text) for unit in _render_units(places, build)}
    drop_in = stamp(render_drop_in(reach))
    return files | {places.drop_in(unit): drop_in for unit in places.confined}


def _render_units(places: Places, build: str) -> Sequence[UnitFile]:
    python = Path(os.path.abspath(sys.executable))
    if not places.is_system:
        return render_user_units(python, build)
    if places.service == SERVICE:
        return render_system_units(python, places.config, build)
    return [unit for unit in render_system_units(python, build=build) if unit.name == TEMPLATE]


def _find_reach(settings: Settings, directories: Iterable[Directory]) -> Reach:
    writable = tuple(Path(os.path.realpath(path)) for path in find_writable(settings))
    readable = tuple(Path(os.path.realpath(path)) for path in find_readable(settings))
    return Reach(writable, readable, find_groups(directories))


def _find_settings(order: Order) -> tuple[Settings, tuple[Path, str] | None]:
    """Read the settings that the service will read; where there are none, say what a new file holds."""
    config = order.places.config
    if not config.exists() and order.places.is_taken_over:
        why = "the service that is in place reads these settings, and they are not there"
        raise ServiceError(_WHAT, path=config, why=why, cure="bring them back, or name others: --config")
    if not config.exists():
        first = FirstSettings(order.roots or (order.places.root,), order.places.state_dir)
        return first.settings(), (config, first.render())
    if order.roots:
        why, cure = "the settings are there already, and name the roots", "write them into it, and leave --root out"
        raise ServiceError(_WHAT, path=config, why=why, cure=cure)
    return load_settings(config, {}, {}), None
