"""The weights as 8-bit integers with a scale for each row: a quarter of the bytes; `ckptd.load` turns them back."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from ckptd.export.interface import WeightsTarget

if TYPE_CHECKING:
    from ckptd.export.encodings import Encoding


class Int8Target(WeightsTarget):
    """A safetensors file with floating matrices as integers and scales."""

    name: ClassVar[str] = "int8"
    ending: ClassVar[str] = ".int8.safetensors"
    is_lossy: ClassVar[bool] = True

    def encoding(self) -> Encoding:
        """Give how values are spelled, for one file."""
        from ckptd.export.encodings import Int8

        return Int8()
