"""Weights targets on real files: save, export, check, each in this process; tests of the sandbox are elsewhere."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from ckptd.export.checking import check_file
from ckptd.export.targets.bfloat16 import BFloat16Target
from ckptd.export.targets.float16 import Float16Target
from ckptd.export.targets.int8 import Int8Target
from ckptd.export.targets.safetensors import SafetensorsTarget
from ckptd.export.weights import Weights, read_weights

TARGETS = (SafetensorsTarget(), Float16Target(), BFloat16Target(), Int8Target())
LOSSY = TARGETS[1:]


@contextmanager
def opened(path: Path) -> Iterator[Weights]:
    """Read the weights of a file as a worker does."""
    fd = os.open(path, os.O_RDONLY)
    try:
        yield read_weights(fd)
    finally:
        os.close(fd)


def export(path: Path, target: Any) -> tuple[Path, Mapping[str, Any]]:
    """Write an export beside a checkpoint; give its place and its notes."""
    made = path.with_suffix(target.ending)
    fd = os.open(made, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with opened(path) as weights:
            return made, target.write(weights, fd, {})
    finally:
        os.close(fd)


def check(path: Path, made: Path, target: Any) -> dict[str, Any]:
    """Check an export against its checkpoint."""
    with opened(path) as weights:
        return check_file(weights, made, target)


def saved(value: Any, directory: Path) -> Path:
    """Save an object as torch does."""
    path = directory / "model.pth"
    torch.save(value, path)
    return path


def bits(tensor: torch.Tensor) -> bytes:
    """Give the bytes of a tensor in C order."""
    plain = tensor.detach().resolve_conj().resolve_neg().reshape(-1)
    return torch.cat([plain]).view(torch.uint8).numpy().tobytes() if plain.numel() else b""


def network() -> Any:
    """One of each layer that people quantize, two of them tied."""
    from torch import nn

    torch.manual_seed(0)
    layers = {
        "lstm": nn.LSTM(6, 8, num_layers=2, bidirectional=True),
        "gru": nn.GRU(5, 7),
        "embedding": nn.Embedding(20, 16),
        "conv1": nn.Conv1d(3, 4, 3),
        "conv2": nn.Conv2d(3, 4, 3),
        "conv3": nn.Conv3d(3, 4, 3),
        "norm": nn.BatchNorm2d(4),
        "head": nn.Linear(16, 20),
    }
    model = nn.ModuleDict(layers)
    model["head"].weight = model["embedding"].weight
    return model
