"""Note what the original gives on every case, twice: an export of a module that is not deterministic proves nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ckptd.export.built import Built
from ckptd.export.inputs import make_cases, make_inputs
from ckptd.model import Json
from ckptd.proof import InputSpec


@dataclass(frozen=True, slots=True)
class Reference:
    """Outputs of the original.

    Attributes:
        built: what was run.
        arrays: "CASE.outputN" → array.
        is_deterministic: the same input gave the same output twice.
        dropped: names of dynamic dimensions of which the module takes one size only.
    """

    built: Built
    arrays: Mapping[str, Any]
    is_deterministic: bool
    dropped: tuple[str, ...]

    @property
    def specs(self) -> tuple[InputSpec, ...]:
        """The inputs."""
        return self.built.specs

    @property
    def sizes(self) -> Mapping[str, int]:
        """Example sizes of the dynamic dimensions."""
        return self.built.sizes


def reference(built: Built) -> Reference:
    """Run the module twice on every case."""
    first, second = _run(built), _run(built)
    dropped = built.notes.get("fixed")
    return Reference(built, first, _is_same(first, second), tuple(_names(dropped)))


def _names(value: Json) -> list[str]:
    return [str(name) for name in value] if isinstance(value, list) else []


def _run(built: Built) -> dict[str, Any]:
    arrays: dict[str, Any] = {}
    for case in make_cases(built.specs, built.sizes):
        for number, output in enumerate(built.run(make_inputs(built.specs, case))):
            arrays[f"{case.name}.output{number}"] = output
    return arrays


def _is_same(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    import numpy as np

    return first.keys() == second.keys() and all(
        np.array_equal(first[name], second[name], equal_nan=first[name].dtype.kind in "fc") for name in first
    )
