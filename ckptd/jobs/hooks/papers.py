"""What the command of a hook gets on its standard input: what happened, and all that the index says of it, bounded."""

from __future__ import annotations

import json
from typing import Any

from ckptd.index.archived import load_archives
from ckptd.index.following import Event
from ckptd.index.store import Store
from ckptd.jobs.marking import find_marks
from ckptd.jobs.record_json import archive_to_json, marks_to_json, record_to_json
from ckptd.model import Record
from ckptd.wire_exports import export_to_json

#: Bytes that a command gets at most.
MOST_BYTES = 4 << 20
#: What is left out first where that would be more: (of what, key).
_LONG = (("tensors", "records"), (None, "layers"), (None, "copies"), ("metadata", "hyperparameters"), ("metadata", "other"))


def write_paper(store: Store, on: str, event: Event, record: Record | None) -> bytes:
    """Write the JSON for one run: ASCII, one line.

    Args:
        store: the index.
        on: what the hook is run on.
        event: the row of the audit.
        record: what lies at its place now; None where there is none.
    """
    value: dict[str, Any] = {
        "version": 1,
        "id": event.key,
        "event": on,
        "at": event.at,
        "host": store.host,
        "root": event.root,
        "path": event.path,
        "sha256": event.sha256,
        "why": dict(event.why),
        "left_out": [],
    }
    if record is not None:
        value["checkpoint"] = record_to_json(record, whole=True) | marks_to_json(find_marks(store, record))
    if on == "export.verified" and event.root is not None and event.path is not None:
        exports = [export_to_json(one) for one in store.load_exports(event.root, event.path)]
        value["export"] = next((one for one in exports if one["target"] == event.why.get("target")), None)
    if on == "archive.verified":
        value["archive"] = _find_archive(store, event)
    return _encode(value)


def _find_archive(store: Store, event: Event) -> dict[str, Any] | None:
    """Give the archive that a row is about, the latest of its digest and name."""
    for one in reversed(store.ask(load_archives)):
        if one.sha256 == event.sha256 and one.name == event.why.get("archive"):
            return archive_to_json(one)
    return None


def _encode(value: dict[str, Any]) -> bytes:
    """Write it, and leave out what is long until it is short enough."""
    data = json.dumps(value, allow_nan=False).encode("ascii")
    for above, key in _LONG:
        if len(data) <= MOST_BYTES:
            return data
        inner = value.get("checkpoint") or {}
        inner = inner if above is None else inner.get(above) or {}
        if inner.pop(key, None) is not None:
            value["left_out"].append(key if above is None else f"{above}.{key}")
        data = json.dumps(value, allow_nan=False).encode("ascii")
    if len(data) > MOST_BYTES:
        value |= {"checkpoint": None, "export": None, "left_out": ["checkpoint", "export"]}
        data = json.dumps(value, allow_nan=False).encode("ascii")
    return data
