"""Killed at any moment, a writer leaves objects that nobody uses and nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize(("what", "least"), [("write", 30), ("remove", 3)])
def test_kill_before_every_change_of_the_disk(tmp_path: Path, what: str, least: int) -> None:
    """The archives that were there stay whole, the new one is whole or not there, and one collection clears the rest."""
    command = [sys.executable, "-m", "tests.archive.pack.killing", what, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert int(done.stdout) >= least
