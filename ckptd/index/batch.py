"""One transaction: entries are collected and written in a few statements, each for all of them."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, Table, delete, insert, update
from sqlalchemy.dialects import postgresql, sqlite

from ckptd.index.payload import payload_of
from ckptd.index.tables import audit, contents, metrics, outputs, places, roots
from ckptd.model import Identity, Inspection, PlaceState, Status

Row = dict[str, Any]

_READY = frozenset((Status.OK, Status.NEEDS_CODE))


class Batch:
    """Collect what is to be written; `flush` writes it.  Made by `Store.batch`.

    Args:
        connection: inside of a transaction.
        host, run: for every row.
        first_seen: (root, path) → when, of places the journal remembers.
    """

    def __init__(self, connection: Connection, host: str, run: str, first_seen: Mapping[tuple[str, str], float]) -> None:
        self._connection = connection
        self._host = host
        self._run = run
        self._first_seen = first_seen
        self._contents: dict[str, Row] = {}
        self._metrics: dict[str, list[Row]] = {}
        self._places: dict[tuple[bytes, bytes], Row] = {}
        self._outputs: dict[tuple[bytes, bytes], Row] = {}
        self._audit: list[Row] = []

    def record_ready(self, root: str, path: str, identity: Identity, inspection: Inspection, *, now: float) -> None:
        """Write down what one read of a file said; good or bad, it is a row."""
        key = inspection.sha256 or _key_of(self._host, root, path)
        state = PlaceState.READY if inspection.status in _READY else PlaceState.REJECTED
        self._contents[key] = _content_row(key, inspection, now)
        values = inspection.metadata.metrics.items()
        self._metrics[key] = [{"content": key, "name": name[:200], "value": float(value)} for name, value in values]
        self._place(root, path, state, key, identity, now)
        self.audit("checkpoint." + state.value, root, path, inspection.sha256, now=now, why={"status": inspection.status.value})

    def record_missing(self, root: str, path: str, *, now: float) -> None:
        """Write down that a file is gone; all that is known of it stays."""
        self.flush()
        where = (places.c.host == self._host, places.c.root == os.fsencode(root), places.c.path == os.fsencode(path))
        self._connection.execute(update(places).where(*where).values(state=PlaceState.MISSING.value, state_since=now))
        self.audit("checkpoint.missing", root, path, None, now=now, why={})

    def record_moved(self, root: str, source: str, target: str, identity: Identity, *, now: float) -> None:
        """Write down that a known file lies elsewhere in its root now; its number and its first-seen time go with it."""
        self.flush()
        host, where = places.c.host == self._host, places.c.root == os.fsencode(root)
        self._connection.execute(delete(places).where(host, where, places.c.path == os.fsencode(target)))
        values = {"path": os.fsencode(target), "state_since": now, "ctime_ns": identity.ctime_ns}
        self._connection.execute(update(places).where(host, where, places.c.path == os.fsencode(source)).values(**values))
        self.audit("checkpoint.moved", root, target, None, now=now, why={"from": source})

    def record_output(self, root: str, path: str, sha256: str, what: str, *, now: float) -> None:
        """Write down that we wrote a file ourselves, so that it is never taken for a newcomer."""
        place = (os.fsencode(root), os.fsencode(path))
        row = {"host": self._host, "root": place[0], "path": place[1], "sha256": sha256, "what": what, "written_at": now}
        self._outputs[place] = row
        self.audit(f"{what}.written", root, path, sha256, now=now, why={})

    def save_root(self, root: str, root_id: str | None) -> None:
        """Remember the id of a root."""
        row = {"host": self._host, "root": os.fsencode(root), "root_id": root_id}
        self._upsert(roots, [row], ("host", "root"))

    def audit(self, what: str, root: str | None, path: str | None, sha256: str | None, *, now: float, why: Row) -> None:
        """Add a line to the audit."""
        self._audit.append(
            {
                "at": now,
                "what": what,
                "root": None if root is None else os.fsencode(root),
                "path": None if path is None else os.fsencode(path),
                "sha256": sha256,
                "job": "ingest",
                "run": self._run,
                "why": json.dumps(why),
            }
        )

    def flush(self) -> None:
        """Write what was collected, in the order in which rows refer to each other."""
        if self._contents:
            self._upsert(contents, list(self._contents.values()), ("key",))
            keys = [{"key": key} for key in self._contents]
            self._connection.exec_driver_sql(*_delete_metrics(self._connection, keys))
            rows = [row for values in self._metrics.values() for row in values]
            if rows:
                self._connection.execute(insert(metrics), rows)
            self._contents, self._metrics = {}, {}
        if self._places:
            self._upsert(places, list(self._places.values()), ("host", "root", "path"), keep=("first_seen_at",))
            self._places = {}
        if self._outputs:
            self._upsert(outputs, list(self._outputs.values()), ("host", "root", "path"))
            self._outputs = {}
        if self._audit:
            self._connection.execute(insert(audit), self._audit)
            self._audit = []

    def _place(self, root: str, path: str, state: PlaceState, key: str, identity: Identity, now: float) -> None:
        place = (os.fsencode(root), os.fsencode(path))
        self._places[place] = {
            "host": self._host,
            "root": place[0],
            "path": place[1],
            "state": state.value,
            "content": key,
            "dev": identity.dev,
            "ino": identity.ino,
            "size": identity.size_bytes,
            "mtime_ns": identity.mtime_ns,
            "ctime_ns": identity.ctime_ns,
            "first_seen_at": self._first_seen.get((root, path), now),
            "state_since": now,
        }

    def _upsert(self, table: Table, rows: list[Row], key: tuple[str, ...], keep: tuple[str, ...] = ()) -> None:
        dialect = postgresql if self._connection.dialect.name == "postgresql" else sqlite
        statement = dialect.insert(table)
        changed = {name: statement.excluded[name] for name in rows[0] if name not in (*key, *keep)}
        self._connection.execute(statement.on_conflict_do_update(index_elements=key, set_=changed), rows)


def _delete_metrics(connection: Connection, keys: list[Row]) -> tuple[str, Any]:
    mark = "%s" if connection.dialect.name == "postgresql" else "?"
    return f"DELETE FROM metrics WHERE content = {mark}", [(row["key"],) for row in keys]  # noqa: S608 — a mark, no value


def _key_of(host: str, root: str, path: str) -> str:
    """Name the content of a file that has no digest."""
    return "file:" + hashlib.sha256(b"\0".join((host.encode(), os.fsencode(root), os.fsencode(path)))).hexdigest()


def _content_row(key: str, inspection: Inspection, now: float) -> Row:
    metadata = inspection.metadata
    return {
        "key": key,
        "sha256": inspection.sha256,
        "status": inspection.status.value,
        "container": inspection.container.value,
        "kind": None if inspection.kind is None else inspection.kind.value,
        "size": inspection.size_bytes,
        "inspector_version": inspection.inspector_version,
        "model_name": metadata.model_name,
        "dataset": metadata.dataset,
        "architecture": metadata.architecture,
        "epoch": metadata.epoch,
        "step": metadata.step,
        "date": None if metadata.date is None else metadata.date[:64],
        "quantization": metadata.quantization,
        "stage": metadata.stage,
        "parameters": inspection.tensors.parameters,
        "payload": payload_of(inspection),
        "inspected_at": now,
    }
