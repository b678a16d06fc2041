"""Give a new index what no checkpoint says: out of the journal, the trash and the archives.

Whoever throws an index away (or loses it) must not lose pins with it.  So a new index beside a journal, or in a root that a
ckptd looked after before, is told all that is known, and nothing is taken away by itself until a person has seen the plan.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ckptd.index.ledger import Gone, Grouping, add_gone, put_freeze, put_groupings
from ckptd.index.marks import Derivation, note_restored, put_derivation, put_mark
from ckptd.index.store import Store
from ckptd.jobs.marking import replay_marks
from ckptd.jobs.roots import WatchedRoot
from ckptd.model import Identity, PlaceState
from ckptd.storage.journal import Journal
from ckptd.storage.state import STATE
from ckptd.watch.guard import ID_NAME

#: Name of the freeze that a new index begins with.
REINDEXED = "reindexed"
_WHY = "the index was made anew, so nothing is taken away by itself until you have seen the plan and confirmed it"


def was_looked_after(root: WatchedRoot) -> bool:
    """Say whether a ckptd knew a root before; asked before it is marked."""
    return Path(root.path, STATE, ID_NAME).exists()


def has_history(roots: Iterable[WatchedRoot], journal: Journal) -> bool:
    """Say whether there was another index before a new one; asked before a root is marked.

    Raises:
        StorageError: the journal can't be read.
    """
    return any(was_looked_after(root) for root in roots) or next(journal.replay(), None) is not None


def replay_retention(store: Store, journal: Journal, roots: Iterable[str], *, now: float) -> None:
    """Write down pins, tags, aliases, groups, derivations and removals as the journal has them, and freeze what takes away.

    All of it, and the roots, by which the index is new no more, in one transaction: a kill leaves all or nothing.

    Args:
        store: of an index without any of these.
        journal: to read.
        roots: their absolute paths.
        now: seconds since the epoch.

    Raises:
        StorageError: the journal can't be read.
        IndexUnavailableError: the index can't be written; it is as new as before.
    """
    lines = list(journal.replay())
    with store.batch() as batch:
        for mark in replay_marks(lines):
            batch.tell(put_mark, mark)
        for derivation in find_derivations(lines):
            batch.tell(put_derivation, derivation)
        for sha256, at in find_restored(lines).items():
            batch.tell(note_restored, sha256, at)
        batch.tell(put_groupings, find_groupings(lines))
        for gone in find_gone(lines):
            batch.tell(add_gone, gone)
        batch.tell(put_freeze, REINDEXED, _WHY, now)
        for root in roots:
            batch.save_root(root, None)
        if store.file is not None:
            batch.forget_other_hosts()


def replay_places(store: Store, lines: Iterable[Mapping[str, Any]], roots: Sequence[str]) -> None:
    """Write down where checkpoints went that ckptd took away itself; for places where nothing lies now.

    Args:
        store: the index, after its first scan.
        lines: of the journal.
        roots: their absolute paths.
    """
    last: dict[tuple[str, str], tuple[PlaceState, str, int, float]] = {}
    for line in lines:
        match line:
            case {"event": "trashed", "root": str(root), "path": str(path), "sha256": str(sha256), "at": float(at) | int(at)}:
                if line.get("action") != "slim":
                    last[root, path] = PlaceState.TRASHED, sha256, _size(line), float(at)
            case {"event": "purged", "root": str(root), "path": str(path), "sha256": str(sha256), "at": float(at) | int(at)}:
                state = PlaceState.ARCHIVED if line.get("state") == "archived" else PlaceState.PURGED
                before = last.get((root, path))
                if before is not None and before[1] == sha256:
                    last[root, path] = state, sha256, before[2], float(at)
            case {"event": "restored" | "seen", "root": str(root), "path": str(path)}:
                last.pop((root, path), None)
    with store.batch() as batch:
        for (root, path), (state, sha256, size, at) in last.items():
            if root in roots and store.find_place(root, path) is None:
                batch.record_gone(root, path, Identity(0, 0, size, 0, 0), state, sha256, now=at)


def find_derivations(lines: Iterable[Mapping[str, Any]]) -> list[Derivation]:
    """Take out of the journal which content was made out of which."""
    found = []
    for line in lines:
        match line:
            case {
                "event": "derived",
                "how": str(how),
                "sha256": str(new),
                "source_sha256": str(old),
                "at": float(at) | int(at),
            }:
                found.append(Derivation(new, old, how, float(at)))
    return found


def find_restored(lines: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Take out of the journal which contents somebody wanted back, and when last: digest → seconds since the epoch."""
    found: dict[str, float] = {}
    for line in lines:
        match line:
            case {"event": "restored", "sha256": str(sha256), "at": float(at) | int(at)}:
                found[sha256] = float(at)
    return found


def find_groupings(lines: Iterable[Mapping[str, Any]]) -> list[Grouping]:
    """Take out of the journal which group each content at each place was taken for, the last word for each place."""
    found: dict[tuple[str, str], Grouping] = {}
    for line in lines:
        match line:
            case {"event": "grouping", "root": str(root), "path": str(path), "sha256": str(sha256)}:
                group = line.get("group")
                found[root, path] = Grouping(root, path, sha256, group if isinstance(group, str) else None)
    return list(found.values())


def find_gone(lines: Iterable[Mapping[str, Any]]) -> list[Gone]:
    """Take out of the journal what a policy took away and nobody brought back."""
    found: dict[tuple[str, str], Gone] = {}
    for line in lines:
        match line:
            case {"event": "trashed", "root": str(root), "path": str(path), "sha256": str(sha256), "at": float(at) | int(at)}:
                group, action = line.get("group"), str(line.get("action"))
                name = group if isinstance(group, str) else None
                found[root, path] = Gone(root, path, sha256, name, _size(line), action, float(at))
            case {"event": "restored", "root": str(root), "path": str(path)}:
                found.pop((root, path), None)
    return list(found.values())


def _size(line: Mapping[str, Any]) -> int:
    size = line.get("size_bytes")
    return size if isinstance(size, int) and 0 <= size < 1 << 63 else 0
