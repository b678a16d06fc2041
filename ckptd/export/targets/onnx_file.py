"""What an ONNX file says of itself: its opset and its inputs, which an exporter may write otherwise than it was asked."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ckptd.export.refusal import TargetError

if TYPE_CHECKING:
    from ckptd.export.building import Built


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a file shall be like.

    Attributes:
        is_dynamic: sizes that may be open stay so.
        is_large: the weights go into NAME.data.
    """

    name: str
    opset: int
    is_dynamic: bool = True
    is_large: bool = False


def check_file(built: Built, wanted: Wanted) -> None:
    """See that the file has all inputs, and the opset that was asked for; convert it where it has another one.

    Raises:
        TargetError: it lacks an input, or can't be converted.
    """
    import onnx

    model = onnx.load(wanted.name, load_external_data=False)
    names = {item.name for item in model.graph.input}
    lost = next((spec.name for spec in built.specs if spec.name not in names), None)
    if lost is not None:
        raise TargetError(f"ONNX does not take {built.name}: nothing in the exported program depends on the input {lost}")
    found = _opset_of(model)
    if found != wanted.opset:
        _convert(wanted.name, found, wanted.opset)


def move_weights_out(name: str) -> None:
    """Put the weights of a file into NAME.data beside it."""
    import onnx

    onnx.save_model(onnx.load(name), name, save_as_external_data=True, all_tensors_to_one_file=True, location=f"{name}.data")


def remove(name: str) -> None:
    """Remove what there is of a file and its weights."""
    for left in (name, f"{name}.data"):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(left)


def _opset_of(model: Any) -> int:
    return max((int(item.version) for item in model.opset_import if item.domain in ("", "ai.onnx")), default=0)


def _convert(name: str, found: int, wanted: int) -> None:
    import onnx
    from onnx import version_converter

    from ckptd.export.making import reason

    try:
        onnx.save(version_converter.convert_version(onnx.load(name), wanted), name)
    except Exception as error:
        raise TargetError(f"the exporter writes opset {found} in place of {wanted}: {reason(error)}") from error
    if _opset_of(onnx.load(name, load_external_data=False)) != wanted:
        raise TargetError(f"the exporter writes opset {found} in place of {wanted}, and it can't be converted")
