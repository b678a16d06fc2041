"""The 256 values of each 8-bit floating format.

Source: OCP 8-bit Floating Point Specification 1.0 (e4m3fn, e5m2), OCP Microscaling Formats 1.0 (e8m0fnu), and
"8-bit Numerical Formats for Deep Neural Networks", arXiv 2206.02915 (the "fnuz" forms).  A test holds them against torch.
"""

from __future__ import annotations

import math
from functools import cache
from typing import NamedTuple


class _Format(NamedTuple):
    """Bits of the mantissa, exponent bias, and whether it ends as IEEE 754 does, in NaN only, or has no negative zero."""

    mantissa: int
    bias: int
    ending: str


_FORMATS = {
    "float8_e4m3fn": _Format(3, 7, "nan"),
    "float8_e5m2": _Format(2, 15, "ieee"),
    "float8_e4m3fnuz": _Format(3, 8, "fnuz"),
    "float8_e5m2fnuz": _Format(2, 16, "fnuz"),
}


@cache
def table(dtype: str) -> tuple[float, ...]:
    """Give the value of each byte; KeyError for a dtype that is no 8-bit float."""
    if dtype == "float8_e8m0fnu":
        return (*(math.ldexp(1.0, exponent - 127) for exponent in range(255)), math.nan)
    form = _FORMATS[dtype]
    return tuple(_value(byte, form) for byte in range(256))


def _value(byte: int, form: _Format) -> float:
    if form.ending == "fnuz" and byte == 0x80:
        return math.nan
    sign = -1.0 if byte & 0x80 else 1.0
    exponent, fraction = (byte & 0x7F) >> form.mantissa, byte & ((1 << form.mantissa) - 1)
    if form.ending == "nan" and byte & 0x7F == 0x7F:
        return math.nan
    if form.ending == "ieee" and exponent == (0x7F >> form.mantissa):
        return sign * math.inf if not fraction else math.nan
    if exponent == 0:
        return sign * math.ldexp(fraction, 1 - form.bias - form.mantissa)
    return sign * math.ldexp(fraction + (1 << form.mantissa), exponent - form.bias - form.mantissa)
