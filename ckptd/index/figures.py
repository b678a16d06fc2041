"""What the index says in numbers, for metrics: each function is a question for `Store.ask`, one aggregate in the database.

Nothing here gives a path of a file or a word out of one.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Connection, LargeBinary, String, and_, func, literal_column, select, tuple_

from ckptd.index.runs import RunOutcome
from ckptd.index.tables import archives, checks, contents, exports, job_runs, places
from ckptd.index.troubles import BAD_OUTCOMES
from ckptd.model import GONE_STATES, PlaceState

_p, _e, _r, _k = places.c, exports.c, job_runs.c, checks.c
_GONE = [state.value for state in GONE_STATES]
#: The code of a finding as a payload holds it.
NON_FINITE = '"code":"non-finite-weights"'
#: Places in one statement; SQLite takes at most 32,766 variables.
_CHUNK = 200
_DONE = [RunOutcome.OK.value, RunOutcome.HELD.value]


class PlaceSums(NamedTuple):
    """The files of one root in one state; `newest_at` is when the last of them was first seen, seconds since the epoch."""

    root: str
    state: str
    files: int
    size_bytes: int
    newest_at: float


class ArchiveCount(NamedTuple):
    """The archives in one state."""

    state: str
    archives: int
    size_bytes: int


class RunTimes(NamedTuple):
    """One run of a job; `finished_at` is None while it goes on, or when its process was killed."""

    id: int
    job: str
    outcome: str
    started_at: float
    finished_at: float | None


def sum_places(connection: Connection, host: str) -> list[PlaceSums]:
    """Add up the files of each root by state."""
    host_is = literal_column("+places.host", String) if connection.dialect.name == "sqlite" else _p.host
    root = literal_column("+places.root", LargeBinary) if connection.dialect.name == "sqlite" else _p.root
    query = select(root, _p.state, func.count(), func.sum(_p.size), func.max(_p.first_seen_at))
    rows = connection.execute(query.where(host_is == host).group_by(root, _p.state))
    return [
        PlaceSums(os.fsdecode(root), state, int(files), int(size), float(newest)) for root, state, files, size, newest in rows
    ]


def count_rejected(connection: Connection, host: str) -> dict[tuple[str, str], int]:
    """Count the rejected files of each root by status: (root, status) → files."""
    where = (_p.host == host, _p.state == PlaceState.REJECTED.value)
    query = select(_p.root, contents.c.status, func.count()).join(contents, contents.c.key == _p.content).where(*where)
    return {(os.fsdecode(root), status): int(n) for root, status, n in connection.execute(query.group_by(_p.root, "status"))}


def count_rotten(connection: Connection, host: str) -> dict[tuple[str, str], int]:
    """Count the files that are there and that the last scrub found rotten or unreadable: (root, outcome) → files."""
    same = and_(_p.host == _k.host, _p.root == _k.root, _p.path == _k.path, _p.sha256 == _k.sha256)
    where = (_k.host == host, _k.outcome.in_(BAD_OUTCOMES), _p.state.not_in(_GONE))
    query = select(_k.root, _k.outcome, func.count()).select_from(checks.join(places, same)).where(*where)
    rows = connection.execute(query.group_by(_k.root, _k.outcome))
    return {(os.fsdecode(root), outcome): int(n) for root, outcome, n in rows}


def count_exports(connection: Connection, host: str) -> dict[tuple[str, str], int]:
    """Count the last words about exports: (target, verdict) → exports."""
    query = select(_e.target, _e.verdict, func.count()).where(_e.host == host).group_by(_e.target, _e.verdict)
    return {(target, verdict): int(n) for target, verdict, n in connection.execute(query)}


def count_archives(connection: Connection, host: str) -> list[ArchiveCount]:
    """Count the archives by state."""
    c = archives.c
    query = select(c.state, func.count(), func.sum(c.size)).where(c.host == host).group_by(c.state)
    return [ArchiveCount(state, int(n), int(size)) for state, n, size in connection.execute(query)]


def find_last_successes(connection: Connection, host: str) -> dict[str, float]:
    """Say when each job last came to a good end, be it that something of it waits for a person: job → seconds."""
    query = select(_r.job, func.max(_r.finished_at)).where(_r.host == host, _r.outcome.in_(_DONE)).group_by(_r.job)
    return {job: float(at) for job, at in connection.execute(query) if at is not None}


def load_runs_after(connection: Connection, host: str, after: int) -> list[RunTimes]:
    """Give the runs with a larger number, the oldest first; those that go on too."""
    where = (_r.host == host, _r.id > after, _r.outcome != RunOutcome.SCHEDULED.value)
    query = select(_r.id, _r.job, _r.outcome, _r.started_at, _r.finished_at).where(*where).order_by(_r.id)
    return [RunTimes(*row) for row in connection.execute(query)]


def find_last_run(connection: Connection, host: str) -> int:
    """Give the number of the last run of any job; 0 where there is none."""
    return int(connection.scalar(select(func.max(_r.id)).where(_r.host == host)) or 0)


def load_suspects(connection: Connection, host: str, wanted: Sequence[tuple[str, str]]) -> list[str]:
    """Give the descriptions, of files at some places (root, path), that may hold a finding about their weights.

    Hyperparameters may look like the finding: who asks reads them with `totals.read_findings`.
    """
    find = func.instr if connection.dialect.name == "sqlite" else func.strpos
    query = select(contents.c.payload).join(places, contents.c.key == _p.content)
    query = query.where(_p.host == host, find(contents.c.payload, NON_FINITE) > 0)
    keys = [(os.fsencode(root), os.fsencode(path)) for root, path in wanted]
    found: list[str] = []
    for start in range(0, len(keys), _CHUNK):
        found += connection.scalars(query.where(tuple_(_p.root, _p.path).in_(keys[start : start + _CHUNK])))
    return found
