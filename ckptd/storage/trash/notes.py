"""The note of a restore: where the files of an entry go, for whoever has to finish it after a kill."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping

from ckptd.errors import StorageError
from ckptd.storage.atomic import write_new
from ckptd.storage.temporary import discard
from ckptd.storage.trash.contents import read_bounded
from ckptd.storage.trash.entries import OpenEntry
from ckptd.storage.trash.manifest import MOST_COMPANIONS, RESTORING, check_path


def note_restoring(entry: OpenEntry, targets: Mapping[str, str]) -> None:
    """Write down where each file goes, so that a kill in the middle of a restore can be finished.

    A full disk must not keep anybody from getting a checkpoint back: then it is done without, and what a kill would leave in
    the entry is restored by a second try.

    Args:
        entry: open and locked.
        targets: name in the entry → path relative to the root.
    """
    data = json.dumps({"targets": dict(targets)}, indent=1).encode("ascii")
    with contextlib.suppress(StorageError):
        write_new(entry.fd, RESTORING, data)


def read_restoring(fd: int) -> dict[str, str]:
    """Read where files were going; empty when that can't be used."""
    try:
        targets = json.loads(read_bounded(fd, RESTORING))["targets"]
        if not isinstance(targets, dict) or len(targets) > MOST_COMPANIONS + 1:
            return {}
        return {stored: check_path(path) for stored, path in targets.items() if isinstance(path, str)}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}


def forget_restoring(entry: OpenEntry) -> None:
    """Remove the note of a restore that is done."""
    discard(entry.fd, RESTORING)
