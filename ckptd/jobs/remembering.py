"""What is remembered of exports, written to each place that keeps it: index, journal, and the files that are ours.

The sidecar follows: `Upkeep.state_exports` writes what is remembered here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from ckptd.errors import IndexUnavailableError
from ckptd.index.store import Batch
from ckptd.jobs.own_exports import OwnExports
from ckptd.jobs.recording import Recording
from ckptd.jobs.roots import WatchedRoot
from ckptd.model import RawIdentity
from ckptd.proof import Export, Recipe
from ckptd.wire_exports import export_to_json, recipe_to_json


class Remembering:
    """Write down exports and recipes.

    Threading: belongs to the loop.

    Args:
        recording: where index and journal are written.
        own: the exports that are passed over.
        now: monotonic seconds.
    """

    def __init__(self, recording: Recording, own: OwnExports, *, now: Callable[[], float]) -> None:
        self._recording = recording
        self._own = own
        self._now = now

    def output(self, root: WatchedRoot, path: str, sha256: str, identity: RawIdentity | None, *, now: float) -> None:
        """Write down a file of an export, so that it is never taken for a newcomer; call it before the file has its name.

        It is committed at once: a kill behind it leaves a file that is known as ours.

        Args:
            root: where it lies.
            path: relative to the root.
            sha256: of the file.
            identity: by which it is known again without a read.
            now: seconds since the epoch.

        Raises:
            IndexUnavailableError: it is not written yet, so the file must not get its name.
        """
        self._own.add((root.number, path), identity, sha256)
        self._write(
            lambda batch: batch.record_output(root.path, path, sha256, "export", now=now, identity=identity),
            {
                "event": "output",
                "what": "export",
                "root": root.path,
                "path": path,
                "sha256": sha256,
                "identity": None if identity is None else list(identity),
                "at": now,
            },
        )
        if not self._recording.flush(self._now()):
            raise IndexUnavailableError("remember an export", why="the index can't be written just now")

    def exports(
        self,
        root: WatchedRoot,
        path: str,
        exports: Sequence[Export],
        then: Callable[[], None] = lambda: None,
        *,
        now: float,
    ) -> None:
        """Write down what became of exports, and their files, if they are not known yet as what they are.

        It is committed at once; while the index can't be written it waits there.

        Args:
            root: of the checkpoint.
            path: of the checkpoint, relative to the root.
            exports: what became of them.
            then: called once it is committed, so that the sidecar can be written from the index.
            now: seconds since the epoch.

        Raises:
            IndexUnavailableError: a file is not written down yet.
        """
        directory = path.rpartition("/")[0]
        for export in exports:
            if export.file is not None and export.sha256 is not None:
                file = f"{directory}/{export.file}" if directory else export.file
                if export.identity is None or not self._own.is_exact((root.number, file), export.identity):
                    self.output(root, file, export.sha256, export.identity, now=now)
        self._own.note_export((root.number, path))
        for export in exports:
            line: dict[str, Any] = {"event": "export", "root": root.path, "path": path, "target": export.target, "at": now}
            line["export"] = export_to_json(export)
            self._write(partial(_record_export, root=root.path, path=path, export=export, now=now), line)
        self._recording.then(then)
        self._recording.flush(self._now())

    def recipe(self, group: str, recipe: Recipe, sha256: str | None, *, now: float) -> None:
        """Remember a recipe that fits for its group, without the text of its code, which its file has.

        Args:
            group: name of the model.
            recipe: that built a module whose parameters are those of the checkpoint.
            sha256: of the content that it was learnt on.
            now: seconds since the epoch.
        """
        kept = replace(recipe, training_code=None)
        line = {"event": "recipe", "group": group, "recipe": recipe_to_json(kept), "sha256": sha256, "at": now}
        self._write(lambda batch: batch.record_recipe(group, kept, sha256=sha256, now=now), line)

    def _write(self, write: Callable[[Batch], None], line: dict[str, Any]) -> None:
        self._recording.write(write, self._now())
        self._recording.remember(line)


def _record_export(batch: Batch, *, root: str, path: str, export: Export, now: float) -> None:
    batch.record_export(root, path, export, now=now)
