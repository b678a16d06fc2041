"""An `Inspection` as JSON and back: the contract of `ckptd inspect --json`, of a worker's answer and of the index.

A worker has read a hostile file and may be in its hands, so `inspection_from_json` believes nothing: every key, type and
bound is checked, an unknown key is refused.  Keys are only ever added, never renamed; docs/json.md lists them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ckptd.model import (
    Container,
    Finding,
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
from ckptd.wire_values import (
    MAX_DEPTH,
    MAX_KEYS,
    MAX_TEXT,
    read_count,
    read_digest,
    read_enum,
    read_identity,
    read_integer,
    read_json_object,
    read_list,
    read_mapping,
    read_number,
    read_object,
    read_optional_number,
    read_optional_text,
    read_text,
)

__all__ = ["MAX_DEPTH", "MAX_KEYS", "MAX_TEXT", "dumps", "inspection_from_json", "inspection_to_json"]

#: Bounds of one answer.  The lists are cut by the inspector; an answer beyond them is a forged one.
MAX_FINDINGS = 500
MAX_RECORDS = 1_000
MAX_LAYERS = 2_000
MAX_NAMES = 100


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
    top = read_object(value, _TOP, "answer")
    tensors = read_object(top["tensors"], _TENSORS, "tensors")
    metadata = read_object(top["metadata"], _METADATA, "metadata")
    return Inspection(
        path=read_text(top["path"], "path"),
        status=read_enum(Status, top["status"], "status"),
        container=read_enum(Container, top["container"], "container"),
        kind=None if top["kind"] is None else read_enum(Kind, top["kind"], "kind"),
        sha256=read_digest(top["sha256"], "sha256"),
        size_bytes=read_count(top["size_bytes"], "size_bytes"),
        tensors=TensorTotals(
            count=read_count(tensors["count"], "tensors.count"),
            parameters=read_count(tensors["parameters"], "tensors.parameters"),
            bytes=read_count(tensors["bytes"], "tensors.bytes"),
            dtypes={
                read_text(k, "dtype"): read_count(n, "tensors.dtypes")
                for k, n in read_mapping(tensors["dtypes"], "tensors.dtypes").items()
            },
            optimizer_bytes=read_count(tensors["optimizer_bytes"], "tensors.optimizer_bytes"),
            records=tuple(_read_record(r) for r in read_list(tensors["records"], MAX_RECORDS, "tensors.records")),
        ),
        metadata=_read_metadata(metadata),
        findings=tuple(_read_finding(f) for f in read_list(top["findings"], MAX_FINDINGS, "findings")),
        layers=tuple(_read_layer(y) for y in read_list(top["layers"], MAX_LAYERS, "layers")),
        identity=None if top["identity"] is None else read_identity(top["identity"]),
        inspector_version=read_count(top["inspector_version"], "inspector_version"),
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


def _read_metadata(item: dict[str, Any]) -> Metadata:
    return Metadata(
        model_name=read_optional_text(item["model_name"], "model_name"),
        architecture=read_optional_text(item["architecture"], "architecture"),
        dataset=read_optional_text(item["dataset"], "dataset"),
        metrics={
            read_text(k, "metrics"): read_number(v, "metrics") for k, v in read_mapping(item["metrics"], "metrics").items()
        },
        epoch=None if item["epoch"] is None else read_integer(item["epoch"], "epoch"),
        step=None if item["step"] is None else read_integer(item["step"], "step"),
        date=read_optional_text(item["date"], "date"),
        quantization=read_optional_text(item["quantization"], "quantization"),
        hyperparameters=read_json_object(item["hyperparameters"], "hyperparameters"),
        stage=read_optional_text(item["stage"], "stage"),
        spellings={
            read_text(k, "spellings"): read_text(v, "spellings")
            for k, v in read_mapping(item["spellings"], "spellings").items()
        },
        other=read_json_object(item["other"], "other"),
        sources={read_text(k, "sources"): _read_source(v) for k, v in read_mapping(item["sources"], "sources").items()},
    )


def _read_source(value: object) -> Source:
    item = read_object(value, _SOURCE, "sources")
    return Source(read_text(item["where"], "sources.where"), float(read_number(item["confidence"], "sources.confidence")))


def _read_record(value: object) -> TensorRecord:
    item = read_object(value, _RECORD, "record")
    return TensorRecord(
        name=read_text(item["name"], "record.name"),
        dtype=read_text(item["dtype"], "record.dtype"),
        shape=tuple([read_count(n, "record.shape") for n in read_list(item["shape"], 64, "record.shape")]),
        bytes=read_count(item["bytes"], "record.bytes"),
        storage=read_text(item["storage"], "record.storage"),
        minimum=read_optional_number(item["minimum"], "record.minimum"),
        maximum=read_optional_number(item["maximum"], "record.maximum"),
        norm=read_optional_number(item["norm"], "record.norm"),
        nan=read_count(item["nan"], "record.nan"),
        inf=read_count(item["inf"], "record.inf"),
    )


def _read_finding(value: object) -> Finding:
    item = read_object(value, _FINDING, "finding")
    return Finding(
        code=read_text(item["code"], "finding.code"),
        severity=read_enum(Severity, item["severity"], "finding.severity"),
        message=read_text(item["message"], "finding.message"),
        tensors=tuple([read_text(n, "finding.tensors") for n in read_list(item["tensors"], MAX_NAMES, "finding.tensors")]),
    )


def _read_layer(value: object) -> Layer:
    item = read_object(value, _LAYER, "layer")
    return Layer(
        name=read_text(item["name"], "layer.name"),
        type=read_text(item["type"], "layer.type"),
        parameters=read_count(item["parameters"], "layer.parameters"),
        bytes=read_count(item["bytes"], "layer.bytes"),
        detail=read_json_object(item["detail"], "layer.detail"),
    )
