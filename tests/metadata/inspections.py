"""Inspections to write sidecars of."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from ckptd.model import (
    Container,
    Finding,
    Inspection,
    Kind,
    Layer,
    Metadata,
    Severity,
    Source,
    Status,
    TensorRecord,
    TensorTotals,
)

NOW = 1_760_000_000.0

METADATA = Metadata(
    model_name="BiLSTM_Attention",
    architecture="LSTM",
    dataset="ECG",
    metrics={"accuracy": 0.87, "val_loss": 0.41},
    epoch=12,
    step=4800,
    date="2025-01-02",
    hyperparameters={"lr": 0.001, "layers": [64, 32], "optimizer": {"name": "adam", "betas": [0.9, 0.999]}},
    stage="final",
    spellings={"accuracy": "acc"},
    other={"fold": 3},
    sources={"model_name": Source("name", 0.9), "metrics.accuracy": Source("content:metrics.acc", 1.0)},
)

INSPECTION = Inspection(
    path="/models/a.pth",
    status=Status.OK,
    container=Container.ZIP,
    kind=Kind.CHECKPOINT,
    sha256="a" * 64,
    size_bytes=100_000,
    tensors=TensorTotals(
        count=2,
        parameters=1000,
        bytes=4000,
        dtypes={"float32": 1000},
        optimizer_bytes=0,
        records=(
            TensorRecord("lstm.weight_ih_l0", "float32", (80, 10), 3200, "0", -1.0, 1.0, 3.0, nan=2),
            TensorRecord("fc.weight", "float32", (2, 20), 160, "1", -1.0, 1.0, 3.0),
        ),
    ),
    metadata=METADATA,
    findings=(Finding("non-finite", Severity.WARNING, "lstm.weight_ih_l0 holds 2 NaN", ("lstm.weight_ih_l0",)),),
    layers=(
        Layer("lstm", "lstm", 960, 3840, {"input_size": 10, "hidden_size": 20}),
        Layer("fc", "linear", 40, 160, {"in_features": 20, "out_features": 2}),
    ),
)


def inspection(sha256: str = "a" * 64, **metadata: Any) -> Inspection:
    """Give an inspection of another content, with other metadata."""
    return replace(INSPECTION, sha256=sha256, metadata=replace(METADATA, **metadata))


@contextmanager
def opened(directory: Path) -> Iterator[int]:
    """Hold a directory open."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield fd
    finally:
        os.close(fd)
