"""How the daemon stands, as one value: what systemd's STATUS, `ckptd status`, /healthz, /metrics and alerts are made of.

The loop makes it, and puts it on a `Board` that other threads read; nobody else looks into the loop.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from ckptd.model import Finding


class Phase(StrEnum):
    """What the daemon is about."""

    STARTING = "starting"
    RUNNING = "running"
    PAUSED = "paused"
    STOPPING = "stopping"


@dataclass(frozen=True, slots=True)
class Sign:
    """Whether one part of the daemon answers.

    Attributes:
        name: loop, observer, scheduler, pool, exporters, control.
        ok: whether it does.
        why: what is wrong; empty when nothing is.
        bites: where it does not, the watchdog of systemd bites; else it is only told.
    """

    name: str
    ok: bool
    why: str = ""
    bites: bool = True


@dataclass(frozen=True, slots=True)
class RootStanding:
    """How one root stands.

    Attributes:
        path: absolute, links resolved.
        incident: why nothing below it is believed, in words; None in good times.
        frozen: how many parts of it wait for a person.
        files: how many places the index holds that are not missing.
        watched_by: kernel, polling, both or nothing.
        events: of the kernel, since the start.
        overflows: how often the kernel dropped events.
        rescans: how often all of it was looked at.
        rescanned_at: when last, seconds since the epoch.
        findings: what a person should know about how it is watched.
    """

    path: str
    incident: str | None
    frozen: int
    files: int
    watched_by: str
    events: int
    overflows: int
    rescans: int
    rescanned_at: float | None
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class Standing:
    """How the daemon stands at one moment.

    Attributes:
        at: when, seconds since the epoch.
        started_at: when the daemon took its lock.
        waiting: files that are on their way: waited for, or with a worker.
        unfinished: those of them that no worker has yet: their writers are waited for, or it is their turn later.
        oldest_waiting_seconds: how long the oldest of them has been on its way; None when there is none.
        exporting: exports that wait or run.
        workers: inspection workers that live.
        job: name of the job that runs in a process of its own; None while none does.
        job_started_at: since when.
        counts: what was done since the start, by word: read, recalled, rejected, failed, exported.
        done: how many files were finished since the last time that none was on its way.
        unwritten: entries that wait because the index can't be written; 0 in good times.
        has_reconciled: whether the first look at every root began.
        paused_until: when a pause ends by itself; None while not paused.
        settings_at: when the settings in use were read.
        settings_problem: why the last reload was refused; None when it was not.
    """

    at: float
    phase: Phase
    version: str
    pid: int
    started_at: float
    roots: tuple[RootStanding, ...] = ()
    signs: tuple[Sign, ...] = ()
    waiting: int = 0
    unfinished: int = 0
    oldest_waiting_seconds: float | None = None
    exporting: int = 0
    workers: int = 0
    job: str | None = None
    job_started_at: float | None = None
    counts: Mapping[str, int] = field(default_factory=dict)
    done: int = 0
    unwritten: int = 0
    has_reconciled: bool = False
    paused_until: float | None = None
    settings_at: float = 0.0
    settings_problem: str | None = None

    @property
    def is_well(self) -> bool:
        """Say whether every part answers."""
        return all(sign.ok for sign in self.signs)

    @property
    def is_ready(self) -> bool:
        """Say whether new files are taken in: the index is open and writable, and no root is away."""
        roots = all(root.incident is None for root in self.roots)
        return self.is_well and self.has_reconciled and not self.unwritten and roots and self.phase is Phase.RUNNING

    @property
    def words(self) -> str:
        """Say it in one line, as systemd's STATUS."""
        if self.phase in (Phase.STARTING, Phase.STOPPING):
            return str(self.phase)
        busy = []
        if self.waiting:
            busy.append(f"indexing {self.done + 1} of {self.done + self.waiting}")
        if self.exporting:
            busy.append(f"exporting {self.exporting}")
        if self.job is not None:
            busy.append(f"running {self.job}")
        files = sum(root.files for root in self.roots)
        text = ", ".join(busy) or f"idle, {files} checkpoint{'' if files == 1 else 's'}"
        if self.phase is Phase.PAUSED:
            text = f"paused, {text}"
        troubles = [f"{root.path}: {root.incident}" for root in self.roots if root.incident is not None]
        if self.unwritten:
            troubles.append(f"the index can't be written, {self.unwritten} entries wait")
        troubles += [f"{sign.name}: {sign.why}" for sign in self.signs if not sign.ok]
        if self.settings_problem is not None:
            troubles.append(f"newer settings are not in use: {self.settings_problem}")
        return "; ".join([text, *troubles])


class Board:
    """Where the loop puts how it stands.

    Threading: `publish` and `beat` are the loop's; any thread may read.  A reader sees a whole value, an older or a newer one.

    Attributes:
        latest: None before the first.
        beat_at: when the loop last came round, monotonic seconds; minus infinity before it first did.
    """

    def __init__(self) -> None:
        self.latest: Standing | None = None
        self.beat_at = -math.inf

    def publish(self, standing: Standing) -> None:
        """Put a new one in the place of the last."""
        self.latest = standing

    def beat(self, now: float) -> None:
        """Say that the loop came round.

        Args:
            now: monotonic seconds.
        """
        self.beat_at = now
