"""What a weights target sees of a checkpoint: its weights by name, and their bytes in C order, piece by piece.

`read_weights` takes an open file; nothing in it is run, and a pickled module is as good as a state dict.  The memory that this
takes does not grow with the file: elements are read where they lie, and a view that is not contiguous is gathered in boxes.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

import numpy as np
from isal.isal_zlib import crc32

from ckptd.checkpoint.globals import ITEM_BYTES
from ckptd.checkpoint.identify import identify
from ckptd.checkpoint.reader import Structure, read_structure
from ckptd.checkpoint.source import ChangedError
from ckptd.checkpoint.totals import root_of
from ckptd.checkpoint.values import TensorValue
from ckptd.errors import StorageError
from ckptd.export.refusal import TargetError
from ckptd.model import Severity, Status
from ckptd.text import escape

Array = np.ndarray[Any, np.dtype[Any]]

#: Bytes that are read at a time: they are then in the cache for whatever comes next.
CHUNK_BYTES = 1 << 19
#: The same for views that are not contiguous: each box of one may touch all rows of a matrix, so there should be few.
_BOX_BYTES = 12 << 20
#: Spans of a strided box up to this are read at once when a quarter of them is wanted, and up to _SMALL_BYTES always.
_SPAN_BYTES = 4 << 20
_SMALL_BYTES = 16 << 10

#: Views that overlap are written out, each on its own; a file of many that show all of it would fill the disk.
_MOST_TIMES = 8
_MOST_EXTRA_BYTES = 256 << 20

#: torch's name of a dtype → how numpy holds its elements; where numpy has no such numbers, their bits.
HELD: dict[str, str] = {
    "float64": "<f8",
    "float32": "<f4",
    "float16": "<f2",
    "bfloat16": "<u2",
    "int64": "<i8",
    "int32": "<i4",
    "int16": "<i2",
    "int8": "|i1",
    "uint64": "<u8",
    "uint32": "<u4",
    "uint16": "<u2",
    "uint8": "|u1",
    "bool": "|u1",  # a byte that is neither 0 nor 1 stays what it is
    "complex64": "<c8",
    "complex128": "<c16",
    **dict.fromkeys("float8_e4m3fn float8_e4m3fnuz float8_e5m2 float8_e5m2fnuz float8_e8m0fnu".split(), "|u1"),
}


class Sums:
    """CRC-32 of storages, taken while their bytes are read for something else.

    What passes in order counts; the rest, which no tensor shows or which is read in another order, is read by `finish`.
    """

    def __init__(self) -> None:
        self._seen: dict[str, tuple[int, int]] = {}

    def feed(self, storage: str, position: int, data: Array) -> None:
        """See bytes of a storage that begin at `position`."""
        at, found = self._seen.get(storage, (0, 0))
        if position <= at < position + data.nbytes:
            self._seen[storage] = (position + data.nbytes, crc32(data[at - position :], found))

    def finish(self, weights: Weights) -> tuple[str, ...]:
        """Read what is missing; give the names of the tensors whose storages are damaged, in the file's order."""
        damaged = []
        for key in dict.fromkeys(tensor.storage for tensor in weights.tensors):
            span = weights.structure.storages[key]
            if span.crc is None:
                continue
            at = self._seen.get(key, (0, 0))[0]
            while at < span.length:
                data = read_bytes(weights.fd, span.offset + at, min(CHUNK_BYTES, span.length - at))
                self.feed(key, at, data)
                at += data.nbytes
            if self._seen.get(key, (0, 0))[1] != span.crc:
                damaged.append(key)
        return tuple([tensor.name for tensor in weights.tensors if tensor.storage in damaged])


@dataclass(frozen=True, slots=True, eq=False)
class WeightTensor:
    """One tensor: a view into a storage of the file.

    Attributes:
        name: as the module calls it; hostile.
        dtype: as torch names it.
        storage: key of the storage in the file.
        offset: of the first element, in bytes from the start of that storage.
        start: where that storage begins in the file.
        stride: in elements, outermost first.
        swap: True when the file has the other byte order.
        others: further names of the same view.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    storage: str
    offset: int
    start: int
    stride: tuple[int, ...]
    swap: bool = False
    conjugate: bool = False
    negative: bool = False
    fd: int = -1
    others: tuple[str, ...] = ()

    @property
    def numel(self) -> int:
        """Elements."""
        return prod(self.shape)

    @property
    def item_bytes(self) -> int:
        """Bytes of one element."""
        return ITEM_BYTES[self.dtype]

    @property
    def nbytes(self) -> int:
        """Bytes in C order."""
        return self.numel * self.item_bytes

    @property
    def is_contiguous(self) -> bool:
        """Say whether the elements lie in C order, one behind the other."""
        return is_contiguous(self.shape, self.stride)

    @property
    def is_plain(self) -> bool:
        """Say whether the bytes of the file, as they lie there, are the tensor's in C order."""
        return self.is_contiguous and not (self.swap or self.conjugate or self.negative)

    @property
    def chunk_elements(self) -> int:
        """Elements that are well read at a time."""
        if self.is_contiguous:
            return max(1, CHUNK_BYTES // self.item_bytes)
        # Whole rows: the two ends of a row that is cut would be boxes of their own, and each element of them a read.
        most = max(1, _BOX_BYTES // self.item_bytes)
        each = max(1, self.numel // max(1, self.shape[0]))
        return most - most % each if each <= most else most

    def chunks(self, sums: Sums | None = None) -> Iterator[Array]:
        """Give all elements in C order, flat, in pieces of bounded size."""
        step = self.chunk_elements
        for start in range(0, self.numel, step):
            yield self.read(start, min(start + step, self.numel), sums)

    def read(self, start: int, stop: int, sums: Sums | None = None) -> Array:
        """Read the elements from `start` to `stop` in C order, as `HELD` has them.

        Raises:
            StorageError: the file became shorter.
            OSError: the disk says no.
        """
        if start >= stop:
            return np.empty(0, HELD[self.dtype])
        if self.is_contiguous:
            found = self._read_span(self.offset + start * self.item_bytes, stop - start, sums)
        else:
            boxes = [self._read_box(at, sizes) for at, sizes in _boxes(self.shape, start, stop)]
            found = boxes[0] if len(boxes) == 1 else np.concatenate(boxes)
        if self.conjugate:
            found = np.conjugate(found)
        return _negated(found, self.dtype) if self.negative else found

    def _read_span(self, position: int, elements: int, sums: Sums | None = None) -> Array:
        data = read_bytes(self.fd, self.start + position, elements * self.item_bytes)
        if sums is not None:
            sums.feed(self.storage, position, data)
        found = data.view(HELD[self.dtype])
        return found.byteswap(inplace=True) if self.swap else found

    def _read_box(self, at: Sequence[int], sizes: Sequence[int]) -> Array:
        """Read a box: its corner and its sizes; the elements come flat and in C order."""
        first = sum(index * step for index, step in zip(at, self.stride, strict=True))
        wide = [axis for axis in range(len(sizes)) if sizes[axis] > 1 and self.stride[axis] > 0]
        wide.sort(key=lambda axis: -self.stride[axis])  # as the bytes lie in the file
        held = np.empty([sizes[axis] for axis in wide], HELD[self.dtype])
        self._fill(held, first, [self.stride[axis] for axis in wide])
        back = held.transpose([wide.index(axis) for axis in sorted(wide)])
        seen = back.reshape([size if axis in wide else 1 for axis, size in enumerate(sizes)])
        return np.ascontiguousarray(np.broadcast_to(seen, tuple(sizes))).reshape(-1)

    def _fill(self, held: Array, first: int, stride: Sequence[int]) -> None:
        """Read the elements of a box, the outermost stride first; cut it until its span is worth reading."""
        elements = 1 + sum((size - 1) * step for size, step in zip(held.shape, stride, strict=True))
        span_bytes = elements * self.item_bytes
        if held.flags.c_contiguous and is_contiguous(held.shape, stride) and not self.swap:
            read_into(held.reshape(-1).view(np.uint8).data, self.fd, self.start + self.offset + first * self.item_bytes)
        elif span_bytes <= _SMALL_BYTES or (span_bytes <= _SPAN_BYTES and held.nbytes * 4 >= span_bytes):
            position = self.offset + first * self.item_bytes
            span = self._read_span(position, elements)
            held[...] = np.ndarray(held.shape, held.dtype, span, strides=[step * self.item_bytes for step in stride])
        elif held.ndim > 1 and (held.shape[0] == 1 or stride[0] * self.item_bytes >= _SMALL_BYTES):
            for row, part in enumerate(held):
                self._fill(part, first + row * stride[0], stride[1:])
        else:
            half = held.shape[0] // 2
            self._fill(held[:half], first, stride)
            self._fill(held[half:], first + half * stride[0], stride)


@dataclass(frozen=True, slots=True)
class Weights:
    """The weights of one open checkpoint.

    Attributes:
        fd: stays the caller's.
        tensors: each view of the file's bytes once, in the file's order; `others` has the further names of tied ones.
        structure: of the file, as it was read.
    """

    fd: int
    tensors: tuple[WeightTensor, ...]
    structure: Structure = field(repr=False)

    @property
    def tied(self) -> dict[str, str]:
        """Each name that has no tensor of its own → the name that has it."""
        return {other: tensor.name for tensor in self.tensors for other in tensor.others}

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors in C order, tied ones once."""
        return sum(tensor.nbytes for tensor in self.tensors)


def read_weights(fd: int) -> Weights:
    """Find the weights in an open checkpoint; none of their bytes is read.

    Tied weights are one tensor under the first of their sorted names, which is the one that
    `safetensors.torch.save_model` keeps.

    Raises:
        TargetError: there are none, or no weights format can hold them; the text names the first such tensor.
        StorageError: the file became shorter.
        OSError: the disk says no.
    """
    try:
        structure = read_structure(fd)
    except ChangedError as error:
        raise StorageError("the file was changed while it was read", cure="export it again") from error
    _refuse(structure)
    named = identify(structure.root, structure.tensors, structure.container).named
    if [name for name, _ in named] == [""]:  # a file that is one tensor and nothing else
        named = [("tensor", named[0][1])]
    if not named:
        raise TargetError("there are no weights in it")
    doubles = [name for name, count in Counter([name for name, _ in named]).items() if count > 1]
    if doubles:
        raise TargetError(f"two of its tensors are called {escape(doubles[0], 80)}")
    weights = Weights(fd, _tie([_locate(fd, name, tensor, structure) for name, tensor in named]), structure)
    size = os.fstat(fd).st_size
    if weights.nbytes > _MOST_TIMES * size + _MOST_EXTRA_BYTES:
        raise TargetError(f"written out, its tensors would have {weights.nbytes:,} bytes; the checkpoint has {size:,}")
    return weights


def read_bytes(fd: int, offset: int, length: int) -> Array:
    """Read so many bytes of a file into memory of their own.

    Raises:
        StorageError: the file ends before.
        OSError: the disk says no.
    """
    data = np.empty(length, np.uint8)
    read_into(data.data, fd, offset)
    return data


def read_into(view: memoryview, fd: int, offset: int) -> None:
    """Fill the memory with the bytes of a file; see `read_bytes`."""
    done = 0
    while done < len(view):
        got = os.preadv(fd, [view[done:]], offset + done)
        if got <= 0:
            raise StorageError("the file ended while it was read", why="it was cut short by another process")
        done += got


def is_contiguous(shape: Sequence[int], stride: Sequence[int]) -> bool:
    """Say whether elements with these strides lie in C order, one behind the other."""
    wanted = 1
    for size, step in zip(reversed(shape), reversed(stride), strict=True):
        if size != 1 and step != wanted:
            return False
        wanted *= size
    return True


def _refuse(structure: Structure) -> None:
    if structure.status in {Status.OK, Status.NEEDS_CODE}:
        return
    errors = [found.message for found in structure.findings if found.severity is Severity.ERROR]
    why = errors[0] if errors else "it cannot be read"
    raise TargetError(f"the checkpoint is {structure.status.value.replace('_', ' ')}: {why}")


_KINDS = {"quantized": "quantized", "meta": "a meta tensor without values", "subclass": "of a tensor class of its own"}


def _locate(fd: int, name: str, tensor: TensorValue, structure: Structure) -> WeightTensor:
    shown, held = escape(name, 80), tensor.storage
    if tensor.layout != "dense" or held is None:
        raise TargetError(f"{shown} is {_KINDS.get(tensor.layout, 'sparse')}, which no weights format can hold")
    if tensor.dtype not in HELD:
        raise TargetError(f"{shown} has the dtype {escape(tensor.dtype, 40)}, which no weights format can hold")
    view = structure.views.get(held.key)
    root = root_of(structure, held.key)
    span = structure.storages.get(root)
    item = ITEM_BYTES[tensor.dtype]
    offset = tensor.offset * item + (view.offset if view is not None else 0)
    last = sum((size - 1) * step for size, step in zip(tensor.shape, tensor.stride, strict=True))
    if span is None or (0 not in tensor.shape and offset + (last + 1) * item > span.length):
        raise TargetError(f"the bytes of {shown} are not in the file")
    # As torch does it: what is swapped are the elements of the storage, and an untyped one has bytes.
    swap = (structure.byteorder or sys.byteorder) == "big" and ITEM_BYTES[held.dtype] > 1
    if swap and ITEM_BYTES[held.dtype] != item:
        raise TargetError(f"{shown} shows elements of another size than its big-endian storage has")
    bits = (tensor.conjugate, tensor.negative)
    return WeightTensor(
        name, tensor.dtype, tuple(tensor.shape), root, offset, span.offset, tuple(tensor.stride), swap, *bits, fd
    )


def _tie(tensors: Sequence[WeightTensor]) -> tuple[WeightTensor, ...]:
    """Make one tensor of those that show the same bytes in the same way; empty ones share nothing."""
    groups: dict[object, list[WeightTensor]] = {}
    for number, tensor in enumerate(tensors):
        view = (tensor.storage, tensor.offset, tensor.dtype, tensor.shape, tensor.stride, tensor.conjugate, tensor.negative)
        groups.setdefault(view if tensor.numel else number, []).append(tensor)
    return tuple([_kept(group) for group in groups.values()])


def _kept(group: Sequence[WeightTensor]) -> WeightTensor:
    first, *others = sorted(group, key=lambda tensor: tensor.name)
    return replace(first, others=tuple([tensor.name for tensor in others])) if others else first


def _negated(values: Array, dtype: str) -> Array:
    if dtype == "bfloat16":
        return values ^ np.uint16(0x8000)
    if dtype.startswith("float8"):
        raise TargetError("it holds a lazily negated tensor of 8-bit floats, which torch can't make")
    return np.negative(values)


def _boxes(shape: Sequence[int], start: int, stop: int) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Cut a run of elements in C order into boxes, in order: the corner of each and its sizes."""
    if len(shape) == 1:
        yield (start,), (stop - start,)
        return
    inner = prod(shape[1:])
    (row, head), (end, tail) = divmod(start, inner), divmod(stop, inner)
    if row == end:
        for at, sizes in _boxes(shape[1:], head, tail):
            yield (row, *at), (1, *sizes)
        return
    if head:
        for at, sizes in _boxes(shape[1:], head, inner):
            yield (row, *at), (1, *sizes)
        row += 1
    if row < end:
        yield (row, *[0] * (len(shape) - 1)), (end - row, *shape[1:])
    if tail:
        for at, sizes in _boxes(shape[1:], 0, tail):
            yield (end, *at), (1, *sizes)
