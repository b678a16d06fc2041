"""Checkpoints of the modules in `trusted`, and their recipes."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ckptd
from ckptd.export.building import Built, build
from ckptd.model import Layer
from ckptd.proof import InputSpec, Maker, Recipe

TRUSTED = str(Path(__file__).parent / "trusted")
EXAMPLES = str(Path(__file__).parents[2] / "examples")


def recipe_of(name: str, *, directory: str = TRUSTED, inputs: Sequence[InputSpec] = (), **hyperparameters: Any) -> Recipe:
    return Recipe(
        Maker.CALLABLE,
        "test",
        callable=name if ":" in name else f"small:{name}",
        hyperparameters=hyperparameters,
        inputs=tuple(inputs),
        directories=(directory,),
    )


def module_of(name: str, **hyperparameters: Any) -> Any:
    """Make a module with weights from a seed, as a person's training would."""
    import torch

    with importing():
        kind = getattr(importlib.import_module("small"), name)
    torch.manual_seed(7)
    return kind(**hyperparameters).eval()


@contextmanager
def importing() -> Iterator[None]:
    before = sys.path[:]
    sys.path[:0] = [TRUSTED, EXAMPLES]
    try:
        yield
    finally:
        sys.path[:] = before


@contextmanager
def opened(path: Path) -> Iterator[int]:
    fd = os.open(path, os.O_RDONLY)
    try:
        yield fd
    finally:
        os.close(fd)


def layers_of(path: Path) -> tuple[Layer, ...]:
    return tuple(ckptd.inspect(path).layers)


def build_from(path: Path, recipe: Recipe, hyperparameters: Mapping[str, Any] | None = None) -> Built:
    """Build as a worker does; the paths that a recipe adds to `sys.path` go again."""
    before = sys.path[:]
    try:
        with opened(path) as fd:
            return build(recipe, fd, hyperparameters or {}, layers_of(path))
    finally:
        sys.path[:] = before


def save(path: Path, value: Any) -> Path:
    import torch

    torch.save(value, path)
    return path


def build_model(directory: Path, name: str, *, inputs: Sequence[InputSpec] = (), **hyperparameters: Any) -> Built:
    """Save the state dict of a module and build it from there."""
    path = save(directory / f"{name}.pth", module_of(name, **hyperparameters).state_dict())
    return build_from(path, recipe_of(name, inputs=inputs, **hyperparameters))
