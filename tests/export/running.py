"""Real exports for tests: real zygotes, real walls, a directory of models with canaries around it."""

from __future__ import annotations

import os
import selectors
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ckptd.checkpoint.inspection import inspect_path
from ckptd.export.runner import Runner
from ckptd.export.targets import find_target
from ckptd.export.units import Made, Unit, Wanted
from ckptd.model import Identity
from ckptd.proof import Maker, Recipe, digest_json
from ckptd.sandbox.limits import JOB_LAYERS
from ckptd.settings.exporting import ExportSettings

#: Generous: a shared machine under load; nothing is asserted about it.
PATIENCE_SECONDS = 300.0


class Kitchen:
    """A runner that lives for a whole module of tests: its zygotes outlive each export, as they do in a batch.

    Attributes:
        root: a directory of models, with `.ckptd` in it.
    """

    def __init__(self, root: Path, layers: Sequence[str] = JOB_LAYERS, **settings: Any) -> None:
        self.root = root
        self.selector = selectors.DefaultSelector()
        self.settings = ExportSettings(**settings)
        self.runner = Runner(self.selector, self.settings, time.monotonic, layers=tuple(layers))

    def change(self, **settings: Any) -> None:
        """Change a limit for what comes."""
        self.settings = self.runner.settings = self.settings.model_copy(update=settings)

    def unit(self, checkpoint: Path, target: str, recipe: Recipe | None = None, **options: Any) -> Unit:
        """Plan one export as the daemon would."""
        inspection = inspect_path(checkpoint)
        assert inspection.sha256 is not None, inspection
        kind = find_target(target)
        chosen = {**kind.options(self.settings), **options}
        wanted = Wanted(target, checkpoint.stem + kind.ending, chosen, digest_json(chosen), recipe)
        fd = os.open(checkpoint, os.O_RDONLY)
        state = self.root / ".ckptd"
        size = max(1, inspection.tensors.bytes - inspection.tensors.optimizer_bytes)
        metadata = inspection.metadata
        return Unit(None, wanted, fd, Identity.of(os.fstat(fd)), state, size, inspection.layers, dict(metadata.hyperparameters))

    def make(self, checkpoint: Path, target: str, recipe: Recipe | None = None, **options: Any) -> Made:
        """Export and wait; the caller closes the scratch of what was made."""
        return self.make_all([self.unit(checkpoint, target, recipe, **options)])[0]

    def make_all(self, units: Sequence[Unit]) -> list[Made]:
        """Export several at once, as many as fit, and wait."""
        for unit in units:
            self.runner.submit(unit)
        made: list[Made] = []
        until = time.monotonic() + PATIENCE_SECONDS
        while len(made) < len(units):
            assert time.monotonic() < until, "an export did not end"
            deadline = self.runner.next_deadline()
            pause = 1.0 if deadline is None else min(1.0, max(0.0, deadline - time.monotonic()))
            for key, _ in self.selector.select(pause):
                key.data()
            self.runner.tick(time.monotonic())
            while self.runner.results:
                made.append(self.runner.results.popleft())
        return sorted(made, key=lambda one: [id(unit) for unit in units].index(id(one.unit)))

    def close(self) -> None:
        """End the zygotes."""
        self.runner.close()
        self.selector.close()


@contextmanager
def kitchen(place: Path, layers: Sequence[str] = JOB_LAYERS, **settings: Any) -> Iterator[Kitchen]:
    """Open a kitchen in a directory of its own."""
    root = place / "trained_models"
    root.mkdir(parents=True)
    opened = Kitchen(root, layers, **{"seconds": 120.0, "min_free_bytes": 0, **settings})
    try:
        yield opened
    finally:
        opened.close()


def recipe_of(directory: Path, dotted: str, **hyperparameters: Any) -> Recipe:
    """Make the recipe that names a callable in a trusted directory."""
    return Recipe(
        Maker.CALLABLE, "test", dotted, hyperparameters=hyperparameters, directories=(str(directory),), code_sha256="0" * 64
    )
