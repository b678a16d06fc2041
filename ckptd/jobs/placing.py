"""Put what the runner made where it belongs: beside its checkpoint, or aside when it failed; and never over somebody's file."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from dataclasses import replace

from ckptd.errors import CkptdError, IndexUnavailableError
from ckptd.export.units import Made
from ckptd.jobs.own_exports import OwnExports
from ckptd.jobs.remembering import Remembering
from ckptd.jobs.roots import WatchedRoot
from ckptd.metadata.names import FAILED
from ckptd.model import Identity
from ckptd.proof import Export, Verdict
from ckptd.storage.beneath import open_parent_beneath
from ckptd.storage.faults import NameTakenError
from ckptd.storage.placing import place_file, remove_if_same
from ckptd.text import escape
from ckptd.wire_exports import raw_identity


class Placing:
    """Give made files their names.

    Threading: belongs to the loop.

    Args:
        own: knows the files that are ours.
        remembering: notes each file before it has its name.
        wall: seconds since the epoch.
    """

    def __init__(self, own: OwnExports, remembering: Remembering, *, wall: Callable[[], float]) -> None:
        self._own = own
        self._remembering = remembering
        self._wall = wall

    def place(self, made: Made, root: WatchedRoot, path: str, export: Export) -> Export:
        """Put a verified export beside its checkpoint, a failed one aside, and say what became of it.

        Args:
            made: with its files in a scratch directory.
            root: of the checkpoint.
            path: of the checkpoint, relative to the root.
            export: as far as it is known.

        Raises:
            IndexUnavailableError: what is ours can't be noted, and then nothing is put in place.
        """
        try:
            dir_fd, checkpoint = open_parent_beneath(root.handle.fd, path)
        except OSError as error:
            return replace(export, verdict=Verdict.ERROR, reason=f"its directory is gone: {os.strerror(error.errno or 0)}")
        beside = _Beside(root, dir_fd, path)
        try:
            like = os.stat(checkpoint, dir_fd=dir_fd, follow_symlinks=False)
            return self._place(made, beside, export, like)
        except IndexUnavailableError:
            raise
        except (CkptdError, OSError) as error:
            text = str(error) if isinstance(error, CkptdError) else os.strerror(error.errno or 0)
            if made.verdict is Verdict.FAILED:  # that it differs stays true
                return replace(export, reason=escape(f"{export.reason} (it could not be put aside: {text})", 2_000))
            verdict = Verdict.ERROR if isinstance(error, OSError) or not error.permanent else Verdict.UNAVAILABLE
            return replace(export, verdict=verdict, reason=escape(text, 1_000))
        finally:
            os.close(dir_fd)

    def _place(self, made: Made, beside: _Beside, export: Export, like: os.stat_result) -> Export:
        names = list(made.files)
        first, seen = names[0], made.files[names[0]]
        if made.verdict is Verdict.FAILED:
            for name in reversed(names):
                self._place_one(made, beside, name, name + FAILED, like)
            reason = f"{export.reason} (it lies aside as {first}{FAILED})"
            return replace(export, reason=reason, proof={**export.proof, "aside": first + FAILED})
        if len(names) > 1:
            # An old model beside new weights would be loaded and be wrong; for a moment, and after a kill, there is none.
            self._remove_own(beside, first)
        for name in reversed(names):
            identity = self._place_one(made, beside, name, name, like)
        for name in names:
            self._remove_own(beside, name + FAILED)
        return replace(export, file=first, sha256=seen.sha256, size_bytes=seen.size_bytes, identity=raw_identity(identity))

    def _place_one(self, made: Made, beside: _Beside, source: str, name: str, like: os.stat_result) -> Identity:
        seen, path = made.files[source], beside.path(name)
        ours = self._own.find_own(beside.root, beside.dir_fd, path, name)
        other = None if ours is None else self._own.find_exporter(beside.root, path, beside.checkpoint)
        if other is not None:  # planned while neither lay there
            why, cure = f"it is an export of {escape(other, 200)}", "export it again, and it gets another name"
            raise NameTakenError("put a file in place", path=escape(path, 300), why=why, cure=cure)
        # Written down first, with the stamp that it will have: a kill between the two leaves a file that is known as ours.
        self._remembering.output(beside.root, path, seen.sha256, raw_identity(seen.identity), now=self._wall())
        assert made.scratch is not None
        written = place_file(
            made.scratch.fd, source, seen.identity, beside.dir_fd, name, sha256=seen.sha256, ours=ours, like=like
        )
        return written.identity

    def _remove_own(self, beside: _Beside, name: str) -> None:
        """Remove a file of ours that what comes now replaces; one that is not ours stays."""
        ours = self._own.find_own(beside.root, beside.dir_fd, beside.path(name), name)
        if ours is None or self._own.find_exporter(beside.root, beside.path(name), beside.checkpoint) is not None:
            return
        with contextlib.suppress(CkptdError, OSError):
            remove_if_same(beside.dir_fd, name, ours)


class _Beside:
    """The directory of a checkpoint, open."""

    def __init__(self, root: WatchedRoot, dir_fd: int, checkpoint: str) -> None:
        self.root = root
        self.dir_fd = dir_fd
        self.checkpoint = checkpoint
        self._directory = checkpoint.rpartition("/")[0]

    def path(self, name: str) -> str:
        """Give the path of a file in it, relative to the root."""
        return f"{self._directory}/{name}" if self._directory else name
