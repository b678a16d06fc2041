"""Make smaller checkpoints in this process, for tests: with the walls of real life see test_confined.py."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ckptd.sandbox.confine import Layers
from ckptd.slim.slimming import Slimmed, slim_checkpoint


def call(function, *arguments, limits, keep_fds, size_bytes=0):
    """Call a function as a confined process would, without a process; its answer goes through JSON."""
    assert keep_fds
    return json.loads(json.dumps(function(*arguments, progress=lambda _: None))), Layers()


@contextmanager
def opened(source: Path, target: Path) -> Iterator[tuple[int, int]]:
    """Open a checkpoint, and an empty file for the smaller one."""
    source_fd = os.open(source, os.O_RDONLY)
    target_fd = os.open(target, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        yield source_fd, target_fd
    finally:
        os.close(source_fd)
        os.close(target_fd)


def slim(source: Path, target: Path, **options) -> Slimmed:
    """Make a smaller checkpoint."""
    with opened(source, target) as (source_fd, target_fd):
        return slim_checkpoint(source_fd, target_fd, **{"confined": call, **options})
