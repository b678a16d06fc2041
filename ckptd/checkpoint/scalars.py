"""Look up the values of tensors that hold one number: people save `best_acc` and `epoch` as such."""

from __future__ import annotations

import struct
import sys

from ckptd.checkpoint.globals import ITEM_BYTES
from ckptd.checkpoint.reader import Structure
from ckptd.checkpoint.source import Source
from ckptd.checkpoint.values import TensorValue

#: A checkpoint has a handful of them beside the counters of its batch norms.
_MOST = 1_000
_CODES = {
    "float16": "e",
    "float32": "f",
    "float64": "d",
    "int8": "b",
    "uint8": "B",
    "int16": "h",
    "uint16": "H",
    "int32": "i",
    "uint32": "I",
    "int64": "q",
    "uint64": "Q",
    "bool": "?",
}


def read_scalars(source: Source, structure: Structure) -> dict[str, float]:
    """Give dotted name → value of tensors without dimensions, or with one element in one.

    Raises:
        ChangedError: the file became shorter.
        OSError: the disk says no.
    """
    order = ">" if structure.byteorder == "big" or (not structure.byteorder and sys.byteorder == "big") else "<"
    found: dict[str, float] = {}
    for name, tensor in structure.tensors:
        if tensor.shape not in ((), (1,)) or tensor.layout != "dense":
            continue
        value = _read(source, structure, tensor, order)
        if value is not None:
            found[name] = value
            if len(found) >= _MOST:
                break
    return found


def _read(source: Source, structure: Structure, tensor: TensorValue, order: str) -> float | None:
    if tensor.storage is None:
        return None
    view = structure.views.get(tensor.storage.key)
    span = structure.storages.get(tensor.storage.key if view is None else view.root)
    width = ITEM_BYTES[tensor.dtype]
    at = tensor.offset * width + (0 if view is None else view.offset)
    if span is None or at + width > span.length:
        return None
    raw = source.read(span.offset + at, width)
    if tensor.dtype == "bfloat16":
        raw = b"\0\0" + raw if order == "<" else raw + b"\0\0"
        return float(struct.unpack(f"{order}f", raw)[0])
    code = _CODES.get(tensor.dtype)
    return None if code is None else struct.unpack(order + code, raw)[0]
