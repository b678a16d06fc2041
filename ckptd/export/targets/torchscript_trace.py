"""TorchScript by torch.jit.trace: what one call did, with the branches that it happened to take."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from ckptd.export.interface import Notes
from ckptd.export.refusal import TargetError
from ckptd.export.targets.torchscript import TorchScriptTarget
from ckptd.model import Json

if TYPE_CHECKING:
    from ckptd.export.building import Built


class TorchScriptTraceTarget(TorchScriptTarget):
    """The traced module as `torch.jit.load` takes it."""

    name: ClassVar[str] = "torchscript-trace"
    ending: ClassVar[str] = "_traced.pt"

    def export(self, built: Built, name: str, options: Mapping[str, Json]) -> Notes:
        """Trace one call of the module and save that."""
        import torch

        from ckptd.export.arrays import silence, to_tensors
        from ckptd.export.making import reason

        del options
        with silence(), torch.no_grad():
            try:
                # Our own verification compares on more inputs than torch's check would; strict refuses outputs in a dict.
                traced = torch.jit.trace(built.module, to_tensors(built.example()), check_trace=False, strict=False)
            except Exception as error:
                raise TargetError(f"torch.jit.trace does not take {built.name}: {reason(error)}") from error
            torch.jit.save(traced, name)
        return {}
