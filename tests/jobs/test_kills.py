"""kill -9 at every step of apply, slim, archive, restore and purge: each checkpoint is in place, in the trash or archived.

Here a few steps of each; `make soak` kills at every single one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

#: Kills of each operation; 0 is one at every step.
MOST = int(os.environ.get("CKPTD_SOAK_STEPS", "3"))

_OPERATIONS = [
    ("apply", "tar.gz"),
    ("apply", "tar.zst"),
    ("apply", "pack"),
    ("trash", "tar.gz"),
    ("slim", "tar.gz"),
    ("purge", "tar.gz"),
    ("restore", "tar.gz"),
    ("restore", "pack"),
    ("untrash", "tar.gz"),
]


@pytest.mark.parametrize(("operation", "archive_format"), _OPERATIONS)
def test_no_kill_loses_a_checkpoint(tmp_path, operation, archive_format):
    """After the next run nothing is lost, nothing torn bears a checkpoint's name, and the work is done."""
    command = [sys.executable, "-m", "tests.jobs.killer", operation, tmp_path / "scratch"]
    command += ["--format", archive_format, "--most", str(MOST), "--seed", "7"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=3_600, env={**os.environ, "PYTHONHASHSEED": "0"})
    assert done.returncode == 0, done.stderr
    kills = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert [kill for kill in kills if kill["problems"]] == []
    assert sum(kill["killed"] for kill in kills) >= min(MOST or len(kills), len(kills)) - 1
    assert len(kills) >= min(MOST or 10, 5)
