"""The weights as they are, in a safetensors file: needs no code, and every framework reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from ckptd.export.interface import WeightsTarget

if TYPE_CHECKING:
    from ckptd.export.encodings import Encoding


class SafetensorsTarget(WeightsTarget):
    """A safetensors file of the weights, bit by bit."""

    name: ClassVar[str] = "safetensors"
    ending: ClassVar[str] = ".safetensors"

    def encoding(self) -> Encoding:
        """Give how values are spelled, for one file."""
        from ckptd.export.encodings import Exact

        return Exact()
