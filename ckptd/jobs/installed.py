"""Find the service of systemd whose settings somebody asks about."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ckptd.service.faults import ServiceError
from ckptd.service.finding import find_instances, take_over
from ckptd.service.places import Places, find_system_places


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
