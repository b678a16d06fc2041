"""ONNX with 8-bit weights, by ONNX Runtime's dynamic quantization: activations are quantized while it runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from ckptd.export.interface import Notes
from ckptd.export.refusal import TargetError
from ckptd.export.targets.onnx import OnnxTarget, write_onnx
from ckptd.model import Json

if TYPE_CHECKING:
    from ckptd.export.building import Built


class OnnxInt8Target(OnnxTarget):
    """An .onnx file whose linear layers and convolutions hold 8-bit weights."""

    name: ClassVar[str] = "onnx-int8"
    ending: ClassVar[str] = ".int8.onnx"
    is_lossy: ClassVar[bool] = True

    def export(self, built: Built, name: str, options: Mapping[str, Json]) -> Notes:
        """Export to ONNX and quantize that."""
        from ckptd.export.arrays import silence
        from ckptd.export.targets.onnx_file import remove

        whole = f"{name}.float.onnx"
        try:
            notes = write_onnx(built, whole, options)
            with silence():
                _quantize(whole, name, is_large=notes["external_data"] is True)
        finally:
            remove(whole)
        return notes


def _quantize(whole: str, name: str, *, is_large: bool) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    from ckptd.export.making import reason

    try:
        quantize_dynamic(whole, name, weight_type=QuantType.QUInt8, use_external_data_format=is_large)
    except Exception as error:
        raise TargetError(f"ONNX Runtime can't quantize it: {reason(error)}") from error
