"""A module that was built, with its weights and with inputs that it takes: what every exporter gets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ckptd.export.arrays import flatten, to_arrays, to_tensors
from ckptd.export.inputs import example_case, make_cases, make_inputs
from ckptd.model import Json
from ckptd.proof import InputSpec


@dataclass(frozen=True, slots=True)
class Built:
    """A module in eval mode on the CPU, without gradients.

    Attributes:
        module: a torch.nn.Module.
        specs: inputs, in order.
        inputs_origin: where they come from: "recipe", or why they were derived so.
        sizes: example size of each dynamic dimension, by name.
        outputs: names of the outputs.
        notes: on the way it was built: hyperparameters passed and left out, the key of the weights.
    """

    module: Any
    specs: tuple[InputSpec, ...]
    inputs_origin: str
    sizes: Mapping[str, int]
    outputs: tuple[str, ...]
    notes: Mapping[str, Json] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Name of the module's class, for sentences."""
        return str(getattr(self.module, "original_name", type(self.module).__name__))

    def run(self, arrays: Sequence[Any]) -> list[Any]:
        """Call the module as the original would be called: arrays in, arrays out."""
        import torch

        with torch.no_grad():
            return to_arrays(flatten(self.module(*to_tensors(arrays))))

    @property
    def call(self) -> Callable[[], object]:
        """A call of the module on its example, for a clock: the arrays are made before."""
        arrays = self.example()
        return lambda: self.run(arrays)

    def example(self) -> list[Any]:
        """Give the arrays that an exporter traces with."""
        return list(make_inputs(self.specs, example_case(make_cases(self.specs, self.sizes))))
