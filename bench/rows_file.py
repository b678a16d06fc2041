"""Rows about one file: everything in one read, cold start, memory, loading."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

from bench.files import make_large, make_series
from bench.timing import Row, run, time_pairs

_CHUNK = 1 << 20


def sha256_alone(path: Path) -> str:
    """Hash a file as the fastest plain Python does: one buffer, one megabyte at a time."""
    digest = hashlib.sha256()
    buffer = memoryview(bytearray(_CHUNK))
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            digest.update(buffer[:count])
    return digest.hexdigest()


def torch_by_hand(path: Path) -> None:
    """Do what a careful user does: torch.load, isfinite of every tensor, sha256."""
    import torch

    state = torch.load(path, weights_only=True)
    assert all(torch.isfinite(tensor).all() for tensor in state.values())
    sha256_alone(path)


def measure_large_file(place: Path, quick: bool) -> list[Row]:
    """One file of 500 MB: digest, CRC, health and structure."""
    import ckptd

    path = make_large(place / "large.pth", 50_000_000 if quick else 500_000_000)
    assert ckptd.inspect(path).status == "ok"
    mine, alone, ratio = time_pairs(lambda: ckptd.inspect(path), lambda: sha256_alone(path))
    _, coreutils, against = time_pairs(lambda: ckptd.inspect(path), lambda: run(["sha256sum", str(path)]), 3)
    _, by_hand, torch_ratio = time_pairs(lambda: ckptd.inspect(path), lambda: torch_by_hand(path), 3)
    work = f"one file, everything, {path.stat().st_size / 1e6:.0f} MB"
    return [
        Row(work, f"{mine:.3f} s", f"SHA-256 alone {alone:.3f} s", f"{ratio:.2f}", "≤ 1.1", ratio <= 1.1),
        Row(work, f"{mine:.3f} s", f"sha256sum {coreutils:.2f} s", f"{against:.2f}", "", None),
        Row(work, f"{mine:.3f} s", f"torch.load + isfinite + sha256 {by_hand:.2f} s", f"{torch_ratio:.2f}", "", None),
    ]


def measure_memory(place: Path, quick: bool) -> list[Row]:
    """Peak memory of an inspection, which must not grow with the file."""
    # Not getrusage: its peak is inherited from whoever forked the process, and that one has imported torch.
    script = (
        "import sys, ckptd; ckptd.inspect(sys.argv[1]); print(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])"
    )
    peaks = []
    for size in (5_000_000, 50_000_000 if quick else 500_000_000):
        path = make_large(place / f"m{size}.pth", max(size, 16_000_000))
        done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout) / 1024)
    work = "peak memory of an inspection, 16 MB against 500 MB"
    return [
        Row(
            work,
            f"{peaks[1]:.0f} MiB",
            f"{peaks[0]:.0f} MiB",
            f"{peaks[1] / peaks[0]:.2f}",
            "≤ 1.1",
            peaks[1] / peaks[0] <= 1.1,
        )
    ]


def measure_cold_inspect(place: Path, _quick: bool) -> list[Row]:
    """`ckptd inspect small.pth` from nothing, as a whole process."""
    path = next(make_series(place / "small", 1, 100_000).glob("*.pth"))
    command = [str(Path(sys.executable).with_name("ckptd")), "inspect", str(path)]
    mine, peer, ratio = time_pairs(lambda: run(command), lambda: run([sys.executable, "-c", "import torch"]), 9)
    rows = [
        Row(
            "cold `ckptd inspect small.pth`",
            f"{mine:.3f} s",
            f"import torch {peer:.2f} s",
            f"{ratio:.2f}",
            "≤ 0.15 s",
            mine <= 0.15,
        )
    ]
    scanner = Path(sys.executable).with_name("picklescan")
    if scanner.exists():
        _, peer, ratio = time_pairs(lambda: run(command), lambda: run([str(scanner), "-p", str(path)]), 9)
        rows.append(
            Row("cold `ckptd inspect small.pth`", f"{mine:.3f} s", f"picklescan {peer:.3f} s", f"{ratio:.2f}", "", None)
        )
    return rows


def measure_load(place: Path, quick: bool) -> list[Row]:
    """`ckptd.load` against torch.load on the same file."""
    import torch

    import ckptd

    path = make_large(place / "load.pth", 50_000_000 if quick else 200_000_000)
    mine, peer, ratio = time_pairs(lambda: ckptd.load(path), lambda: torch.load(path, weights_only=True))
    return [Row("`ckptd.load`, CRC checked", f"{mine:.3f} s", f"torch.load {peer:.3f} s", f"{ratio:.2f}", "", None)]
