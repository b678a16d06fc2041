"""The weights as bfloat16: half the bytes, 8 bits of precision, the range of float32."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from ckptd.export.interface import WeightsTarget

if TYPE_CHECKING:
    from ckptd.export.encodings import Encoding


class BFloat16Target(WeightsTarget):
    """A safetensors file with floating weights as bfloat16."""

    name: ClassVar[str] = "bfloat16"
    ending: ClassVar[str] = ".bf16.safetensors"
    is_lossy: ClassVar[bool] = True

    def encoding(self) -> Encoding:
        """Give how values are spelled, for one file."""
        from ckptd.export.encodings import BFloat16

        return BFloat16()
