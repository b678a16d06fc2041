"""The files that are measured: real torch.save output of known sizes."""

from __future__ import annotations

import shutil
from pathlib import Path


def make_large(path: Path, size_bytes: int = 500_000_000) -> Path:
    """Save one checkpoint of about `size_bytes`, in tensors of 16 MB, as a model of that size has."""
    import torch

    torch.manual_seed(0)
    each = 16_000_000 // 4
    state = {f"layers.{n}.weight": torch.randn(2000, each // 2000) for n in range(size_bytes // 16_000_000)}
    torch.save(state, path)
    return path


def make_series(directory: Path, count: int, size_bytes: int) -> Path:
    """Save `count` checkpoints of `size_bytes` each: ten tensors, an epoch and metrics."""
    import torch

    directory.mkdir(parents=True, exist_ok=True)
    each = max(1, (size_bytes - 6_000) // 4 // 10)
    values = torch.randn(10, each)
    for number in range(count):
        values[0, 0] = number  # every file has a content of its own
        state = {f"block{n}.weight": values[n].clone() for n in range(10)}
        target = directory / f"net{number % 20}_epoch_{number}.pth"
        torch.save({"state_dict": state, "epoch": number, "metrics": {"accuracy": 0.5}}, target)
    return directory


def make_tree(directory: Path, count: int) -> Path:
    """Lay out `count` tiny files of one content in folders of 500; their contents do not matter, only their number."""
    for folder in range(count // 500):
        place = directory / f"run{folder:04d}"
        place.mkdir(parents=True)
        for number in range(500):
            (place / f"m_epoch_{number}.pth").write_bytes(b"")
    return directory


def move_in(source: Path, target: Path) -> None:
    """Rename a directory full of files into a watched root, on one file system, in one step."""
    shutil.move(source, target)
