"""Records of the index as JSON (docs/json.md) and as rows of a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ckptd.cli.human import format_metrics, format_number, format_time
from ckptd.cli.table import Column, show_table
from ckptd.model import GONE_STATES, Inspection, Record
from ckptd.text import format_size
from ckptd.wire import inspection_to_json

if TYPE_CHECKING:
    from ckptd.index.marks import Mark


def record_to_json(record: Record, *, whole: bool = False) -> dict[str, Any]:
    """Turn a record into JSON: the place first, then the contract's keys of its inspection.

    Args:
        record: what the index knows.
        whole: with the tensors one by one and the layers; a list leaves them out.
    """
    inspection = record.inspection
    value: dict[str, Any] = {
        "id": record.id,
        "root": record.root,
        "path": record.path,
        "state": record.state.value,
        "status": None,
        "container": None,
        "kind": None,
        "sha256": record.sha256,
        "size_bytes": record.identity.size_bytes,
        "modified_at": record.identity.mtime_ns / 1e9,
        "first_seen_at": record.first_seen_at,
        "inspected_at": record.inspected_at,
        "copies": list(record.copies),
        "tensors": None,
        "metadata": None,
        "findings": [],
    }
    if inspection is not None:
        value |= _content(inspection, whole=whole)
    return value


def marks_to_json(marks: Sequence[Mark]) -> dict[str, Any]:
    """Turn what people said about a checkpoint into JSON."""
    names = {kind: sorted({mark.name for mark in marks if mark.kind == kind}) for kind in ("tag", "alias")}
    return {"pinned": any(mark.kind == "pin" for mark in marks), "tags": names["tag"], "aliases": names["alias"]}


def _content(inspection: Inspection, *, whole: bool) -> dict[str, Any]:
    value = inspection_to_json(inspection)
    names = ["status", "container", "kind", "tensors", "metadata", "findings", *(["layers"] if whole else [])]
    if not whole:
        del value["tensors"]["records"]
    return {name: value[name] for name in names}


def show_records(records: Sequence[Record], *, metric: str | None = None) -> None:
    """Print records as a table; with `metric`, its value has a column of its own.

    Args:
        records: what to show, in this order.
        metric: canonical name of the metric the caller asked about.
    """
    several = len({record.root for record in records}) > 1
    columns = [
        Column("ID", number=True),
        Column("PATH"),
        Column("STATUS"),
        Column("KIND"),
        Column("MODEL"),
        Column("DATASET"),
        Column("METRICS") if metric is None else Column(metric.upper(), number=True),
        Column("EPOCH", number=True),
        Column("SIZE", number=True),
        Column("MODIFIED"),
    ]
    show_table(columns, [_row(record, metric, several=several) for record in records])


def _row(record: Record, metric: str | None, *, several: bool) -> list[str]:
    inspection = record.inspection
    metadata = None if inspection is None else inspection.metadata
    metrics: Mapping[str, float] = {} if metadata is None else metadata.metrics
    status = record.state.value if inspection is None or record.state in GONE_STATES else inspection.status.value
    return [
        str(record.id),
        f"{record.root.rstrip('/')}/{record.path}" if several else record.path,
        status,
        "-" if inspection is None or inspection.kind is None else inspection.kind.value,
        (metadata and metadata.model_name) or "-",
        (metadata and metadata.dataset) or "-",
        format_metrics(metrics, 2) if metric is None else _metric(metrics, metric),
        "-" if metadata is None or metadata.epoch is None else str(metadata.epoch),
        format_size(record.identity.size_bytes),
        format_time(record.identity.mtime_ns / 1e9),
    ]


def _metric(metrics: Mapping[str, float], name: str) -> str:
    return format_number(metrics[name]) if name in metrics else "-"
