"""Inspect one path in a confined child; whatever goes wrong is the inspection's result, not an exception."""

from __future__ import annotations

import os

from ckptd.errors import WorkerError
from ckptd.model import Finding, Inspection, Severity, Status
from ckptd.sandbox.limits import Limits


def inspect_file(path: str, limits: Limits) -> Inspection:
    """Open `path` here, read it in a confined child, and say what it is."""
    from ckptd.checkpoint.inspection import open_checkpoint
    from ckptd.checkpoint.worker import inspect_confined

    opened = open_checkpoint(path)
    if isinstance(opened, Inspection):
        return opened
    try:
        return inspect_confined(opened, path, limits)
    except WorkerError as error:
        finding = Finding("inspection-failed", Severity.ERROR, str(error))
        return Inspection(path, Status.FAILED, size_bytes=os.fstat(opened).st_size, findings=(finding,))
    finally:
        os.close(opened)
