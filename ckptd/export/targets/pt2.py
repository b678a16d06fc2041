"""The archive of torch.export: a graph with its weights, whose dynamic sizes are part of its contract."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from ckptd.export.interface import ModuleTarget, Notes
from ckptd.export.targets.opened import Opened
from ckptd.model import Json

if TYPE_CHECKING:
    from ckptd.export.building import Built
    from ckptd.settings.exporting import ExportSettings


class Pt2Target(ModuleTarget):
    """The program as `torch.export.load` takes it."""

    name: ClassVar[str] = "pt2"
    ending: ClassVar[str] = ".pt2"

    def options(self, settings: ExportSettings) -> dict[str, Json]:
        """Give whether batch and lengths stay open."""
        return {"dynamic": settings.dynamic}

    def export(self, built: Built, name: str, options: Mapping[str, Json]) -> Notes:
        """Capture the program and save it."""
        import torch

        from ckptd.export.arrays import silence
        from ckptd.export.targets.graph import capture

        with silence():
            program, notes = capture(built, is_dynamic=options.get("dynamic") is not False)
            torch.export.save(program, name)
        return notes

    def open(self, name: str, options: Mapping[str, Json]) -> Opened:
        """Open it by torch.export.load."""
        import torch

        from ckptd.export.arrays import flatten, silence, to_arrays, to_tensors
        from ckptd.export.targets.graph import shapes_of

        del options
        with silence():
            program = torch.export.load(name)
            module = program.module()

        def call(inputs: Any) -> Any:
            with torch.no_grad(), silence():
                return to_arrays(flatten(module(*to_tensors(inputs))))

        return Opened(call, shapes_of(program))
