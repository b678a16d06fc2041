"""The weights as 16-bit floats: half the bytes, 11 bits of precision, nothing above 65,504."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from ckptd.export.interface import Notes
from ckptd.model import Json

if TYPE_CHECKING:
    from ckptd.export.encodings import Encoding
    from ckptd.export.weights import Weights
    from ckptd.settings.exporting import ExportSettings


class Float16Target:
    """A safetensors file with floating weights as float16."""

    name: ClassVar[str] = "float16"
    ending: ClassVar[str] = ".fp16.safetensors"
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
        from ckptd.export.encodings import Float16

        return Float16()

    def write(self, weights: Weights, fd: int, options: Mapping[str, Json]) -> Notes:  # noqa: ARG002
        """Write the file to an empty descriptor, streaming."""
        from ckptd.export.safetensors_file import write_file

        return write_file(weights, fd, self.encoding())
