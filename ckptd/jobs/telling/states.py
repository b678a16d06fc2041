"""What is so now and should not be: each function takes what was asked and gives the states.  Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from ckptd.index.runs import JobPast, RunOutcome
from ckptd.index.troubles import BadArchive, BadRoot
from ckptd.jobs.standing import Standing
from ckptd.notify.folding import State
from ckptd.notify.message import bounded, make_id
from ckptd.policy.due import Overdue
from ckptd.text import format_size

#: States by kind; a kind that is named was asked about.
States = dict[str, list[State]]

#: A disk that was low is so until it has this much more than the least, so that one file more or less is no news.
_ROOM = 1.05


class Disk(NamedTuple):
    """Free bytes where something of ours lies."""

    place: str
    free_bytes: int


def find_standing_states(standing: Standing, frozen_before: Collection[str] = ()) -> States:
    """Say what the daemon itself knows: of its roots, its settings, its index.

    Args:
        standing: how it stands.
        frozen_before: roots that were said to be frozen, by their name in the alert.  One that was not looked at since the
            start, or since other settings count, has no losses yet: nobody knows that they are over.
    """
    lost = [State("root-lost", root.path, root.incident) for root in standing.roots if root.incident]
    frozen = [
        State("root-frozen", root.path, f"{root.frozen:,} parts of it wait for a person; nothing is marked missing there")
        for root in standing.roots
        if root.frozen or (root.rescanned_at is None and bounded(root.path) in frozen_before)
    ]
    refused = [
        State("settings-refused", "settings", problem, make_id(problem)) for problem in [standing.settings_problem] if problem
    ]
    words = f"{standing.unwritten:,} entries wait in memory"
    unwritten = [State("index-unavailable", "index", words)] if standing.unwritten else []
    return {
        "root-lost": lost,
        "root-frozen": frozen,
        "settings-refused": refused,
        "index-unavailable": unwritten,
    }


def find_job_states(pasts: Mapping[str, JobPast], overdue: Iterable[Overdue], freezes: Mapping[str, str]) -> States:
    """Say which jobs failed the last time, which are late, and what waits for a person."""
    failed, held = [], []
    for job, past in pasts.items():
        last = past.counting
        if last is None:
            continue
        if last.outcome is RunOutcome.FAILED:
            failed.append(State("job-failed", job, last.reason or "it says nothing", str(last.id)))
        elif last.outcome is RunOutcome.HELD:
            held.append(State("plan-held", job, last.reason, str(last.id)))
    held += [State("plan-held", f"frozen: {name}", why) for name, why in freezes.items()]
    late = [
        State(
            "job-overdue",
            one.job,
            "an older run of it still goes on" if one.is_running else "no run of it began within an hour after its time",
            f"{one.since:.0f}",
        )
        for one in overdue
    ]
    return {"job-failed": failed, "job-overdue": late, "plan-held": held}


def find_disk_states(disks: Iterable[Disk], least_bytes: int, low: Collection[str], silent: Collection[str] = ()) -> States:
    """Say which disks have too little room.

    Args:
        disks: what is free.
        least_bytes: what shall be.
        low: places that were said to have too little, by their name in the alert.
        silent: places of which nothing is known: those of them that were low are neither told again nor as over.
    """
    states = [
        State("disk-low", disk.place, f"{format_size(disk.free_bytes)} are free, less than {format_size(least_bytes)}")
        for disk in disks
        if disk.free_bytes < least_bytes * (_ROOM if disk.place in low else 1.0)
    ]
    states += [State("disk-low", place, "it does not answer any more") for place in silent if place in low]
    return {"disk-low": states}


def find_kept_states(bad: Sequence[BadRoot], archives: Sequence[BadArchive]) -> States:
    """Say what lies there and is not to be believed.

    Args:
        bad: checkpoints by root.
        archives: those that are not whole.
    """
    by_directory: dict[str, list[str]] = {}
    for archive in archives:
        by_directory.setdefault(archive.directory, []).append(f"{archive.name}: {archive.state}")
    rotten = []
    for one in bad:
        names = [f"{place.path}: {place.outcome}" for place in one.places]
        rotten.append(
            State("bit-rot", one.root, _say(names, one.files, "checkpoints"), make_id(names, one.files), tuple(names))
        )
    damaged = [
        State("archive-damaged", directory, _say(names, len(names), "archives"), make_id(names), tuple(names))
        for directory, names in by_directory.items()
    ]
    return {"bit-rot": rotten, "archive-damaged": damaged}


def find_stale_states(newest: Mapping[str, float], freshness: Mapping[str, float], since: float, now: float) -> States:
    """Say which groups wait too long for a checkpoint.

    Args:
        newest: group → when its last one came, seconds since the epoch.
        freshness: group → how long it may take, seconds.
        since: when somebody began to wait; a group of which none was ever seen counts from then.
        now: seconds since the epoch.
    """
    states = []
    for group, seconds in freshness.items():
        came = newest.get(group)
        if now - (since if came is None else came) > seconds:
            last = "there never was one" if came is None else f"the last one came {_hours(now - came)} ago"
            states.append(
                State("no-new-checkpoint", group, f"none for more than {_hours(seconds)}; {last}", f"{came or 0:.0f}")
            )
    return {"no-new-checkpoint": states}


def _say(names: Sequence[str], count: int, what: str) -> str:
    return names[0] if count == 1 else f"{count:,} {what}, first {names[0]}"


def _hours(seconds: float) -> str:
    hours = seconds / 3600
    return f"{hours:,.0f} hours" if hours >= 10 else f"{hours:.1f} hours"
