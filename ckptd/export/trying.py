"""Find inputs that a module takes: those of the recipe, else what its layers suggest, each tried in a forward."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ckptd.export.arrays import flatten, to_tensors
from ckptd.export.inputs import Case, Derived, derive_inputs, example_case, make_cases, make_inputs
from ckptd.export.making import reason
from ckptd.export.refusal import TargetError
from ckptd.model import Json, Layer
from ckptd.proof import InputSpec, Recipe
from ckptd.text import escape

#: Names of what is not an input of its own when an example line is made up.
_BATCH = "batch"


class Tried(NamedTuple):
    """Inputs with which a forward went through.

    Attributes:
        sizes: example sizes of the dynamic dimensions but the batch.
        outputs: number of them.
        fixed: names of dynamic dimensions that the module takes one size of; they are sizes in `specs` already.
    """

    specs: tuple[InputSpec, ...]
    origin: str
    sizes: Mapping[str, int]
    outputs: int
    fixed: tuple[str, ...] = ()


def find_inputs(module: Any, recipe: Recipe, layers: Sequence[Layer], hyperparameters: Mapping[str, Json]) -> Tried:
    """Give the first inputs on which the module runs.

    Raises:
        TargetError: none does; the text says what to name in the recipe.
    """
    if recipe.inputs:
        return _try_recipe(module, recipe)
    wanted = required_inputs(module)
    known = {**hyperparameters, **_facts_of(module)}
    refusals: list[str] = []
    first: Derived | None = None
    partly: Tried | None = None
    for derived in derive_inputs(layers, known):
        if wanted is not None and not wanted[0] <= len(derived.specs) <= wanted[1]:
            continue
        try:
            tried = _try(module, derived)
        except TargetError as error:
            refusals.append(str(error))
            first = first or derived
            continue
        if not tried.fixed:
            return tried
        partly = partly or tried
    if partly is not None:
        return partly
    raise TargetError(_refusal(module, refusals, wanted, first))


def required_inputs(module: Any) -> tuple[int, int] | None:
    """Give how few and how many inputs a forward takes; None where its signature does not say."""
    parameters = _parameters(module)
    if parameters is None:
        return None
    fixed = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    least = sum(1 for p in fixed if p.default is p.empty)
    return least, 64 if any(p.kind is p.VAR_POSITIONAL for p in parameters) else len(fixed)


def run_case(module: Any, specs: Sequence[InputSpec], case: Case) -> tuple[Any, ...]:
    """Run the module on one case; what it gives is flat."""
    import torch

    with torch.no_grad():
        return flatten(module(*to_tensors(make_inputs(specs, case))))


def _try_recipe(module: Any, recipe: Recipe) -> Tried:
    try:
        return _try(module, Derived(_named(recipe.inputs), "recipe"))
    except TargetError as error:
        raise TargetError(f"the module does not take the inputs of the recipe: {error}") from error


def _named(specs: Sequence[InputSpec]) -> tuple[InputSpec, ...]:
    names = ["input" if number == 0 else f"input_{number}" for number in range(len(specs))]
    return tuple([InputSpec(spec.name or name, *_rest(spec)) for spec, name in zip(specs, names, strict=True)])


def _rest(spec: InputSpec) -> tuple[tuple[int | str, ...], str, int | None]:
    return spec.shape, spec.dtype, spec.high


def _try(module: Any, derived: Derived) -> Tried:
    """Run the module on the example, then on all cases; fix the dimensions of which it takes one size.

    Raises:
        TargetError: it does not take the example.
    """
    specs, sizes, fixed = derived.specs, derived.sizes, []
    outputs = _run_first(module, specs, sizes)
    while (refused := _refused_dimension(module, specs, sizes)) is not None:
        fixed.append(refused)
        specs = _fix(specs, sizes, refused)
    return Tried(specs, derived.why, sizes, outputs, tuple(fixed))


def _run_first(module: Any, specs: Sequence[InputSpec], sizes: Mapping[str, int]) -> int:
    """Give the number of outputs; a length that the longer example does not fit may fit the shorter one."""
    error: Exception | None = None
    for case in reversed(make_cases(specs, sizes)):
        try:
            return len(run_case(module, specs, case))
        except TargetError:
            raise
        except Exception as caught:  # noqa: BLE001 — whatever a person's code raises
            error = error or caught
    assert error is not None
    raise TargetError(reason(error)) from error


def _refused_dimension(module: Any, specs: Sequence[InputSpec], sizes: Mapping[str, int]) -> str | None:
    """Name a dynamic dimension whose other size the module refuses, None when it takes all cases."""
    cases = make_cases(specs, sizes)
    for case in cases:
        try:
            run_case(module, specs, case)
        except Exception:  # noqa: BLE001 — whatever it is, this size is not taken
            return _culprit(module, specs, cases)
    return None


def _culprit(module: Any, specs: Sequence[InputSpec], cases: Sequence[Case]) -> str | None:
    """Find out whether it is a length or the batch: the lengths one by one, then the batch."""
    short, last = cases[0], example_case(cases)
    names = [size for spec in specs for size in spec.shape if isinstance(size, str)]
    for name in dict.fromkeys(names):
        changed = (
            short._replace(batch=last.batch)
            if name == _BATCH
            else short._replace(lengths={**short.lengths, name: last.lengths[name]})
        )
        try:
            run_case(module, specs, changed)
        except Exception:  # noqa: BLE001 — whatever it raises, it does not take that size
            return name
    # Each alone is taken, and all together are not: give up the last one.
    return names[-1] if names else None


def _fix(specs: Sequence[InputSpec], sizes: Mapping[str, int], name: str) -> tuple[InputSpec, ...]:
    short = make_cases(specs, sizes)[0]
    size = short.batch if name == _BATCH else short.lengths[name]
    return tuple(
        [
            InputSpec(spec.name, tuple([size if part == name else part for part in spec.shape]), spec.dtype, spec.high)
            for spec in specs
        ]
    )


def _facts_of(module: Any) -> dict[str, Json]:
    """Say what the module itself knows better than its weights: whether time or batch comes first."""
    for part in module.modules():
        first = getattr(part, "batch_first", None)
        if isinstance(first, bool):
            return {"batch_first": first}
    return {}


def _parameters(module: Any) -> list[inspect.Parameter] | None:
    try:
        found = list(inspect.signature(module.forward).parameters.values())
    except (TypeError, ValueError):
        return None
    return None if _is_opaque(found) else found


def _is_opaque(parameters: Sequence[inspect.Parameter]) -> bool:
    """Say whether a signature is only (*args, **kwargs), as that of TorchScript."""
    return {p.kind for p in parameters} == {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}


def _refusal(module: Any, refusals: Sequence[str], wanted: tuple[int, int] | None, first: Derived | None) -> str:
    names = [p.name for p in _parameters(module) or () if p.default is p.empty and p.kind is not p.VAR_POSITIONAL] or ["input"]
    what = (
        f"{escape(type(module).__name__, 80)} takes {', '.join(names)}" if wanted is not None else "nobody says what it takes"
    )
    tried = f"; {len(refusals)} guesses failed, the first with {refusals[0]}" if refusals else ""
    example = _example_line(names, first)
    return f"its inputs are unknown ({what}{tried}): name them in the recipe with their real sizes, as in {example}"


def _example_line(names: Sequence[str], first: Derived | None) -> str:
    """Write a line to copy; its sizes are those of the first guess where that one has as many inputs."""
    shapes: list[Sequence[int | str]] = [spec.shape for spec in first.specs] if first is not None else []
    if len(shapes) != len(names):
        shapes = [(_BATCH, 16)] * len(names)
    inner = [f'{{ name = "{name}", shape = {json.dumps(list(shape))} }}' for name, shape in zip(names, shapes, strict=True)]
    return f"inputs = [{', '.join(inner[:4])}]"
