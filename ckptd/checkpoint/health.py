"""Look at floating-point values as they pass: how many are not finite, and the least, the greatest and the norm of the rest.

Two ways give the same answer: numpy, and plain Python for a process that has not imported numpy and looks at a small file
(importing numpy takes longer than that).  Minimum and maximum are exact; the norm is rounded to 6 digits, because its sum
depends on the order of the terms.
"""

from __future__ import annotations

import math
import struct
import sys
from array import array
from collections.abc import Callable, Iterable, Sequence
from operator import mul
from typing import Any

from ckptd.checkpoint.float8 import table

Bytes = bytes | bytearray | memoryview

#: dtype → bytes of one real number and how plain Python reads it.
_WIDTHS = {"float16": 2, "bfloat16": 2, "float32": 4, "float64": 8, "complex32": 2, "complex64": 4, "complex128": 8}
_REAL = {"complex32": "float16", "complex64": "float32", "complex128": "float64"}
_FLOAT8 = frozenset("float8_e4m3fn float8_e4m3fnuz float8_e5m2 float8_e5m2fnuz float8_e8m0fnu".split())


class Health:
    """What was seen of one storage so far.

    Attributes:
        minimum, maximum: of the finite values; None before the first.
        squares: sum of the squares of the finite values.
        nan, inf: counts.  Complex numbers count by their parts.
    """

    __slots__ = ("inf", "maximum", "minimum", "nan", "squares")

    def __init__(self) -> None:
        self.minimum: float | None = None
        self.maximum: float | None = None
        self.squares = 0.0
        self.nan = 0
        self.inf = 0

    @property
    def norm(self) -> float | None:
        """The Euclidean norm, to 6 digits; None where there is no finite value or the sum went beyond a float."""
        if self.minimum is None or not math.isfinite(self.squares):
            return None
        return float(f"{math.sqrt(self.squares):.6g}")

    def see(self, low: float, high: float, squares: float) -> None:
        """Take in the extremes and the sum of squares of some finite values."""
        # Adding zero turns -0.0 into 0.0: which of the two an unordered minimum finds is chance.
        low, high = low + 0.0, high + 0.0
        self.minimum = low if self.minimum is None or low < self.minimum else self.minimum
        self.maximum = high if self.maximum is None or high > self.maximum else self.maximum
        self.squares += squares


class Meter:
    """Feed it the bytes of one storage in order, in pieces of any length; read `health` at the end."""

    __slots__ = ("_carry", "_look", "_width", "health")

    def __init__(self, width: int, look: Callable[[Bytes, Health], None]) -> None:
        self.health = Health()
        self._width = width
        self._look = look
        self._carry = b""

    def feed(self, data: memoryview) -> None:
        """Look at the next piece; an element that is cut in two waits for its other half."""
        if self._carry:
            missing = self._width - len(self._carry)
            self._carry += bytes(data[:missing])
            data = data[missing:]
            if len(self._carry) < self._width:
                return
            self._look(self._carry, self.health)
            self._carry = b""
        whole = len(data) - len(data) % self._width
        if whole:
            self._look(data[:whole], self.health)
        if whole < len(data):
            self._carry = bytes(data[whole:])


def make_meter(dtype: str, *, swap: bool = False) -> Meter | None:
    """Make a meter for storages of this dtype, None where it has no floating-point values.

    Args:
        dtype: as torch names it, without "torch.".
        swap: True when the values have the byte order that this machine has not.
    """
    numpy = sys.modules.get("numpy")
    if dtype in _FLOAT8:
        return Meter(1, _float8_by_numpy(numpy, dtype) if numpy is not None else _float8_plainly(dtype))
    width = _WIDTHS.get(dtype)
    if width is None:
        return None
    real = _REAL.get(dtype, dtype)
    return Meter(width, _by_numpy(numpy, real, swap=swap) if numpy is not None else _plainly(real, swap=swap))


# — numpy —


def _by_numpy(np: Any, dtype: str, *, swap: bool) -> Callable[[Bytes, Health], None]:
    stored = np.dtype("uint16" if dtype == "bfloat16" else dtype)
    if swap:
        stored = stored.newbyteorder()

    def look(data: Bytes, health: Health) -> None:
        values = np.frombuffer(data, stored)
        if dtype == "bfloat16":  # the upper half of a float32
            values = (values.astype(np.uint32) << 16).view(np.float32)
        elif dtype == "float16" or swap:  # numpy computes with halves one by one
            values = values.astype(np.float64 if dtype == "float64" else np.float32)
        low, high = float(values.min()), float(values.max())
        if not (math.isfinite(low) and math.isfinite(high)):  # NaN wins every comparison in numpy
            values = _only_finite(np, values, health)
            if not values.size:
                return
            low, high = float(values.min()), float(values.max())
        with np.errstate(over="ignore"):
            squares = float(np.dot(values, values))
            if squares == math.inf and values.dtype != np.float64:
                wide = values.astype(np.float64)
                squares = float(np.dot(wide, wide))
        health.see(low, high, squares)

    return look


def _only_finite(np: Any, values: Any, health: Health) -> Any:
    finite = np.isfinite(values)
    nan = int(np.count_nonzero(np.isnan(values)))
    health.nan += nan
    health.inf += int(values.size - np.count_nonzero(finite)) - nan
    return values[finite]


def _float8_by_numpy(np: Any, dtype: str) -> Callable[[Bytes, Health], None]:
    def look(data: Bytes, health: Health) -> None:
        _see_counts(np.bincount(np.frombuffer(data, np.uint8), minlength=256).tolist(), dtype, health)

    return look


# — plain Python —


def _plainly(dtype: str, *, swap: bool) -> Callable[[Bytes, Health], None]:
    order = (">" if sys.byteorder == "little" else "<") if swap else "="

    def read(data: Bytes) -> Sequence[float]:
        if dtype == "float16":
            return struct.unpack(f"{order}{len(data) // 2}e", data)
        values = array({"bfloat16": "H", "float32": "f", "float64": "d"}[dtype])
        values.frombytes(data)
        if swap:
            values.byteswap()
        if dtype != "bfloat16":
            return values
        wide = array("f")
        wide.frombytes(array("I", [value << 16 for value in values]).tobytes())
        return wide

    def look(data: Bytes, health: Health) -> None:
        values = read(data)
        squares = sum(map(mul, values, values))
        if not math.isfinite(squares):
            finite = [value for value in values if math.isfinite(value)]
            nan = sum(1 for value in values if value != value)
            health.nan += nan
            health.inf += len(values) - len(finite) - nan
            if not finite:
                return
            values, squares = finite, sum(map(mul, finite, finite))
        health.see(min(values), max(values), squares)

    return look


def _float8_plainly(dtype: str) -> Callable[[Bytes, Health], None]:
    def look(data: Bytes, health: Health) -> None:
        raw = bytes(data)
        _see_counts((raw.count(byte) for byte in range(256)), dtype, health)

    return look


def _see_counts(counts: Iterable[int], dtype: str, health: Health) -> None:
    """Take in how often each of the 256 values occurs."""
    finite: list[tuple[float, int]] = []
    for value, count in zip(table(dtype), counts, strict=True):
        if not count:
            continue
        if math.isfinite(value):
            finite.append((value, count))
        elif math.isnan(value):
            health.nan += count
        else:
            health.inf += count
    if finite:
        values = [value for value, _ in finite]
        health.see(min(values), max(values), sum(value * value * count for value, count in finite))
