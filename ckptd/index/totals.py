"""What a report asks the index: every checkpoint once, as lean as it goes, and a few sums.

Each function is a question for `Store.ask`.  Rows of a hundred thousand checkpoints are handed to `take` as the driver gives
them and are never a list.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import ColumnElement, Connection, LargeBinary, String, and_, case, func, literal_column, select

from ckptd.index.known import uncollected
from ckptd.index.runs import RunOutcome
from ckptd.index.tables import archive_members, archives, checks, contents, job_runs, outputs, places
from ckptd.model import GONE_STATES

_p, _c, _m, _a, _r = places.c, contents.c, archive_members.c, archives.c, job_runs.c
_GONE = [state.value for state in GONE_STATES]
_T = TypeVar("_T")
_Rows = Iterable[tuple[Any, ...]]

#: The code of a finding as a payload holds it.
_NON_FINITE = '"code":"non-finite-weights"'
#: Beginning of a payload in which the sums over its tensors lie; longer only with more dtypes than any file has.
_HEAD_CHARACTERS = 512
#: Values in one statement; SQLite takes at most 32,766.
_CHUNK = 500


class ArchiveSums(NamedTuple):
    """One archive and the sums over its members."""

    directory: str
    size_bytes: int
    state: str
    created_at: float
    drilled_at: float | None
    members: int
    lost: int
    original_bytes: int


class RunResult(NamedTuple):
    """The last run of a job, and when one last ended well; `summary` is JSON as the table has it."""

    job: str
    outcome: str
    started_at: float
    finished_at: float | None
    succeeded_at: float | None
    reason: str
    summary: str


def walk_contents(connection: Connection, host: str, take: Callable[[_Rows], _T]) -> _T:
    """Hand every description to `take`: (key, status, kind, model, dataset, date, head, suspect).

    `head` is the beginning of its JSON, in which the sums over its tensors lie; `suspect` is all of it where weights may hold
    NaN or infinity (hyperparameters may look like the finding, so who takes it reads it), and None elsewhere.  Two tables that
    are read from end to end take two thirds of the time of one that is joined to the other row by row.
    """
    del host  # a description is of no host
    find = func.instr if connection.dialect.name == "sqlite" else func.strpos
    head = func.substr(_c.payload, 1, _HEAD_CHARACTERS)
    suspect = case((find(_c.payload, _NON_FINITE) > 0, _c.payload))
    query = select(_c.key, _c.status, _c.kind, _c.model_name, _c.dataset, _c.date, head, suspect)
    with uncollected():
        rows: Any = connection.execute(query).cursor
        return take(rows)


def walk_present(connection: Connection, host: str, roots: Sequence[str], take: Callable[[_Rows], _T]) -> _T:
    """Hand every checkpoint of some roots that is there to `take`, in the order of their numbers.

    A row is (root, path, sha256, dev, ino, size, mtime_ns, first_seen_at, content).  Root and path are bytes, the numbers of
    device and inode as the columns have them, and `content` is the key of the description, None where there is none.
    """
    columns = (_p.root, _p.path, _p.sha256, _p.dev, _p.ino, _p.size, _p.mtime_ns, _p.first_seen_at, _p.content)
    query = select(*columns).where(*_in(connection, host, roots), _p.state.not_in(_GONE)).order_by(_p.id)
    with uncollected():
        rows: Any = connection.execute(query).cursor
        return take(rows)


def walk_gone(connection: Connection, host: str, roots: Sequence[str], take: Callable[[_Rows], _T]) -> _T:
    """Hand every checkpoint that was there once to `take`: (root, state, dev, ino, size, mtime_ns, first_seen_at, since)."""
    columns = (_p.root, _p.state, _p.dev, _p.ino, _p.size, _p.mtime_ns, _p.first_seen_at, _p.state_since)
    query = select(*columns).where(*_in(connection, host, roots), _p.state.in_(_GONE)).order_by(_p.id)
    rows: Any = connection.execute(query).cursor
    return take(rows)


def find_first_looks(connection: Connection, host: str, roots: Sequence[str]) -> dict[bytes, float]:
    """Give when the first file of each root was seen: root → seconds since the epoch."""
    query = select(_p.root, func.min(_p.first_seen_at)).where(*_in(connection, host, roots)).group_by(_p.root)
    return {bytes(root): float(at) for root, at in connection.execute(query)}


def find_equal_places(
    connection: Connection, host: str, roots: Sequence[str], digests: Collection[str]
) -> dict[str, list[tuple[str, str]]]:
    """Give where some contents lie: digest → (root, path), of one file each."""
    found: dict[str, dict[tuple[int, int], tuple[str, str]]] = {}
    query = select(_p.sha256, _p.dev, _p.ino, _p.root, _p.path).where(*_here(host, roots)).order_by(_p.root, _p.path)
    wanted = sorted(digests)
    for start in range(0, len(wanted), _CHUNK):
        rows = connection.execute(query.where(_p.sha256.in_(wanted[start : start + _CHUNK])))
        for sha256, dev, ino, root, path in rows:
            found.setdefault(sha256, {}).setdefault((dev, ino), (os.fsdecode(root), os.fsdecode(path)))
    return {sha256: list(by_file.values()) for sha256, by_file in found.items()}


def load_findings(connection: Connection, host: str, keys: Sequence[str]) -> dict[str, tuple[tuple[str, str, str], ...]]:
    """Give what was found in some contents: key of the description → (code, severity, message), escaped."""
    del host  # a description is of no host
    query = select(_c.key, _c.payload).where(_c.key.in_(list(keys)))
    return {key: read_findings(payload) for key, payload in connection.execute(query)}


def read_findings(payload: str) -> tuple[tuple[str, str, str], ...]:
    """Read (code, severity, message) of each finding; nothing where it is not what we write."""
    try:
        return tuple((str(one["code"]), str(one["severity"]), str(one["message"])) for one in json.loads(payload)["findings"])
    except (ValueError, TypeError, KeyError, RecursionError):  # somebody wrote to the index by hand
        return ()


def sum_exports(connection: Connection, host: str, roots: Sequence[str]) -> tuple[int, int]:
    """Give how many exports ckptd made that are known, and their bytes."""
    c = outputs.c
    where = (c.host == host, c.root.in_(_encoded(roots)), c.what == "export")
    count, size = connection.execute(select(func.count(), func.coalesce(func.sum(c.size), 0)).where(*where)).one()
    return int(count), int(size)


def sum_archives(connection: Connection, host: str) -> list[ArchiveSums]:
    """Give every archive with the sums over the checkpoints in it, the oldest first."""
    is_checkpoint = and_(_m.archive == _a.id, _m.what == "checkpoint")
    query = (
        select(
            *(_a.directory, _a.size, _a.state, _a.created_at, _a.drilled_at),
            func.count(_m.name).label("members"),
            func.coalesce(func.sum(_m.is_lost), 0).label("lost"),
            func.coalesce(func.sum(_m.size), 0).label("original"),
        )
        .select_from(archives.outerjoin(archive_members, is_checkpoint))
        .where(_a.host == host)
        .group_by(_a.id)
        .order_by(_a.created_at, _a.id)
    )
    return [
        ArchiveSums(
            *(os.fsdecode(row.directory), int(row.size), row.state, float(row.created_at), row.drilled_at),
            *(int(row.members), int(row.lost), int(row.original)),
        )
        for row in connection.execute(query)
    ]


def sum_checks(connection: Connection, host: str, roots: Sequence[str]) -> tuple[int, float | None, list[tuple[str, str]]]:
    """Give how many places were read again, the longest ago of these, and those that had rotted: (root, path)."""
    c = checks.c
    same = and_(_p.host == c.host, _p.root == c.root, _p.path == c.path, _p.sha256 == c.sha256)
    known = (c.host == host, c.root.in_(_encoded(roots)), _p.state.not_in(_GONE))
    joined = checks.join(places, same)
    count, oldest = connection.execute(select(func.count(), func.min(c.at)).select_from(joined).where(*known)).one()
    rotten = select(c.root, c.path).select_from(joined).where(*known, c.outcome == "rotten").order_by(c.root, c.path)
    return int(count), oldest, [(os.fsdecode(root), os.fsdecode(path)) for root, path in connection.execute(rotten)]


def load_last_runs(connection: Connection, host: str, run: str) -> list[RunResult]:
    """Give the last run of each job, by name of the job; `run` is the one that asks and is left out."""
    succeeded = func.max(case((_r.outcome == RunOutcome.OK.value, _r.finished_at)))
    last = (
        select(_r.job, func.max(_r.id).label("id"), succeeded.label("succeeded_at"))
        .where(_r.host == host, _r.outcome != RunOutcome.SCHEDULED.value, _r.run != run)
        .group_by(_r.job)
        .subquery()
    )
    columns = (_r.job, _r.outcome, _r.started_at, _r.finished_at, last.c.succeeded_at, _r.reason, _r.summary)
    rows = connection.execute(select(*columns).join(last, last.c.id == _r.id).order_by(_r.job))
    return [RunResult(*row) for row in rows]


def _in(connection: Connection, host: str, roots: Sequence[str]) -> tuple[ColumnElement[bool], ...]:
    """Give the condition for places of some roots, which are most of the table: read from end to end, see `known._ALL`."""
    if connection.dialect.name != "sqlite":
        return _p.host == host, _p.root.in_(_encoded(roots))
    unindexed = literal_column("+places.root", LargeBinary)
    return literal_column("+places.host", String) == host, unindexed.in_(_encoded(roots))


def _here(host: str, roots: Sequence[str]) -> tuple[ColumnElement[bool], ...]:
    return _p.host == host, _p.root.in_(_encoded(roots)), _p.state.not_in(_GONE)


def _encoded(roots: Sequence[str]) -> list[bytes]:
    return [os.fsencode(root) for root in roots]
