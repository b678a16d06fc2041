"""What the index says in numbers, as frozen values that any thread may read; and the tally of what happened since the start."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

_Key = TypeVar("_Key")

#: Upper ends of the buckets of how long runs of jobs took, seconds.
BUCKETS = (1.0, 10.0, 60.0, 300.0, 900.0, 3_600.0, 14_400.0, 43_200.0)


@dataclass(frozen=True, slots=True)
class PlaceFigures:
    """The files of one root in one state; `newest_at` is when the last of them was first seen."""

    root: str
    state: str
    files: int
    size_bytes: int
    newest_at: float


@dataclass(frozen=True, slots=True)
class ArchiveFigures:
    """The archives in one state."""

    state: str
    archives: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class JobFigures:
    """How one job stands; times in seconds since the epoch, None where there is none.

    Attributes:
        outcome: of its last run that ended, or was broken off.
        is_running: whether a later one goes on.
        started_at: when its last run began, be it that one.
        seconds: how long the last run took that ended.
        succeeded_at: when it last came to a good end, be it that something of it waits for a person.
        interval_seconds: between its next two times.
    """

    job: str
    outcome: str | None = None
    started_at: float | None = None
    seconds: float | None = None
    succeeded_at: float | None = None
    next_at: float | None = None
    interval_seconds: float | None = None
    is_overdue: bool = False
    is_running: bool = False


@dataclass(frozen=True, slots=True)
class Durations:
    """How long the runs of one job took, those that ended since the start.

    Attributes:
        counts: runs by bucket, one more than `BUCKETS`: the last is of those that took longer than all.
    """

    counts: tuple[int, ...] = (0,) * (len(BUCKETS) + 1)
    seconds: float = 0.0

    def add(self, seconds: float) -> Durations:
        """Give the same with one run more."""
        place = next((number for number, end in enumerate(BUCKETS) if seconds <= end), len(BUCKETS))
        counts = tuple(count + (number == place) for number, count in enumerate(self.counts))
        return Durations(counts, self.seconds + seconds)


@dataclass(frozen=True, slots=True)
class Figures:
    """What the index said at one moment.

    Attributes:
        at: when it was asked, seconds since the epoch.
        cost_seconds: how long the loop took to ask.
        rejected: (root, status) → files.
        rotten: (root, outcome of the last scrub) → files.
        exports: (target, verdict) → last words about exports.
        durations: job → how long its runs took since the start.
        events: name → lines of the audit since the start.
        rejections: status → rejections since the start.
        findings: code → checkpoints since the start that came with it.
        verdicts: (target, verdict) → ends of exports since the start.
        freezes: how many reasons there are for which nothing is taken away until a person says so.
    """

    at: float
    cost_seconds: float
    places: Sequence[PlaceFigures] = ()
    rejected: Mapping[tuple[str, str], int] = field(default_factory=dict)
    rotten: Mapping[tuple[str, str], int] = field(default_factory=dict)
    exports: Mapping[tuple[str, str], int] = field(default_factory=dict)
    archives: Sequence[ArchiveFigures] = ()
    jobs: Sequence[JobFigures] = ()
    durations: Mapping[str, Durations] = field(default_factory=dict)
    events: Mapping[str, int] = field(default_factory=dict)
    rejections: Mapping[str, int] = field(default_factory=dict)
    findings: Mapping[str, int] = field(default_factory=dict)
    verdicts: Mapping[tuple[str, str], int] = field(default_factory=dict)
    freezes: int = 0


class Tally(Generic[_Key]):
    """Count what happens, in counters that all begin at 0: one that first appears with a 1 is no increase to Prometheus.

    Args:
        keys: all that may ever be counted; others are not, so that nobody can make labels.
    """

    def __init__(self, keys: Iterable[_Key]) -> None:
        self._counts = dict.fromkeys(keys, 0)

    def add(self, key: _Key) -> None:
        """Count one."""
        if key in self._counts:
            self._counts[key] += 1

    def snapshot(self) -> dict[_Key, int]:
        """Give the counters as they are now."""
        return dict(self._counts)
