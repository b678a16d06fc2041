"""An inspection as it lies in the index: the wire's JSON in two parts, read back with the same distrust.

The first part is what a listing shows; the second, the tensors one by one and the layers, can be a hundred times as long
and is read only where it is asked for.  Path and identity are the place's and are in neither.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import NamedTuple

from ckptd import wire
from ckptd.errors import WorkerError
from ckptd.model import Finding, Identity, Inspection, Severity, Status

_NO_DETAILS = "[[],[]]"
_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False, check_circular=False).encode


class Payload(NamedTuple):
    """The two parts, and the digest that tells them from any others."""

    key: str
    summary: str
    details: str


def payload_of(inspection: Inspection) -> Payload:
    """Write an inspection as JSON."""
    value = wire.inspection_to_json(inspection)
    value["path"], value["identity"] = "", None
    value["findings"] = value["findings"][: wire.MAX_FINDINGS]
    details = _NO_DETAILS
    if inspection.tensors.records or inspection.layers:
        details = _encode([value["tensors"]["records"], value["layers"]])
        value["tensors"]["records"], value["layers"] = [], []
    summary = _encode(value)
    return Payload(hashlib.blake2b(f"{summary}\n{details}".encode("ascii"), digest_size=16).hexdigest(), summary, details)


def inspection_of(summary: str, details: str | None, path: str, identity: Identity) -> Inspection:
    """Read an inspection back, for the place where the file lies.

    Args:
        summary: the first part.
        details: the second one; without it tensors and layers are left out.
        path: of the place.
        identity: of the place.

    Raises:
        WorkerError: whoever wrote to the index by hand wrote something else.
    """
    try:
        value = json.loads(summary)
        if details is not None:
            value["tensors"]["records"], value["layers"] = json.loads(details)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise WorkerError("what the index holds is no JSON of ours", why=str(error)) from error
    return replace(wire.inspection_from_json(value), path=path, identity=identity)


def damaged_inspection(path: str, identity: Identity) -> Inspection:
    """Stand in for an inspection that can't be read back; its row stays in every listing."""
    message = "what the index knew of it is damaged (`ckptd reindex` reads it again)"
    finding = Finding("record-damaged", Severity.ERROR, message)
    return Inspection(path, Status.FAILED, size_bytes=identity.size_bytes, findings=(finding,), identity=identity)
