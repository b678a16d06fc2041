"""Find what keeps a confined service from following the way to a path."""

from __future__ import annotations

import stat
from collections.abc import Iterable
from pathlib import Path

from ckptd.storage.ways import walk


def find_unseen_link(path: Path, hiding: Iterable[Path]) -> Path | None:
    """Give the first link on the way to a path that lies in a directory which the service sees another one in place of."""
    hiding = tuple(hiding)
    for entry, found in walk(path):
        if stat.S_ISLNK(found.st_mode) and any(place in entry.parents for place in hiding):
            return entry
    return None
