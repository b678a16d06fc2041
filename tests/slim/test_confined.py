"""The real thing: a process with one thread, walls around both readers, kill -9 in the middle, a limit on file sizes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.corpus import objects, savers

_SCRIPT = """
import json, os, resource, signal, sys
from ckptd.sandbox.limits import Limits
from ckptd.slim.slimming import slim_checkpoint
from ckptd.slim.refusal import SlimError
source = os.open(sys.argv[1], os.O_RDONLY)
target = os.open(sys.argv[2], os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
options = json.loads(sys.argv[3])
if "file_bytes" in options:
    resource.setrlimit(resource.RLIMIT_FSIZE, (options["file_bytes"],) * 2)
def progress(done):
    if done >= options.get("kill_at", 1 << 60):
        os.kill(os.getpid(), signal.SIGKILL)
try:
    found = slim_checkpoint(source, target, limits=Limits(required=options.get("required", False)), progress=progress)
    print(json.dumps({**found._asdict(), "findings": [f.message for f in found.findings]}))
except SlimError as error:
    print(json.dumps({"error": type(error).__name__, "why": str(error)}))
assert "torch" not in sys.modules and "numpy" not in sys.modules
"""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    """A checkpoint of a few megabytes."""
    import torch

    model, optimizer = objects.trained("Adam")
    path = tmp_path_factory.mktemp("confined") / "a.pth"
    value = {"model": model.state_dict() | {"large": torch.randn(700_000)}, "optimizer": optimizer.state_dict()}
    savers.save_zip(value, path)
    return path


def run(checkpoint: Path, target: Path, **options) -> tuple[int, dict[str, object]]:
    """Make a smaller one in a process of its own."""
    command = [sys.executable, "-c", _SCRIPT, str(checkpoint), str(target), json.dumps(options)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=Path(__file__).parents[2])
    assert "Error" not in done.stderr, done.stderr
    return done.returncode, json.loads(done.stdout) if done.stdout else {}


def test_with_all_walls(checkpoint, tmp_path):
    """Both readers are confined, neither has torch or numpy, and the outcome is what it is without walls."""
    from tests.slim.slimmed import slim

    status, found = run(checkpoint, tmp_path / "b.pth", required=True)
    assert status == 0
    assert found["findings"] == []
    assert (tmp_path / "b.pth").stat().st_size == found["size_bytes"]
    assert found["sha256"] == slim(checkpoint, tmp_path / "c.pth").sha256


def test_killed_in_the_middle(checkpoint, tmp_path):
    """What is left is the start of the smaller file, and the larger one as it was."""
    before = checkpoint.read_bytes()
    status, _ = run(checkpoint, tmp_path / "b.pth", kill_at=1 << 20)
    assert status == -9
    assert 0 < (tmp_path / "b.pth").stat().st_size < len(before)
    assert checkpoint.read_bytes() == before
    assert [path.name for path in checkpoint.parent.iterdir()] == ["a.pth"]
    assert [path.name for path in tmp_path.iterdir()] == ["b.pth"]


def test_a_limit_on_file_sizes(checkpoint, tmp_path):
    """`ulimit -f` is an error of the disk, and no signal."""
    status, found = run(checkpoint, tmp_path / "b.pth", file_bytes=1_500_000)
    assert (status, found["error"]) == (0, "SlimInterruptedError")
    assert "File too large" in str(found["why"])
    assert (tmp_path / "b.pth").stat().st_size == 0
