"""Read what an entry of the trash holds, believing nothing."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from ckptd.storage.trash.manifest import (
    INTENT,
    KEPT,
    MOST_BYTES,
    OWN_NAMES,
    PURGING,
    RESTORING,
    TRASHED,
    Manifest,
    ManifestError,
    TrashedFile,
    decode_manifest,
)
from ckptd.text import escape

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY


class State(StrEnum):
    """How far an entry got; the value is the name of its manifest then."""

    INTENT = INTENT
    TRASHED = TRASHED
    KEPT = KEPT
    PURGING = PURGING


@dataclass(frozen=True, slots=True)
class Contents:
    """What an entry holds.

    Attributes:
        state: None when there is no manifest, or more than one.
        manifest: None when it can't be read; `problem` says why.
        stored: files of the manifest that are there, by their names.
        others: names that no manifest explains.
        is_restoring: `restoring.json` is there.
    """

    state: State | None
    manifest: Manifest | None
    stored: Mapping[str, TrashedFile]
    others: tuple[str, ...]
    is_restoring: bool
    problem: str = ""

    @property
    def holds_checkpoint(self) -> bool:
        """Say whether the checkpoint itself is there."""
        return self.manifest is not None and self.manifest.checkpoint.stored in self.stored


def read_contents(fd: int) -> Contents:
    """Read what an entry holds, believing nothing.

    Raises:
        OSError: the directory can't be read.
    """
    names = set(os.listdir(fd))
    states = [state for state in State if state in names]
    users = sorted(name for name in names if name not in OWN_NAMES)
    is_restoring = RESTORING in names
    if len(states) != 1:
        problem = "it has no manifest" if not states else "it has two manifests"
        return Contents(None, None, {}, tuple(users), is_restoring, problem)
    try:
        manifest = decode_manifest(read_bounded(fd, states[0]))
    except (ManifestError, OSError) as error:
        why = str(error) if isinstance(error, ManifestError) else os.strerror(error.errno or 0)
        return Contents(states[0], None, {}, tuple(users), is_restoring, f"its manifest can't be used: {why}")
    stored = {file.stored: file for file in manifest.files if file.stored in names}
    others = tuple([name for name in users if name not in stored])
    problem = f"it holds what ckptd did not put there: {escape(others[0])}" if others else ""
    return Contents(states[0], manifest, stored, others, is_restoring, problem)


def read_bounded(fd: int, name: str) -> bytes:
    """Read a file of ours in an entry.

    Raises:
        ManifestError: it is no regular file, or too long for one of ours.
        OSError: it can't be read.
    """
    file = os.open(name, _READ, dir_fd=fd)
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise ManifestError("it is no regular file")
        data = b""
        while len(data) <= MOST_BYTES and (block := os.read(file, MOST_BYTES)):
            data += block
    finally:
        os.close(file)
    if len(data) > MOST_BYTES:
        raise ManifestError("it is too long for one")
    return data
