"""Inspect bytes without a file on disk, and judge the answer."""

from __future__ import annotations

import os

from ckptd import wire
from ckptd.checkpoint.inspection import inspect_fd
from ckptd.model import Inspection, Status


def inspect_bytes(data: bytes, name: str = "fuzz.pth") -> Inspection:
    """Inspect `data` as if it were a file of that name."""
    fd = os.memfd_create("ckptd-fuzz", os.MFD_CLOEXEC)
    try:
        os.write(fd, data)
        return inspect_fd(fd, name)
    finally:
        os.close(fd)


def complaint(data: bytes) -> tuple[str | None, Inspection | None]:
    """Say what is wrong with the engine's answer to `data`, None when nothing is, and give the answer."""
    try:
        found = inspect_bytes(data)
    except Exception as error:  # an escaping exception of any kind is the finding
        return f"raised {type(error).__name__}: {error}", None
    if found.status is Status.FAILED:
        return f"failed: {[finding.message for finding in found.findings]}", found
    if found.status is not Status.OK and not any(finding.severity != "info" for finding in found.findings):
        return f"{found.status} without a reason", found
    try:
        back = wire.inspection_from_json(wire.inspection_to_json(found))
    except Exception as error:
        return f"its answer does not pass the wire: {error}", found
    if back != found:
        return "its answer is another one behind the wire", found
    return None, found
