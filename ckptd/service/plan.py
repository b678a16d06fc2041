"""Decide what an install or an uninstall does.  Pure: what lies where is an argument, and nothing is touched."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ckptd.service.stamp import Standing, judge
from ckptd.service.steps import Ask, AskManager, MakeDirectory, MakeUser, Plan, RemoveFile, Step, WriteFile
from ckptd.service.units import SCAN, TEMPLATE, find_source

#: What lies at each place where a file of ours may lie; None where nothing does.
Found = Mapping[Path, bytes | None]


@dataclass(frozen=True, slots=True)
class Running:
    """What runs before an install.

    Attributes:
        is_running: the unit that is meant, from the files that are in place.
        is_behind: it runs, and can't write in a directory that came into being since it started.
        instances: units that run out of the template.
        stopped: units out of the template that are started at boot, and don't run.
    """

    is_running: bool = False
    is_behind: bool = False
    instances: tuple[str, ...] = ()
    stopped: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an install is to leave behind.

    Attributes:
        files: place → text, with its stamp; in the order in which they are written.
        unit: what is started.
        running: what runs already.
        config: a settings file to be written, and its text; None when there is one.
        root: a directory to be made for a new settings file; None when it is there.
        sysusers: the file that makes the user of a system's service; None for a user's.
        groups: those that the service joins.
        is_started: what does not run is started, and what is of another version is started again.
    """

    files: Mapping[Path, str]
    unit: str
    running: Running
    config: tuple[Path, str] | None
    root: Path | None
    sysusers: Path | None
    groups: tuple[str, ...] = ()
    is_started: bool = True

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
    if wanted.is_started:
        steps += _plan_starts(wanted, writes)
    return tuple(steps)


def _plan_starts(wanted: Wanted, writes: Sequence[WriteFile]) -> Iterator[Step]:
    running = wanted.running
    if not running.is_running:
        yield AskManager(Ask.ENABLE, wanted.unit)
    elif writes or running.is_behind:
        yield AskManager(Ask.RESTART, wanted.unit)
    if any(step.path.name == TEMPLATE for step in writes):
        yield from (AskManager(Ask.RESTART, unit) for unit in running.instances)
    yield from (AskManager(Ask.ENABLE, unit) for unit in running.stopped)


def plan_uninstall(found: Found, running: tuple[str, ...]) -> Plan:
    """Say what is taken away: what ckptd wrote and nobody changed.

    A unit that stays keeps its drop-in: without, it could write nowhere.

    Args:
        found: what lies where a file of ours may lie.
        running: units of ours that are started, now or at boot.
    """
    steps: list[Step] = [AskManager(Ask.STOP if unit == SCAN else Ask.DISABLE, unit) for unit in running]
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
    """Give the unit that a drop-in belongs to, of an instance its template; any other file is its own."""
    return path.parents[1] / find_source(path.parent.stem) if path.parent.suffix == ".d" else path


def _stays(path: Path, found: Found) -> bool:
    content = found.get(path)
    return content is not None and not judge(content, None).is_ours
