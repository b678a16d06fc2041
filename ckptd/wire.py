"""An `Inspection` as JSON and back: the contract of `ckptd inspect --json`, of a worker's answer and of the index.

A worker has read a hostile file and may be in its hands, so `inspection_from_json` believes nothing: every key, type and
bound is checked, an unknown key is refused.  Keys are only ever added, never renamed; docs/json.md lists them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NoReturn, TypeVar

from ckptd.errors import WorkerError
from ckptd.model import (
    Container,
    Finding,
    Identity,
    Inspection,
    Json,
    Kind,
    Layer,
    Metadata,
    Severity,
    Source,
    Status,
    TensorRecord,
    TensorTotals,
)

#: Bounds of one answer.  The lists are cut by the inspector; an answer beyond them is a forged one.
MAX_FINDINGS = 500
MAX_RECORDS = 1_000
MAX_LAYERS = 2_000
MAX_NAMES = 100
MAX_KEYS = 1_000
#: Characters of one string: a message quotes at most a few names of at most 1 KiB each.
MAX_TEXT = 16_384
#: Nesting of hyperparameters and details.
MAX_DEPTH = 8

_E = TypeVar("_E", Status, Container, Kind, Severity)


def dumps(value: Json | Mapping[str, Any]) -> str:
    """Write JSON in one line: ASCII, no NaN or Infinity (ValueError), no spaces."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def inspection_to_json(inspection: Inspection) -> dict[str, Any]:
    """Turn an inspection into plain JSON values, keys in the order of the contract."""
    tensors, metadata = inspection.tensors, inspection.metadata
    return {
        "path": inspection.path,
        "status": inspection.status.value,
        "container": inspection.container.value,
        "kind": None if inspection.kind is None else inspection.kind.value,
        "sha256": inspection.sha256,
        "size_bytes": inspection.size_bytes,
        "tensors": {
            "count": tensors.count,
            "parameters": tensors.parameters,
            "bytes": tensors.bytes,
            "dtypes": dict(tensors.dtypes),
            "optimizer_bytes": tensors.optimizer_bytes,
            "records": [_record_to_json(record) for record in tensors.records],
        },
        "metadata": {
            "model_name": metadata.model_name,
            "architecture": metadata.architecture,
            "dataset": metadata.dataset,
            "metrics": dict(metadata.metrics),
            "epoch": metadata.epoch,
            "step": metadata.step,
            "date": metadata.date,
            "quantization": metadata.quantization,
            "hyperparameters": dict(metadata.hyperparameters),
            "stage": metadata.stage,
            "spellings": dict(metadata.spellings),
            "other": dict(metadata.other),
            "sources": {k: {"where": s.where, "confidence": s.confidence} for k, s in metadata.sources.items()},
        },
        "findings": [
            {"code": f.code, "severity": f.severity.value, "message": f.message, "tensors": list(f.tensors)}
            for f in inspection.findings
        ],
        "layers": [
            {"name": y.name, "type": y.type, "parameters": y.parameters, "bytes": y.bytes, "detail": dict(y.detail)}
            for y in inspection.layers
        ],
        "identity": None if inspection.identity is None else inspection.identity._asdict(),
        "inspector_version": inspection.inspector_version,
    }


def _record_to_json(record: TensorRecord) -> dict[str, Any]:
    return {
        "name": record.name,
        "dtype": record.dtype,
        "shape": list(record.shape),
        "bytes": record.bytes,
        "storage": record.storage,
        "minimum": record.minimum,
        "maximum": record.maximum,
        "norm": record.norm,
        "nan": record.nan,
        "inf": record.inf,
    }


def inspection_from_json(value: object) -> Inspection:
    """Check an answer key by key and build the inspection it describes.

    Raises:
        WorkerError: the answer is not of the form of `inspection_to_json`; the message names the key.
    """
    top = _object(value, _TOP, "answer")
    tensors = _object(top["tensors"], _TENSORS, "tensors")
    metadata = _object(top["metadata"], _METADATA, "metadata")
    return Inspection(
        path=_text(top["path"], "path"),
        status=_enum(Status, top["status"], "status"),
        container=_enum(Container, top["container"], "container"),
        kind=None if top["kind"] is None else _enum(Kind, top["kind"], "kind"),
        sha256=_digest(top["sha256"]),
        size_bytes=_count(top["size_bytes"], "size_bytes"),
        tensors=TensorTotals(
            count=_count(tensors["count"], "tensors.count"),
            parameters=_count(tensors["parameters"], "tensors.parameters"),
            bytes=_count(tensors["bytes"], "tensors.bytes"),
            dtypes={
                _text(k, "dtype"): _count(n, "tensors.dtypes") for k, n in _mapping(tensors["dtypes"], "tensors.dtypes").items()
            },
            optimizer_bytes=_count(tensors["optimizer_bytes"], "tensors.optimizer_bytes"),
            records=tuple(_read_record(r) for r in _list(tensors["records"], MAX_RECORDS, "tensors.records")),
        ),
        metadata=_read_metadata(metadata),
        findings=tuple(_read_finding(f) for f in _list(top["findings"], MAX_FINDINGS, "findings")),
        layers=tuple(_read_layer(y) for y in _list(top["layers"], MAX_LAYERS, "layers")),
        identity=None if top["identity"] is None else _read_identity(top["identity"]),
        inspector_version=_count(top["inspector_version"], "inspector_version"),
    )


_TOP = frozenset(
    "path status container kind sha256 size_bytes tensors metadata findings layers identity inspector_version".split()
)
_TENSORS = frozenset("count parameters bytes dtypes optimizer_bytes records".split())
_METADATA = frozenset(
    "model_name architecture dataset metrics epoch step date quantization hyperparameters stage spellings other sources".split()
)
_RECORD = frozenset("name dtype shape bytes storage minimum maximum norm nan inf".split())
_FINDING = frozenset("code severity message tensors".split())
_LAYER = frozenset("name type parameters bytes detail".split())
_SOURCE = frozenset(("where", "confidence"))
_IDENTITY = frozenset(Identity._fields)


def _read_metadata(item: dict[str, Any]) -> Metadata:
    return Metadata(
        model_name=_optional_text(item["model_name"], "model_name"),
        architecture=_optional_text(item["architecture"], "architecture"),
        dataset=_optional_text(item["dataset"], "dataset"),
        metrics={_text(k, "metrics"): _number(v, "metrics") for k, v in _mapping(item["metrics"], "metrics").items()},
        epoch=None if item["epoch"] is None else _integer(item["epoch"], "epoch"),
        step=None if item["step"] is None else _integer(item["step"], "step"),
        date=_optional_text(item["date"], "date"),
        quantization=_optional_text(item["quantization"], "quantization"),
        hyperparameters=_json_object(item["hyperparameters"], "hyperparameters"),
        stage=_optional_text(item["stage"], "stage"),
        spellings={_text(k, "spellings"): _text(v, "spellings") for k, v in _mapping(item["spellings"], "spellings").items()},
        other=_json_object(item["other"], "other"),
        sources={_text(k, "sources"): _read_source(v) for k, v in _mapping(item["sources"], "sources").items()},
    )


def _read_source(value: object) -> Source:
    item = _object(value, _SOURCE, "sources")
    return Source(_text(item["where"], "sources.where"), float(_number(item["confidence"], "sources.confidence")))


def _read_record(value: object) -> TensorRecord:
    item = _object(value, _RECORD, "record")
    return TensorRecord(
        name=_text(item["name"], "record.name"),
        dtype=_text(item["dtype"], "record.dtype"),
        shape=tuple([_count(n, "record.shape") for n in _list(item["shape"], 64, "record.shape")]),
        bytes=_count(item["bytes"], "record.bytes"),
        storage=_text(item["storage"], "record.storage"),
        minimum=_optional_number(item["minimum"], "record.minimum"),
        maximum=_optional_number(item["maximum"], "record.maximum"),
        norm=_optional_number(item["norm"], "record.norm"),
        nan=_count(item["nan"], "record.nan"),
        inf=_count(item["inf"], "record.inf"),
    )


def _read_finding(value: object) -> Finding:
    item = _object(value, _FINDING, "finding")
    return Finding(
        code=_text(item["code"], "finding.code"),
        severity=_enum(Severity, item["severity"], "finding.severity"),
        message=_text(item["message"], "finding.message"),
        tensors=tuple([_text(n, "finding.tensors") for n in _list(item["tensors"], MAX_NAMES, "finding.tensors")]),
    )


def _read_layer(value: object) -> Layer:
    item = _object(value, _LAYER, "layer")
    return Layer(
        name=_text(item["name"], "layer.name"),
        type=_text(item["type"], "layer.type"),
        parameters=_count(item["parameters"], "layer.parameters"),
        bytes=_count(item["bytes"], "layer.bytes"),
        detail=_json_object(item["detail"], "layer.detail"),
    )


def _read_identity(value: object) -> Identity:
    item = _object(value, _IDENTITY, "identity")
    return Identity(**{key: _number_of_file(item[key], key) for key in Identity._fields})


def _number_of_file(value: object, key: str) -> int:
    if key in ("dev", "ino"):  # unsigned in the kernel, and network file systems do use the upper half
        if type(value) is not int or not 0 <= value < 2**64:
            _refuse(f"identity.{key}", "is not an unsigned 64-bit integer")
        return value
    return _integer(value, f"identity.{key}")


def _refuse(key: str, why: str) -> NoReturn:
    raise WorkerError("a worker's answer was refused", why=f"{key} {why}")


def _object(value: object, keys: frozenset[str], key: str) -> dict[str, Any]:
    if type(value) is not dict or value.keys() != keys:
        _refuse(key, "does not have the agreed keys")
    return value


def _mapping(value: object, key: str) -> dict[str, Any]:
    if type(value) is not dict or len(value) > MAX_KEYS:
        _refuse(key, f"is not an object of at most {MAX_KEYS} keys")
    return value


def _list(value: object, most: int, key: str) -> list[Any]:
    if type(value) is not list or len(value) > most:
        _refuse(key, f"is not a list of at most {most}")
    return value


def _text(value: object, key: str) -> str:
    if type(value) is not str or len(value) > MAX_TEXT:
        _refuse(key, f"is not a text of at most {MAX_TEXT} characters")
    return value


def _optional_text(value: object, key: str) -> str | None:
    return None if value is None else _text(value, key)


def _integer(value: object, key: str) -> int:
    # 2^63: the identity of a file and every size must fit a column of the index.
    if type(value) is not int or not -(2**63) <= value < 2**63:
        _refuse(key, "is not a 64-bit integer")
    return value


def _count(value: object, key: str) -> int:
    if type(value) is not int or not 0 <= value < 2**63:
        _refuse(key, "is not a count")
    return value


def _number(value: object, key: str) -> float:
    if type(value) is float:
        if value - value != 0.0:  # NaN and the infinities; json.loads accepts their names
            _refuse(key, "is not finite")
        return value
    return _integer(value, key)


def _optional_number(value: object, key: str) -> float | None:
    return None if value is None else _number(value, key)


def _digest(value: object) -> str | None:
    if value is None:
        return None
    if type(value) is not str or len(value) != 64 or not set(value) <= set("0123456789abcdef"):
        _refuse("sha256", "is not 64 lower-case hex digits")
    return value


def _enum(enum: type[_E], value: object, key: str) -> _E:
    if type(value) is not str:
        _refuse(key, "is not a text")
    try:
        return enum(value)
    except ValueError:
        _refuse(key, "is not one of the agreed words")


def _json_object(value: object, key: str) -> dict[str, Json]:
    mapping = _mapping(value, key)
    _check_json(mapping, key, MAX_DEPTH)
    return mapping


def _check_json(value: object, key: str, depth: int) -> None:
    if depth < 0:
        _refuse(key, f"is nested deeper than {MAX_DEPTH}")
    if value is None or type(value) is bool:
        return
    if type(value) is str:
        _text(value, key)
    elif type(value) is int or type(value) is float:
        _number(value, key)
    elif type(value) is list:
        for item in _list(value, MAX_KEYS, key):
            _check_json(item, key, depth - 1)
    else:
        for name, item in _mapping(value, key).items():
            _text(name, key)
            _check_json(item, key, depth - 1)
