"""Gather who may say how the module of a checkpoint is built, and ask `export.recipes` for the recipe."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ckptd.export.recipes import Facts, FoundFunction, NoRecipe, Sources, read_entry_points, resolve
from ckptd.export.trust import Ground, Trust
from ckptd.index.store import Store
from ckptd.jobs.functions import MAX_BYTES, FunctionShelf
from ckptd.jobs.roots import WatchedRoot
from ckptd.metadata.recipes import read_recipe
from ckptd.model import Json, Record
from ckptd.proof import Recipe
from ckptd.settings import Settings
from ckptd.storage.beneath import open_parent_beneath
from ckptd.text import escape

#: For so many seconds the look at the trusted directories counts; a bulk of checkpoints costs one, not one each.
_GROUND_SECONDS = 1.0

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Resolved:
    """A recipe, or why there is none.

    Attributes:
        reason: one sentence that says what to add; empty with a recipe.
    """

    recipe: Recipe | None = None
    reason: str = ""


class Resolving:
    """Find recipes.

    Args:
        store: remembers what fitted a group.
        settings: recipes, trust and the directories of training functions.
        now: monotonic seconds.
    """

    def __init__(self, store: Store, settings: Settings, *, now: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._settings = settings
        self._shelf = FunctionShelf(settings.functions)
        self._now = now
        self._entry_points: tuple[tuple[str, str], ...] | None = None
        self._ground: tuple[float, Ground] | None = None

    def resolve(self, root: WatchedRoot, record: Record) -> Resolved:
        """Give the recipe of a checkpoint in a watched root."""
        return self.resolve_in(root.handle.fd, root.path, record)

    def resolve_in(self, root_fd: int, root: str, record: Record, *, with_sidecar: bool = True) -> Resolved:
        """Give the recipe of a checkpoint.

        Args:
            root_fd: open root of the checkpoint.
            root: its path.
            record: of the checkpoint, with an inspection.
            with_sidecar: ask the sidecar too, which whoever may drop a model may write.
        """
        inspection = record.inspection
        assert inspection is not None
        metadata = inspection.metadata
        classes = metadata.other.get("module_classes")
        facts = Facts(
            path=os.path.join(root, record.path),
            relative=record.path,
            model_name=metadata.model_name,
            kind=inspection.kind,
            container=inspection.container,
            status=inspection.status,
            sha256=record.sha256,
            hyperparameters=metadata.hyperparameters,
            sidecar=_read_sidecar(root_fd, record) if with_sidecar else None,
            classes=tuple([str(name) for name in classes]) if isinstance(classes, list) else (),
        )
        if self._entry_points is None:
            self._entry_points = read_entry_points()
        sources = Sources(
            ground=self._look(),
            recipes=self._settings.recipe,
            function=self._find_function(metadata.model_name),
            remembered=None if metadata.model_name is None else self._store.find_recipe(metadata.model_name),
            entry_points=self._entry_points,
        )
        found = resolve(facts, sources)
        return Resolved(reason=escape(str(found), 1_000)) if isinstance(found, NoRecipe) else Resolved(found)

    def _look(self) -> Ground:
        """Look at the trusted directories, or remember the look of a moment ago; each file is looked at every time."""
        now = self._now()
        if self._ground is None or now - self._ground[0] > _GROUND_SECONDS:
            self._ground = now, Trust.of(self._settings.trust).examine()
        return self._ground[1]

    def _find_function(self, model_name: str | None) -> FoundFunction | None:
        """Read the training function of a model; only those of the operator's own directories ever run."""
        found = self._shelf.find(model_name)
        return None if found is None else _read_function(found[0])


def _read_function(path: Path) -> FoundFunction | None:
    try:
        fd = os.open(path, _READ)
    except OSError:
        return None
    with os.fdopen(fd, "rb") as file:
        data = file.read(MAX_BYTES + 1)
    try:
        text = data.decode()
    except UnicodeDecodeError:  # no JSON, then
        return None
    return None if len(data) > MAX_BYTES else FoundFunction(str(path), text, hashlib.sha256(data).hexdigest())


def _read_sidecar(root_fd: int, record: Record) -> Json:
    """Give the recipe that a person wrote beside the checkpoint, None where there is none."""
    assert record.inspection is not None
    try:
        dir_fd, name = open_parent_beneath(root_fd, record.path)
    except OSError:
        return None
    try:
        return read_recipe(dir_fd, name, record.inspection)
    finally:
        os.close(dir_fd)
