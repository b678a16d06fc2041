"""Decide what an install or an uninstall does.  Pure: what lies where is an argument, and nothing is touched."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ckptd.service.stamp import Standing, judge
from ckptd.service.steps import Ask, AskManager, MakeDirectory, MakeUser, Plan, RemoveFile, Step, WriteFile
from ckptd.service.units import TEMPLATE

#: What lies at each place where a file of ours may lie; None where nothing does.
Found = Mapping[Path, bytes | None]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an install is to leave behind.

    Attributes:
        files: place → text, with its stamp; in the order in which they are written.
        unit: what is started.
        is_running: it runs already, from the files that are in place.
        instances: units that run out of the template.
        config: a settings file to be written, and its text; None when there is one.
        root: a directory to be made for a new settings file; None when it is there.
        sysusers: the file that makes the user of a system's service; None for a user's.
        groups: those that share the roots.
    """

    files: Mapping[Path, str]
    unit: str
    is_running: bool
    instances: tuple[str, ...]
    config: tuple[Path, str] | None
    root: Path | None
    sysusers: Path | None
    groups: tuple[str, ...] = ()

    @property
    def is_system(self) -> bool:
        """The service is the system's."""
        return self.sysusers is not None


def plan_install(wanted: Wanted, found: Found) -> tuple[Step, ...]:
    """Say what is missing or of another version; what stands is left alone, so a second install has nothing to do."""
    writes: list[WriteFile] = []
    for path, text in wanted.files.items():
        before = found.get(path)
        if judge(before, text) is not Standing.SAME:
            writes.append(WriteFile(path, text, None if before is None else hashlib.sha256(before).hexdigest()))
    steps: list[Step] = []
    if wanted.config is not None:
        steps.append(WriteFile(*wanted.config))
    steps += writes
    if wanted.sysusers is not None and any(step.path == wanted.sysusers for step in writes):
        steps.append(MakeUser(wanted.sysusers, wanted.groups))
    if wanted.root is not None:
        steps.append(MakeDirectory(wanted.root, is_shared=wanted.is_system))
    if writes:
        steps.append(AskManager(Ask.RELOAD))
    if not wanted.is_running:
        steps.append(AskManager(Ask.ENABLE, wanted.unit))
    elif writes:
        steps.append(AskManager(Ask.RESTART, wanted.unit))
    if any(step.path.name == TEMPLATE for step in writes):
        steps += [AskManager(Ask.RESTART, unit) for unit in wanted.instances]
    return tuple(steps)


def plan_uninstall(found: Found, running: tuple[str, ...]) -> Plan:
    """Say what is taken away: what ckptd wrote and nobody changed.

    A unit that stays keeps its drop-in: without, it could write nowhere.

    Args:
        found: what lies where a file of ours may lie.
        running: units of ours that are started, now or at boot.
    """
    steps: list[Step] = [AskManager(Ask.DISABLE, unit) for unit in running]
    notes: list[str] = []
    removed = False
    for path, content in found.items():
        standing = judge(content, None)
        if content is not None and standing.is_ours and _stays(_find_unit(path), found):
            notes.append(f"{path} stays: its unit does")
        elif content is not None and standing.is_ours:
            steps.append(RemoveFile(path, hashlib.sha256(content).hexdigest()))
            removed = True
        elif standing is not Standing.MISSING:
            notes.append(f"{path} stays: {standing.value}")
    if removed:
        steps.append(AskManager(Ask.RELOAD))
    return Plan(tuple(steps), tuple(notes))


def _find_unit(path: Path) -> Path:
    """Give the unit that a drop-in belongs to; any other file is its own."""
    return path.parent.with_suffix("") if path.parent.suffix == ".d" else path


def _stays(path: Path, found: Found) -> bool:
    content = found.get(path)
    return content is not None and not judge(content, None).is_ours
