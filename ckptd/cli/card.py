"""An inspection as a card that a person reads: what it is, its metrics, its layers, what was found and what to do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import click

from ckptd.cli.cures import find_cure
from ckptd.cli.human import format_metrics, format_value, plural
from ckptd.cli.table import Column, render_plain
from ckptd.model import Finding, Inspection, Json, Layer, Metadata, Status, TensorTotals
from ckptd.text import escape, format_size

_LAYERS_SHOWN = 40
_HYPERPARAMETERS_SHOWN = 20
_TENSORS_SHOWN = 8
_LABEL_WIDTH = 14
_COLOURS = {Status.OK: "green", Status.NEEDS_CODE: "yellow", Status.NOT_A_CHECKPOINT: "yellow"}
_SEVERITY_COLOURS = {"error": "red", "warning": "yellow", "info": None}

_VERDICTS = {
    Status.OK: "whole and harmless",
    Status.UNSAFE: "unsafe: do not load it",
    Status.DAMAGED: "damaged",
    Status.NEEDS_CODE: "whole, but loading it runs code that came with it",
    Status.NOT_A_CHECKPOINT: "not a checkpoint",
    Status.UNREADABLE: "cannot be read",
    Status.FAILED: "the inspection did not come to an end",
}


def render_card(inspection: Inspection, extra: Iterable[tuple[str, str]] = ()) -> str:
    """Render the card; colours are for a terminal, `click.echo` takes them away elsewhere.

    Args:
        inspection: what was found out.
        extra: further lines (label, text) after the first ones, already escaped.
    """
    lines = [click.style(escape(inspection.path, 1_000), bold=True)]
    verdict = click.style(inspection.status.value, fg=_COLOURS.get(inspection.status, "red"), bold=True)
    lines.append(_line("status", f"{verdict}  ({_VERDICTS[inspection.status]})"))
    lines += [_line(label, text) for label, text in (*_what(inspection), *extra, *_about(inspection.metadata))]
    lines += _findings(inspection.findings)
    lines += _hyperparameters(inspection.metadata.hyperparameters)
    lines += _layers(inspection.layers)
    return "\n".join(lines)


def _line(label: str, text: str) -> str:
    return f"  {label:<{_LABEL_WIDTH}}{text}"


def _what(inspection: Inspection) -> Iterator[tuple[str, str]]:
    if inspection.kind is not None:
        yield "kind", f"{inspection.kind.value} in a {inspection.container.value} container"
    yield "size", f"{format_size(inspection.size_bytes)} ({inspection.size_bytes:,} bytes)"
    if inspection.sha256 is not None:
        yield "sha256", inspection.sha256
    if inspection.tensors.count:
        yield "tensors", _totals(inspection.tensors)


def _totals(tensors: TensorTotals) -> str:
    text = f"{plural(tensors.count, 'tensor')}, {plural(tensors.parameters, 'parameter')}, {format_size(tensors.bytes)}"
    if tensors.dtypes:
        text += ": " + ", ".join(f"{escape(dtype, 40)} {count:,}" for dtype, count in tensors.dtypes.items())
    if tensors.optimizer_bytes:
        text += f"; {format_size(tensors.optimizer_bytes)} of it are the optimizer's"
    return text


def _about(metadata: Metadata) -> Iterator[tuple[str, str]]:
    fields = {
        "model": metadata.model_name,
        "architecture": metadata.architecture,
        "dataset": metadata.dataset,
        "epoch": metadata.epoch,
        "step": metadata.step,
        "date": metadata.date,
        "stage": metadata.stage,
        "quantization": metadata.quantization,
    }
    for label, value in fields.items():
        if value is not None:
            source = metadata.sources.get("model_name" if label == "model" else label)
            origin = "" if source is None else click.style(f"  (from {escape(source.where, 100)})", dim=True)
            yield label, format_value(value, 200) + origin
    if metadata.metrics:
        yield "metrics", format_metrics(metadata.metrics, 12)
    for name, other in metadata.other.items():
        yield escape(name, 40), format_value(other)


def _findings(findings: Iterable[Finding]) -> Iterator[str]:
    for finding in sorted(findings, key=lambda finding: ("error", "warning", "info").index(finding.severity.value)):
        severity = finding.severity.value
        yield ""
        mark = click.style(severity, fg=_SEVERITY_COLOURS[severity], bold=True)
        yield f"  {mark} {escape(finding.code, 60)}: {escape(finding.message, 2_000)}"
        if finding.tensors:
            more = len(finding.tensors) - _TENSORS_SHOWN
            names = ", ".join(escape(name, 200) for name in finding.tensors[:_TENSORS_SHOWN])
            yield f"    tensors: {names}{f' and {more} more' if more > 0 else ''}"
        cure = find_cure(finding.code)
        if cure:
            yield f"    what to do: {cure}"


def _hyperparameters(hyperparameters: Mapping[str, Json]) -> Iterator[str]:
    if not hyperparameters:
        return
    yield ""
    yield click.style("  hyperparameters", bold=True)
    for name, value in list(hyperparameters.items())[:_HYPERPARAMETERS_SHOWN]:
        yield f"    {escape(str(name), 60)} = {format_value(value)}"
    if len(hyperparameters) > _HYPERPARAMETERS_SHOWN:
        yield f"    and {len(hyperparameters) - _HYPERPARAMETERS_SHOWN} more (--json has all)"


def _layers(layers: tuple[Layer, ...]) -> Iterator[str]:
    if not layers:
        return
    columns = [Column("LAYER"), Column("TYPE"), Column("PARAMETERS", number=True), Column("SIZE", number=True), Column("SHAPE")]
    rows = [
        [
            escape(layer.name, 80),
            escape(layer.type, 30),
            f"{layer.parameters:,}",
            format_size(layer.bytes),
            ", ".join(f"{escape(name, 40)} {format_value(value, 40)}" for name, value in layer.detail.items()),
        ]
        for layer in layers[:_LAYERS_SHOWN]
    ]
    yield ""
    yield from ("  " + line for line in render_plain(columns, rows).split("\n"))
    if len(layers) > _LAYERS_SHOWN:
        yield f"  and {len(layers) - _LAYERS_SHOWN} more layers (--json has all)"
