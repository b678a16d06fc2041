"""The short form of `make soak`: two minutes of everything that happens to a shared server."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.soak import run

SECONDS = float(os.environ.get("CKPTD_SOAK_SECONDS", "120"))


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: the root is a file system of its own, which is filled")
def test_nothing_is_lost_torn_or_leaked(tmp_path: Path) -> None:
    """Arrivals, renames, deletions, hostile files, jobs, kills, a full disk, a clock that jumps, an overflow: then a count."""
    wrong = [f"{line.what}: {line.value}" for line in run.soak(tmp_path, SECONDS, seed=1) if not line.is_right]
    assert not wrong
