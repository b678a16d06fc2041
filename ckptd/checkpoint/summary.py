"""One line for an architecture: its layers from the first to the last, repeats counted."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ckptd.model import Json, Layer

#: Parts of a line; beyond that neighbours of one type are joined, and then the middle is counted.
_MOST = 6
_SILENT = frozenset(("batch_norm", "layer_norm", "other"))
_ATTENTION = re.compile(r"(?i)att(?:ention|n)")
_NAMES = {"lstm": "LSTM", "gru": "GRU", "rnn": "RNN"}
_IN = ("in_features", "in_channels", "input_size", "num_embeddings", "embed_dim")
_OUT = ("out_features", "out_channels", "hidden_size", "embedding_dim", "embed_dim")


def summarise(layers: Sequence[Layer]) -> tuple[str | None, int | None, int | None]:
    """Give the line and the sizes of input and output, each None when it can't be told."""
    shown = [layer for layer in layers if layer.type not in _SILENT]
    if not shown:
        return None, None, None
    first = _size(shown[0], _IN)
    last = next((size for layer in reversed(shown) if layer.type != "embedding" for size in [_size(layer, _OUT)]), None)
    parts = _joined(shown)
    if len(parts) > _MOST:
        parts = [*parts[: _MOST - 2], f"… {len(parts) - _MOST + 1} more …", parts[-1]]
    return " + ".join(parts), first, last


def _joined(shown: Sequence[Layer]) -> list[str]:
    """Write the layers; when they are many, a row of one type is one part."""
    attention = _attention_layers(shown)
    rows: list[tuple[str, list[Layer]]] = []
    for layer in shown:
        kind = "attention" if layer.name in attention else layer.type
        if rows and rows[-1][0] == kind and (kind == "attention" or len(shown) > _MOST):
            rows[-1][1].append(layer)
        else:
            rows.append((kind, [layer]))
    return [_part(kind, row) for kind, row in rows]


def _attention_layers(shown: Sequence[Layer]) -> set[str]:
    """Name the layers that make up attention: by type, or linear ones of that name; an `out_proj` belongs to its block."""
    return {
        layer.name for layer in shown if layer.type == "attention" or (layer.type == "linear" and _ATTENTION.search(layer.name))
    }


def _part(kind: str, row: Sequence[Layer]) -> str:
    if kind == "attention":
        blocks = len({_ATTENTION.split(layer.name, maxsplit=1)[0] for layer in row if _ATTENTION.search(layer.name)}) or len(
            row
        )
        return "attention" if blocks == 1 else f"attention ×{blocks}"
    first, last = row[0], row[-1]
    if kind in _NAMES:
        return _recurrent(first) if len(row) == 1 else f"{_recurrent(first)} ×{len(row)}"
    name = kind if len(row) == 1 else f"{kind} ×{len(row)}"
    return f"{name}({_text(_size(first, _IN))}→{_text(_size(last, _OUT))})"


def _recurrent(layer: Layer) -> str:
    detail = layer.detail
    name = f"{'Bi' if detail.get('bidirectional') else ''}{_NAMES[layer.type]}"
    number = detail.get("num_layers")
    layers = f", {number} layers" if type(number) is int and number > 1 else ""
    return f"{name}({_text(detail.get('input_size'))}→{_text(detail.get('hidden_size'))}{layers})"


def _size(layer: Layer, keys: tuple[str, ...]) -> int | None:
    for key in keys:
        value = layer.detail.get(key)
        if type(value) is int:
            # Both directions of a recurrent layer come out side by side.
            return value * 2 if key == "hidden_size" and layer.detail.get("bidirectional") else value
    return None


def _text(value: Json) -> str:
    return "?" if value is None else str(value)
