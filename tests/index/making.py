"""Inspections, identities and a filled index for the tests of this room."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from ckptd.index.store import Store
from ckptd.model import (
    Container,
    Finding,
    Identity,
    Inspection,
    Kind,
    Layer,
    Metadata,
    Severity,
    Status,
    TensorRecord,
    TensorTotals,
)
from ckptd.proof import Export, Verdict

ROOT = "/srv/models"
NOW = 1_700_000_000.0
DAY = 86_400.0


def digest(text: str) -> str:
    """Make a digest out of a word."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def identity(number: int, **changes: int) -> Identity:
    """Make the identity of a file."""
    at = int(NOW * 1e9)
    return Identity(**({"dev": 5, "ino": number, "size_bytes": 1000 + number, "mtime_ns": at, "ctime_ns": at} | changes))


def inspection(content: str = "a", status: Status = Status.OK, *, tensors: int = 2, **metadata: Any) -> Inspection:
    """Make what one read of a file said, with something in each part."""
    records = tuple(TensorRecord(f"layer{n}.weight", "float32", (2, 3), 24, str(n), -1.0, 1.0, 2.0) for n in range(tensors))
    finding = Finding("crc-not-computed", Severity.INFO, "no CRC was computed", ("layer0.weight",))
    return Inspection(
        path=content + ".pth",
        status=status,
        container=Container.ZIP,
        kind=Kind.STATE_DICT,
        sha256=digest(content),
        size_bytes=1000,
        tensors=TensorTotals(tensors, 6 * tensors, 24 * tensors, {"float32": 6 * tensors}, 0, records),
        metadata=Metadata(**metadata),
        findings=(finding,),
        layers=(Layer("layer0", "linear", 6, 24, {"in_features": 3}),),
        identity=identity(1),
    )


def export(target: str = "onnx", source: str = "a", verdict: Verdict = Verdict.VERIFIED, **changes: Any) -> Export:
    """Make what became of an export, with something in each field."""
    value: dict[str, Any] = {
        "recipe_digest": digest("recipe"),
        "file": f"a.{target}",
        "sha256": digest(target),
        "size_bytes": 1_100,
        "identity": tuple(identity(100)),
        "reason": "" if verdict is Verdict.VERIFIED else f"it is {verdict}",
        "at": NOW,
        "proof": {"opset": 18, "outputs": [{"name": "output", "max_abs": 1e-7}]},
    }
    return Export(target, verdict, digest(source), digest("settings"), **{**value, **changes})


def rejected(status: Status = Status.UNREADABLE) -> Inspection:
    """Make what is said of a file that was not read to its end."""
    return Inspection("x.pth", status, findings=(Finding("unreadable", Severity.ERROR, "it cannot be opened"),))


def fill(store: Store, files: Mapping[str, Inspection], *, root: str = ROOT, now: float = NOW) -> None:
    """Record files, one inode each, in one transaction."""
    with store.batch() as batch:
        for number, (path, one) in enumerate(files.items(), 1):
            batch.record_ready(root, path, identity(number), one, now=now)


def find(
    store: Store, text: str | None = None, *, sort: str = "path", reverse: bool = False, limit: int | None = None
) -> list[str]:
    """Give the paths that fit a query."""
    from ckptd.checkpoint.metrics import canonical
    from ckptd.index.filters import parse_filter

    wanted = None if text is None else parse_filter(text, canonical=canonical, now=NOW)
    return [record.path for record in store.records(wanted, sort=sort, reverse=reverse, limit=limit)]
