"""The weights as 16-bit floats: half the bytes, 11 bits of precision, nothing above 65,504."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from ckptd.export.interface import WeightsTarget

if TYPE_CHECKING:
    from ckptd.export.encodings import Encoding


class Float16Target(WeightsTarget):
    """A safetensors file with floating weights as float16."""

    name: ClassVar[str] = "float16"
    ending: ClassVar[str] = ".fp16.safetensors"
    is_lossy: ClassVar[bool] = True

    def encoding(self) -> Encoding:
        """Give how values are spelled, for one file."""
        from ckptd.export.encodings import Float16

        return Float16()
