"""The weights as 8-bit integers with a scale for each row: a quarter of the bytes; `ckptd.load` turns them back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from ckptd.export.interface import Notes
from ckptd.model import Json

if TYPE_CHECKING:
    from ckptd.export.encodings import Encoding
    from ckptd.export.weights import Weights
    from ckptd.settings.exporting import ExportSettings


class Int8Target:
    """A safetensors file with floating matrices as integers and scales."""

    name: ClassVar[str] = "int8"
    ending: ClassVar[str] = ".int8.safetensors"
    needs_module: ClassVar[bool] = False
    is_lossy: ClassVar[bool] = True
    packages: ClassVar[tuple[str, ...]] = ()
    extra: ClassVar[str] = ""
    deprecated: ClassVar[str] = ""

    def options(self, settings: ExportSettings) -> dict[str, Json]:  # noqa: ARG002 — nothing shapes this file
        """Give no settings: there are none."""
        return {}

    def encoding(self) -> Encoding:
        """Give how values are spelled, for one file."""
        from ckptd.export.encodings import Int8

        return Int8()

    def write(self, weights: Weights, fd: int, options: Mapping[str, Json]) -> Notes:  # noqa: ARG002
        """Write the file to an empty descriptor, streaming."""
        from ckptd.export.safetensors_file import write_file

        return write_file(weights, fd, self.encoding())
