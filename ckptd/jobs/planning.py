"""Decide what is to be exported of a checkpoint, and say in one sentence why something can't be."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from ckptd.export.interface import Target
from ckptd.export.targets import find_target
from ckptd.export.units import Wanted
from ckptd.index.store import Store
from ckptd.jobs.describing import Siblings
from ckptd.jobs.own_exports import OwnExports
from ckptd.jobs.resolving import Resolved, Resolving
from ckptd.jobs.roots import WatchedRoot
from ckptd.metadata.names import SUFFIXES, NoNameError, export_name
from ckptd.model import Json, Record
from ckptd.policy.exports import estimate_need, fits
from ckptd.proof import Export, Maker, Recipe, Verdict, digest_json
from ckptd.settings.exporting import ExportSettings
from ckptd.storage.beneath import open_parent_beneath
from ckptd.text import escape, format_size

#: Outcomes that stay as they are until digest, recipe or settings change; the others are tried again at a start or on demand.
_SETTLED = frozenset((Verdict.VERIFIED, Verdict.FAILED))


@dataclass(frozen=True, slots=True)
class PlannedExport:
    """What is to happen with one target of one checkpoint: exactly one of the first three is given.

    Attributes:
        wanted: it is to be made.
        refused: it can't be; a row of the index that says why.
        known: nothing is to be done: this is what there is.
        is_news: False when the index says the very same already.
    """

    wanted: Wanted | None = None
    refused: Export | None = None
    known: Export | None = None
    is_news: bool = True


class Planning:
    """Compare what is wanted with what there is.

    Args:
        store: what is known.
        resolving: finds recipes.
        settings: of exports.
        own: files of ours.
        wall: seconds since the epoch.
    """

    def __init__(
        self, store: Store, resolving: Resolving, settings: ExportSettings, own: OwnExports, *, wall: Callable[[], float]
    ) -> None:
        self._store = store
        self._resolving = resolving
        self._settings = settings
        self._own = own
        self._wall = wall

    def digests(self, targets: Iterable[str]) -> dict[str, str]:
        """Give the digest of each target's settings."""
        return {name: digest_json(_options(name, self._settings)) for name in targets}

    def plan(
        self, root: WatchedRoot, record: Record, targets: Sequence[str], *, force: bool, by_person: bool
    ) -> list[PlannedExport]:
        """Say for each target what is to happen.

        Args:
            root: of the checkpoint.
            record: of the checkpoint, whole and readable.
            targets: their names.
            force: make it again, though nothing changed.
            by_person: make again what somebody removed.
        """
        before = {export.target: export for export in self._store.load_exports(root.path, record.path)}
        needs = any(find_target(name).needs_module or find_target(name).is_lossy for name in targets)
        resolved = self._resolving.resolve(root, record) if needs else Resolved()
        try:
            dir_fd, checkpoint = open_parent_beneath(root.handle.fd, record.path)
        except OSError:  # it went away: whoever sees that says so
            return []
        try:
            place = _Beside(root, dir_fd, record.path.rpartition("/")[0], checkpoint)
            return [
                self._plan(record, place, name, resolved, before.get(name), force=force, by_person=by_person)
                for name in targets
            ]
        finally:
            os.close(dir_fd)

    def _plan(
        self,
        record: Record,
        place: _Beside,
        name: str,
        resolved: Resolved,
        known: Export | None,
        *,
        force: bool,
        by_person: bool,
    ) -> PlannedExport:
        target = find_target(name)
        options = _options(name, self._settings)
        recipe = resolved.recipe if target.needs_module or target.is_lossy else None
        try:
            file = self._find_name(place, target.ending, known)
        except NoNameError as error:
            wanted = Wanted(name, "", options, digest_json(options), recipe)
            return self._refuse(record, wanted, known, escape(str(error), 1_000))
        wanted = Wanted(name, file, options, digest_json(options), recipe)
        reason = self._find_reason(target, wanted, resolved, weights_bytes(record))
        if reason:
            return self._refuse(record, wanted, known, reason)
        if not force and known is not None and self._is_current(record, place, known, wanted, by_person=by_person):
            return PlannedExport(known=known)
        obstacle = self._find_obstacle(place, file, weights_bytes(record))
        return self._refuse(record, wanted, known, obstacle) if obstacle else PlannedExport(wanted=wanted)

    def _find_name(self, place: _Beside, ending: str, known: Export | None) -> str:
        """Name the file; a name once given stays, though a second checkpoint shares the stem by now."""
        if known is not None and known.file is not None and self._own.lies_there(place.root, place.path(known.file)):
            return known.file
        suffixes = tuple(dict.fromkeys((*SUFFIXES, *place.root.wanted.suffixes)))
        name = export_name(place.checkpoint, ending, Siblings(place.root, place.dir_fd), suffixes)
        whole = place.checkpoint + ending
        return whole if name != whole and self._find_exporter(place, name) is not None else name

    def _find_exporter(self, place: _Beside, name: str) -> str | None:
        """Give another checkpoint that is there and that a file is an export of."""
        if not _exists(place.dir_fd, name):
            return None
        return self._own.find_exporter(place.root, place.path(name), place.path(place.checkpoint))

    def _find_reason(self, target: Target, wanted: Wanted, resolved: Resolved, size_bytes: int) -> str:
        """Say what is missing before an export can be tried at all; empty when nothing is."""
        missing = [package for package in target.packages if importlib.util.find_spec(package) is None]
        if missing:
            return f"it needs the package {missing[0]}: pip install 'ckptd[{target.extra}]'"
        if target.needs_module and wanted.recipe is None:
            return resolved.reason
        need = estimate_need(size_bytes, with_module=wanted.recipe is not None)
        if not fits(need, self._settings.memory_bytes):
            needed, allowed = format_size(need.memory_bytes), format_size(self._settings.memory_bytes)
            return f"it needs about {needed} of memory, and export.memory_bytes allows {allowed}"
        return ""

    def _refuse(self, record: Record, wanted: Wanted, known: Export | None, reason: str) -> PlannedExport:
        recipe = None if wanted.recipe is None else wanted.recipe.digest
        export = Export(
            wanted.target,
            Verdict.UNAVAILABLE,
            record.sha256 or "",
            wanted.settings_digest,
            recipe,
            reason=reason,
            at=self._wall(),
        )
        same = known is not None and (known.verdict, known.reason, known.source_sha256, known.settings_digest) == (
            export.verdict,
            export.reason,
            export.source_sha256,
            export.settings_digest,
        )
        return PlannedExport(refused=export, is_news=not same)

    def _is_current(self, record: Record, place: _Beside, known: Export, wanted: Wanted, *, by_person: bool) -> bool:
        """Say whether an export that is known is still what would be made."""
        recipe = None if wanted.recipe is None else wanted.recipe.digest
        said = (known.source_sha256, known.settings_digest, known.recipe_digest)
        if known.verdict not in _SETTLED or said != (record.sha256, wanted.settings_digest, recipe):
            return False
        return not by_person or known.file is None or self._own.lies_there(place.root, place.path(known.file))

    def _find_obstacle(self, place: _Beside, file: str, size_bytes: int) -> str:
        """Say what stands in the way of a file: a name that is taken, a disk that is full."""
        for name in (file, f"{file}.data") if file.endswith(".onnx") else (file,):
            own = self._own.find_own(place.root, place.dir_fd, place.path(name), name)
            if own is None and _exists(place.dir_fd, name):
                return f"{escape(name)} exists, and it is not one that ckptd made: move or rename it"
            other = self._find_exporter(place, name)
            if other is not None:
                return f"{escape(name)} is an export of {escape(other)}: rename one of the two checkpoints"
        disk = os.fstatvfs(place.dir_fd)
        free, kept = disk.f_bavail * disk.f_frsize, self._settings.min_free_bytes
        if free - size_bytes < kept:
            return f"the disk has {format_size(free)} free, of which export.min_free_bytes keeps {format_size(kept)}"
        return ""


@dataclass(frozen=True, slots=True)
class _Beside:
    """The directory of a checkpoint, open."""

    root: WatchedRoot
    dir_fd: int
    directory: str
    checkpoint: str

    def path(self, name: str) -> str:
        """Give the path of a file in it, relative to the root."""
        return f"{self.directory}/{name}" if self.directory else name


def weights_bytes(record: Record) -> int:
    """Say how many bytes the weights of a checkpoint take; the optimizer's are none."""
    assert record.inspection is not None
    tensors = record.inspection.tensors
    return max(0, tensors.bytes - tensors.optimizer_bytes)


def learn_recipe(record: Record, export: Export, wanted: Wanted) -> tuple[str, Recipe] | None:
    """Give the recipe that an export proved to fit, and the group to remember it for; None when there is nothing to learn.

    The others of the group have hyperparameters of their own, so only those are kept that the recipe adds to the checkpoint's.
    A sidecar is writable by whoever may drop a model, and a model may bear any name: of its recipe only the callable is kept,
    and only where the settings name that one as trusted.
    """
    recipe, inspection = wanted.recipe, record.inspection
    group = None if inspection is None else inspection.metadata.model_name
    if export.verdict is not Verdict.VERIFIED or recipe is None or inspection is None or group is None:
        return None
    if recipe.maker is not Maker.CALLABLE or recipe.origin == "group":
        return None
    if recipe.origin == "sidecar":
        return (group, replace(recipe, hyperparameters={}, inputs=(), outputs=())) if recipe.is_exact else None
    known = inspection.metadata.hyperparameters
    added = {key: value for key, value in recipe.hyperparameters.items() if key not in known or known[key] != value}
    return group, replace(recipe, hyperparameters=added)


def _options(name: str, settings: ExportSettings) -> dict[str, Json]:
    options: dict[str, Json] = find_target(name).options(settings)
    return options


def _exists(dir_fd: int, name: str) -> bool:
    return os.access(name, os.F_OK, dir_fd=dir_fd, follow_symlinks=False)
