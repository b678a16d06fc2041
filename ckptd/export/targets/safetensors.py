"""The weights as they are, in a safetensors file: needs no code, and every framework reads it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from ckptd.export.interface import Notes
from ckptd.model import Json

if TYPE_CHECKING:
    from ckptd.export.encodings import Encoding
    from ckptd.export.weights import Weights
    from ckptd.settings.exporting import ExportSettings


class SafetensorsTarget:
    """A safetensors file of the weights, bit by bit."""

    name: ClassVar[str] = "safetensors"
    ending: ClassVar[str] = ".safetensors"
    needs_module: ClassVar[bool] = False
    is_lossy: ClassVar[bool] = False
    packages: ClassVar[tuple[str, ...]] = ()
    extra: ClassVar[str] = ""
    deprecated: ClassVar[str] = ""

    def options(self, settings: ExportSettings) -> dict[str, Json]:  # noqa: ARG002 — nothing shapes this file
        """Give no settings: there are none."""
        return {}

    def encoding(self) -> Encoding:
        """Give how values are spelled, for one file."""
        from ckptd.export.encodings import Exact

        return Exact()

    def write(self, weights: Weights, fd: int, options: Mapping[str, Json]) -> Notes:  # noqa: ARG002
        """Write the file to an empty descriptor, streaming."""
        from ckptd.export.safetensors_file import write_file

        return write_file(weights, fd, self.encoding())
