"""How a weights target spells the values of a tensor: as they are, as 16-bit floats, or as 8-bit integers with scales.

An encoding says which entries of the file a tensor becomes, and makes their bytes in pieces, always the same ones: the checker
makes them again and finds each wrong byte.  It also reads them back (`decode`) by other steps than it made them by, so that the
difference to the original, and its bound, are a check of the encoding itself.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np

from ckptd.export.refusal import TargetError
from ckptd.export.weights import Array, Sums, Weights, WeightTensor
from ckptd.loading.safetensors_header import WORD_OF
from ckptd.model import Json
from ckptd.text import escape

#: Scales that are remembered between two passes; those of tensors with more rows are computed again.
_HELD_ROWS = 1 << 20
_MOST_HELD_ROWS = 4 << 20
#: Source: IEEE 754 binary32, the least normal number.  A scale below it has too few digits.
_LEAST_SCALE = np.float32(2.0**-126)
#: A scale above it would make 127 * scale, rounded, an infinite float32.
_MOST_SCALE = 2.0**120
#: Added to a float of less than 2^22, this leaves the nearest integer, ties to even, in its lowest bits.
_ROUNDER = np.float32(1.5 * 2.0**23)
_FLOATS = ("float64", "float32", "float16", "bfloat16")


class Piece(NamedTuple):
    """Some bytes of one entry, in order.

    Attributes:
        data: what stands in the file.
        original: the values it is made of, as float32 or float64; None where nothing is lost.
        scale: of each of them, when they are stored as integers.
    """

    data: Array
    original: Array | None = None
    scale: Array | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """One entry of the file.

    Attributes:
        word: dtype as the format calls it.
        source: the tensor it is made of.
        pieces: makes the bytes in order, again with each call; the sums see the bytes of the checkpoint as they pass.
        is_copy: True when they are the bytes of the checkpoint as they lie there.
        is_lossy: True when the values are not those of the original.
    """

    name: str
    word: str
    shape: tuple[int, ...]
    source: WeightTensor
    pieces: Callable[[Sums | None], Iterator[Piece]]
    is_copy: bool = False
    is_lossy: bool = False


class Encoding(Protocol):
    """One way to spell values.

    Attributes:
        tolerance: the bound of the difference in words and numbers, for the proof; empty when nothing is lost.
    """

    tolerance: ClassVar[dict[str, Json]]

    def parts(self, weights: Weights) -> list[Part]:
        """Say what the tensors become; this may read all of them."""

    def metadata(self) -> dict[str, str]:
        """Say in the file what was done; asked for after `parts`."""

    def findings(self) -> list[str]:
        """Say in sentences what a person should know; asked for after the pieces were made."""

    def decode(self, piece: Piece) -> Array:
        """Give the values that a reader of the file sees, as float32 or float64."""

    def bound(self, piece: Piece) -> Array:
        """Give what each value may differ from the original."""


class Exact:
    """The values as they are."""

    tolerance: ClassVar[dict[str, Json]] = {}

    def parts(self, weights: Weights) -> list[Part]:
        """Make one entry of each tensor."""
        return [exact_part(tensor) for tensor in weights.tensors]

    def metadata(self) -> dict[str, str]:
        """Nothing was done."""
        return {}

    def findings(self) -> list[str]:
        """Nothing is lost."""
        return []

    def decode(self, piece: Piece) -> Array:
        """Never asked for."""
        return piece.data

    def bound(self, piece: Piece) -> Array:
        """Never asked for."""
        return np.zeros(piece.data.shape, np.float32)


class Cast:
    """Floating values as another floating dtype; integers, booleans, complex numbers and 8-bit floats stay."""

    #: dtypes that are cast.
    wider: ClassVar[frozenset[str]]
    dtype: ClassVar[str]
    tolerance: ClassVar[dict[str, Json]]

    def __init__(self) -> None:
        self._cast: dict[str, str] = {}
        self._overflown: dict[str, int] = {}

    def parts(self, weights: Weights) -> list[Part]:
        """Make one entry of each tensor."""
        return [self._part(tensor) if tensor.dtype in self.wider else exact_part(tensor) for tensor in weights.tensors]

    def metadata(self) -> dict[str, str]:
        """Name the dtypes before the cast."""
        return {"ckptd": _spell({"scheme": self.dtype, "dtypes": {**self._cast}})}

    def findings(self) -> list[str]:
        """Count the values that were too large."""
        return [
            f"{count:,} values of {escape(name, 80)} are too large for {self.dtype} and became infinite"
            for name, count in self._overflown.items()
        ]

    def encode(self, values: Array) -> Array:
        """Cast float32 values as torch does."""
        raise NotImplementedError

    def decode(self, piece: Piece) -> Array:
        """Give float32 values."""
        raise NotImplementedError

    def bound(self, piece: Piece) -> Array:
        """Give half a step at each value."""
        raise NotImplementedError

    def _part(self, tensor: WeightTensor) -> Part:
        self._cast[tensor.name] = tensor.dtype

        def pieces(sums: Sums | None) -> Iterator[Piece]:
            for chunk in tensor.chunks(sums):
                wide = widen(chunk, tensor.dtype)
                with np.errstate(over="ignore", invalid="ignore"):
                    # torch casts a float64 by way of float32, too: both roundings are part of the bound.
                    coded = self.encode(wide.astype(np.float32, copy=False))
                self._count(tensor, coded, wide)
                yield Piece(coded, wide)

        word = WORD_OF[self.dtype]
        return Part(tensor.name, word, tensor.shape, tensor, pieces, is_lossy=True)

    def _count(self, tensor: WeightTensor, coded: Array, wide: Array) -> None:
        infinite = self._infinite(coded)
        if infinite:
            infinite -= int(np.count_nonzero(np.isinf(wide)))
        if infinite:
            self._overflown[tensor.name] = self._overflown.get(tensor.name, 0) + infinite

    def _infinite(self, coded: Array) -> int:
        raise NotImplementedError


class Float16(Cast):
    """IEEE 754 binary16: 11 bits of precision, up to 65,504."""

    wider = frozenset({"float64", "float32", "bfloat16"})
    dtype = "float16"
    tolerance: ClassVar[dict[str, Json]] = {
        "rule": "|value| * relative + absolute: half a step of float16, and the step of a float64 on its way through float32",
        "relative": 2.0**-11 * (1 + 2.0**-10),
        "absolute": 2.0**-25 * (1 + 2.0**-10),
    }

    def encode(self, values: Array) -> Array:
        """Cast float32 values as torch does."""
        return values.astype("<f2")

    def decode(self, piece: Piece) -> Array:
        """Widen, which is exact."""
        return piece.data.astype(np.float32)

    def bound(self, piece: Piece) -> Array:
        """Give half a step at each value."""
        return _rounding(piece, self.tolerance)

    def _infinite(self, coded: Array) -> int:
        return int(np.count_nonzero(coded.view("<u2") & 0x7FFF == 0x7C00))


class BFloat16(Cast):
    """The upper half of a float32: 8 bits of precision, the whole range."""

    wider = frozenset({"float64", "float32", "float16"})
    dtype = "bfloat16"
    tolerance: ClassVar[dict[str, Json]] = {
        "rule": "|value| * relative + absolute: half a step of bfloat16, and the step of a float64 on its way through float32",
        "relative": 2.0**-8 * (1 + 2.0**-10),
        "absolute": 2.0**-134 * (1 + 2.0**-10),
    }

    def encode(self, values: Array) -> Array:
        """Round to the nearest upper half, ties to even, as torch does; a NaN stays one, whatever its lower half."""
        bits = values.view(np.uint32)
        rounded = (bits >> 16) & 1
        rounded += 0x7FFF
        rounded += bits
        coded: Array = (rounded >> 16).astype("<u2")
        if np.isnan(values.max(initial=0.0)):
            coded[np.isnan(values)] = 0x7FC0  # Source: c10/util/BFloat16.h, round_to_nearest_even
        return coded

    def decode(self, piece: Piece) -> Array:
        """Put the bits above sixteen zeros."""
        return widen(piece.data, "bfloat16")

    def bound(self, piece: Piece) -> Array:
        """Give half a step at each value."""
        return _rounding(piece, self.tolerance)

    def _infinite(self, coded: Array) -> int:
        return int(np.count_nonzero(coded & 0x7FFF == 0x7F80))


class Int8:
    """Floating tensors of two or more dimensions as -127 … 127, with one scale for each row along the first axis.

    Such rows are the output channels of Linear and Conv, the gates of LSTM and GRU, and the words of an Embedding.
    Tensors stay as they are when that would not make them smaller, and when they hold NaN or infinity.
    """

    tolerance: ClassVar[dict[str, Json]] = {
        "rule": "scale of the row * steps",
        "steps": 0.5 * (1 + 2.0**-13),  # value / scale and q * scale are rounded to float32: 127 * 2^-24 of a step each
    }

    def __init__(self) -> None:
        self._suffix = "_scale"
        self._coded: dict[str, str] = {}
        self._kept: list[str] = []
        self._held_rows = 0

    def parts(self, weights: Weights) -> list[Part]:
        """Look at every floating matrix, and make two entries of those that are quantized."""
        self._suffix = free_suffix([name for tensor in weights.tensors for name in (tensor.name, *tensor.others)])
        found: list[Part] = []
        for tensor in weights.tensors:
            rows = _Rows.of(tensor)
            if rows is None:
                found.append(exact_part(tensor))
            elif not self._measure(rows):
                self._kept.append(tensor.name)
                found.append(exact_part(tensor))
            else:
                self._coded[tensor.name] = tensor.dtype
                found += [
                    Part(tensor.name, "I8", tensor.shape, tensor, rows.pieces, is_lossy=True),
                    Part(tensor.name + self._suffix, "F32", (tensor.shape[0],), tensor, rows.scale_pieces),
                ]
        return found

    def metadata(self) -> dict[str, str]:
        """Say how to turn the integers back."""
        return {"ckptd": _spell({"scheme": "int8", "axis": 0, "suffix": self._suffix, "dtypes": {**self._coded}})}

    def findings(self) -> list[str]:
        """Name the tensors that stayed because of what is in them."""
        return [f"{escape(name, 80)} holds values that are not finite or too large, and stays as it is" for name in self._kept]

    def decode(self, piece: Piece) -> Array:
        """Multiply by the scales."""
        assert piece.scale is not None
        return piece.data.astype(np.float32) * piece.scale

    def bound(self, piece: Piece) -> Array:
        """Give half a step of each row."""
        assert piece.scale is not None
        return np.broadcast_to(piece.scale * np.float32(0.5 * (1 + 2.0**-13)), piece.data.shape)

    def _measure(self, rows: _Rows) -> bool:
        """Compute all scales, and say whether they are all finite; they are held as long as there is room."""
        may_hold = rows.count <= _HELD_ROWS and self._held_rows + rows.count <= _MOST_HELD_ROWS
        blocks = []
        for scales in rows.scales():
            if not (scales <= _MOST_SCALE).all():  # so is NaN
                return False
            if may_hold:
                blocks.append(scales)
        if may_hold:
            rows.hold(np.concatenate(blocks))
            self._held_rows += rows.count
        return True


class _Rows:
    """A tensor as rows along its first axis, each with its scale."""

    def __init__(self, tensor: WeightTensor) -> None:
        self._tensor = tensor
        self.count = tensor.shape[0]
        self._each = tensor.numel // self.count
        #: Rows in one piece; a row that is longer than a piece is cut.
        self._at_once = max(1, tensor.chunk_elements // self._each)
        self._held: Array | None = None

    @classmethod
    def of(cls, tensor: WeightTensor) -> _Rows | None:
        """Take a tensor that becomes smaller by this."""
        if tensor.dtype not in _FLOATS or len(tensor.shape) < 2 or not tensor.numel:
            return None
        each = tensor.numel // tensor.shape[0]
        return cls(tensor) if each * tensor.item_bytes > each + 4 else None

    def hold(self, scales: Array) -> None:
        """Remember the scales of all rows."""
        self._held = scales

    def scales(self) -> Iterator[Array]:
        """Compute the scales of all rows, in blocks."""
        for first in range(0, self.count, self._at_once):
            yield self._compute(first, min(first + self._at_once, self.count))

    def scale_pieces(self, _sums: Sums | None) -> Iterator[Piece]:
        """Give the scales as they stand in the file."""
        for block in (self._held,) if self._held is not None else self.scales():
            yield Piece(block)

    def pieces(self, sums: Sums | None) -> Iterator[Piece]:
        """Give the integers as they stand in the file."""
        for first in range(0, self.count, self._at_once):
            last = min(first + self._at_once, self.count)
            scales = self._held[first:last] if self._held is not None else self._compute(first, last)
            for values in self._read(first, last, sums):
                column = scales[:, None]
                yield Piece(_quantize(values, column), values, column)

    def _read(self, first: int, last: int, sums: Sums | None = None) -> Iterator[Array]:
        """Read whole rows, or one row in parts, as matrices of float32 or float64."""
        start, stop = first * self._each, last * self._each
        step = max(self._tensor.chunk_elements, self._each) if last - first > 1 else self._tensor.chunk_elements
        for at in range(start, stop, step):
            values = self._tensor.read(at, min(at + step, stop), sums)
            yield widen(values, self._tensor.dtype).reshape(last - first, -1)

    def _compute(self, first: int, last: int) -> Array:
        largest = np.zeros(last - first, np.float64)
        for values in self._read(first, last):
            np.maximum(largest, np.maximum(values.max(1), -values.min(1)), out=largest)  # NaN stays NaN
        with np.errstate(over="ignore"):
            scales = (largest / 127).astype(np.float32)
        return np.where(largest == 0, np.float32(1), np.maximum(scales, _LEAST_SCALE))


def _quantize(values: Array, scales: Array) -> Array:
    scaled = (values / scales).astype(np.float32, copy=False)
    scaled += _ROUNDER
    # The lowest byte of each float is the integer in two's complement.
    return np.ascontiguousarray(scaled.view("|i1")[..., :: scaled.dtype.itemsize])


def exact_part(tensor: WeightTensor) -> Part:
    """Make an entry of a tensor as it is.

    Raises:
        TargetError: the format has no word for its dtype.
    """
    word = WORD_OF.get(tensor.dtype)
    if word is None:
        raise TargetError(f"{escape(tensor.name, 80)} has the dtype {tensor.dtype}, which a safetensors file cannot hold")

    def pieces(sums: Sums | None) -> Iterator[Piece]:
        for chunk in tensor.chunks(sums):
            yield Piece(chunk)

    return Part(tensor.name, word, tensor.shape, tensor, pieces, is_copy=tensor.is_plain)


def free_suffix(names: Sequence[str]) -> str:
    """Find an ending for names of scales under which no tensor is known yet."""
    taken = set(names)
    suffix = "_scale"
    while any(name + suffix in taken for name in names):
        suffix = f"_int8{suffix}"
    return suffix


def widen(values: Array, dtype: str) -> Array:
    """Give floating values as float32, or as float64 where they are that."""
    if dtype == "bfloat16":
        return (values.astype(np.uint32) << 16).view(np.float32)
    return values if dtype == "float64" else values.astype(np.float32, copy=False)


def _rounding(piece: Piece, tolerance: dict[str, Any]) -> Array:
    assert piece.original is not None
    bound = np.abs(piece.original)
    bound *= bound.dtype.type(tolerance["relative"])
    bound += bound.dtype.type(tolerance["absolute"])
    return bound


def _spell(value: Json) -> str:
    return json.dumps(value, separators=(",", ":"))
