"""What a sidecar says about a checkpoint, as plain values."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from typing import Any
from zlib import crc32

from ckptd import __version__
from ckptd.metadata.layout import canonical, write_sealed
from ckptd.metadata.reading import MOST_BYTES
from ckptd.model import Inspection, Layer, Metadata, TensorTotals

#: Version of the sidecar's shape; a sidecar of ours that has another is written anew.
SCHEMA_VERSION = 1
#: The top-level keys, in order; a person edits these.
TOP_KEYS = (
    "model_name",
    "architecture",
    "hyperparameters",
    "metrics",
    "data_profile",
    "training_date",
    "quantization",
    "storage_kb",
)
#: The key that is ours alone.
OWN_KEY = "ckptd"

#: A sidecar is for people: the whole lists are in the index.
_MOST_LAYERS = 200
_MOST_FINDINGS = 50
_MOST_NAMES = 20
#: Where a checkpoint's own texts would make a sidecar of a megabyte.
_SHORT_TEXT = 200
_SHORT_LIST = 100

_INPUT_KEYS = ("in_features", "input_size", "in_channels", "num_embeddings")
_OUTPUT_KEYS = ("out_features", "out_channels", "hidden_size", "embedding_dim")

_HOME = re.compile(r"/(?:home|Users)/[^/\s:\"']+|(?<![\w.~-])/root(?=/|$)|[A-Za-z]:\\+Users\\+[^\\\s\"']+")


def render(
    inspection: Inspection,
    checkpoint: str,
    *,
    generated_at: float,
    exports: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Give the whole document but for its seal, keys in the order in which they are written.

    Args:
        inspection: what one read of the checkpoint said.
        checkpoint: its file name; the sidecar remembers which file it speaks of.
        generated_at: seconds since the epoch.
        exports: what is known about exports of this very content.
    """
    metadata = inspection.metadata
    document: dict[str, Any] = {
        "model_name": metadata.model_name,
        "architecture": metadata.architecture,
        "hyperparameters": dict(metadata.hyperparameters),
        "metrics": dict(metadata.metrics),
        "data_profile": _data_profile(metadata, inspection.layers),
        "training_date": metadata.date,
        "quantization": metadata.quantization,
        "storage_kb": round(inspection.size_bytes / 1024, 1),
    }
    own = document[OWN_KEY] = _own_section(inspection, checkpoint, exports or {})
    # From here on only what changes from one writing to the next, so that a torn sidecar is a beginning of a whole one.
    own["generated"] = fingerprints(document)
    own["inspector_version"] = inspection.inspector_version
    own["version"] = __version__
    own["generated_at"] = _timestamp(generated_at)
    return document


def write_document(document: dict[str, Any]) -> bytes:
    """Write a rendered document with its seal: no home directory in it, and never more than we would read again."""
    data = write_sealed(document)
    if _may_hold_home(data):
        document = hide_homes(document)
        data = write_sealed(document)
    return data if len(data) <= MOST_BYTES else write_sealed(shorten(document))


def hide_homes(document: dict[str, Any]) -> dict[str, Any]:
    """Give a rendered document in which each home directory is "~".

    The reader of the checkpoint takes them out first; this is the last look before something is published.
    """
    hidden: dict[str, Any] = without_homes(document)
    hidden[OWN_KEY] |= {"file": document[OWN_KEY]["file"], "generated": fingerprints(hidden)}
    return hidden


def shorten(document: dict[str, Any]) -> dict[str, Any]:
    """Give a rendered document without its long parts; all of them are in the index."""
    short: dict[str, Any] = _shortened(document)
    if len(write_sealed(short)) > MOST_BYTES // 2:
        short["hyperparameters"] = short["data_profile"] = {}
        short[OWN_KEY] |= {"other": {}, "layers": [], "findings": [], "sources": {}}
    short[OWN_KEY] |= {"file": document[OWN_KEY]["file"], "generated": fingerprints(short), "shortened": True}
    return short


def without_homes(value: Any) -> Any:
    """Give a JSON value in which each home directory is "~"."""
    if isinstance(value, str):
        return _HOME.sub("~", value)
    if isinstance(value, dict):
        return {_HOME.sub("~", key): without_homes(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_homes(item) for item in value]
    return value


def says_exports(section: Mapping[str, Any], exports: Mapping[str, Any]) -> bool:
    """Tell whether our part of a sidecar names just these exports."""
    stated = section.get("exports")
    return stated == exports or (section.get("shortened") is True and stated == _shortened(exports))


def with_exports(section: Mapping[str, Any], exports: Mapping[str, Any], generated_at: float) -> dict[str, Any]:
    """Give our part of a sidecar with other exports, all else as it is, without its seal."""
    changed = {key: value for key, value in section.items() if key != "seal"}
    return changed | {"exports": dict(exports), "generated_at": _timestamp(generated_at)}


def fingerprints(document: Mapping[str, Any]) -> str:
    """Fingerprint each value that we wrote at the top level, so that a person's edits can be told from our values later."""
    return " ".join([fingerprint(path_of(key, inner), value) for key, inner, value in leaves(document)])


def fingerprint(path: str, value: object) -> str:
    """Give eight hex digits for a value in its place.

    Raises:
        ValueError: a number is not finite, which we never write.
    """
    return f"{crc32(f'{path}={canonical(value)}'.encode('utf-8', 'surrogatepass')):08x}"


def path_of(key: str, inner: str | None) -> str:
    """Name the place of a value for its fingerprint."""
    return key if inner is None else f"{key}.{inner}"


def leaves(document: Mapping[str, Any]) -> Iterator[tuple[str, str | None, Any]]:
    """Walk the values that a person may edit: those of the top-level keys, of an object each member; null says nothing.

    Yields:
        The key, the key inside of it or None (it may be the empty text), and the value.
    """
    for key in TOP_KEYS:
        value = document.get(key)
        if isinstance(value, dict):
            for inner, item in value.items():
                if item is not None:
                    yield key, inner, item
        elif value is not None:
            yield key, None, value


def _own_section(inspection: Inspection, checkpoint: str, exports: Mapping[str, Any]) -> dict[str, Any]:
    tensors, metadata = inspection.tensors, inspection.metadata
    return {
        "schema_version": SCHEMA_VERSION,
        "file": checkpoint,
        "sha256": inspection.sha256,
        "size_bytes": inspection.size_bytes,
        "status": inspection.status.value,
        "container": inspection.container.value,
        "kind": None if inspection.kind is None else inspection.kind.value,
        "parameters": tensors.parameters,
        "tensors": tensors.count,
        "tensor_bytes": tensors.bytes,
        "optimizer_bytes": tensors.optimizer_bytes,
        "dtypes": dict(tensors.dtypes),
        "epoch": metadata.epoch,
        "step": metadata.step,
        "stage": metadata.stage,
        "layer_count": len(inspection.layers),
        "layers": [
            {"name": y.name, "type": y.type, "parameters": y.parameters, "bytes": y.bytes, "detail": dict(y.detail)}
            for y in inspection.layers[:_MOST_LAYERS]
        ],
        "health": _health(tensors),
        "findings": [
            {"code": f.code, "severity": f.severity.value, "message": f.message, "tensors": list(f.tensors[:_MOST_NAMES])}
            for f in inspection.findings[:_MOST_FINDINGS]
        ],
        "spellings": dict(metadata.spellings),
        "other": dict(metadata.other),
        "sources": {key: {"where": s.where, "confidence": s.confidence} for key, s in metadata.sources.items()},
        "exports": dict(exports),
    }


def _health(tensors: TensorTotals) -> dict[str, Any]:
    ill = [record for record in tensors.records if record.nan or record.inf]
    return {
        "nan": sum([record.nan for record in ill]),
        "inf": sum([record.inf for record in ill]),
        "tensors": [record.name for record in ill[:_MOST_NAMES]],
    }


def _data_profile(metadata: Metadata, layers: tuple[Layer, ...]) -> dict[str, Any]:
    """Say what goes in and what comes out: as the metadata has it, else as the first and the last layer have it."""
    other = metadata.other
    return {
        "dataset": metadata.dataset,
        "input_size": other.get("input_size", _first_detail(layers, _INPUT_KEYS)),
        "output_size": other.get("output_size", other.get("num_classes", _first_detail(layers[::-1], _OUTPUT_KEYS))),
    }


def _first_detail(layers: tuple[Layer, ...], keys: tuple[str, ...]) -> Any:
    for layer in layers:
        for key in keys:
            if key in layer.detail:
                return layer.detail[key]
    return None


def _shortened(value: Any) -> Any:
    if isinstance(value, str):
        return value[:_SHORT_TEXT]
    if isinstance(value, Mapping):
        return {key[:_SHORT_TEXT]: _shortened(item) for key, item in list(value.items())[:_SHORT_LIST]}
    if isinstance(value, list):
        return [_shortened(item) for item in value[:_SHORT_LIST]]
    return value


def _timestamp(at: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))


def _may_hold_home(data: bytes) -> bool:
    return b"/home/" in data or b"Users" in data or b"/root" in data
