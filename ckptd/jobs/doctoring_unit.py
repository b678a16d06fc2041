"""Look at the systemd units of ckptd, where there are any: of the system, or of who asks."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from ckptd.jobs.checks import Check, Patient, bad, good, is_system_user
from ckptd.model import Severity
from ckptd.service.places import find_system_places, find_user_places
from ckptd.service.units import SCAN, SERVICE, TIMER
from ckptd.text import escape

_NAME = "systemd unit"
_UNITS = (SERVICE, "ckptd@*.service", TIMER, SCAN)
PROPERTIES = (
    "Id",
    "LoadState",
    "ActiveState",
    "SubState",
    "UnitFileState",
    "Result",
    "ExecMainStatus",
    "NRestarts",
    "MainPID",
    "ActiveEnterTimestamp",
    "ActiveEnterTimestampMonotonic",
    "WatchdogUSec",
    "NeedDaemonReload",
    "FragmentPath",
)
#: A manager that hangs must not hang the doctor.
_SECONDS = 5.0
_MOST_BYTES = 64 << 10
#: systemd is what started this machine.  Source: sd_booted(3).
_BOOTED = Path("/run/systemd/system")
#: A service that has run for so long has got over what it was restarted for.
_CALM_SECONDS = 86_400.0
_RUNS = frozenset({"active", "activating", "reloading"})

Unit = Mapping[str, str]


def check_unit(patient: Patient) -> Iterator[Check]:
    """Say how the units stand; that there is none is no trouble."""
    return _check_all(is_system=asks_system(patient), is_wanted=patient.is_of_service)


def check_own_unit() -> Iterator[Check]:
    """Say the same where nobody knows whose the checkpoints are."""
    return _check_all(is_system=asks_system(None), is_wanted=is_system_user(os.geteuid()))


def asks_system(patient: Patient | None) -> bool:
    """Say whether the system's service manager is the one to ask; anybody may, and the service's user has none of its own."""
    user = os.geteuid()
    return user == 0 or is_system_user(user) or (patient is not None and patient.is_of_service)


def read_units(*, is_system: bool) -> list[dict[str, str]]:
    """Ask systemd for the units: property → value, for each.

    Args:
        is_system: ask the system's service manager, and not that of who asks.

    Raises:
        OSError: there is no systemd, or it does not answer.
    """
    manager = () if is_system else ("--user",)
    try:
        command = ["systemctl", *manager, "show", "--no-pager", f"--property={','.join(PROPERTIES)}", *_UNITS]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_SECONDS, check=False)  # noqa: S603 — words of ours, no shell
    except subprocess.TimeoutExpired:
        raise OSError(f"no answer within {_SECONDS:.0f} seconds") from None
    except OSError as error:
        raise OSError("there is no systemctl here") from error
    if done.returncode != 0 or len(done.stdout) > _MOST_BYTES:
        lines = done.stderr.decode("utf-8", "replace").strip().split("\n")
        raise OSError(escape(lines[0], 200) or f"systemctl ended with status {done.returncode}")
    return _parse(done.stdout.decode("utf-8", "replace"))


def _parse(text: str) -> list[dict[str, str]]:
    """Read what `systemctl show` prints: lines of KEY=VALUE, a blank line between two units."""
    blocks = [block for block in text.split("\n\n") if block.strip()]
    return [dict(line.partition("=")[::2] for line in block.split("\n") if "=" in line) for block in blocks]


def _check_all(*, is_system: bool, is_wanted: bool) -> Iterator[Check]:
    try:
        units = read_units(is_system=is_system)
    except OSError as error:
        yield _tell_silent(str(error), is_system=is_system, is_wanted=is_wanted)
        return
    there = {unit.get("Id", SERVICE): unit for unit in units if unit.get("LoadState") not in ("not-found", None)}
    has_timer = _is_wanted(there.get(TIMER, {}))
    judged = {id_: unit for id_, unit in there.items() if _is_judged(id_, unit, has_timer=has_timer)}
    if not judged:
        yield good(_NAME, "there is none; docs/ops/install.md says how to have ckptd started by systemd")
    systemctl = "systemctl" if is_system else "systemctl --user"
    for id_, unit in judged.items():
        yield from _check_one(escape(id_, 100), unit, systemctl)


def _tell_silent(why: str, *, is_system: bool, is_wanted: bool) -> Check:
    """Say that nobody knows; where a service was installed, that is no comfort."""
    message = f"systemd can't be asked: {why}"
    places = find_system_places() if is_system else find_user_places(os.environ)
    if _BOOTED.is_dir() and (is_wanted or (places.units / SERVICE).exists()):
        cure = "ask as root" if is_system else "log in as that user, not by su or sudo"
        return bad(_NAME, message, f"{cure}: how the service stands is not known", Severity.WARNING)
    return good(_NAME, message)


def _is_wanted(unit: Unit) -> bool:
    return unit.get("ActiveState") in _RUNS or unit.get("UnitFileState") == "enabled"


def _is_judged(id_: str, unit: Unit, *, has_timer: bool) -> bool:
    """Say whether a unit is to run: an install brings the daemon and the timer, and one of the two is started."""
    if id_ in (TIMER, SCAN):
        return has_timer or unit.get("ActiveState") == "failed"
    return id_ != SERVICE or not has_timer or _is_wanted(unit)


def _check_one(id_: str, unit: Unit, systemctl: str) -> Iterator[Check]:
    name, state, at_boot = f"{_NAME} {id_}", unit.get("ActiveState", "?"), unit.get("UnitFileState", "")
    journal = "journalctl" if systemctl == "systemctl" else "journalctl --user"
    log = f"its log says why: {journal} -u {id_} -b"
    if state == "failed":
        why = f"it failed ({escape(unit.get('Result', '?'), 40)}, exit status {escape(unit.get('ExecMainStatus', '?'), 10)})"
        again = "start" if id_ == SCAN else "restart"
        yield bad(name, why, f"{log}; then {systemctl} {again} {id_}")
    elif id_ == SCAN:
        yield good(name, "it runs" if state in _RUNS else f"its last pass ended with {escape(unit.get('Result', '?'), 40)}")
    elif state in ("active", "reloading"):
        yield good(name, _describe_active(unit))
    else:
        cure = f"{systemctl} enable --now {id_}"
        yield bad(name, f"it is {escape(state, 40)} ({escape(at_boot or '?', 40)})", cure, Severity.WARNING)
    if state == "active" and at_boot in ("disabled", "enabled-runtime") and id_ != SCAN:
        cure = f"{systemctl} enable {id_}"
        yield bad(name, f"it runs, and is not started at boot ({at_boot})", cure, Severity.WARNING)
    yield from _check_restarts(name, unit, f"{log}; {systemctl} reset-failed {id_} begins to count anew")
    if unit.get("NeedDaemonReload") == "yes":
        yield bad(name, "its file was changed since systemd read it", f"{systemctl} daemon-reload", Severity.INFO)


def _describe_active(unit: Unit) -> str:
    pid = unit.get("MainPID", "")
    process = f", process {escape(pid, 12)}" if pid else ""
    return f"active since {escape(unit.get('ActiveEnterTimestamp', '?'), 60)}{process}"


def _check_restarts(name: str, unit: Unit, cure: str) -> Iterator[Check]:
    """Say how often systemd had to restart a unit; it counts until it is told to forget."""
    restarts = unit.get("NRestarts", "0")
    if restarts in ("0", ""):
        return
    seconds = _find_uptime(unit)
    is_calm = seconds is not None and seconds > _CALM_SECONDS
    how_long = ", and it runs well for more than a day" if is_calm else ""
    severity = Severity.INFO if is_calm else Severity.WARNING
    yield bad(name, f"systemd had to restart it {escape(restarts, 12)} times{how_long}", cure, severity)


def _find_uptime(unit: Unit) -> float | None:
    """Say for how long a unit is active, seconds; None where it is not, or does not say.

    Source: org.freedesktop.systemd1(5): it is of CLOCK_MONOTONIC, in microseconds.
    """
    since = unit.get("ActiveEnterTimestampMonotonic", "")
    if unit.get("ActiveState") != "active" or not since.isdigit() or since == "0":
        return None
    return time.monotonic() - int(since) / 1e6
