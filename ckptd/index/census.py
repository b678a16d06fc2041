"""Questions about the index as a whole: what `ckptd doctor` compares and what its bundle counts."""

from __future__ import annotations

import os
from typing import Any

from sqlalchemy import Connection, func, select, text

from ckptd.index.tables import (
    archive_members,
    archives,
    audit,
    contents,
    exports,
    groupings,
    marks,
    metadata,
    outputs,
    places,
    recipes,
    removals,
)

#: Rows of the audit, the last ones, among which the latest is looked for: where the clock was set back it is not the last.
_LATEST = 10_000


def find_newest_entry(connection: Connection, _host: str) -> float | None:
    """Give the latest time that the audit has, seconds since the epoch; None while it is empty."""
    last = select(audit.c.at).order_by(audit.c.id.desc()).limit(_LATEST).subquery()
    newest = connection.scalar(select(func.max(last.c.at)))
    return None if newest is None else float(newest)


def count_rows(connection: Connection, _host: str) -> dict[str, int]:
    """Count the rows of every table: name → rows."""
    return {
        table.name: int(connection.scalar(select(func.count()).select_from(table)) or 0) for table in metadata.sorted_tables
    }


def load_schema(connection: Connection, _host: str) -> list[str]:
    """Give the statements that made the tables of a SQLite index; nothing for another database."""
    if connection.dialect.name != "sqlite":
        return []
    query = text("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY type, name")
    return [str(sql) for sql in connection.scalars(query)]


def load_names(connection: Connection, _host: str) -> set[str]:
    """Give every name that came from a checkpoint or a person: parts of paths, models, groups, tags, archives."""
    paths = [
        places.c.path,
        outputs.c.path,
        exports.c.path,
        exports.c.file,
        removals.c.path,
        archives.c.name,
        archive_members.c.path,
    ]
    words = [contents.c.model_name, contents.c.dataset, groupings.c.group_name, recipes.c.group_name, marks.c.name]
    found: set[str] = set()
    for column in paths:
        for value in connection.scalars(select(column).distinct()):
            found.update(os.fsdecode(value or b"").split("/"))
    for word in words:
        found.update(str(value) for value in connection.scalars(select(word).distinct()) if value)
    return found


def load_output_places(connection: Connection, host: str, root: str, what: str) -> dict[str, str]:
    """Give what we wrote below a root, of one kind ("sidecar", "export"): relative path → digest."""
    c: Any = outputs.c
    query = select(c.path, c.sha256).where(c.host == host, c.root == os.fsencode(root), c.what == what)
    return {os.fsdecode(path): sha256 for path, sha256 in connection.execute(query)}
