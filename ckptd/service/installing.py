"""Gather what is there and say what an install does; `applying` does it, and a dry run only prints it."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ckptd.service import refusing
from ckptd.service.drop_in import Reach, find_readable, find_writable, render_drop_in
from ckptd.service.faults import ServiceError
from ckptd.service.finding import find_instances, read_all
from ckptd.service.first_settings import FirstSettings
from ckptd.service.places import Places, find_system_places
from ckptd.service.plan import Wanted, plan_install
from ckptd.service.stamp import judge, stamp
from ckptd.service.steps import Plan
from ckptd.service.surroundings import Directory, Surroundings, describe_access, find_groups, find_user, look_at
from ckptd.service.systemctl import Systemctl
from ckptd.service.units import (
    SERVICE,
    TEMPLATE,
    TIMER,
    UnitFile,
    read_members,
    render_system_units,
    render_sysusers,
    render_user_units,
)
from ckptd.settings import Settings, load_settings

_WHAT = "install the service"
#: What sysusers.d(5) takes for a name; a group of another name comes from elsewhere, and the drop-in alone lets the service in.
_LOCAL_GROUP = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,30}")


@dataclass(frozen=True, slots=True)
class Order:
    """What somebody asked for.

    Attributes:
        places: where things go.
        roots: for a new settings file, absolute; empty takes the usual one.
        scan: a pass every hour and no daemon.
    """

    places: Places
    roots: tuple[Path, ...] = ()
    scan: bool = False

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
    places = order.places
    refusing.check_authority(places, around, _WHAT)
    refusing.check_runtime(places, around, _WHAT)
    settings, config = _find_settings(order)
    refusing.check_paths(find_writable(settings), _WHAT)
    roots = [look_at(root) for root in settings.roots]
    reach = _find_reach(settings, find_groups(roots))
    refusing.check_roots(places, reach.writable, _WHAT)
    files = render_files(places, reach)
    found = read_all(files)
    refusing.check_standings(((path, judge(found[path], text)) for path, text in files.items()), _WHAT)
    new_root = roots[0].path if config is not None and not order.roots and roots[0].mode is None else None
    running = _find_running(order, manager)
    others = tuple(unit for unit in running if unit != order.unit)
    wanted = Wanted(files, order.unit, order.unit in running, others, config, new_root, places.sysusers, reach.groups)
    lasting = [one for one in roots if one.path != new_root]
    return Plan(plan_install(wanted, found), tuple(_find_notes(order, manager, reach, lasting)))


def _find_running(order: Order, manager: Systemctl) -> tuple[str, ...]:
    """Give what runs of the unit that is meant and, for the plain service, of the instances of its template."""
    is_plain = order.places.is_system and order.places.service == SERVICE
    units = (order.unit, *(find_instances(order.places) if is_plain else ()))
    return tuple(unit for unit in units if manager.is_active(unit))


def _find_notes(order: Order, manager: Systemctl, reach: Reach, roots: Sequence[Directory]) -> Iterator[str]:
    """Say what a person has to know, or to do."""
    service = order.places.service
    if order.places.is_taken_over:
        yield f"the settings are {order.places.config}, as the service that is in place has them; --config names others"
    if not order.places.is_system:
        yield "it runs while you are logged in; loginctl enable-linger keeps it running"
        return
    user = find_user()
    yield from (told for told in (describe_access(one, reach.groups, user) for one in roots) if told is not None)
    if reach.groups:
        yield f"the service joins {', '.join(reach.groups)}, the group that shares the roots"
    if order.scan and manager.is_wanted(service):
        yield f"{service} goes on beside it; systemctl disable --now {service} stops it"


def render_wanted(places: Places) -> Mapping[Path, str]:
    """Give every file that an install of today writes by the settings that are in place.

    Raises:
        CkptdError: they can't be read.
    """
    settings = load_settings(places.config, {}, {})
    return render_files(places, _find_reach(settings, find_groups(look_at(root) for root in settings.roots)))


def render_files(places: Places, reach: Reach) -> Mapping[Path, str]:
    """Give every file that an install writes, with its stamp, in the order in which they are written."""
    files = {} if places.sysusers is None else {places.sysusers: stamp(render_sysusers(_find_members(places.sysusers, reach)))}
    files |= {places.units / unit.name: stamp(unit.text) for unit in _render_units(places)}
    drop_in = stamp(render_drop_in(reach))
    return files | {places.drop_in(unit): drop_in for unit in places.confined}


def _find_members(sysusers: Path, reach: Reach) -> set[str]:
    """Give the groups that the user ckptd is in: those that share the roots, and those of the services beside this one."""
    before = read_all([sysusers])[sysusers]
    joined = () if before is None else read_members(before.decode("utf-8", "replace"))
    return {group for group in (*reach.groups, *joined) if _LOCAL_GROUP.fullmatch(group)}


def _render_units(places: Places) -> Sequence[UnitFile]:
    python = Path(os.path.abspath(sys.executable))
    if not places.is_system:
        return render_user_units(python)
    if places.service == SERVICE:
        return render_system_units(python, places.config)
    return [unit for unit in render_system_units(python, find_system_places().config) if unit.name == TEMPLATE]


def _find_reach(settings: Settings, groups: tuple[str, ...]) -> Reach:
    writable = tuple(Path(os.path.realpath(path)) for path in find_writable(settings))
    return Reach(writable, tuple(Path(os.path.realpath(path)) for path in find_readable(settings)), groups)


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
