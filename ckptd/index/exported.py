"""Exports and recipes as rows, and back with distrust: a row that somebody wrote by hand is as good as none."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, exists, or_, select

from ckptd.errors import WorkerError
from ckptd.index.statements import Row
from ckptd.index.tables import bounded, contents, exports, outputs, places, recipes, signed, unsigned
from ckptd.model import Identity, PlaceState, RawIdentity, Status
from ckptd.proof import Export, Recipe, Verdict
from ckptd.text import escape
from ckptd.wire_exports import export_from_json, export_to_json, recipe_from_json, recipe_to_json

#: What an output is called that is an export.
EXPORT = "export"
#: What holds until the content or the settings change; anything else may come right by itself.
_FINAL = (Verdict.VERIFIED.value, Verdict.FAILED.value)
#: Contents that can be exported.
_EXPORTABLE = (Status.OK.value, Status.NEEDS_CODE.value)
_MOST_GROUP = 1_000
_MOST_TARGET = 64
_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


def identity_columns(identity: RawIdentity | None) -> Row:
    """Give the columns that say which file it is."""
    if identity is None:
        return dict.fromkeys(("dev", "ino", "size", "mtime_ns", "ctime_ns"))
    dev, ino, size, mtime_ns, ctime_ns = identity
    return {
        "dev": signed(dev),
        "ino": signed(ino),
        "size": size,
        "mtime_ns": bounded(mtime_ns),
        "ctime_ns": bounded(ctime_ns),
    }


def export_row(host: str, root: str, path: str, export: Export) -> Row:
    """Give the row of one export."""
    value = export_to_json(export)
    return {
        "host": host,
        "root": os.fsencode(root),
        "path": os.fsencode(path),
        "target": export.target[:_MOST_TARGET],
        **{name: value[name] for name in ("source_sha256", "settings_digest", "recipe_digest", "verdict", "sha256")},
        "file": None if export.file is None else os.fsencode(export.file),
        "size_bytes": export.size_bytes,
        **identity_columns(export.identity),
        "reason": escape(export.reason, 16_000),
        "at": float(export.at),
        "proof": _encode(value["proof"]),
    }


def recipe_row(host: str, group: str, recipe: Recipe, sha256: str | None, at: float) -> Row:
    """Give the row of one recipe."""
    return {
        "host": host,
        "group_name": group_key(group),
        "recipe": _encode(recipe_to_json(recipe)),
        "digest": recipe.digest,
        "sha256": sha256,
        "at": at,
    }


def group_key(group: str) -> str:
    """Give a group as a column holds it: a name out of a file may hold what no database takes."""
    return escape(group, _MOST_GROUP)


def load_exports(connection: Connection, where: tuple[ColumnElement[bool], ...]) -> list[Export]:
    """Give the exports of one place, by target."""
    rows = connection.execute(select(exports).where(*where).order_by(exports.c.target))
    return [export for row in rows if (export := _export_of(row)) is not None]


def load_recipe(connection: Connection, host: str, group: str) -> Recipe | None:
    """Give the recipe of a group."""
    c = recipes.c
    text = connection.scalar(select(c.recipe).where(c.host == host, c.group_name == group_key(group)))
    if text is None:
        return None
    try:
        return recipe_from_json(json.loads(text))
    except (WorkerError, ValueError, TypeError, RecursionError):
        return None


def load_outputs(
    connection: Connection, host: str, root: bytes, paths: Sequence[bytes] | None = None
) -> Iterator[tuple[str, RawIdentity | None, str]]:
    """Give the exports that we placed below a root, all or those at some paths: relative path, which file it was, digest."""
    c = outputs.c
    query = select(c.path, c.dev, c.ino, c.size, c.mtime_ns, c.ctime_ns, c.sha256)
    query = query.where(c.host == host, c.root == root, c.what == EXPORT)
    for path, *numbers, sha256 in connection.execute(query if paths is None else query.where(c.path.in_(paths))):
        yield os.fsdecode(path), _identity_of(*numbers), sha256


def unexported(host: str, root: bytes, wanted: Mapping[str, str]) -> Select[Any]:
    """Make the query for the places that lack an export.

    Args:
        host: of the places.
        root: of the places.
        wanted: target → digest of its settings.
    """
    p, e = places.c, exports.c
    same = (e.host == p.host, e.root == p.root, e.path == p.path, e.source_sha256 == p.sha256)
    lacking = [
        ~exists().where(*same, e.target == target, e.settings_digest == digest, e.verdict.in_(_FINAL))
        for target, digest in wanted.items()
    ]
    query = select(p.path).join(contents, contents.c.key == p.content)
    query = query.where(p.host == host, p.root == root, p.state == PlaceState.READY.value, p.sha256.is_not(None))
    return query.where(contents.c.status.in_(_EXPORTABLE), or_(*lacking)).order_by(p.path)


def _export_of(row: Any) -> Export | None:
    try:
        identity = _identity_of(row.dev, row.ino, row.size, row.mtime_ns, row.ctime_ns)
        value = {name: getattr(row, name) for name in _PLAIN}
        value["file"] = None if row.file is None else os.fsdecode(row.file)
        value["identity"] = None if identity is None else Identity(*identity)._asdict()
        value["proof"] = json.loads(row.proof)
        return export_from_json(value)
    except (WorkerError, ValueError, TypeError, RecursionError):
        return None


_PLAIN = (
    "target", "verdict", "source_sha256", "settings_digest", "recipe_digest", "sha256", "size_bytes", "reason", "at",
)  # fmt: skip


def _identity_of(dev: Any, ino: Any, size: Any, mtime_ns: Any, ctime_ns: Any) -> RawIdentity | None:
    if ino is None:
        return None
    return unsigned(dev), unsigned(ino), size, mtime_ns, ctime_ns
