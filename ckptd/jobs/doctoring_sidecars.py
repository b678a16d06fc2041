"""Look at the metadata files: broken, torn, missing, and those whose checkpoint is gone."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from ckptd.index.candidates import load_candidates
from ckptd.index.census import load_output_places
from ckptd.index.store import Store
from ckptd.jobs.checks import Check, Patient, bad, good, opened_index
from ckptd.metadata.examine import Whose
from ckptd.metadata.names import full_name, own_name, stem_name
from ckptd.metadata.sidecar import look
from ckptd.model import Severity, Status
from ckptd.storage.beneath import RootHandle, open_parent_beneath
from ckptd.text import escape

#: Checkpoints whose metadata files are read; beyond them only a scan tells, which reads all.
MOST_READ = 20_000
#: Files that are named.
_MOST_NAMED = 20
_DESCRIBED = frozenset(status.value for status in (Status.OK, Status.NEEDS_CODE, Status.UNSAFE, Status.DAMAGED))


@dataclass(slots=True)
class _Found:
    """What the metadata files of one root are."""

    read: int = 0
    by_people: int = 0
    missing: list[str] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)
    broken: list[tuple[str, str]] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)


def check_sidecars(patient: Patient) -> Iterator[Check]:
    """Hold the metadata files of each root against the checkpoints that the index knows."""
    if not patient.settings.sidecar.enabled:
        return
    with opened_index(patient) as store:
        if store is None:
            return
        for root in patient.real_roots:
            yield from _check_root(store, root)


def _check_root(store: Store, root: str) -> Iterator[Check]:
    name = f"metadata of {root}"
    known = {one.path: one.sha256 for one in store.ask(load_candidates, root) if one.sha256 and one.status in _DESCRIBED}
    ours = store.ask(load_output_places, root, "sidecar")
    try:
        with RootHandle(root) as handle:
            found = _read_all(handle.fd, dict(list(known.items())[:MOST_READ]), ours)
            orphans = [path for path in _find_orphans(ours, known) if _exists(handle.fd, path)]
    except OSError:
        return  # the check of the root says so
    yield from _tell_broken(name, found)
    if found.missing:
        cure = "the daemon writes it with its next look at the root, `ckptd scan` at once; the log says where it can't"
        yield bad(name, _name_some(found.missing, "have none"), cure, Severity.INFO)
    if orphans:
        cure = "nothing has to be done: it is kept on purpose, and holds for a checkpoint that comes back; remove it by hand"
        yield bad(name, _name_some(sorted(orphans), "are there without their checkpoint", "files"), cure, Severity.INFO)
    beyond = f"; {len(known) - found.read:,} more were not read" if len(known) > found.read else ""
    yield good(
        name, f"{found.read - len(found.missing):,} checkpoints have theirs, {found.by_people:,} with edits of people{beyond}"
    )


def _tell_broken(name: str, found: _Found) -> Iterator[Check]:
    for path, why in found.broken[:_MOST_NAMED]:
        cure = "repair the JSON, or move it away and a new one is written"
        yield bad(name, f"{escape(path, 1_000)}: {why}; it is left alone", cure, Severity.WARNING)
    if len(found.broken) > _MOST_NAMED:
        yield bad(
            name, f"{len(found.broken) - _MOST_NAMED:,} more are broken", "see `ckptd ls` and its findings", Severity.WARNING
        )
    if found.empty:
        cure = "a power cut left it so: the next look at the root writes it anew; `ckptd scan` does so now"
        yield bad(name, _name_some(found.empty, "are empty or torn", "files"), cure, Severity.INFO)
    if found.foreign:
        cure = "move it away if it is not meant to be so"
        yield bad(name, _name_some(found.foreign, "are a link, a directory or the like", "names"), cure, Severity.INFO)


def _read_all(root_fd: int, known: Mapping[str, str], ours: Mapping[str, str]) -> _Found:
    found, digests = _Found(), frozenset(ours.values())
    for path, sha256 in sorted(known.items()):
        with suppress(OSError):
            parent, file = open_parent_beneath(root_fd, path)
            try:
                _read_one(found, parent, path, file, sha256, digests)
            finally:
                os.close(parent)
    return found


def _read_one(found: _Found, parent: int, path: str, file: str, sha256: str, digests: frozenset[str]) -> None:
    if not _exists(parent, file):
        return
    found.read += 1
    directory = path[: len(path) - len(file)]
    seen = look(parent, file, sha256, digests)
    for name, examined in seen.items():
        match examined.whose:
            case Whose.BROKEN if not examined.data.rstrip(b"\0") and examined.status is not None:
                found.empty.append(directory + name)
            case Whose.BROKEN:
                found.broken.append((directory + name, escape(examined.why, 300)))
            case Whose.PERSONS if examined.document is None and not examined.why:
                found.foreign.append(directory + name)
            case Whose.EDITED:
                found.by_people += 1
            case _:
                pass
    if all(examined.whose in (Whose.MISSING, Whose.PERSONS) for examined in seen.values()):
        found.missing.append(path)


def _find_orphans(ours: Mapping[str, str], known: Mapping[str, str]) -> Iterator[str]:
    wanted = set()
    for path in known:
        directory, slash, file = path.rpartition("/")
        wanted |= {directory + slash + name for name in (stem_name(file), full_name(file), own_name(file))}
    return (path for path in ours if path not in wanted)


def _exists(dir_fd: int, path: str) -> bool:
    try:
        parent, name = open_parent_beneath(dir_fd, path)
    except OSError:
        return False
    try:
        os.stat(name, dir_fd=parent, follow_symlinks=False)
    except OSError:
        return False
    finally:
        os.close(parent)
    return True


def _name_some(paths: list[str], what: str, noun: str = "checkpoints") -> str:
    return f"{len(paths):,} {noun} {what}, {escape(paths[0], 1_000)} for one"
