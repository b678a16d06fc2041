"""The proof of an export, put together from what the steps answered; nothing of it is believed beyond its bounds.

The exporter ran the model's code and may say what it likes: its words are cut, escaped and kept as words.  The numbers that
decide come from the checker, which ran nothing foreign.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ckptd.errors import WorkerError
from ckptd.model import Finding, Identity, Json, Severity
from ckptd.proof import InputSpec, Verdict
from ckptd.sandbox.confine import Layers
from ckptd.text import escape

#: Bounds of what a worker's words may take in a proof.
_MOST_TEXT = 500
_MOST_ITEMS = 64
_DEPTH = 5
_MOST_INT = 1 << 63

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")
_MOST_SPECS = 16
_MOST_RANK = 8


class Seen(NamedTuple):
    """A file of an export as the checker saw it."""

    sha256: str
    size_bytes: int
    identity: Identity


class Compared(NamedTuple):
    """What the checker says of an export: the one answer that decides."""

    verdict: Verdict
    reason: str
    numbers: dict[str, Json]
    files: dict[str, Seen]


def bounded(value: object, depth: int = _DEPTH) -> Json:
    """Give a worker's words as plain JSON that is short, shallow and escaped; what does not fit is cut."""
    if value is None or type(value) is bool:
        return value
    if type(value) is int:
        return value if abs(value) < _MOST_INT else None
    if type(value) is float:
        return value if value - value == 0.0 else None
    if type(value) is str:
        return escape(value, _MOST_TEXT)
    if depth == 0:
        return None
    if type(value) is list:
        return [bounded(item, depth - 1) for item in value[:_MOST_ITEMS]]
    if type(value) is dict:
        return {escape(str(key), 64): bounded(item, depth - 1) for key, item in list(value.items())[:_MOST_ITEMS]}
    return None


def read_specs(value: object) -> tuple[InputSpec, ...]:
    """Check the inputs that an exporter says it used; they go into the next step's request and into the sidecar.

    Raises:
        WorkerError: they are nothing that a module takes.
    """
    if type(value) is not list or not 0 < len(value) <= _MOST_SPECS:
        raise _refused("inputs")
    return tuple([_read_spec(item) for item in value])


def read_sizes(value: object) -> dict[str, int]:
    """Check the example sizes of dynamic dimensions: name → size."""
    if type(value) is not dict or len(value) > _MOST_SPECS * _MOST_RANK:
        raise _refused("sizes")
    sizes: dict[str, int] = {}
    for name, size in value.items():
        if not _NAME.fullmatch(name) or type(size) is not int or not 0 < size <= 1 << 20:
            raise _refused("sizes")
        sizes[name] = size
    return sizes


def read_compared(answer: Mapping[str, Any], names: Sequence[str]) -> Compared:
    """Read the checker's answer about the files `names`.

    Raises:
        WorkerError: it is not one.
    """
    files = {}
    for name in names:
        try:
            seen = answer["files"][name]
            identity = Identity(*[_integer(number) for number in seen["identity"]])
            files[name] = Seen(_digest(seen["sha256"]), _integer(seen["size_bytes"]), identity)
        except (KeyError, TypeError, ValueError) as error:
            raise _refused("files") from error
    try:
        verdict = Verdict(answer["verdict"])
        reason = escape(str(answer.get("reason") or ""), 1_000)
    except (KeyError, ValueError) as error:
        raise _refused("verdict") from error
    numbers = {key: bounded(value) for key, value in answer.items() if key not in {"files", "verdict", "reason"}}
    return Compared(verdict, reason, numbers, files)


def sandbox_proof(layers: Layers) -> dict[str, Json]:
    """Say which walls stood around the model's code."""
    return layers.to_json()


def finding_json(code: str, message: str, severity: Severity = Severity.INFO) -> dict[str, Json]:
    """Give a finding as proofs hold it."""
    finding = Finding(code, severity, message)
    return {"code": finding.code, "severity": finding.severity.value, "message": finding.message}


def _read_spec(item: object) -> InputSpec:
    if type(item) is not dict:
        raise _refused("inputs")
    name, shape, dtype, high = (item.get(key) for key in ("name", "shape", "dtype", "high"))
    if type(name) is not str or not _NAME.fullmatch(name) or type(dtype) is not str or not _NAME.fullmatch(dtype):
        raise _refused("inputs")
    if type(shape) is not list or len(shape) > _MOST_RANK or not all(_is_size(size) for size in shape):
        raise _refused("inputs")
    if high is not None and (type(high) is not int or not 0 < high < 1 << 31):
        raise _refused("inputs")
    return InputSpec(name, tuple(shape), dtype, high)


def _is_size(size: object) -> bool:
    return (type(size) is int and 0 <= size < 1 << 31) or (type(size) is str and _NAME.fullmatch(size) is not None)


def _integer(value: object) -> int:
    if type(value) is not int or not -_MOST_INT <= value < 1 << 64:
        raise ValueError("no integer")
    return value


def _digest(value: object) -> str:
    if type(value) is not str or not re.fullmatch(r"[0-9a-f]{64}", value):
        raise ValueError("no digest")
    return value


def _refused(what: str) -> WorkerError:
    return WorkerError("a worker's answer was refused", why=f"its {what} are not what was agreed")
