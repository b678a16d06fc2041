"""Say how an installed service stands: its files, and what systemd knows of its units."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ckptd.service.finding import find_instances, find_own_files, read_all
from ckptd.service.places import Places
from ckptd.service.stamp import Standing, judge
from ckptd.service.systemctl import Systemctl
from ckptd.service.units import SCAN, SERVICE, TIMER

_PROPERTIES = ("LoadState", "ActiveState", "SubState", "UnitFileState", "Result", "NRestarts", "MainPID", "StatusText")


@dataclass(frozen=True, slots=True)
class UnitStatus:
    """What systemd knows of one unit.

    Attributes:
        unit: its name.
        active: active, activating, failed, inactive, or another word of systemd.
        detail: the same more exactly, such as running or auto-restart.
        at_boot: enabled, disabled, or another word of systemd.
        result: success, or why it ended last.
        restarts: since somebody started it.
        pid: of its main process; None when it does not run.
        text: what it says that it is doing.
    """

    unit: str
    active: str
    detail: str
    at_boot: str
    result: str
    restarts: int
    pid: int | None
    text: str

    @property
    def is_fine(self) -> bool:
        """It runs, or waits for its time; a pass of the timer is activating until it ends."""
        return self.active in ("active", "reloading") or (self.unit == SCAN and self.active == "activating")

    @property
    def is_started(self) -> bool:
        """It runs, did and failed, or is started at boot."""
        return self.at_boot == "enabled" or self.active != "inactive"


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """How a service stands.

    Attributes:
        units: those that are there.
        files: place of each file of ours → how it stands.
    """

    units: tuple[UnitStatus, ...]
    files: Mapping[str, str]

    @property
    def is_fine(self) -> bool:
        """At least one unit is started at boot or runs, and none that is started does not run."""
        started = [one for one in self.units if one.is_started]
        return bool(started) and all(one.is_fine for one in started)


def find_status(places: Places, wanted: Mapping[str, str], manager: Systemctl) -> ServiceStatus:
    """Ask how a service stands.

    Args:
        places: where it lies.
        wanted: place → what an install of today would write, as far as that is known.
        manager: the service manager.

    Raises:
        ServiceError: systemd does not answer.
    """
    found = read_all(find_own_files(places))
    files = {str(path): judge(content, wanted.get(str(path))) for path, content in found.items()}
    is_whole = places.is_system and places.service == SERVICE
    units = (SERVICE, TIMER, SCAN, *find_instances(places)) if is_whole else (places.service,)
    statuses = [_read_status(unit, manager.show(unit, *_PROPERTIES)) for unit in units]
    return ServiceStatus(
        tuple(one for one in statuses if one is not None and (one.unit != SCAN or one.is_started)),
        {path: _say(standing, path in wanted) for path, standing in files.items() if standing is not Standing.MISSING},
    )


def _say(standing: Standing, is_known: bool) -> str:
    """What an install would write can't be known to everybody; then what ckptd wrote and nobody changed is in place."""
    return standing.value if is_known or standing is not Standing.OLDER else Standing.SAME.value


def _read_status(unit: str, shown: Mapping[str, str]) -> UnitStatus | None:
    if shown.get("LoadState") == "not-found":
        return None
    restarts, pid = shown.get("NRestarts", ""), shown.get("MainPID", "")
    return UnitStatus(
        unit,
        shown.get("ActiveState", "unknown"),
        shown.get("SubState", ""),
        shown.get("UnitFileState", ""),
        shown.get("Result", ""),
        int(restarts) if restarts.isdigit() else 0,
        int(pid) if pid.isdigit() and pid != "0" else None,
        shown.get("StatusText", ""),
    )
