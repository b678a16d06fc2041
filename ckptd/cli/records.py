"""Records of the index as rows of a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ckptd.cli.human import format_metrics, format_number, format_time
from ckptd.cli.table import Column, show_table
from ckptd.model import GONE_STATES, Record
from ckptd.text import format_size


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
