"""Check the indices of sparse tensors, which are values: an index beyond the size is a write beyond the memory.

torch checks them only when it is asked to (`check_invariants`), and `ckptd.load` asks; a file that it would refuse is not ok.
Source for the rules: torch/sparse documentation of 2.13, "Sparse COO tensors" and "Sparse CSR Tensor", and the messages of
`torch._validate_sparse_coo_tensor_args` and `torch._validate_sparse_compressed_tensor_args`.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise, product
from math import prod

from ckptd.checkpoint.budgets import BUDGETS, Budgets
from ckptd.checkpoint.findings import finding
from ckptd.checkpoint.reader import Structure
from ckptd.checkpoint.source import Source
from ckptd.checkpoint.values import TensorValue
from ckptd.model import Finding
from ckptd.text import escape

_CODES = {"int64": "q", "int32": "i"}
#: Layouts whose rows are the compressed dimension; the others compress columns.
_BY_ROW = frozenset({"sparse_csr", "sparse_bsr"})


class _BadIndicesError(Exception):
    """What is wrong with the indices of one tensor, in words."""


class _TooManyError(Exception):
    """More indices than are looked at."""


def check_sparse(source: Source, structure: Structure, budgets: Budgets = BUDGETS) -> Iterator[Finding]:
    """Give a finding for each sparse tensor whose indices do not fit, or are too many to say.

    Raises:
        ChangedError: the file became shorter.
        OSError: the disk says no.
    """
    reader = _Reader(source, structure, budgets.index_elements)
    for name, tensor in structure.tensors:
        if not tensor.layout.startswith("sparse_"):
            continue
        try:
            _check(reader, tensor)
        except _BadIndicesError as error:
            yield finding("tensor-out-of-bounds", f"the sparse tensor {escape(name, 80)} {error}", [name])
        except _TooManyError:
            message = (
                f"the sparse tensor {escape(name, 80)} has more than {budgets.index_elements:,} indices, too many to check"
            )
            yield finding("not-rebuilt", message, [name])


def _check(reader: _Reader, tensor: TensorValue) -> None:
    if tensor.layout == "sparse_coo":
        indices, _, coalesced = tensor.extra
        _check_coordinates(list(reader.rows(indices)), tensor.shape, coalesced=coalesced is True)
        return
    compressed, plain, values = tensor.extra
    batch = len(compressed.shape) - 1
    block = values.shape[batch + 1 : batch + 3] if tensor.layout in {"sparse_bsr", "sparse_bsc"} else (1, 1)
    sizes = [size // part if part else 0 for size, part in zip(tensor.shape[batch : batch + 2], block, strict=False)]
    if len(sizes) != 2:
        raise _BadIndicesError("has no rows and columns")
    if tensor.layout not in _BY_ROW:
        sizes.reverse()
    for starts, others in zip(reader.rows(compressed), reader.rows(plain), strict=False):
        _check_compressed(starts, others, sizes[0], sizes[1])


def _check_coordinates(rows: list[Sequence[int]], shape: tuple[int, ...], *, coalesced: bool) -> None:
    for row, size in zip(rows, shape, strict=False):
        _check_range(row, size)
    if coalesced and rows and not all(a < b for a, b in pairwise(zip(*rows, strict=True))):
        raise _BadIndicesError("says that its indices are coalesced, and they are not in order")


def _check_compressed(starts: Sequence[int], others: Sequence[int], lines: int, size: int) -> None:
    """Check one matrix: where each line of indices begins, and the indices in the lines."""
    if len(starts) != lines + 1 or starts[0] != 0 or starts[-1] != len(others):
        raise _BadIndicesError("does not divide its indices into as many lines as it has")
    if any(b < a or b - a > size for a, b in pairwise(starts)):
        raise _BadIndicesError("has a line that ends before it begins")
    _check_range(others, size)
    for begin, end in pairwise(starts):
        if any(a >= b for a, b in pairwise(others[begin:end])):
            raise _BadIndicesError("has an index twice in one line, or in no order")


def _check_range(indices: Sequence[int], size: int) -> None:
    if len(indices) and not (min(indices) >= 0 and max(indices) < size):
        raise _BadIndicesError(f"has an index outside of 0 to {size - 1:,}")


class _Reader:
    """Read index tensors line by line, within one budget for the file."""

    def __init__(self, source: Source, structure: Structure, most: int) -> None:
        self._source = source
        self._structure = structure
        self._left = most

    def rows(self, tensor: TensorValue) -> Iterable[Sequence[int]]:
        """Give the values along the last dimension, for each place in the dimensions before it."""
        storage = tensor.storage
        code = _CODES.get(tensor.dtype)
        if storage is None or code is None or not tensor.shape:
            raise _BadIndicesError("has indices that are no integers")
        self._left -= max(prod(tensor.shape), storage.numel)
        if self._left < 0:
            raise _TooManyError
        view = self._structure.views.get(storage.key)
        span = self._structure.storages.get(storage.key if view is None else view.root)
        if span is None or not prod(tensor.shape):
            return [()] * prod(tensor.shape[:-1])  # nothing in it, or missing, which is another finding
        held = array(code)
        width = held.itemsize
        begin = 0 if view is None else view.offset
        length = span.length - begin if view is None else view.length
        held.frombytes(self._source.read(span.offset + begin, length - length % width))
        if self._structure.byteorder not in ("", sys.byteorder):
            held.byteswap()
        count, step = tensor.shape[-1], tensor.stride[-1]
        offsets = [
            tensor.offset + sum(index * stride for index, stride in zip(place, tensor.stride, strict=False))
            for place in product(*map(range, tensor.shape[:-1]))
        ]
        rows = [held[at : at + (count - 1) * step + 1 : step] if step else held[at : at + 1] * count for at in offsets]
        if any(len(row) != count for row in rows):
            raise _BadIndicesError("has indices that lie beyond their storage")
        return rows
