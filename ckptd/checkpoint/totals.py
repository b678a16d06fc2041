"""Add up the tensors of a file: how many, how large, of which types, and whose bytes they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from math import prod

from ckptd.checkpoint.globals import ITEM_BYTES, PACKED
from ckptd.checkpoint.health import Health
from ckptd.checkpoint.reader import Structure
from ckptd.checkpoint.tensors import storages_of
from ckptd.checkpoint.values import TensorValue
from ckptd.model import TensorRecord, TensorTotals
from ckptd.text import escape

#: Records of single tensors in an inspection.  Source: `model.TensorTotals`.
_MOST_RECORDS = 1_000
_MOST_NAME_CHARACTERS = 200
#: Meta tensors have no bytes, and so no bound on their numbers; what leaves us fits into 63 bits.
_MOST = (1 << 63) - 1


def add_up(
    structure: Structure, healths: Mapping[str, Health], weights: AbstractSet[str], optimizer: AbstractSet[str]
) -> TensorTotals:
    """Add up.

    Args:
        structure: of the file.
        healths: key of a storage → what its values look like; storages without floating-point values are missing.
        weights: names of the tensors that are parameters or buffers of the model, copies of them left out.
        optimizer: names of the tensors of optimizers.
    """
    parameters, dtypes = 0, dict[str, int]()
    counted: set[tuple[object, ...]] = set()
    weighed: set[tuple[object, ...]] = set()
    for name, tensor in structure.tensors:
        key, numel = _content_of(tensor), elements(tensor)
        if key not in counted:
            counted.add(key)
            dtypes[tensor.dtype] = min(dtypes.get(tensor.dtype, 0) + numel, _MOST)
        if name in weights and key not in weighed:
            weighed.add(key)
            parameters = min(parameters + numel, _MOST)
    records = tuple([_record(structure, healths, name, tensor) for name, tensor in structure.tensors[:_MOST_RECORDS]])
    return TensorTotals(
        count=len(structure.tensors),
        parameters=parameters,
        bytes=sum(span.length for span in structure.storages.values()),
        dtypes=dtypes,
        optimizer_bytes=_bytes_of_optimizer(structure, optimizer) if optimizer else 0,
        records=records,
    )


def elements(tensor: TensorValue) -> int:
    """Count the elements; of a sparse tensor those that are stored."""
    if type(tensor.extra) is tuple and tensor.layout.startswith("sparse_"):
        values = tensor.extra[1] if tensor.layout == "sparse_coo" else tensor.extra[2]
        if type(values) is TensorValue:
            return elements(values)
    return min(prod(tensor.shape), _MOST)


def bytes_of(tensor: TensorValue) -> int:
    """Give the bytes of the elements as if they were stored contiguously and alone."""
    numel = elements(tensor)
    return min(-(-numel // PACKED.get(tensor.dtype, 1)) * ITEM_BYTES[tensor.dtype], _MOST)


def _content_of(tensor: TensorValue) -> tuple[object, ...]:
    """Give what two tensors have in common when they are one: the same view of the same bytes."""
    if tensor.storage is None:
        return (id(tensor),)
    return (tensor.storage.key, tensor.offset, tensor.shape, tensor.stride, tensor.dtype)


def _bytes_of_optimizer(structure: Structure, optimizer: AbstractSet[str]) -> int:
    """Sum the storages that nothing but an optimizer's tensors look into."""
    theirs: set[str] = set()
    others: set[str] = set()
    for name, tensor in structure.tensors:
        keys = theirs if name in optimizer else others
        for storage in storages_of(tensor):
            keys.add(root_of(structure, storage.key))
    return sum(structure.storages[key].length for key in theirs - others if key in structure.storages)


def root_of(structure: Structure, key: str) -> str:
    """Give the key of the storage whose bytes these are: its own, or that of the one it is a view of."""
    view = structure.views.get(key)
    return key if view is None else view.root


def _record(structure: Structure, healths: Mapping[str, Health], name: str, tensor: TensorValue) -> TensorRecord:
    held: Sequence[str] = [storage.key for storage in storages_of(tensor)]
    health = healths.get(root_of(structure, held[0])) if len(held) == 1 else None
    shown = escape(name, _MOST_NAME_CHARACTERS)
    stored = held[0] if held else ""
    numbers = (tensor.dtype, tensor.shape, bytes_of(tensor), stored)
    if health is None:
        return TensorRecord(shown, *numbers)
    return TensorRecord(shown, *numbers, health.minimum, health.maximum, health.norm, health.nan, health.inf)
