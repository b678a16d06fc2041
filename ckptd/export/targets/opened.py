"""An export that was opened by the runtime that a user would use."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

#: Sizes of each input; None where a size is open.
Shapes = tuple[tuple[int | None, ...], ...]


@dataclass(frozen=True, slots=True)
class Opened:
    """Arrays of the inputs in, arrays of the outputs out.

    Attributes:
        run: calls the export.
        shapes: what the file says of itself; None when the format says nothing.
    """

    run: Callable[[Sequence[Any]], Sequence[Any]]
    shapes: Shapes | None = None

    def __call__(self, inputs: Sequence[Any]) -> Sequence[Any]:
        """Call the export."""
        return self.run(inputs)

    def takes(self, inputs: Sequence[Any]) -> bool:
        """Say whether the file says that it takes inputs of these sizes; it is not run on others."""
        if self.shapes is None or len(self.shapes) != len(inputs):
            return True
        return all(_fits(shape, array.shape) for shape, array in zip(self.shapes, inputs, strict=True))


def _fits(shape: Sequence[int | None], given: Sequence[int]) -> bool:
    return len(shape) == len(given) and all(size is None or size == real for size, real in zip(shape, given, strict=True))
