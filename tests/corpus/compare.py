"""Compare two loaded objects to the last bit: types, order, sharing, dtypes, strides, storages, attributes."""

from __future__ import annotations

import argparse
import math
from typing import Any


def differences(one: Any, other: Any, *, storages: bool = True) -> list[str]:
    """Give the paths at which two objects differ, with what differs; empty when they are equal.

    Args:
        one: the object that was built by ckptd.
        other: the object that it must equal.
        storages: whether sizes of storages and offsets into them count (a view saved by an old format becomes one of its own).
    """
    walk = _Walk(storages)
    walk.compare(one, other, "")
    return walk.found


def _keys(held: dict[Any, Any]) -> list[tuple[type, Any]]:
    return [(type(key), "nan" if type(key) is float and math.isnan(key) else key) for key in held]


class _Walk:
    def __init__(self, storages: bool) -> None:
        self.storages = storages
        self.found: list[str] = []
        self.pairs: dict[int, int] = {}
        self.back: dict[int, int] = {}
        self.memory: dict[int, int] = {}
        self.alive: list[Any] = []

    def compare(self, one: Any, other: Any, path: str) -> None:
        stack = [(one, other, path)]
        while stack:
            stack.extend(self._step(*stack.pop()))

    def _say(self, path: str, what: str) -> list[Any]:
        self.found.append(f"{path or '.'}: {what}")
        return []

    def _step(self, one: Any, other: Any, path: str) -> list[tuple[Any, Any, str]]:
        import numpy as np
        import torch

        if type(one) is not type(other):
            return self._say(path, f"{type(one)} is not {type(other)}")
        if isinstance(one, (list, dict, set, bytearray, argparse.Namespace, torch.Tensor, np.ndarray)) and self._seen(
            one, other, path
        ):
            return []
        if isinstance(one, torch.Tensor):
            return self._tensors(one, other, path)
        if isinstance(one, np.ndarray):
            return self._arrays(one, other, path)
        if isinstance(one, np.generic):
            same = one.dtype == other.dtype and one.tobytes() == other.tobytes()
            return [] if same else self._say(path, f"{one!r} is not {other!r}")
        if isinstance(one, dict):
            return self._dicts(one, other, path)
        if isinstance(one, (list, tuple)):
            if len(one) != len(other):
                return self._say(path, f"length {len(one)} is not {len(other)}")
            return [(a, b, f"{path}[{i}]") for i, (a, b) in enumerate(zip(one, other, strict=True))]
        if isinstance(one, argparse.Namespace):
            return [(vars(one), vars(other), f"{path}.__dict__")]
        if isinstance(one, (torch.storage.TypedStorage, torch.storage.UntypedStorage)):
            same = (
                bytes(one) == bytes(other) if isinstance(one, torch.storage.UntypedStorage) else one.tolist() == other.tolist()
            )
            return [] if same else self._say(path, "other bytes")
        if isinstance(one, float):
            same = one.hex() == other.hex() if not math.isnan(one) else math.isnan(other)
            return [] if same else self._say(path, f"{one!r} is not {other!r}")
        return [] if one == other else self._say(path, f"{one!r:.100} is not {other!r:.100}")

    def _seen(self, one: Any, other: Any, path: str) -> bool:
        self.alive += [one, other]
        known = self.pairs.get(id(one)), self.back.get(id(other))
        if known == (None, None):
            self.pairs[id(one)], self.back[id(other)] = id(other), id(one)
            return False
        if known != (id(other), id(one)):
            self._say(path, "shared in one of them and not in the other")
        return True

    def _dicts(self, one: Any, other: Any, path: str) -> list[tuple[Any, Any, str]]:
        ours, theirs = _keys(one), _keys(other)
        if ours != theirs:
            return self._say(path, f"keys {ours!r:.200} are not {theirs!r:.200}")
        more = [(getattr(one, "__dict__", None), getattr(other, "__dict__", None), f"{path}.__dict__")]
        if getattr(one, "default_factory", None) is not getattr(other, "default_factory", None):
            self._say(path, "another default_factory")
        return [
            *more,
            *((ours, theirs, f"{path}.{key}") for (key, ours), theirs in zip(one.items(), other.values(), strict=True)),
        ]

    def _arrays(self, one: Any, other: Any, path: str) -> list[tuple[Any, Any, str]]:
        for what in ("dtype", "shape", "strides"):
            if getattr(one, what) != getattr(other, what):
                self._say(path, f"{what} {getattr(one, what)} is not {getattr(other, what)}")
        return [] if one.tobytes() == other.tobytes() else self._say(path, "other values")

    def _tensors(self, one: Any, other: Any, path: str) -> list[tuple[Any, Any, str]]:
        import torch

        for what in ("dtype", "device", "layout", "shape", "requires_grad", "is_leaf"):
            if getattr(one, what) != getattr(other, what):
                return self._say(path, f"{what} {getattr(one, what)} is not {getattr(other, what)}")
        if one.is_conj() != other.is_conj() or one.is_neg() != other.is_neg():
            return self._say(path, "another conjugate or negative bit")
        attributes = [(one.__dict__, other.__dict__, f"{path}.__dict__")]
        if one.layout is torch.sparse_coo:
            if one.is_coalesced() != other.is_coalesced():
                self._say(path, "coalesced in one of them only")
            return [
                *attributes,
                (one._indices(), other._indices(), f"{path}.indices"),
                (one._values(), other._values(), f"{path}.values"),
            ]
        if one.layout is not torch.strided:
            rows = one.layout in (torch.sparse_csr, torch.sparse_bsr)
            names = ("crow_indices", "col_indices", "values") if rows else ("ccol_indices", "row_indices", "values")
            return [*attributes, *((getattr(one, name)(), getattr(other, name)(), f"{path}.{name}") for name in names)]
        if one.stride() != other.stride() or (self.storages and one.storage_offset() != other.storage_offset()):
            return self._say(
                path, f"stride {one.stride()} offset {one.storage_offset()}, not {other.stride()} {other.storage_offset()}"
            )
        if one.is_quantized:
            attributes += self._quantizers(one, other, path)
        if one.device.type != "meta":
            self._bytes(one, other, path)
        return attributes

    def _quantizers(self, one: Any, other: Any, path: str) -> list[tuple[Any, Any, str]]:
        import torch

        if one.qscheme() != other.qscheme():
            return self._say(path, "another quantization scheme")
        if one.qscheme() is torch.per_tensor_affine:
            return [((one.q_scale(), one.q_zero_point()), (other.q_scale(), other.q_zero_point()), f"{path}.quantizer")]
        ours = (one.q_per_channel_scales(), one.q_per_channel_zero_points(), one.q_per_channel_axis())
        theirs = (other.q_per_channel_scales(), other.q_per_channel_zero_points(), other.q_per_channel_axis())
        return [(a, b, f"{path}.quantizer[{i}]") for i, (a, b) in enumerate(zip(ours, theirs, strict=True))]

    def _bytes(self, one: Any, other: Any, path: str) -> None:
        ours, theirs = one.untyped_storage(), other.untyped_storage()
        if self.storages and ours.nbytes() != theirs.nbytes():
            self._say(path, f"storage of {ours.nbytes()} bytes, not {theirs.nbytes()}")
        # Tied storages: the same memory here is the same memory there.
        if ours.nbytes() and theirs.nbytes() and self.storages:
            a, b = ours.data_ptr(), theirs.data_ptr()
            if self.memory.setdefault(a, b) != b:
                self._say(path, "tied in one of them and not in the other")
        if _raw(one) != _raw(other):
            self._say(path, "other values")


def _raw(tensor: Any) -> bytes:
    """Give the elements in order, as bytes; works for every dtype, which torch.equal does not."""
    import torch

    bare = tensor.detach()
    width, elements = bare.element_size(), bare.numel()
    if not elements:
        return b""
    storage = torch.empty(0, dtype=torch.uint8).set_(bare.untyped_storage())
    start = bare.storage_offset() * width
    sizes, strides = (*bare.shape, width), (*(n * width for n in bare.stride()), 1)
    return storage.as_strided(sizes, strides, start).contiguous().numpy().tobytes()
