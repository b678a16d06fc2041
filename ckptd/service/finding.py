"""Find what lies where a file of a service may lie, and whose it is."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from ckptd.service.faults import ServiceError
from ckptd.service.places import DROP_IN, Places, find_system_places
from ckptd.service.plan import Found
from ckptd.service.stamp import Standing, judge
from ckptd.service.units import SERVICE, SYSTEM_UNITS, TEMPLATE, USER_UNITS, read_config

#: How a unit stands that ckptd wrote, whatever a person did to it since.
_STAMPED = frozenset({Standing.OLDER, Standing.CHANGED})


def read_all(paths: Iterable[Path]) -> Found:
    """Read files, in their order.

    Raises:
        ServiceError: one can't be read.
    """
    return {path: _read(path) for path in paths}


def find_own_files(places: Places) -> tuple[Path, ...]:
    """Give each place where an install writes, in the order in which an uninstall removes.

    That of the plain service has the instances in it: without their unit they are nothing.
    """
    if not places.is_system:
        return tuple(places.units / name for name in USER_UNITS)
    if places.service != SERVICE:
        return (places.drop_in(places.service),)
    drop_ins = [places.drop_in(unit) for unit in (*find_instances(places), *places.confined)]
    sysusers = [] if places.sysusers is None else [places.sysusers]
    return (*drop_ins, *(places.units / name for name in SYSTEM_UNITS), *sysusers)


def find_instances(places: Places) -> tuple[str, ...]:
    """Give the units of the instances that were installed, or are started at boot: those with a drop-in, or with a link."""
    name, _, suffix = TEMPLATE.partition("@")
    drop_ins = places.units.glob(f"{name}@?*{suffix}.d/{DROP_IN}")
    links = places.units.glob(f"*.wants/{name}@?*{suffix}")
    found = {path.parent.name.removesuffix(".d") for path in drop_ins} | {path.name for path in links}
    return tuple(sorted(found))


def find_other_settings(places: Places) -> tuple[Path | None, ...]:
    """Give the settings of the services that are in place beside this one; None for one that is not known.

    Raises:
        ServiceError: a unit can't be read.
    """
    instances = [unit for unit in find_instances(places) if unit != places.service]
    found: list[Path | None] = [places.settings / f"{unit.partition('@')[2].rpartition('.')[0]}.toml" for unit in instances]
    if places.service != SERVICE:
        text = _read(places.units / SERVICE)
        found += [] if text is None else [read_config(text.decode("utf-8", "replace"))]
    return tuple(found)


def take_over(places: Places) -> Places:
    """Give places with the settings that the unit in place reads, where an install before this one was told of others.

    Raises:
        ServiceError: the unit can't be read.
    """
    if not places.is_system or places.service != SERVICE:
        return places
    found = _read(places.units / SERVICE)
    if judge(found, None) not in _STAMPED:
        return places
    config = read_config((found or b"").decode("utf-8", "replace"))
    return places if config in (None, places.config) else replace(places, config=config, is_taken_over=True)


def find_service(config: Path | None) -> Places | None:
    """Give the system's service that reads these settings, where one was installed; None where there is none.

    Args:
        config: the settings file that was read; None when there is none.
    """
    if config is None:
        return None
    return next((places for places in _find_installed() if _is_same(places.config, config)), None)


def _find_installed() -> Iterator[Places]:
    with suppress(ServiceError, OSError):  # a unit that can't be read is none that anybody could tell something of
        plain = take_over(find_system_places())
        if (plain.units / plain.service).exists():
            yield plain
        for unit in find_instances(plain):
            yield find_system_places(unit.removesuffix(".service").partition("@")[2])


def _is_same(one: Path, other: Path) -> bool:
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False


def _read(path: Path) -> bytes | None:
    """Give the content; None when nothing is there, and nothing at all for a link that leads nowhere."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b"" if path.is_symlink() else None
    except OSError as error:
        raise ServiceError("read a file", path=path, why=os.strerror(error.errno or 0)) from error
