"""Which archives are whole: what the index knows of one is no reason to end anything, so it is read, once in a run."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from ckptd.archive.interface import ArchiveError
from ckptd.index.archived import DAMAGED, MISSING, VERIFIED, Archived
from ckptd.jobs.archiving import is_there, verify_archive
from ckptd.jobs.registry import JobContext


class ArchiveStates:
    """Reads archives as they are asked for, and remembers what was found for the rest of a run.

    Args:
        context: what a job works with.
        keep_going: called with the bytes read so far; what it raises ends the reading, and nothing of it is remembered.
    """

    def __init__(self, context: JobContext, keep_going: Callable[[int], None]) -> None:
        self._context = context
        self._keep_going = keep_going
        self._read: dict[int, str] = {}
        self._there: dict[int, bool] = {}

    def read(self, archive: Archived) -> str:
        """Give the state of an archive, read whole, whatever the index says of it: it may have been lost since, or be back."""
        if archive.id not in self._read:
            state = MISSING
            if self._is_there(archive):  # of one on a share that is away nothing is written down
                with suppress(ArchiveError):
                    state = DAMAGED if verify_archive(self._context, archive, self._keep_going) else VERIFIED
            self._read[archive.id] = state
        return self._read[archive.id]

    def look(self, archive: Archived) -> str:
        """Give its state without reading it: as it was read before, else as the index has it where the file is there."""
        if archive.id in self._read:
            return self._read[archive.id]
        return archive.state if self._is_there(archive) else MISSING

    def _is_there(self, archive: Archived) -> bool:
        if archive.id not in self._there:  # it may lie on a share that is slow to say no
            self._there[archive.id] = is_there(self._context, archive)
        return self._there[archive.id]
