"""Questions to the index in the words of a person: names, queries, the best of a group, the sidecar of a checkpoint."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ckptd.checkpoint.metrics import canonical, direction
from ckptd.errors import UsageError
from ckptd.index.filters import parse_filter
from ckptd.index.queries import is_sort_key
from ckptd.index.store import Store
from ckptd.jobs.marking import find_alias
from ckptd.metadata.proposal import Proposal, apply, propose
from ckptd.model import Inspection, Record
from ckptd.storage.beneath import RootHandle, open_parent_beneath
from ckptd.text import escape

#: What a list without a query shows: not what ckptd itself took away.
_HERE = "not state=trashed and not state=archived and not state=purged"
#: What is looked at, in this order, when somebody asks for the best `accuracy`: what was held out comes first.
_SPLITS = ("val_", "test_", "", "train_")


@dataclass(frozen=True, slots=True)
class SidecarView:
    """A sidecar as it is and as it would be.

    Attributes:
        current: None when there is none.
        diff: unified, escaped; empty when nothing would change.
    """

    path: Path
    current: str | None
    proposed: str
    diff: str


def find_records(store: Store, query: str | None, *, sort: str, reverse: bool, limit: int | None) -> list[Record]:
    """Give the records that match a query; without one, all but those that ckptd took away itself.

    Raises:
        UsageError: the query does not parse, or nothing is sorted by that.
    """
    wanted = parse_filter(_HERE if query is None else query, canonical=canonical, now=time.time())
    key = sort if is_sort_key(sort) else canonical(sort) or sort  # a metric may be spelt as usual
    return store.records(wanted, sort=key, reverse=reverse, limit=limit)


def find_one(store: Store, name: str) -> Record:
    """Give the record a person means.

    Raises:
        UsageError: nothing is called that, or more than one thing is; the message names them.
    """
    found = store.find_named(name)
    if not found:
        found = _find_aliased(store, name)
    if len(found) == 1:
        return found[0]
    if not found:
        raise UsageError(
            "find a checkpoint", path=escape(name), why="nothing in the index is called that", cure="see `ckptd ls`"
        )
    names = ", ".join(f"{record.id} {escape(record.path)}" for record in found[:10])
    raise UsageError(
        "find a checkpoint", path=escape(name), why=f"this names {len(found)} of them: {names}", cure="give the number"
    )


def _find_aliased(store: Store, name: str) -> list[Record]:
    """Give the checkpoint that an alias names: where it was marked, or else where its content lies now."""
    mark = find_alias(store, name)
    if mark is None:
        return []
    there = store.find_record(mark.root, mark.path)
    if there is not None and there.sha256 == mark.sha256:
        return [there]
    return [] if mark.sha256 is None else store.find_named(mark.sha256)[:1]


def find_best(store: Store, metric: str, *, group: str | None, mode: str | None) -> list[Record]:
    """Give the best checkpoint by a metric, one for each group, or for the group that was asked for.

    Raises:
        UsageError: nobody can know whether more or less of this metric is better, and `mode` does not say.
    """
    name = canonical(metric)
    way = mode or direction(name)
    if way is None:
        why = "it is not known whether more or less of it is better"
        raise UsageError("find the best", path=escape(metric), why=why, cure="say --max or --min")
    stated = any(name.startswith(split) for split in _SPLITS if split)
    names = (name,) if stated else tuple(split + name for split in _SPLITS)
    return store.best(names, mode=way, group=group)


def view_sidecar(record: Record) -> SidecarView:
    """Show what the sidecar of a checkpoint says and would say."""
    with _beside(record) as (dir_fd, name, inspection):
        return _view(record, _propose(dir_fd, name, inspection))


def regenerate_sidecar(record: Record) -> SidecarView:
    """Write the sidecar of a checkpoint anew.

    Raises:
        StorageError: the disk said no.
    """
    with _beside(record) as (dir_fd, name, inspection):
        proposal = _propose(dir_fd, name, inspection)
        apply(dir_fd, proposal, like=os.stat(name, dir_fd=dir_fd, follow_symlinks=False))
        return _view(record, proposal)


def _propose(dir_fd: int, name: str, inspection: Inspection) -> Proposal:
    return propose(dir_fd, name, inspection, generated_at=time.time(), siblings=frozenset(os.listdir(dir_fd)))


def _view(record: Record, proposal: Proposal) -> SidecarView:
    path = Path(record.root, record.path).parent / proposal.name
    return SidecarView(path, proposal.current, proposal.proposed, proposal.diff)


@contextmanager
def _beside(record: Record) -> Iterator[tuple[int, str, Inspection]]:
    if record.inspection is None or record.inspection.sha256 is None:
        raise UsageError("show a sidecar", path=escape(record.path), why="the file was not read to its end, so it has none")
    with RootHandle(record.root) as root:
        try:
            dir_fd, name = open_parent_beneath(root.fd, record.path)
        except OSError as error:
            raise UsageError("show a sidecar", path=escape(record.path), why=os.strerror(error.errno or 0)) from error
        try:
            yield dir_fd, name, record.inspection
        finally:
            os.close(dir_fd)
