"""Metrics of what the index knows: files, exports, archives, jobs; and of the disks below."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from ckptd.health.disks import Disk, Survey
from ckptd.health.families import Family, HistogramFamily, Sample, one, states
from ckptd.health.figures import Figures, JobFigures
from ckptd.health.view import View

#: Source: `index.runs.RunOutcome`, of runs that ended; a test holds them together.
OUTCOMES = ("ok", "held", "failed", "interrupted")


def _of(read: Callable[[Figures], Iterable[Sample]]) -> Callable[[View], Iterable[Sample]]:
    return lambda view: [] if view.figures is None else read(view.figures)


def _each_job(read: Callable[[JobFigures], float | None]) -> Callable[[View], Iterable[Sample]]:
    return _of(lambda figures: [((job.job,), at) for job in figures.jobs if (at := read(job)) is not None])


def _surveyed(read: Callable[[Survey], Iterable[Sample]]) -> Callable[[View], Iterable[Sample]]:
    return lambda view: [] if view.survey is None else read(view.survey)


def _each_disk(read: Callable[[Disk], float]) -> Callable[[View], Iterable[Sample]]:
    return _surveyed(lambda survey: [((disk.use, disk.path), read(disk)) for disk in survey.disks])


def _pairs(counts: Mapping[tuple[str, str], int]) -> list[Sample]:
    return [(pair, float(count)) for pair, count in counts.items()]


def _words(counts: Mapping[str, int]) -> list[Sample]:
    return [((word,), float(count)) for word, count in counts.items()]


def _newest(figures: Figures) -> list[Sample]:
    newest: dict[str, float] = {}
    for place in figures.places:
        newest[place.root] = max(newest.get(place.root, 0.0), place.newest_at)
    return [((root,), at) for root, at in newest.items()]


def _floor(view: View) -> list[Sample]:
    if view.survey is None or view.floor_bytes is None:
        return []
    return [((disk.use, disk.path), float(view.floor_bytes)) for disk in view.survey.disks if disk.use == "root"]


FILES: tuple[Family, ...] = (
    Family("ckptd_figures_timestamp_seconds", "When the index was last asked for its figures.", _of(lambda f: one(f.at))),
    Family(
        "ckptd_figures_cost_seconds", "How long the loop took to ask the index that time.", _of(lambda f: one(f.cost_seconds))
    ),
    Family(
        "ckptd_files",
        "Files that the index knows, by the state of their place; docs/states.md has the states.",
        _of(lambda figures: [((place.root, place.state), float(place.files)) for place in figures.places]),
        ("root", "state"),
    ),
    Family(
        "ckptd_files_bytes",
        "Their sizes added up; a file with two names counts twice.",
        _of(lambda figures: [((place.root, place.state), float(place.size_bytes)) for place in figures.places]),
        ("root", "state"),
    ),
    Family("ckptd_newest_file_timestamp_seconds", "When the last new file of a root was first seen.", _of(_newest), ("root",)),
    Family(
        "ckptd_rejected_files",
        "Files that lie there and were rejected, by status.",
        _of(lambda figures: _pairs(figures.rejected)),
        ("root", "status"),
    ),
    Family(
        "ckptd_rejections_total",
        "Rejections since the start, by status.",
        _of(lambda figures: _words(figures.rejections)),
        ("status",),
    ),
    Family(
        "ckptd_findings_total",
        "Checkpoints since the start that came with a finding worth an alert.",
        _of(lambda figures: _words(figures.findings)),
        ("finding",),
    ),
    Family(
        "ckptd_rotten_files",
        "Files that lie there and that the last scrub found rotten or unreadable.",
        _of(lambda figures: _pairs(figures.rotten)),
        ("root", "outcome"),
    ),
    Family(
        "ckptd_events_total",
        "Lines of the audit since the start, of those that may be worth an alert; docs/logs.md has the events.",
        _of(lambda figures: _words(figures.events)),
        ("event",),
    ),
    Family(
        "ckptd_exports",
        "The last words about exports, by target and verdict.",
        _of(lambda figures: _pairs(figures.exports)),
        ("target", "verdict"),
    ),
    Family(
        "ckptd_exports_total",
        "Exports that ended since the start, by target and verdict.",
        _of(lambda figures: _pairs(figures.verdicts)),
        ("target", "verdict"),
    ),
    Family(
        "ckptd_archives",
        "Archives by state: verified, damaged, missing.",
        _of(lambda figures: [((one.state,), float(one.archives)) for one in figures.archives]),
        ("state",),
    ),
    Family(
        "ckptd_archives_bytes",
        "Their sizes added up.",
        _of(lambda figures: [((one.state,), float(one.size_bytes)) for one in figures.archives]),
        ("state",),
    ),
    Family(
        "ckptd_frozen",
        "Reasons for which nothing is taken away until a person says so; 0 in good times.",
        _of(lambda figures: one(figures.freezes)),
    ),
)

#: The label of a job is `name`: Prometheus puts its own `job` on every sample, and renames ours.
JOBS: tuple[Family | HistogramFamily, ...] = (
    Family(
        "ckptd_job_last_success_timestamp_seconds",
        "When a job last came to a good end, be it that something of it waits for a person.",
        _each_job(lambda job: job.succeeded_at),
        ("name",),
    ),
    Family(
        "ckptd_job_last_start_timestamp_seconds",
        "When the last run of a job began.",
        _each_job(lambda job: job.started_at),
        ("name",),
    ),
    Family(
        "ckptd_job_last_duration_seconds",
        "How long the last run of a job took that ended.",
        _each_job(lambda job: job.seconds),
        ("name",),
    ),
    Family(
        "ckptd_job_last_outcome",
        "What became of the last run of a job that ended: 1 for that, 0 for the others.",
        _of(lambda figures: [sample for job in figures.jobs for sample in states(job.outcome, OUTCOMES, job.job)]),
        ("name", "outcome"),
    ),
    Family("ckptd_job_running", "1 while a run of a job goes on.", _each_job(lambda job: float(job.is_running)), ("name",)),
    Family(
        "ckptd_job_overdue",
        "1 while the time of a job has passed for an hour without a run.",
        _each_job(lambda job: float(job.is_overdue)),
        ("name",),
    ),
    Family("ckptd_job_next_timestamp_seconds", "The next time of a job.", _each_job(lambda job: job.next_at), ("name",)),
    Family(
        "ckptd_job_interval_seconds",
        "The time between the next two times of a job.",
        _each_job(lambda job: job.interval_seconds),
        ("name",),
    ),
    HistogramFamily(
        "ckptd_job_duration_seconds",
        "How long the runs of a job took that ended since the start.",
        lambda view: [] if view.figures is None else list(view.figures.durations.items()),
        "name",
    ),
)

DISKS: tuple[Family, ...] = (
    Family(
        "ckptd_disk_free_bytes",
        "What is free for the daemon's user on the file system of a directory.",
        _each_disk(lambda disk: float(disk.free_bytes)),
        ("use", "directory"),
    ),
    Family(
        "ckptd_disk_size_bytes",
        "What that file system holds altogether.",
        _each_disk(lambda disk: float(disk.size_bytes)),
        ("use", "directory"),
    ),
    Family(
        "ckptd_disk_free_files",
        "How many files more that file system takes; 0 also where it has no such limit.",
        _each_disk(lambda disk: float(disk.free_files)),
        ("use", "directory"),
    ),
    Family(
        "ckptd_disk_floor_bytes",
        "What shall stay free there by `policy.free_bytes`.",
        _floor,
        ("use", "directory"),
    ),
    Family(
        "ckptd_disk_measured_timestamp_seconds",
        "When the disks were last measured; an old time is a disk or a share that does not answer.",
        _surveyed(lambda survey: one(survey.at)),
    ),
    Family(
        "ckptd_trash_bytes",
        "What a purge of the whole trash of a root would give back.",
        _surveyed(lambda survey: _words(survey.trash)),
        ("root",),
    ),
    Family(
        "ckptd_own_bytes",
        "What ckptd keeps for itself: its index and its journal.",
        _surveyed(lambda survey: _words(survey.own)),
        ("what",),
    ),
)
