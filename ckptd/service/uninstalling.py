"""Gather what is there and say what an uninstall takes away: what ckptd wrote and nobody changed, and nothing else."""

from __future__ import annotations

from ckptd.service import refusing
from ckptd.service.finding import find_instances, find_own_files, read_all
from ckptd.service.places import Places
from ckptd.service.plan import Found, plan_uninstall
from ckptd.service.stamp import judge
from ckptd.service.steps import Plan
from ckptd.service.surroundings import Surroundings
from ckptd.service.systemctl import Systemctl
from ckptd.service.units import SCAN, SERVICE, TEMPLATE, TIMER, find_source


def prepare_uninstall(places: Places, around: Surroundings, manager: Systemctl) -> Plan:
    """Say what is taken away, and what stays.

    Raises:
        ServiceError: it can't be done here.
    """
    refusing.check_authority(places, around, "uninstall the service")
    found = read_all(find_own_files(places))
    units = [unit for unit in _find_units(places) if _is_ours(places, unit, found)]
    plan = plan_uninstall(found, tuple(unit for unit in units if manager.is_wanted(unit)))
    stays = " and ".join(str(path) for path in (places.config, places.state_dir) if path is not None)
    notes = [*plan.notes, f"{stays} stay as they are, and so do the roots with the metadata files and .ckptd in them"]
    if places.is_system and places.service == SERVICE:
        notes.append("the user ckptd stays: files belong to it")
    return Plan(plan.steps, tuple(notes))


def _find_units(places: Places) -> tuple[str, ...]:
    if places.is_system and places.service == SERVICE:
        return (TIMER, SCAN, *find_instances(places), SERVICE)
    return (places.service,)


def _is_ours(places: Places, unit: str, found: Found) -> bool:
    """Tell whether a unit was put in place by ckptd: what somebody else did is not stopped.

    An instance belongs to whoever owns the template, without which it is nothing; who names one means that one, of which a
    drop-in of ours is enough.
    """
    source = places.units / find_source(unit)
    of_unit = found[source] if source in found else read_all([source])[source]
    is_named = places.service == unit and source.name == TEMPLATE
    return judge(of_unit, None).is_ours or (is_named and judge(found.get(places.drop_in(unit)), None).is_ours)
