"""Scratch files of jobs, for a member of an archive that is looked at and not kept: gone with the process that made them.

Its name is taken away as soon as it is open, so that a kill leaves an empty directory, which the next sweep removes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ckptd.errors import StorageError
from ckptd.jobs.archiving import LEAST_FREE_BYTES
from ckptd.jobs.registry import JobContext
from ckptd.storage.scratch import Scratch, free_bytes, sweep_scratch
from ckptd.storage.state import STATE
from ckptd.text import format_size

_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class NoScratchError(StorageError):
    """No scratch file can be made; nothing was written."""


class NoRoomError(NoScratchError):
    """No disk that it could lie on has room for it."""


@contextmanager
def scratch_file(context: JobContext, size_bytes: int, *, near: str) -> Iterator[int]:
    """Give an empty file that can hold so many bytes, open for reading and writing; nothing is left of it.

    Args:
        context: its roots and its state directory are where it may lie.
        size_bytes: that it has to hold, beside what shall stay free (policy.free_bytes).
        near: root whose disk is tried first.

    Raises:
        NoRoomError: there is no room on any of the disks.
        NoScratchError: it can't be made anywhere.
    """
    with _make(_places(context, near), size_bytes, max(context.settings.policy.free_bytes or 0, LEAST_FREE_BYTES)) as scratch:
        try:
            fd = os.open("member", _NEW, 0o600, dir_fd=scratch.fd)
        except OSError as error:
            raise NoScratchError("make a scratch file", path=scratch.path, why=os.strerror(error.errno or 0)) from error
        try:
            os.unlink("member", dir_fd=scratch.fd)
            yield fd
        finally:
            os.close(fd)


def sweep_scratches(context: JobContext) -> None:
    """Remove what a kill left; what belongs to a living process stays."""
    for place in _places(context, ""):
        sweep_scratch(place, context.now())


def _places(context: JobContext, near: str) -> list[Path]:
    roots = sorted((root.path for root in context.roots if root.incident is None), key=lambda path: path != near)
    return list(dict.fromkeys([*(Path(root, STATE) for root in roots), context.state_dir]))


def _make(places: Sequence[Path], size_bytes: int, floor_bytes: int) -> Scratch:
    """Make a scratch directory in the first place that has room."""
    trouble: StorageError | None = None
    full = False
    for place in places:
        try:
            scratch = Scratch.make(place)
        except StorageError as error:
            trouble = error
            continue
        if free_bytes(scratch.fd) - size_bytes >= floor_bytes:
            return scratch
        scratch.close()
        full = True
    if full or trouble is None:
        why = f"no disk has {format_size(size_bytes)} above the {format_size(floor_bytes)} that shall stay free"
        raise NoRoomError("make a scratch file", path=places[0], why=why, cure="free some space there")
    raise NoScratchError(trouble.what, path=trouble.path, why=trouble.why, cure=trouble.cure) from trouble
