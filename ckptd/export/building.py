"""Build the module of a checkpoint by its recipe, in a confined worker: start reading at `build`.

`making` calls a person's code, `selfmade` rebuilds modules that are their own recipe, `state` gives them the weights, `trying`
finds inputs that they take, and `reference` notes what they give.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ckptd.checkpoint.reader import Structure, read_structure
from ckptd.checkpoint.source import ChangedError
from ckptd.errors import StorageError
from ckptd.export.built import Built
from ckptd.export.making import call_maker, make_module
from ckptd.export.reference import Reference, reference
from ckptd.export.refusal import TargetError
from ckptd.export.selfmade import load_module, load_script
from ckptd.export.state import compare_state, describe, load_file, load_state
from ckptd.export.trying import find_inputs
from ckptd.model import Json, Layer, Severity, Status
from ckptd.proof import Maker, Recipe

__all__ = ["Built", "Reference", "build", "build_here", "build_with", "compare_parameters", "load_weights", "reference"]

#: Differences in one answer.
_MOST_DIFFERENCES = 200


def build(recipe: Recipe, fd: int, hyperparameters: Mapping[str, Json] | None = None, layers: Sequence[Layer] = ()) -> Built:
    """Build the module, load the weights of the open checkpoint and find inputs that it takes.

    Args:
        recipe: how to build it.
        fd: of the checkpoint; stays open.
        hyperparameters: what is known beside the recipe's own, for guesses at the inputs.
        layers: of the checkpoint, for the same.

    Raises:
        TargetError: something is missing or does not fit; the text says what to add.
    """
    structure = _read(fd)
    module, notes = _make(recipe, structure, fd)
    module.eval()
    for parameter in module.parameters():  # TorchScript knows no requires_grad_ for all of them
        parameter.requires_grad = False
    known = {**(hyperparameters or {}), **recipe.hyperparameters}
    tried = find_inputs(module, recipe, layers, known)
    if tried.fixed:
        notes = {**notes, "fixed": [*tried.fixed]}
    return Built(module, tried.specs, tried.origin, tried.sizes, _output_names(recipe, tried.outputs), notes)


def build_here(recipe: Recipe, fd: int) -> Any:
    """Build the module of an open checkpoint in this very process, with its weights and in eval mode; for `Library.model`.

    Raises:
        TargetError: something is missing or does not fit; the text says what to add.
    """
    import torch

    structure = _read(fd)
    with torch.random.fork_rng(devices=[]):
        module, _ = _make(recipe, structure, fd)
    return module.eval()


def build_with(maker: Callable[..., Any], hyperparameters: Mapping[str, Json], fd: int) -> Any:
    """Do the same with a callable of the caller's own: a class, or a function that gives a module.

    Raises:
        TargetError: it can't be called with these hyperparameters, gives no module, or does not fit the checkpoint.
    """
    structure = _read(fd)
    module, _ = call_maker(maker, getattr(maker, "__name__", "the callable"), hyperparameters)
    load_state(module, structure, fd)
    return module.eval()


def compare_parameters(
    recipe: Recipe, fd: int, hyperparameters: Mapping[str, Json] | None = None, layers: Sequence[Layer] = ()
) -> dict[str, Json]:
    """Build the module and name each difference to the checkpoint; where there is none, say which inputs it takes.

    Raises:
        TargetError: it can't be built.
    """
    structure = _read(fd)
    if recipe.maker in (Maker.MODULE, Maker.TORCHSCRIPT):
        module, notes = _make(recipe, structure, fd)
        differences = []
    else:
        module, notes = make_module(recipe)
        differences = compare_state(module, structure)
    answer: dict[str, Json] = {
        "differences": [
            {"name": item.name, "kind": item.kind, "module": item.module, "file": item.file}
            for item in differences[:_MOST_DIFFERENCES]
        ],
        "count": len(differences),
        "sentence": describe(differences) if differences else "",
        "notes": notes,
    }
    if not differences:
        answer |= _inputs_of(recipe, fd, hyperparameters, layers)
    return answer


def load_weights(built: Built, fd: int) -> None:
    """Give a module the weights of one of our weights exports in place of its own.

    Raises:
        TargetError: they do not fit.
    """
    load_file(built.module, fd)


def _inputs_of(recipe: Recipe, fd: int, hyperparameters: Mapping[str, Json] | None, layers: Sequence[Layer]) -> dict[str, Json]:
    try:
        built = build(recipe, fd, hyperparameters, layers)
    except TargetError as error:
        return {"problem": str(error)}
    return {
        "inputs": [spec.to_json() for spec in built.specs],
        "inputs_origin": built.inputs_origin,
        "outputs": [*built.outputs],
    }


def _read(fd: int) -> Structure:
    try:
        structure = read_structure(fd)
    except ChangedError as error:
        raise StorageError("the file was changed while it was read", cure="export it again") from error
    if structure.status not in {Status.OK, Status.NEEDS_CODE}:
        worst = next((found.message for found in structure.findings if found.severity is not Severity.INFO), "it can't be read")
        raise TargetError(f"the checkpoint is {structure.status.value.replace('_', ' ')}: {worst}")
    return structure


def _make(recipe: Recipe, structure: Structure, fd: int) -> tuple[Any, dict[str, Json]]:
    match recipe.maker:
        case Maker.MODULE:
            return load_module(recipe, structure, fd), {}
        case Maker.TORCHSCRIPT:
            return load_script(fd, recipe.code_sha256), {}
        case _:
            module, notes = make_module(recipe)
            key = load_state(module, structure, fd)
            return module, notes if key is None else {**notes, "weights_key": key}


def _output_names(recipe: Recipe, count: int) -> tuple[str, ...]:
    derived = ["output" if number == 0 else f"output_{number}" for number in range(count)]
    return (*recipe.outputs[:count], *derived[len(recipe.outputs) :])
