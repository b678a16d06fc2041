"""ONNX with 8-bit weights, by ONNX Runtime's dynamic quantization: activations are quantized while it runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from ckptd.export.interface import Notes, TargetError
from ckptd.export.targets.onnx import OnnxTarget, open_session, write_onnx
from ckptd.export.targets.opened import Opened
from ckptd.model import Json

if TYPE_CHECKING:
    from ckptd.export.building import Built
    from ckptd.settings.exporting import ExportSettings


class OnnxInt8Target:
    """An .onnx file whose linear layers and convolutions hold 8-bit weights."""

    name: ClassVar[str] = "onnx-int8"
    ending: ClassVar[str] = ".int8.onnx"
    needs_module: ClassVar[bool] = True
    is_lossy: ClassVar[bool] = True
    packages: ClassVar[tuple[str, ...]] = OnnxTarget.packages
    extra: ClassVar[str] = "onnx"
    deprecated: ClassVar[str] = ""

    def options(self, settings: ExportSettings) -> dict[str, Json]:
        """Give what shapes the ONNX file it is made of."""
        return OnnxTarget().options(settings)

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

    def open(self, name: str, options: Mapping[str, Json]) -> Opened:
        """Open it by ONNX Runtime on the CPU."""
        del options
        return open_session(name)


def _quantize(whole: str, name: str, *, is_large: bool) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    from ckptd.export.making import reason

    try:
        quantize_dynamic(whole, name, weight_type=QuantType.QUInt8, use_external_data_format=is_large)
    except Exception as error:
        raise TargetError(f"ONNX Runtime can't quantize it: {reason(error)}") from error
