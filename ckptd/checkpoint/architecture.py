"""Layers, sizes and quantization, told from the names and shapes of the weights alone."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from math import prod
from typing import NamedTuple

from ckptd.checkpoint.summary import summarise
from ckptd.checkpoint.values import TensorValue
from ckptd.model import Json, Layer
from ckptd.text import escape

MAX_LAYERS = 2_000
#: Groups of tied weights that are listed.
MAX_TIED = 50
#: Counts go into 64-bit columns; a shape is only what a file claims.
_MOST = 2**63 - 1

_SIZES = {
    dtype: size
    for size, dtypes in {
        8: "float64 int64 complex64 uint64",
        16: "complex128",
        4: "float32 int32 uint32 qint32 complex32",
        2: "float16 bfloat16 int16 uint16",
    }.items()
    for dtype in dtypes.split()
}
_FLOATS = frozenset(("float64", "float32", "float16", "bfloat16"))
_QUANTIZED = frozenset(("qint8", "quint8", "qint32", "quint4x2", "quint2x4"))
_RNN_LEAF = re.compile(r"(weight_ih|weight_hh|weight_hr|bias_ih|bias_hh)(?:_l([0-9]{1,4}))?(_reverse)?$")
_EMBEDDING = re.compile(r"(?i)embed|(?:^|[._])(?:emb|wte|wpe|tok|lookup|token|vocab)(?:$|[._0-9])")
_NORM = re.compile(r"(?i)norm|(?:^|[._])(?:ln|bn|gn)[0-9a-z_]*(?:$|[.])")
_SCALES = (
    "scale",
    "scales",
    "weight_scale",
    "SCB",
    "zero_point",
    "zeros",
    "qzeros",
    "absmax",
    "weight_scale_inv",
    "scale_weight",
)


class Architecture(NamedTuple):
    """What the weights of a file are built like.

    Attributes:
        layers: in the file's order, at most `MAX_LAYERS`.
        summary: one line ("BiLSTM(12→128, 2 layers) + linear(256→5)"), None when no layer is known.
        tied: groups of names that look at the same values.
        quantization: "int8", "float16" …, None when plain float32 or float64.
        saved_bytes: against the same weights as float32.
    """

    layers: tuple[Layer, ...]
    summary: str | None
    input_size: int | None
    output_size: int | None
    tied: tuple[tuple[str, ...], ...]
    quantization: str | None
    saved_bytes: int


def describe(named: Sequence[tuple[str, TensorValue]]) -> Architecture:
    """Describe weights by their plain names, in the file's order."""
    groups: dict[str, dict[str, TensorValue]] = {}
    for name, tensor in named:
        prefix, _, leaf = name.rpartition(".")
        group = groups.get(prefix)
        if group is None:
            groups[prefix] = {leaf: tensor}
        else:
            group[leaf] = tensor
    tied = _find_tied(named)
    copies = {name: names[0] for names in tied for name in names[1:]}
    layers: list[Layer] = []
    for prefix, group in _merge(groups).items():
        if len(layers) >= MAX_LAYERS:
            break
        layers.append(_layer(prefix, group, copies))
    quantization, saved = _quantization(named)
    summary, first, last = summarise(layers)
    return Architecture(tuple(layers), summary, first, last, tied, quantization, saved)


#: Leaves that a module of its own holds for the layer above it: quantized and parametrized modules.
_INNER = re.compile(r"\.(?:_packed_params(?:\._packed_params)?|parametrizations\.[a-z_0-9]+)$")


def _merge(groups: dict[str, dict[str, TensorValue]]) -> dict[str, dict[str, TensorValue]]:
    """Join what belongs to one layer though its names lie deeper ("fc._packed_params._packed_params.0")."""
    if not any("_packed_params" in prefix or "parametrizations" in prefix for prefix in groups):
        return groups
    merged: dict[str, dict[str, TensorValue]] = {}
    for prefix, group in groups.items():
        inner = _INNER.search(prefix) if "_packed_params" in prefix or "parametrizations" in prefix else None
        if inner is None:
            merged.setdefault(prefix, {}).update(group)
            continue
        packed = "_packed_params" in inner[0]
        target = merged.setdefault(prefix[: inner.start()], {})
        for leaf, tensor in group.items():
            name = {"0": "weight", "1": "bias", "original0": "weight_g", "original1": "weight_v"}.get(leaf, leaf)
            target.setdefault(name if packed or leaf.startswith("original") else leaf, tensor)
    return merged


def numel(tensor: TensorValue) -> int:
    """Count the elements of a tensor, as its shape claims them."""
    return min(prod(tensor.shape), _MOST)


def item_bytes(dtype: str) -> int:
    """Give the bytes of one element; everything of 8 bits or less counts one."""
    return _SIZES.get(dtype, 1)


def _layer(prefix: str, group: Mapping[str, TensorValue], copies: Mapping[str, str]) -> Layer:
    kind, detail = _classify(prefix, group)
    parameters = size = 0
    for leaf, tensor in group.items():
        count = numel(tensor)
        parameters += count
        size += count * item_bytes(tensor.dtype)
        if copies and tensor.storage is not None:
            name = f"{prefix}.{leaf}" if prefix else leaf
            if name in copies:
                detail = {**detail, "tied_to": escape(copies[name])}
    return Layer(escape(prefix, 500), kind, min(parameters, _MOST), min(size, _MOST), detail)


def _classify(prefix: str, group: Mapping[str, TensorValue]) -> tuple[str, dict[str, Json]]:
    weight = group.get("weight")
    if weight is not None and "running_mean" not in group and "in_proj_weight" not in group:
        return _by_weight(prefix, weight, group)
    if any(leaf.startswith("weight_ih") for leaf in group):
        found = _recurrent(group)
        if found is not None:
            return found
    if "in_proj_weight" in group or "q_proj_weight" in group:
        return "attention", _attention(group)
    if "running_mean" in group or "running_var" in group:
        size = (group.get("running_mean") or group["running_var"]).shape
        return "batch_norm", {"num_features": size[0]} if size else {}
    weight = weight or group.get("weight_v") or group.get("qweight") or group.get("weight_packed")
    if weight is None:
        return "other", {}
    return _by_weight(prefix, weight, group)


def _by_weight(prefix: str, weight: TensorValue, group: Mapping[str, TensorValue]) -> tuple[str, dict[str, Json]]:
    shape, bias = weight.shape, "bias" in group
    rank = len(shape)
    if rank == 2:
        if not bias and _EMBEDDING.search(prefix):
            return "embedding", {"num_embeddings": shape[0], "embedding_dim": shape[1]}
        return "linear", {"in_features": shape[1], "out_features": shape[0], "bias": bias}
    if 3 <= rank <= 5:
        # Groups and transposition don't show in a shape: (out, in / groups, …), or (in, out / groups, …) when transposed.
        detail: dict[str, Json] = {
            "in_channels": shape[1],
            "out_channels": shape[0],
            "kernel_size": list(shape[2:]),
            "bias": bias,
        }
        return f"conv{rank - 2}d", detail
    if rank == 1 and shape[0] > 1 and (bias or _NORM.search(prefix)):
        return "layer_norm", {"normalized_shape": list(shape)}
    return "other", {}


def _recurrent(group: Mapping[str, TensorValue]) -> tuple[str, dict[str, Json]] | None:
    """Tell LSTM, GRU and RNN by the rows of their weights: 4, 3 and 1 times the hidden size.

    Source: torch/nn/modules/rnn.py.
    """
    layers, both, cell = 0, False, False
    for leaf in group:
        match = _RNN_LEAF.match(leaf)
        if match is None:
            continue
        cell = cell or match[2] is None
        layers = max(layers, int(match[2] or 0) + 1)
        both = both or match[3] is not None
    suffix = "" if cell else "_l0"
    into, hidden, projection = (group.get(f"{name}{suffix}") for name in ("weight_ih", "weight_hh", "weight_hr"))
    if into is None or hidden is None or len(into.shape) != 2 or len(hidden.shape) != 2 or 0 in hidden.shape:
        return None
    rows, size = hidden.shape
    if projection is not None and len(projection.shape) == 2:
        size = projection.shape[1]
    gates = rows // size if size and rows % size == 0 else 0
    kind = {4: "lstm", 3: "gru", 1: "rnn"}.get(gates)
    if kind is None or into.shape[0] != rows:
        return None
    detail: dict[str, Json] = {"input_size": into.shape[1], "hidden_size": size, "num_layers": layers, "bidirectional": both}
    if projection is not None and len(projection.shape) == 2:
        detail["proj_size"] = projection.shape[0]
    if cell:
        detail["cell"] = True
    return kind, detail


def _attention(group: Mapping[str, TensorValue]) -> dict[str, Json]:
    packed = group.get("in_proj_weight")
    weight = packed or group["q_proj_weight"]
    return {"embed_dim": weight.shape[1 if packed is not None else 0]} if len(weight.shape) == 2 else {}


def _find_tied(named: Sequence[tuple[str, TensorValue]]) -> tuple[tuple[str, ...], ...]:
    """Group names whose tensors are the same view of the same storage."""
    seen: dict[tuple[str, int, tuple[int, ...], tuple[int, ...]], list[str]] = {}
    doubled = _doubled(named)
    if not doubled:
        return ()
    for name, tensor in named:
        if tensor.storage is not None and tensor.storage.key in doubled and 0 not in tensor.shape:
            seen.setdefault((tensor.storage.key, tensor.offset, tensor.shape, tensor.stride), []).append(name)
    return tuple([tuple(names[:MAX_TIED]) for names in seen.values() if len(names) > 1][:MAX_TIED])


def _doubled(named: Sequence[tuple[str, TensorValue]]) -> set[str]:
    """Find the storages that more than one tensor looks into; most files have none."""
    keys, doubled = set(), set()
    for _, tensor in named:
        if tensor.storage is not None:
            key = tensor.storage.key
            if key in keys:
                doubled.add(key)
            keys.add(key)
    return doubled


def _quantization(named: Sequence[tuple[str, TensorValue]]) -> tuple[str | None, int]:
    """Name what most of the weights are stored as, and count the bytes this saves against float32."""
    elements: dict[str, int] = {}
    for _, tensor in named:
        if tensor.shape:
            elements[tensor.dtype] = elements.get(tensor.dtype, 0) + numel(tensor)
    if not elements or elements.keys() <= {"float32"}:
        return None, 0
    total = sum(elements.values())
    name = _packed_name(named, elements, total)
    if name is None:
        dtype = max(elements, key=lambda key: elements[key])
        short = dtype in ("float16", "bfloat16") or dtype.startswith("float8")
        name = dtype if short and 2 * elements[dtype] > total else None
    if name is None:
        return None, 0
    counted = {
        dtype: n
        for dtype, n in elements.items()
        if dtype in _FLOATS or dtype.startswith("float8") or dtype in _QUANTIZED or dtype in {"int8", "uint8"}
    }
    packed = 2 if name in {"int4", "nf4"} else 1  # two values a byte
    saved = sum(n * (4 * (packed if dtype in {"uint8", "int8"} else 1) - item_bytes(dtype)) for dtype, n in counted.items())
    return name, min(max(saved, 0), _MOST)


def _packed_name(named: Sequence[tuple[str, TensorValue]], elements: Mapping[str, int], total: int) -> str | None:
    """Recognise integer weights: torch's own quantized tensors, or integers beside their scales."""
    if elements.keys() & _QUANTIZED:
        bits = "int4" if "quint4x2" in elements else "int8"
        return bits if any(5 * elements[dtype] > total for dtype in elements.keys() & _QUANTIZED) else None
    if "qweight" in _leaves(named):
        return "int4"
    names = [name for name, tensor in named if tensor.dtype in {"int8", "uint8"}]
    if not names:
        return None
    share = elements.get("int8", 0) + elements.get("uint8", 0)
    if any("bitsandbytes__nf4" in name for name, _ in named):
        return "nf4"
    if 5 * share > total and ("int8" in elements or _leaves(named) & frozenset(_SCALES)) and _has_scales(names, named):
        return "int8"
    return None


def _leaves(named: Iterable[tuple[str, TensorValue]]) -> set[str]:
    return {name.rpartition(".")[2] for name, _ in named}


def _has_scales(integers: Sequence[str], named: Sequence[tuple[str, TensorValue]]) -> bool:
    """Say whether an integer tensor has a scale beside it; without one it is data, or most of the file must be integers."""
    names = {name for name, _ in named}
    for name in integers[:50]:
        prefix, _, _ = name.rpartition(".")
        around = [f"{prefix}.{leaf}" if prefix else leaf for leaf in _SCALES]
        if any(n in names for n in around) or f"{name}_scale" in names or f"{name}.scale" in names or f"{name}_scales" in names:
            return True
    return all(tensor.dtype == "int8" for _, tensor in named if len(tensor.shape) > 1)
