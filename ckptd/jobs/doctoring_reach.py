"""Look whether the installed service can reach what the settings name: what it may write is fixed when it is installed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from ckptd.errors import CkptdError
from ckptd.jobs.checks import Check, Patient, bad, good
from ckptd.model import Severity
from ckptd.service.drop_in import find_writable
from ckptd.service.installing import render_wanted
from ckptd.service.mounts import find_unreached
from ckptd.service.places import Places
from ckptd.text import escape

_NAME = "reach"
_CURE = "`ckptd service install`, as root"
_MOST_NAMED = 3
_GROUPS = "SupplementaryGroups"


def check_reach(patient: Patient) -> Iterator[Check]:
    """Hold what an install of today would let the service reach against what lies there; nothing where none was installed."""
    places = patient.find_service()
    if places is None or not places.confined:
        return
    try:
        wanted = render_wanted(places)
    except CkptdError:
        return  # settings that can't be read, or a file that can't: the other looks say so
    found: dict[Check, list[str]] = {}
    for unit in places.confined:
        for check in _check_drop_in(places, unit, wanted[places.drop_in(unit)]):
            found.setdefault(check, []).append(unit)
    for check, units in found.items():  # daemon and timer have the same: one line is enough for both
        yield replace(check, name=f"{_NAME} of {' and '.join(units)}")
    if all(check.ok or check.severity is Severity.INFO for check in found):
        yield from _check_running(patient, places.service)


def _check_running(patient: Patient, unit: str) -> Iterator[Check]:
    """Look at what runs: a directory that was made or mounted since it started is read-only to it."""
    pid = patient.find_daemon()
    real = [Path(os.path.realpath(path)) for path in find_writable(patient.settings)]
    unreached = [] if pid is None else find_unreached(pid, [path for path in real if os.path.isdir(path)])
    if unreached:
        shown = escape(", ".join(map(str, unreached[:_MOST_NAMED])), 1_000)
        why = f"it runs since before this was there, and can't write in it: {shown}"
        yield bad(f"{_NAME} of {unit}", why, f"systemctl restart {unit}")


def _check_drop_in(places: Places, unit: str, wanted: str) -> Iterator[Check]:
    path = places.drop_in(unit)
    if "@" not in unit and not (places.units / unit).exists():
        return
    try:
        found = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        yield bad(_NAME, f"{path} is not there: the service can write nowhere but in its state", _CURE)
        return
    except OSError as error:
        yield bad(_NAME, f"{path}: {error.strerror}", "ask as root", Severity.INFO)
        return
    missing = _compare(found, wanted)
    beyond = [word for word in _compare(wanted, found) if word[0] != _GROUPS]  # a root that is away has no group just now
    if missing:
        why = f"the settings name what it can't reach: {_name_some(missing)}"
        yield bad(_NAME, why, _CURE)
    elif beyond:
        yield bad(_NAME, f"it can reach what the settings name no more: {_name_some(beyond)}", _CURE, Severity.INFO)
    else:
        yield good(_NAME, "it can reach what the settings name")


def _compare(found: str, wanted: str) -> list[tuple[str, str]]:
    """Give what is wanted and not found: key and value of a line, one of its own for each group."""
    there = set(_read_words(found))
    return [word for word in _read_words(wanted) if word not in there]


def _read_words(text: str) -> Iterator[tuple[str, str]]:
    for line in text.splitlines():
        key, equals, value = line.partition("=")
        if not equals or line.startswith(("#", ";", "[")):
            continue
        for word in value.split() if key == _GROUPS else [value]:
            yield key, word


def _name_some(words: list[tuple[str, str]]) -> str:
    shown = [escape(value.removeprefix('"').removeprefix("-").removesuffix('"'), 500) for _, value in words]
    beyond = f" and {len(words) - _MOST_NAMED} more" if len(words) > _MOST_NAMED else ""
    return ", ".join(dict.fromkeys(shown[:_MOST_NAMED])) + beyond
