"""TorchScript by torch.jit.script: the program is compiled from the source, so that loops and branches stay in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from ckptd.export.interface import Notes, TargetError
from ckptd.export.targets.opened import Opened
from ckptd.model import Json

if TYPE_CHECKING:
    from ckptd.export.building import Built
    from ckptd.settings.exporting import ExportSettings

#: Source: torch 2.13, torch/jit/_script.py: "torch.jit.script is deprecated", and no support on Python 3.14 and newer.
DEPRECATED = "TorchScript is deprecated by PyTorch since 2.9: prefer pt2 or onnx"


class TorchScriptTarget:
    """The compiled module as `torch.jit.load` takes it."""

    name: ClassVar[str] = "torchscript"
    ending: ClassVar[str] = "_scripted.pt"
    needs_module: ClassVar[bool] = True
    is_lossy: ClassVar[bool] = False
    packages: ClassVar[tuple[str, ...]] = ()
    extra: ClassVar[str] = ""
    deprecated: ClassVar[str] = DEPRECATED

    def options(self, settings: ExportSettings) -> dict[str, Json]:
        """Give nothing: no setting shapes the file."""
        del settings
        return {}

    def export(self, built: Built, name: str, options: Mapping[str, Json]) -> Notes:
        """Compile the module and save it."""
        import torch

        from ckptd.export.arrays import silence
        from ckptd.export.making import reason

        del options
        with silence():
            try:
                scripted = torch.jit.script(built.module)
            except Exception as error:
                raise TargetError(f"torch.jit.script does not take {built.name}: {reason(error)}") from error
            torch.jit.save(scripted, name)
        return {}

    def open(self, name: str, options: Mapping[str, Json]) -> Opened:
        """Open it by torch.jit.load."""
        del options
        return open_script(name)


def open_script(name: str) -> Opened:
    """Open a TorchScript archive as a function of arrays."""
    import torch

    from ckptd.export.arrays import flatten, silence, to_arrays, to_tensors

    with silence():
        loaded = torch.jit.load(name, map_location="cpu")

    def call(inputs: Any) -> Any:
        with torch.no_grad(), silence():
            return to_arrays(flatten(loaded(*to_tensors(inputs))))

    return Opened(call)
