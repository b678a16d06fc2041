"""TorchScript by torch.jit.trace: what one call did, with the branches that it happened to take."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from ckptd.export.interface import Notes, TargetError
from ckptd.export.targets.opened import Opened
from ckptd.export.targets.torchscript import DEPRECATED, open_script
from ckptd.model import Json

if TYPE_CHECKING:
    from ckptd.export.building import Built
    from ckptd.settings.exporting import ExportSettings


class TorchScriptTraceTarget:
    """The traced module as `torch.jit.load` takes it."""

    name: ClassVar[str] = "torchscript-trace"
    ending: ClassVar[str] = "_traced.pt"
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

    def open(self, name: str, options: Mapping[str, Json]) -> Opened:
        """Open it by torch.jit.load."""
        del options
        return open_script(name)
