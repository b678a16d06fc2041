"""torch's two ONNX exporters, tried in turn: `write`.

The dynamo exporter starts from a graph of torch.export and writes opset 18 and newer; the legacy one starts from TorchScript
and writes opset 20 and older.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ckptd.export.interface import Notes
from ckptd.export.refusal import TargetError
from ckptd.export.targets.onnx_file import Wanted, move_weights_out
from ckptd.model import Json

if TYPE_CHECKING:
    from ckptd.export.building import Built

#: Source: torch 2.13, torch/onnx/_internal/exporter/_constants.py and torch/onnx/_constants.py.
_DYNAMO_FROM = 18
_LEGACY_TO = 20


def write(built: Built, wanted: Wanted) -> Notes:
    """Write the file by the first exporter that can; the second one's use is noted.

    Raises:
        TargetError: none can.
    """
    first: Exception | None = None
    if wanted.opset >= _DYNAMO_FROM:
        try:
            return {"exporter": "dynamo", **_write_dynamo(built, wanted)}
        except Exception as error:  # noqa: BLE001 — an exporter raises what it likes
            first = error
    if wanted.opset > _LEGACY_TO:
        raise TargetError(_refusal(built, first, None)) from first
    try:
        notes = _write_legacy(built, wanted)
    except Exception as error:
        raise TargetError(_refusal(built, first, error)) from error
    if first is not None:
        notes["findings"] = [f"written by the older exporter, the dynamo exporter does not take it: {_words(first)}"]
    return {"exporter": "legacy", **notes}


def _write_dynamo(built: Built, wanted: Wanted) -> Notes:
    import torch

    from ckptd.export.targets.graph import capture
    from ckptd.export.targets.recurrent import TRANSLATED, has_plain_recurrence, whole_recurrences

    program, notes = capture(built, is_dynamic=wanted.is_dynamic)
    if wanted.opset <= _LEGACY_TO and has_plain_recurrence(program):
        raise TargetError("it would unroll the recurrence step by step and fix its length")
    with whole_recurrences(TRANSLATED):
        torch.onnx.export(
            program,
            (),
            wanted.name,
            dynamo=True,
            verbose=False,
            opset_version=wanted.opset,
            input_names=[spec.name for spec in built.specs],
            output_names=list(built.outputs),
            dynamic_shapes=_axes(built, notes.get("dynamic")) or None,
            external_data=wanted.is_large,
        )
    return notes


def _write_legacy(built: Built, wanted: Wanted) -> Notes:
    """Export the compiled module, whose branches stay in it, or else a trace."""
    from ckptd.export.targets.graph import dynamic_names

    names = dynamic_names(built.specs) if wanted.is_dynamic else []
    axes = {spec.name: part for spec, part in zip(built.specs, _axes(built, [*names]), strict=False) if part}
    error: Exception | None = None
    for form, module in _forms(built):
        try:
            # Outputs change their sizes with the inputs; axes that are not named here would be constants in the file.
            _call_legacy(built, module, wanted, {**axes, **_output_axes(built, axes)})
        except Exception as caught:  # noqa: BLE001 — an exporter raises what it likes
            error = caught
            continue
        if wanted.is_large:
            move_weights_out(wanted.name)
        return {"dynamic": [*names], "form": form}
    assert error is not None
    raise error


def _forms(built: Built) -> Iterator[tuple[str, Any]]:
    import torch

    scripted = None
    with contextlib.suppress(Exception):  # what can't be compiled can often be traced
        scripted = torch.jit.script(built.module)
    if scripted is not None:
        yield "script", scripted
    yield "trace", built.module


def _call_legacy(built: Built, module: Any, wanted: Wanted, axes: Mapping[str, Mapping[int, str]]) -> None:
    import torch

    from ckptd.export.arrays import to_tensors

    with torch.no_grad():
        torch.onnx.export(
            module,
            to_tensors(built.example()),
            wanted.name,
            dynamo=False,
            verbose=False,
            opset_version=wanted.opset,
            input_names=[spec.name for spec in built.specs],
            output_names=list(built.outputs),
            dynamic_axes=axes or None,
        )


def _axes(built: Built, names: Json) -> tuple[dict[int, str], ...]:
    """Name the dynamic axes of each input; sizes that the program fixed have no name."""
    kept = names if isinstance(names, list) else []
    axes = [{i: size for i, size in enumerate(spec.shape) if isinstance(size, str) and size in kept} for spec in built.specs]
    return tuple(axes) if any(axes) else ()


def _output_axes(built: Built, axes: Mapping[str, Mapping[int, str]]) -> dict[str, dict[int, str]]:
    """Find the axes of outputs that follow a dynamic size: those that differ between two cases."""
    from ckptd.export.inputs import make_cases, make_inputs

    if not axes:
        return {}
    cases = make_cases(built.specs, built.sizes)
    shapes = [[array.shape for array in built.run(make_inputs(built.specs, case))] for case in cases]
    found: dict[str, dict[int, str]] = {}
    for number, name in enumerate(built.outputs):
        for axis in range(len(shapes[0][number])):
            if len({run[number][axis] for run in shapes}) > 1:
                found.setdefault(name, {})[axis] = f"{name}_{axis}"
    return found


def _refusal(built: Built, dynamo: Exception | None, legacy: Exception | None) -> str:
    said = [f"the {who} says {_words(error)}" for who, error in (("dynamo exporter", dynamo), ("older one", legacy)) if error]
    return f"no ONNX exporter takes {built.name}: {'; '.join(said)}"


def _words(error: Exception) -> str:
    from ckptd.export.making import reason

    return str(error) if isinstance(error, TargetError) else reason(_cause(error))


def _cause(error: BaseException) -> BaseException:
    """Look through the exporter's own wrapping, whose text is a page of advice."""
    return error.__cause__ if type(error).__module__.startswith("torch.onnx") and error.__cause__ is not None else error
