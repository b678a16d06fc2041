"""Compare what is known of a root with what a scan saw; the events in between do not matter.

A place is the same when inode, size, mtime and ctime are: the device is left out, because numbers of network file
systems, and of disks after a reboot, change while the files do not.  A move keeps device, inode, size and mtime, and
only ctime changes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from ckptd.model import RawIdentity


@dataclass(frozen=True, slots=True)
class Changes:
    """What happened since the index was written; every known and every seen path is in exactly one of these.

    Attributes:
        new: seen and not known; a further hard link or a copy is new too.
        changed: known, and other bytes may lie there now.
        returned: known as missing, and seen again as it was.
        vanished: known, not missing before, and seen nowhere.
        moved: (old path, new path); the old one is known, the new one was not.
        renumbered: known and the same but for the number of the device; only the identity is to be noted.
        doubtful: known, not seen, and below a directory that could not be read; nothing is said about them.
        same: how many are as they were.
        still_missing: how many were missing and are.
    """

    new: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    returned: tuple[str, ...] = ()
    vanished: tuple[str, ...] = ()
    moved: tuple[tuple[str, str], ...] = ()
    renumbered: tuple[str, ...] = ()
    doubtful: tuple[str, ...] = ()
    same: int = 0
    still_missing: int = 0


@dataclass(slots=True)
class _Draft:
    new: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    returned: list[str] = field(default_factory=list)
    renumbered: list[str] = field(default_factory=list)
    same: int = 0


def reconcile(
    known: Mapping[str, RawIdentity],
    seen: Mapping[str, RawIdentity],
    *,
    missing: Collection[str] = frozenset(),
    unread: Iterable[str] = (),
) -> Changes:
    """Say what a scan means for what is known.

    It holds for a part of a root as for the whole: give the known places of that part only, and the scan of it.

    Args:
        known: relative path → identity (an `Identity` or any tuple that starts with its five numbers) of every known place.
        seen: what the scan found.
        missing: which of the known places were missing already.
        unread: directories the scan could not read ("" is the root).
    """
    draft = _Draft()
    for path, identity in seen.items():
        before = known.get(path)
        if before == identity and path not in missing:  # the way of 100,000 unchanged files
            draft.same += 1
        elif before is None:
            draft.new.append(path)
        else:
            _sort_known(draft, path, before, identity, was_missing=path in missing)
    gone = [path for path in known if path not in seen] if len(known) > len(seen) - len(draft.new) else []
    doubtful = _find_below(gone, unread)
    lost = sorted(path for path in gone if path not in missing and path not in doubtful)
    moved = _find_moves(lost, sorted(draft.new), known, seen)
    targets, sources = {new for _, new in moved}, {old for old, _ in moved}
    return Changes(
        new=tuple(path for path in sorted(draft.new) if path not in targets),
        changed=tuple(sorted(draft.changed)),
        returned=tuple(sorted(draft.returned)),
        vanished=tuple(path for path in lost if path not in sources),
        moved=tuple(moved),
        renumbered=tuple(sorted(draft.renumbered)),
        doubtful=tuple(sorted(doubtful - set(missing))),
        same=draft.same,
        still_missing=sum(1 for path in gone if path in missing),
    )


def _sort_known(draft: _Draft, path: str, before: RawIdentity, identity: RawIdentity, *, was_missing: bool) -> None:
    if before[1:5] != identity[1:5]:
        draft.changed.append(path)
    elif was_missing:
        draft.returned.append(path)
    elif before[0] != identity[0]:
        draft.renumbered.append(path)
    else:
        draft.same += 1


def _find_moves(
    lost: list[str], new: list[str], known: Mapping[str, RawIdentity], seen: Mapping[str, RawIdentity]
) -> list[tuple[str, str]]:
    """Pair lost and new places of the same file, one to one; of several hard links the first by name."""
    if not lost or not new:
        return []
    sources: dict[tuple[int, ...], list[str]] = {}
    for path in reversed(lost):
        sources.setdefault(known[path][:4], []).append(path)
    moved = []
    for path in new:
        candidates = sources.get(seen[path][:4])
        if candidates:
            moved.append((candidates.pop(), path))
    return moved


def _find_below(paths: list[str], directories: Iterable[str]) -> set[str]:
    """Give those of `paths` that are one of `directories` or lie below one."""
    unread = set(directories)
    return {path for path in paths if lies_below(path, unread)} if unread else set()


def lies_below(path: str, directories: Collection[str]) -> bool:
    """Say whether a path is one of some directories or lies below one; "" is the root."""
    return bool(directories) and ("" in directories or any(part in directories for part in _walk_up(path)))


def _walk_up(path: str) -> Iterable[str]:
    while path:
        yield path
        path = path.rpartition("/")[0]
