"""Values as rows: whatever a file says fits its column, or is left out of it and stays in the payload."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

from ckptd.index.payload import Payload
from ckptd.index.statements import Row
from ckptd.index.tables import bounded, signed
from ckptd.model import Identity, Inspection, Json
from ckptd.text import escape

#: Hyperparameters of one content that can be asked for; a configuration of thousands is nobody's question.
_MOST_HYPERPARAMETERS = 200
_MOST_NAME = 200
_MOST_TEXT = 1_000
_WORDS = {None: "null", True: "true", False: "false"}


def place_row(host: str, root: str, path: str, identity: Identity) -> Row:
    """Give the columns that say where a file lies and which one it is."""
    return {
        "host": host,
        "root": os.fsencode(root),
        "path": os.fsencode(path),
        "shown": escape(path, 4_096),
        "dev": signed(identity.dev),
        "ino": signed(identity.ino),
        "size": identity.size_bytes,
        "mtime_ns": bounded(identity.mtime_ns),
        "ctime_ns": bounded(identity.ctime_ns),
    }


def content_row(payload: Payload, inspection: Inspection, now: float) -> Row:
    """Give the row of one content."""
    metadata = inspection.metadata
    return {
        "key": payload.key,
        "sha256": inspection.sha256,
        "status": inspection.status.value,
        "container": inspection.container.value,
        "kind": None if inspection.kind is None else inspection.kind.value,
        "size": inspection.size_bytes,
        "inspector_version": inspection.inspector_version,
        "model_name": _text(metadata.model_name),
        "dataset": _text(metadata.dataset),
        "architecture": _text(metadata.architecture),
        "epoch": metadata.epoch,
        "step": metadata.step,
        "date": None if metadata.date is None else escape(metadata.date, 60)[:64],
        "quantization": _text(metadata.quantization),
        "stage": _text(metadata.stage),
        "parameters": inspection.tensors.parameters,
        "dtypes": _dtypes(inspection.tensors.dtypes),
        "inspected_at": now,
        "payload": payload.summary,
        "details": payload.details,
    }


def trait_row(key: str, inspection: Inspection) -> Row:
    """Give the row of what every plan asks."""
    source = inspection.metadata.sources.get("model_name")
    confidence = 0.0 if source is None else float(source.confidence)
    return {"content": key, "model_confidence": confidence, "optimizer_bytes": inspection.tensors.optimizer_bytes}


def metric_rows(key: str, metrics: Mapping[str, float]) -> list[Row]:
    """Give one row for each metric."""
    return [{"content": key, "name": _name(name), "value": float(value)} for name, value in metrics.items()]


def hyperparameter_rows(key: str, values: Mapping[str, Json]) -> list[Row]:
    """Give one row for each plain hyperparameter, nested ones under their dotted names."""
    rows: list[Row] = []
    for name, value in _flatten(values, ""):
        if len(rows) >= _MOST_HYPERPARAMETERS:
            break
        number = float(value) if type(value) is float or type(value) is int else None
        text = repr(value) if number is not None else _WORDS[value] if value is None or type(value) is bool else str(value)
        rows.append({"content": key, "name": _name(name), "number": number, "text": escape(text, _MOST_TEXT)})
    return rows


def _flatten(values: Mapping[str, Json], prefix: str) -> Iterator[tuple[str, bool | int | float | str | None]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{name}.")
        elif not isinstance(value, list):
            yield prefix + name, value


def _dtypes(dtypes: Mapping[str, int]) -> str | None:
    return f" {' '.join([escape(name, 50) for name in dtypes])} " if dtypes else None


def _name(text: str) -> str:
    return escape(text, _MOST_NAME)[:_MOST_NAME]


def _text(text: str | None) -> str | None:
    return None if text is None else escape(text, _MOST_TEXT)
