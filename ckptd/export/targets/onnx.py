"""ONNX with the opset, names and dynamic axes that were asked for; by torch's dynamo exporter, or by the one before it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from ckptd.export.interface import ModuleTarget, Notes
from ckptd.export.refusal import TargetError
from ckptd.export.targets.opened import Opened
from ckptd.model import Json

if TYPE_CHECKING:
    from ckptd.export.building import Built
    from ckptd.settings.exporting import ExportSettings

_DEFAULT_OPSET = 20
#: Source: protobuf takes messages up to 2 GiB; the settings stay below it.
_DEFAULT_EXTERNAL_BYTES = 2_000_000_000


class OnnxTarget(ModuleTarget):
    """One .onnx file, with its weights in NAME.data beside it where they are large."""

    name: ClassVar[str] = "onnx"
    ending: ClassVar[str] = ".onnx"
    packages: ClassVar[tuple[str, ...]] = ("onnx", "onnxscript", "onnxruntime")
    extra: ClassVar[str] = "onnx"

    def options(self, settings: ExportSettings) -> dict[str, Json]:
        """Give the opset, whether sizes stay open, and from which size on weights go into a file of their own."""
        return {
            "opset": settings.opset,
            "dynamic": settings.dynamic,
            "external_data_bytes": settings.external_data_bytes,
        }

    def export(self, built: Built, name: str, options: Mapping[str, Json]) -> Notes:
        """Export by the newest exporter that writes the opset, and check the opset in the file."""
        return write_onnx(built, name, options)

    def open(self, name: str, options: Mapping[str, Json]) -> Opened:
        """Open it by ONNX Runtime on the CPU."""
        del options
        return open_session(name)


def write_onnx(built: Built, name: str, options: Mapping[str, Json]) -> Notes:
    """Write an ONNX file, see `OnnxTarget.export`.

    Raises:
        TargetError: no exporter takes the module, or not at this opset; nothing is left behind then.
    """
    from ckptd.export.arrays import silence
    from ckptd.export.targets.graph import eager_attention
    from ckptd.export.targets.onnx_exporters import write
    from ckptd.export.targets.onnx_file import Wanted, check_file, remove

    wanted = Wanted(name, _opset(options), options.get("dynamic") is not False, _is_large(built, options))
    eager_attention()
    with silence():
        try:
            notes = write(built, wanted)
            check_file(built, wanted)
        except TargetError:
            remove(name)
            raise
    return {**notes, "opset": wanted.opset, "external_data": wanted.is_large}


def open_session(name: str) -> Opened:
    """Open an ONNX file as a function of arrays, on one thread of the CPU."""
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = settings.inter_op_num_threads = 1
    settings.log_severity_level = 4
    session = onnxruntime.InferenceSession(name, settings, providers=["CPUExecutionProvider"])
    inputs = session.get_inputs()
    shapes = tuple([tuple([size if isinstance(size, int) else None for size in item.shape]) for item in inputs])

    def call(arrays: Sequence[Any]) -> Sequence[Any]:
        given = {item.name: array for item, array in zip(inputs, arrays, strict=True)}
        return session.run(None, given)  # type: ignore[no-any-return]  # onnxruntime is untyped

    return Opened(call, shapes)


def _opset(options: Mapping[str, Json]) -> int:
    opset = options.get("opset")
    return opset if type(opset) is int else _DEFAULT_OPSET


def _is_large(built: Built, options: Mapping[str, Json]) -> bool:
    most = options.get("external_data_bytes")
    held: dict[int, int] = {
        tensor.data_ptr(): tensor.numel() * tensor.element_size()
        for tensor in built.module.state_dict().values()
        if hasattr(tensor, "data_ptr")
    }
    return sum(held.values()) > (int(most) if type(most) is int else _DEFAULT_EXTERNAL_BYTES)
