"""Turn tensor descriptions into tensors: views into shared storages, quantized, sparse, meta, parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from ckptd.checkpoint.values import Global, TensorValue
from ckptd.errors import FormatError
from ckptd.loading.plain import needs_code
from ckptd.loading.storages import Storages
from ckptd.text import escape

_KINDS = (torch.dtype, torch.layout, torch.qscheme)
_QUANTIZERS = frozenset({"per_tensor_affine", "per_channel_affine", "per_channel_affine_float_qparams"})


def constant(value: Global) -> Any:
    """Give the dtype, layout or scheme that a name stands for.

    Raises:
        NeedsCodeError: when it is none of them.
    """
    found = getattr(torch, value.name, None) if value.module == "torch" and value.name.isidentifier() else None
    if not isinstance(found, _KINDS):
        raise needs_code(value.dotted)
    return found


def dtype_named(name: str) -> torch.dtype:
    """Give a dtype by the name torch has for it."""
    found = getattr(torch, name, None)
    if not isinstance(found, torch.dtype):
        raise FormatError("cannot rebuild a tensor", why=f"this torch has no dtype {escape(name)}")
    return found


def build_tensor(value: TensorValue, extra: Any, storages: Storages) -> torch.Tensor:
    """Build one tensor; `extra` is `value.extra` with everything in it built.

    Raises:
        FormatError: when torch refuses what the file says.
    """
    build = _LAYOUTS.get(value.layout)
    if build is None:
        raise needs_code(f"a tensor of layout {value.layout}")
    try:
        tensor = build(value, extra, storages)
        if value.parameter:
            tensor = torch.nn.Parameter(tensor, value.requires_grad)
        elif value.requires_grad:
            tensor.requires_grad_(True)  # noqa: FBT003 — torch's own signature
    except (RuntimeError, TypeError, ValueError, IndexError, OverflowError) as error:
        reason = escape(str(error).partition("\n")[0])
        raise FormatError("cannot rebuild a tensor", why=f"torch refuses what the file says: {reason}") from error
    return tensor


def _dense(value: TensorValue, _extra: Any, storages: Storages) -> torch.Tensor:
    assert value.storage is not None
    bare = storages.untyped(value.storage)
    tensor = torch.empty((0,), dtype=dtype_named(value.dtype), device=bare.device)
    tensor.set_(bare, value.offset, value.shape, value.stride)
    if value.conjugate or value.negative:
        bits = {name: True for name, is_set in (("conj", value.conjugate), ("neg", value.negative)) if is_set}
        torch._utils.set_tensor_metadata(tensor, bits)  # noqa: SLF001 — no public way to set these bits
    return tensor


def _quantized(value: TensorValue, extra: Any, storages: Storages) -> torch.Tensor:
    assert value.storage is not None
    scheme, *rest = extra
    dtype = dtype_named(value.dtype)
    if scheme is torch.per_tensor_affine:
        scale, zero_point = rest
        make = torch._empty_affine_quantized  # noqa: SLF001 — torch rebuilds them so itself
        tensor = make(value.shape, scale=scale, zero_point=zero_point, dtype=dtype)
    else:
        scales, zero_points, axis = rest
        _check_channels(value, scales, zero_points, axis)
        make = torch._empty_per_channel_affine_quantized  # noqa: SLF001 — torch rebuilds them so itself
        tensor = make(
            value.shape,
            scales=_column(scales, torch.double),
            zero_points=_column(zero_points, torch.long),
            axis=axis,
            dtype=dtype,
        )
    return tensor.set_(storages.untyped(value.storage), value.offset, value.shape, value.stride)


def _check_channels(value: TensorValue, scales: Any, zero_points: Any, axis: Any) -> None:
    # torch's own constructor does not check these, and reads beyond them.
    if type(axis) is not int or not 0 <= axis < len(value.shape):
        raise ValueError("the axis of the channels is out of range")
    if not len(scales) == len(zero_points) == value.shape[axis]:
        raise ValueError("there are more or fewer scales than channels")


def _column(values: Any, dtype: torch.dtype) -> torch.Tensor:
    return values if isinstance(values, torch.Tensor) else torch.tensor(values, dtype=dtype)


def _sparse_coo(value: TensorValue, extra: Any, _storages: Storages) -> torch.Tensor:
    indices, values, coalesced = extra
    return torch.sparse_coo_tensor(indices, values, value.shape, is_coalesced=coalesced, check_invariants=True)


def _compressed(layout: torch.layout) -> Callable[[TensorValue, Any, Storages], torch.Tensor]:
    def build(value: TensorValue, extra: Any, _storages: Storages) -> torch.Tensor:
        compressed, plain, values = extra
        return torch.sparse_compressed_tensor(compressed, plain, values, value.shape, layout=layout, check_invariants=True)

    return build


def _meta(value: TensorValue, _extra: Any, _storages: Storages) -> torch.Tensor:
    return torch.empty_strided(value.shape, value.stride, dtype=dtype_named(value.dtype), device="meta")


_LAYOUTS: dict[str, Callable[[TensorValue, Any, Storages], torch.Tensor]] = {
    "dense": _dense,
    "quantized": _quantized,
    "sparse_coo": _sparse_coo,
    **{name: _compressed(getattr(torch, name)) for name in ("sparse_csr", "sparse_csc", "sparse_bsr", "sparse_bsc")},
    "meta": _meta,
}
