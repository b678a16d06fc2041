"""The files that go with a checkpoint: its sidecars, and its exports where the settings say so."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from typing import NamedTuple

from ckptd.index.store import Store
from ckptd.metadata.names import SUFFIXES, full_name, own_name, stem_name, stem_of
from ckptd.model import Identity
from ckptd.storage.beneath import open_parent_beneath


class Companion(NamedTuple):
    """A file that goes with a checkpoint; `path` is relative to the root, `what` is "sidecar" or "export"."""

    path: str
    what: str
    identity: Identity
    mode: int


def find_companions(store: Store, root: str, root_fd: int, path: str, *, exports: str) -> tuple[Companion, ...]:
    """Give the files that go with a checkpoint, as they lie there now.

    A sidecar goes when it can belong to no other checkpoint; the file that a person keeps for a model stays, for it speaks of
    all of them.  An export goes only when it is the very file that was placed.

    Args:
        store: knows the exports.
        root: where it lies.
        root_fd: descriptor of it.
        path: of the checkpoint, relative to the root.
        exports: "stay" or "follow".
    """
    try:
        parent, name = open_parent_beneath(root_fd, path)
    except OSError:
        return ()
    try:
        found = [_look(parent, path, file, "sidecar") for file in _sidecars(parent, name)]
        if exports == "follow":
            for export in store.load_exports(root, path):
                if export.file is not None and export.identity is not None:
                    seen = _look(parent, path, export.file, "export")
                    if seen is not None and seen.identity[:4] == export.identity[:4]:
                        found.append(seen)
        return tuple({one.path: one for one in found if one is not None}.values())
    finally:
        os.close(parent)


def _sidecars(parent: int, name: str) -> Iterator[str]:
    yield full_name(name)
    yield own_name(name)
    stem = stem_of(name)
    siblings = frozenset(os.listdir(parent))
    if not any(stem + suffix in siblings for suffix in SUFFIXES if stem + suffix != name):
        yield stem_name(name)


def _look(parent: int, path: str, file: str, what: str) -> Companion | None:
    try:
        seen = os.stat(file, dir_fd=parent, follow_symlinks=False)
    except OSError:
        return None
    if not stat.S_ISREG(seen.st_mode):
        return None
    directory = path.rpartition("/")[0]
    place = f"{directory}/{file}" if directory else file
    return Companion(place, what, Identity.of(seen), stat.S_IMODE(seen.st_mode))
