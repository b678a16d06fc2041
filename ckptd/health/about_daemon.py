"""Metrics of the daemon itself: whether it lives, what it waits for, how it watches."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable

from ckptd.health.families import Family, Sample, one, states
from ckptd.health.judging import find_illness
from ckptd.health.view import RootView, StandingView, View

#: Source: `jobs.standing.Phase`; a test holds them together.
PHASES = ("starting", "running", "paused", "stopping")
WATCHED_BY = ("kernel", "polling", "both", "nothing")


def _of(read: Callable[[StandingView], Iterable[Sample]]) -> Callable[[View], Iterable[Sample]]:
    return lambda view: [] if view.standing is None else read(view.standing)


def _each_root(read: Callable[[RootView], float | None]) -> Callable[[View], Iterable[Sample]]:
    return _of(lambda standing: [((root.path,), at) for root in standing.roots if (at := read(root)) is not None])


def _watched_by(standing: StandingView) -> list[Sample]:
    return [sample for root in standing.roots for sample in states(root.watched_by, WATCHED_BY, root.path)]


DAEMON: tuple[Family, ...] = (
    Family(
        "ckptd_build_info",
        "Version of the daemon and of Python; always 1.",
        _of(lambda standing: [((standing.version, platform.python_version()), 1.0)]),
        ("version", "python"),
    ),
    Family(
        "ckptd_start_timestamp_seconds",
        "When the daemon took its lock.",
        _of(lambda standing: one(standing.started_at)),
    ),
    Family(
        "ckptd_published_timestamp_seconds",
        "When the loop last said how it stands; an old time is a loop that stands still.",
        _of(lambda standing: one(standing.at)),
    ),
    Family(
        "ckptd_loop_silence_seconds",
        "How long ago the loop last came round; it does at least every 30 seconds.",
        lambda view: one(view.silent_seconds),
    ),
    Family("ckptd_healthy", "1 while /healthz says yes.", lambda view: one(not find_illness(view))),
    Family(
        "ckptd_ready",
        "1 while /readyz says yes: new files are taken in.",
        lambda view: one(view.standing is not None and view.standing.is_ready and not find_illness(view)),
    ),
    Family(
        "ckptd_part_up",
        "1 while a part of the daemon answers.",
        _of(lambda standing: [((sign.name,), float(sign.ok)) for sign in standing.signs]),
        ("part",),
    ),
    Family(
        "ckptd_phase",
        "What the daemon is about: 1 for that, 0 for the others.",
        _of(lambda standing: states(str(standing.phase), PHASES)),
        ("phase",),
    ),
    Family("ckptd_paused", "1 while a person has paused it.", _of(lambda standing: one(standing.paused_until is not None))),
    Family(
        "ckptd_settings_reload_success",
        "0 while the last reload of the settings was refused, and the old ones hold.",
        _of(lambda standing: one(standing.settings_problem is None)),
    ),
    Family(
        "ckptd_settings_loaded_timestamp_seconds",
        "When the settings that hold were read.",
        _of(lambda standing: one(standing.settings_at)),
    ),
    Family(
        "ckptd_index_unwritten_entries",
        "Entries that wait because the index can't be written; 0 in good times.",
        _of(lambda standing: one(standing.unwritten)),
    ),
    Family(
        "ckptd_worked_files_total",
        "Files since the start by what was done with them: read, recalled, rejected, failed, exported.",
        _of(lambda standing: [((word,), float(count)) for word, count in standing.counts.items()]),
        ("what",),
    ),
)

QUEUE: tuple[Family, ...] = (
    Family(
        "ckptd_queue_files",
        "Files on their way: waited for, or with a worker.",
        _of(lambda standing: one(standing.waiting)),
    ),
    Family(
        "ckptd_queue_unfinished_files",
        "Files among them whose writers are waited for.",
        _of(lambda standing: one(standing.unfinished)),
    ),
    Family(
        "ckptd_queue_oldest_age_seconds",
        "How long the oldest of them has been on its way; 0 when there is none.",
        _of(lambda standing: one(standing.oldest_waiting_seconds or 0.0)),
    ),
    Family("ckptd_queue_exports", "Exports that wait or run.", _of(lambda standing: one(standing.exporting))),
    Family("ckptd_workers", "Inspection workers that live; none after a while without work.", _of(lambda s: one(s.workers))),
)

ROOTS: tuple[Family, ...] = (
    Family(
        "ckptd_root_up",
        "0 while a root is gone or is another directory than it was: nothing in it is believed.",
        _each_root(lambda root: float(root.incident is None)),
        ("root",),
    ),
    Family(
        "ckptd_root_frozen_parts",
        "Parts of a root in which too much is gone at once: a person has to say what is true.",
        _each_root(lambda root: root.frozen),
        ("root",),
    ),
    Family(
        "ckptd_root_watched",
        "How a root is watched: 1 for that, 0 for the others.",
        _of(_watched_by),
        ("root", "by"),
    ),
    Family("ckptd_root_events_total", "Events of the kernel since the start.", _each_root(lambda r: r.events), ("root",)),
    Family(
        "ckptd_root_overflows_total",
        "How often the kernel dropped events; the root is rescanned each time.",
        _each_root(lambda root: root.overflows),
        ("root",),
    ),
    Family(
        "ckptd_root_rescans_total",
        "How often all of a root was looked at since the start.",
        _each_root(lambda root: root.rescans),
        ("root",),
    ),
    Family(
        "ckptd_root_rescanned_timestamp_seconds",
        "When all of a root was last looked at.",
        _each_root(lambda root: root.rescanned_at),
        ("root",),
    ),
)
