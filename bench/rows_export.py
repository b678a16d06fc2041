"""Rows about exports: weights targets at disk speed, and in little memory."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
from collections.abc import Callable
from pathlib import Path

from bench.files import make_large
from bench.timing import Row, run, time_call, time_pairs
from ckptd.sandbox.command import worker_command

#: Memory that a worker may take beyond what it has at its start.
_MOST_PEAK_MIB = 100


def write_weights(checkpoint: Path, made: Path, target: str) -> None:
    """Write an export, as a worker does whose zygote has imported everything."""
    from ckptd.export.targets import find_target
    from ckptd.export.weights import read_weights

    source, fd = os.open(checkpoint, os.O_RDONLY), os.open(made, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    try:
        find_target(target).write(read_weights(source), fd, {})
    finally:
        os.close(source)
        os.close(fd)


def check_weights(checkpoint: Path, made: Path, target: str) -> None:
    """Check an export: every byte of both files is read, compared, hashed and summed up."""
    from ckptd.export.checking import check_file
    from ckptd.export.targets import find_target
    from ckptd.export.weights import read_weights

    source = os.open(checkpoint, os.O_RDONLY)
    try:
        answer = check_file(read_weights(source), made, find_target(target))
    finally:
        os.close(source)
    assert answer["verdict"] == "verified", answer


def _time_rested(call: Callable[[], object]) -> float:
    os.sync()
    return time_call(call)


def measure_weights(place: Path, quick: bool) -> list[Row]:
    """Write and check one checkpoint of 500 MB in each weights format."""
    path = make_large(place / "large.pth", 50_000_000 if quick else 500_000_000)
    size = path.stat().st_size
    shown = f"{size / 1e6:.0f} MB"
    copy, made = place / "copy", place / "large.safetensors"
    # Each begins with a disk at rest: else it pays for what the one before it left in memory.
    pairs = [
        (
            _time_rested(lambda: write_weights(path, made, "safetensors")),
            _time_rested(lambda: run(["cp", str(path), str(copy)])),
        )
        for _ in range(6)
    ][1:]
    mine, peer = (statistics.median(times) for times in zip(*pairs, strict=True))
    ratio = statistics.median(one / other for one, other in pairs)
    rows = [Row(f"safetensors of {shown}, written", f"{mine:.3f} s", f"cp {peer:.3f} s", f"{ratio:.2f}", "≤ 1.3", ratio <= 1.3)]
    os.sync()  # else the first check pays for everybody's bytes
    for target in ("safetensors", "float16", "bfloat16", "int8"):
        made = place / target
        written = min(time_call(lambda: write_weights(path, made, target)) for _ in range(3))  # noqa: B023 — called at once
        os.sync()
        checked, peer, ratio = time_pairs(lambda: check_weights(path, made, target), lambda: run(["sha256sum", str(path)]), 3)  # noqa: B023 — called at once
        work = f"{target} of {shown}, {1 - made.stat().st_size / size:.0%} smaller"
        rows.append(Row(f"{work}, written", f"{written:.3f} s", "", f"{size / written / 1e9:.2f} GB/s", "", None))
        rows.append(
            Row(f"{work}, checked", f"{checked:.3f} s", f"sha256sum of the checkpoint {peer:.3f} s", f"{ratio:.2f}", "", None)
        )
    return rows + _measure_peaks(place, path, shown)


def _measure_peaks(place: Path, path: Path, shown: str) -> list[Row]:
    """Peak memory of a worker, for a checkpoint of many tensors and for one that is a single tensor, turned round."""
    import torch

    side = int((path.stat().st_size / 4) ** 0.5)
    torch.save({"w": torch.randn(side, side).t()}, place / "turned.pth")
    rows = []
    for checkpoint, name in ((path, shown), (place / "turned.pth", f"{shown} in one transposed tensor")):
        done = subprocess.run(
            [*worker_command("bench.peak", needs=("isal", "numpy", "safetensors")), str(checkpoint), str(place)],
            capture_output=True,
            text=True,
            check=True,
        )
        for target, (start, peak) in json.loads(done.stdout).items():
            grown = peak - start
            work = f"peak memory of {target}, {name}, above its start"
            rows.append(
                Row(work, f"{grown:.0f} MiB", f"start {start:.0f} MiB", "", f"< {_MOST_PEAK_MIB} MiB", grown < _MOST_PEAK_MIB)
            )
    return rows
