"""Inspections in confined processes: what a worker of the pool runs, and the one of a single `ckptd inspect`.

All that an inspection will ever import has to be imported before a process locks itself up; `prepare` does that.
"""

from __future__ import annotations

import codecs
import dataclasses
import os
import sys

from ckptd import wire
from ckptd.checkpoint.budgets import BUDGETS
from ckptd.checkpoint.inspection import inspect_fd
from ckptd.model import Inspection, Json
from ckptd.sandbox.command import worker_command
from ckptd.sandbox.confine import Layers
from ckptd.sandbox.limits import Limits
from ckptd.sandbox.once import run_confined
from ckptd.sandbox.serve import Progress, run

#: Codecs are imported on first use.
_CODECS = ("ascii", "latin-1", "utf-8")


def prepare(size_bytes: int | None = None) -> None:
    """Import what an inspection imports late.

    Args:
        size_bytes: of the one file there will be.  A small one is judged in plain Python (see `health`) sooner than numpy
            is imported; None for whatever comes.
    """
    if size_bytes is None or size_bytes > BUDGETS.whole_bytes:
        # One inspection is one thread and one digest; what BLAS would start beside them is somebody else's core.
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
        import numpy  # noqa: F401 — read before the walls stand

    for name in _CODECS:
        codecs.lookup(name)


def command() -> tuple[str, ...]:
    """Build the command line of an inspection worker, for `Pool`."""
    return worker_command("ckptd.checkpoint.worker")


def request(path: str) -> dict[str, Json]:
    """Build the request for the descriptor of the file that is called `path`."""
    return {"path": path}


def read_answer(answer: dict[str, Json]) -> Inspection:
    """Check an answer, for `Pool(read=…)`; WorkerError when it is not what a worker would say."""
    return wire.inspection_from_json(answer)


def with_layers(inspection: Inspection, layers: Layers) -> Inspection:
    """Add the finding about weaker confinement, if there is one."""
    findings = layers.findings()
    return dataclasses.replace(inspection, findings=inspection.findings + findings) if findings else inspection


def inspect_confined(fd: int, path: str, limits: Limits) -> Inspection:
    """Inspect an open file in a confined child of this process, which must have one thread.

    Raises:
        WorkerError: no answer, or none that can be believed.
    """
    size = os.fstat(fd).st_size
    prepare(size)
    answer, layers = run_confined(_inspect, fd, path, limits=limits, keep_fds={fd}, size_bytes=size)
    return with_layers(read_answer(answer), layers)


def _inspect(fd: int, path: str, progress: Progress) -> dict[str, Json]:
    return wire.inspection_to_json(inspect_fd(fd, path, progress=progress))


def _handle(fd: int, message: dict[str, Json], progress: Progress) -> dict[str, Json]:
    return _inspect(fd, str(message["path"]), progress)


def main(arguments: list[str]) -> None:
    """Be a worker."""
    sys.setrecursionlimit(1000)
    prepare()
    run(arguments, _handle)
