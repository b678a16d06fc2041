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
from ckptd.service.units import SERVICE, TIMER


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
        return (TIMER, *find_instances(places), SERVICE)
    return (places.service,)


def _is_ours(places: Places, unit: str, found: Found) -> bool:
    """Tell whether a unit was put in place by ckptd: what somebody else did is not stopped."""
    path = places.units / unit
    if path not in found:  # of a template: its drop-in is what the instance has of its own
        path = places.drop_in(unit)
    return judge(found.get(path), None).is_ours
