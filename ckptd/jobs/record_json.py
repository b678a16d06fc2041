"""What the index knows as JSON, the same for `--json` and for the commands of hooks; docs/json.md has the keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ckptd.model import Inspection, Record
from ckptd.wire import inspection_to_json

if TYPE_CHECKING:
    from ckptd.index.archived import Archived
    from ckptd.index.marks import Mark


def record_to_json(record: Record, *, whole: bool = False) -> dict[str, Any]:
    """Turn a record into JSON: the place first, then the contract's keys of its inspection.

    Args:
        record: what the index knows.
        whole: with the tensors one by one and the layers; a list leaves them out.
    """
    inspection = record.inspection
    value: dict[str, Any] = {
        "id": record.id,
        "root": record.root,
        "path": record.path,
        "state": record.state.value,
        "status": None,
        "container": None,
        "kind": None,
        "sha256": record.sha256,
        "size_bytes": record.identity.size_bytes,
        "modified_at": record.identity.mtime_ns / 1e9,
        "first_seen_at": record.first_seen_at,
        "inspected_at": record.inspected_at,
        "copies": list(record.copies),
        "tensors": None,
        "metadata": None,
        "findings": [],
    }
    if inspection is not None:
        value |= _content(inspection, whole=whole)
    return value


def marks_to_json(marks: Sequence[Mark]) -> dict[str, Any]:
    """Turn what people said about a checkpoint into JSON."""
    names = {kind: sorted({mark.name for mark in marks if mark.kind == kind}) for kind in ("tag", "alias")}
    return {"pinned": any(mark.kind == "pin" for mark in marks), "tags": names["tag"], "aliases": names["alias"]}


def _content(inspection: Inspection, *, whole: bool) -> dict[str, Any]:
    value = inspection_to_json(inspection)
    names = ["status", "container", "kind", "tensors", "metadata", "findings", *(["layers"] if whole else [])]
    if not whole:
        del value["tensors"]["records"]
    return {name: value[name] for name in names}


def archive_to_json(one: Archived) -> dict[str, Any]:
    """Turn an archive into JSON; docs/json.md has the keys."""
    return {
        "name": one.name,
        "directory": one.directory,
        "format": one.format,
        "state": one.state,
        "files": one.members,
        "size_bytes": one.size_bytes,
        "sha256": one.sha256,
        "created_at": one.created_at,
        "verified_at": one.verified_at,
        "drilled_at": one.drilled_at,
    }
