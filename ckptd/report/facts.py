"""What a report knows.  Values only; `jsonform` prints them under these very names, so a field's name is a contract.

`…_bytes` are bytes, `…_at` seconds since the epoch (UTC), `…_day` dates as ISO 8601.  Names and paths are as the operating
system and the files have them (surrogateescape): whoever shows one escapes it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ckptd.report.shares import Breakdown
from ckptd.report.upkeep import Archives, Health, JobResult, PlanSummary, Trash


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over everything that is there.

    Attributes:
        files: names of checkpoints.
        contents: different digests among them.
        size_bytes: lengths of the files, each once however many names it has.
        hard_links: names beyond the first of a file.
        optimizer_files, optimizer_bytes: files with optimizer state, and what it takes.
        slim_files, slim_bytes: those that also hold weights, so that slimming them would save about so much.
    """

    files: int = 0
    contents: int = 0
    size_bytes: int = 0
    hard_links: int = 0
    optimizer_files: int = 0
    optimizer_bytes: int = 0
    slim_files: int = 0
    slim_bytes: int = 0


@dataclass(frozen=True, slots=True)
class File:
    """One checkpoint in a list.

    Attributes:
        status, kind: words of the model; None where it was not inspected.
    """

    root: str
    path: str
    size_bytes: int
    modified_at: float
    status: str | None = None
    kind: str | None = None
    model: str | None = None
    dataset: str | None = None
    optimizer_bytes: int = 0


@dataclass(frozen=True, slots=True)
class DuplicateSet:
    """One content in several files.

    Attributes:
        files: how many, hard links left out.
        size_bytes: of one of them.
        places: paths with their roots; the first ones only.
    """

    sha256: str
    files: int
    size_bytes: int
    places: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Duplicates:
    """Contents that lie on the disks more than once.

    Attributes:
        sets: how many contents.
        extra_files: files beyond the first of each.
        wasted_bytes: what those take.
        rows: the most wasteful ones.
    """

    sets: int = 0
    extra_files: int = 0
    wasted_bytes: int = 0
    rows: tuple[DuplicateSet, ...] = ()


@dataclass(frozen=True, slots=True)
class Series:
    """What checkpoints, trash and archives took at the end of each day (UTC), oldest first; empty when nothing is known."""

    first_day: str = ""
    size_bytes: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Forecast:
    """When a file system is full if nothing but checkpoints grows on it, and they as they did.

    Attributes:
        why_not: one phrase where nothing honest can be said; all else is None or 0 then.
        history_days: how many days it rests on.
        rate_bytes, slow_bytes, fast_bytes: bytes a day: the likely one and the range around it.
        days: until it is full; None when it does not fill up at that rate.
        soonest_days, latest_days: the range; None for "not at all" likewise.
        from_survivors: True when those days reach back before ckptd looked: what was removed then is not known, and the true
            growth may have been slower.
    """

    why_not: str = ""
    history_days: int = 0
    rate_bytes: float = 0.0
    slow_bytes: float = 0.0
    fast_bytes: float = 0.0
    days: float | None = None
    soonest_days: float | None = None
    latest_days: float | None = None
    from_survivors: bool = False


@dataclass(frozen=True, slots=True)
class Disk:
    """One file system with at least one root on it.

    Attributes:
        name: the path of its first root.
        total_bytes, free_bytes: None when it would not say; free is what is left for us.
        checkpoint_bytes, trash_bytes, archive_bytes: of ours on it.
    """

    name: str
    roots: tuple[str, ...]
    total_bytes: int | None
    free_bytes: int | None
    checkpoint_bytes: int
    trash_bytes: int
    archive_bytes: int
    growth: Series
    forecast: Forecast


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything that one report shows.

    Attributes:
        at: when it was made.
        zone: name of the zone in which times are shown and months begin.
        version: of ckptd.
        known_since_at: when ckptd first looked; None when it never did.  What was removed before is not known.
        exports, export_bytes: files that ckptd made of checkpoints.
        plan: None where no plan was made; `no_plan` says why.
    """

    at: float
    zone: str
    host: str
    version: str
    known_since_at: float | None
    roots: Breakdown
    totals: Totals
    largest: tuple[File, ...] = ()
    models: Breakdown = field(default_factory=Breakdown)
    datasets: Breakdown = field(default_factory=Breakdown)
    months: Breakdown = field(default_factory=Breakdown)
    kinds: Breakdown = field(default_factory=Breakdown)
    dtypes: Breakdown = field(default_factory=Breakdown)
    duplicates: Duplicates = field(default_factory=Duplicates)
    disks: tuple[Disk, ...] = ()
    exports: int = 0
    export_bytes: int = 0
    trash: tuple[Trash, ...] = ()
    archives: Archives = field(default_factory=Archives)
    plan: PlanSummary | None = None
    no_plan: str = ""
    health: Health = field(default_factory=Health)
    jobs: tuple[JobResult, ...] = ()
