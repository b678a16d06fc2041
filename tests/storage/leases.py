"""What the kernel says of leases."""

from __future__ import annotations

from pathlib import Path


def breaking(pid: int) -> bool:
    """Say whether the kernel has begun to break a lease of this process: somebody waits for a file that it holds."""
    return any(f" {pid} " in line and "BREAKING" in line for line in Path("/proc/locks").read_text().splitlines())
