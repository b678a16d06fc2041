"""The metadata beside a checkpoint, kept up to date, and what people wrote there taken over."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ckptd.checkpoint.functions import TrainingFunction
from ckptd.jobs.functions import FunctionShelf
from ckptd.jobs.roots import WatchedRoot
from ckptd.metadata.merge import overlay
from ckptd.metadata.names import persons_name, stem_name
from ckptd.metadata.sidecar import Action, SidecarResult, ensure, read, state_exports
from ckptd.model import Inspection, Json, Metadata, Source
from ckptd.storage.beneath import open_parent_beneath
from ckptd.text import escape


@dataclass(frozen=True, slots=True)
class Described:
    """A checkpoint with all that is said about it.

    Attributes:
        inspection: with the findings about its sidecar and the values people wrote.
        sidecar: what became of the sidecar.
    """

    inspection: Inspection
    sidecar: SidecarResult


class Describing:
    """Write sidecars and read what people say in them.

    Args:
        shelf: training functions to link.
        enabled: False when no sidecar is to be written; they are read all the same.
    """

    def __init__(self, shelf: FunctionShelf, *, enabled: bool) -> None:
        self._shelf = shelf
        self.enabled = enabled

    def describe(
        self, root: WatchedRoot, path: str, inspection: Inspection, *, now: float, exports: Mapping[str, Any] | None = None
    ) -> Described:
        """Bring the sidecar of one checkpoint up to date; never raises for a disk, a failure is in the result.

        Args:
            root: where the checkpoint lies.
            path: relative to the root.
            inspection: what one read of it said, without anything a person wrote.
            now: seconds since the epoch, for `generated_at`.
            exports: all that is to be said about exports of this content; None leaves what the sidecar says.
        """
        try:
            with _parent(root, path) as (dir_fd, name):
                inspection = self._link_function(root, path, inspection)
                result = self._ensure(root, dir_fd, name, inspection, now, exports)
                person = None if _is_alone(dir_fd, name, inspection, result) else read(dir_fd, name, inspection)
        except OSError:  # the directory went away with the file
            return Described(inspection, SidecarResult(Action.SKIPPED))
        # A description may be repeated: what an earlier one said about the sidecar is said anew or no longer true.
        findings = (*(f for f in inspection.findings if not f.code.startswith("sidecar-")), *result.findings)
        if person is None:
            return Described(replace(inspection, findings=findings), result)
        metadata = overlay(inspection.metadata, person.values)
        return Described(replace(inspection, metadata=metadata, findings=(*findings, *person.findings)), result)

    def forget_functions(self, directory: str) -> None:
        """Look at training functions anew: a file changed in a directory."""
        self._shelf.forget(directory)

    def state_exports(
        self, root: WatchedRoot, path: str, inspection: Inspection, exports: Mapping[str, Any], *, now: float
    ) -> SidecarResult | None:
        """Bring the exports that a sidecar names up to date and nothing else; None when the whole has to be written anew."""
        if not self.enabled:
            return SidecarResult(Action.SKIPPED)
        try:
            with _parent(root, path) as (dir_fd, name):
                return state_exports(dir_fd, name, inspection, exports, generated_at=now)
        except OSError:
            return SidecarResult(Action.SKIPPED)

    def _ensure(
        self,
        root: WatchedRoot,
        dir_fd: int,
        name: str,
        inspection: Inspection,
        now: float,
        exports: Mapping[str, Any] | None,
    ) -> SidecarResult:
        if not self.enabled:
            return SidecarResult(Action.SKIPPED)
        try:
            like = os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
        except FileNotFoundError:
            return SidecarResult(Action.SKIPPED)
        siblings = Siblings(root, dir_fd)
        return ensure(dir_fd, name, inspection, generated_at=now, siblings=siblings, like=like, exports=exports)

    def _link_function(self, root: WatchedRoot, path: str, inspection: Inspection) -> Inspection:
        directory = path.rpartition("/")[0]
        found = self._shelf.find(inspection.metadata.model_name, f"{root.path}/{directory}" if directory else root.path)
        if found is None:
            return inspection
        return replace(inspection, metadata=_with_function(inspection.metadata, *found))


def _with_function(metadata: Metadata, path: Path, function: TrainingFunction) -> Metadata:
    link: Json = {"file": escape(path.name), "sha256": function.digest}
    hyperparameters = metadata.hyperparameters or function.hyperparams
    sources = {**metadata.sources, "other.training_function": Source("name", 0.8)}
    if hyperparameters is not metadata.hyperparameters and hyperparameters:
        sources["hyperparameters"] = Source(f"function:{escape(path.name)}", 0.7)
    other: dict[str, Json] = {**metadata.other, "training_function": link}
    return replace(metadata, other=other, hyperparameters=hyperparameters, sources=sources)


class Siblings:
    """The checkpoints of a directory as a container, asked name by name: there may be a million of them."""

    def __init__(self, root: WatchedRoot, dir_fd: int) -> None:
        self._wanted = root.wanted
        self._dir_fd = dir_fd

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._wanted.wants_name(name) and _exists(self._dir_fd, name)


def _is_alone(dir_fd: int, name: str, inspection: Inspection, result: SidecarResult) -> bool:
    """Tell the usual case, a new sidecar and no file of a person's, without reading back what was just written."""
    if result.action is not Action.WRITTEN or result.name != stem_name(name):
        return False
    persons = persons_name(inspection.metadata.model_name)
    return persons is None or persons == result.name or not _exists(dir_fd, persons)


def _exists(dir_fd: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
    except OSError:
        return False
    return True


@contextmanager
def _parent(root: WatchedRoot, path: str) -> Iterator[tuple[int, str]]:
    dir_fd, name = open_parent_beneath(root.handle.fd, path)
    try:
        yield dir_fd, name
    finally:
        os.close(dir_fd)
