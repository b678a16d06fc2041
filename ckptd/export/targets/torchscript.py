"""TorchScript by torch.jit.script: the program is compiled from the source, so that loops and branches stay in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from ckptd.export.interface import ModuleTarget, Notes
from ckptd.export.refusal import TargetError
from ckptd.export.targets.opened import Opened
from ckptd.model import Json

if TYPE_CHECKING:
    from ckptd.export.building import Built

#: Source: torch 2.13, torch/jit/_script.py: "torch.jit.script is deprecated", and no support on Python 3.14 and newer.
_DEPRECATED = "TorchScript is deprecated by PyTorch since 2.9: prefer pt2 or onnx"


class TorchScriptTarget(ModuleTarget):
    """The compiled module as `torch.jit.load` takes it."""

    name: ClassVar[str] = "torchscript"
    ending: ClassVar[str] = "_scripted.pt"
    deprecated: ClassVar[str] = _DEPRECATED

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
        import torch

        from ckptd.export.arrays import flatten, silence, to_arrays, to_tensors

        del options
        with silence():
            loaded = torch.jit.load(name, map_location="cpu")

        def call(inputs: Any) -> Any:
            with torch.no_grad(), silence():
                return to_arrays(flatten(loaded(*to_tensors(inputs))))

        return Opened(call)
