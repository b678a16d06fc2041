"""Pins, tags and aliases: what people say about checkpoints, written into the journal and the index."""

from __future__ import annotations

import getpass
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ckptd.errors import UsageError
from ckptd.index.marks import ALIAS, PIN, TAG, Mark, drop_marks, load_marks, put_mark
from ckptd.index.store import Batch, Store
from ckptd.model import GONE_STATES, Record
from ckptd.storage.journal import Journal
from ckptd.text import escape

#: What a tag or an alias may be called: it stands in commands, queries and reports.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:+-]{0,99}")


def check_name(name: str, what: str) -> str:
    """Pass the name of a tag or an alias.

    Raises:
        UsageError: it is none; the message says what one is made of.
    """
    if _NAME.fullmatch(name) is None:
        why = "it begins with a letter or digit and has letters, digits and _ . : + - behind it, at most 100"
        raise UsageError(f"name {what}", path=escape(name, 200), why="this is no name", cure=why)
    return name


def who_asks() -> str:
    """Name the user who runs this process, for the record."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a user id without an entry
        return str(os.getuid())


def add_marks(store: Store, journal: Journal, record: Record, kind: str, names: Sequence[str], *, now: float, who: str) -> None:
    """Mark a checkpoint.

    Args:
        store: the index.
        journal: written first; it outlives the index.
        record: what is marked, by its content and its place.
        kind: `PIN`, `TAG` or `ALIAS`.
        names: of tags or aliases; (``""``,) for a pin.
        now: seconds since the epoch.
        who: said so.

    Raises:
        UsageError: the file is not there any more.
        CkptdError: the index or the journal can't be written.
    """
    if record.state in GONE_STATES:
        cure = "`ckptd restore` brings it back" if record.state.value in ("trashed", "archived") else ""
        raise UsageError("mark a checkpoint", path=escape(record.path), why=f"it is {record.state.value}", cure=cure)
    made = [Mark(kind, name, record.root, record.path, record.sha256, now, who) for name in names]
    journal.append([_line(mark, is_gone=False) for mark in made])
    with store.batch() as batch:
        for mark in made:
            batch.tell(put_mark, mark)
            _audit(batch, _PAST[kind], mark)


def take_marks(store: Store, journal: Journal, record: Record, kind: str, names: Iterable[str], *, now: float, who: str) -> int:
    """Take marks back, from a content wherever it lies and from its place; how many were there."""
    taken = 0
    for name in names:
        mark = Mark(kind, name, record.root, record.path, record.sha256, now, who)
        journal.append([_line(mark, is_gone=True)])
        with store.batch() as batch:
            found = batch.tell(drop_marks, kind, name, record.root, record.path, record.sha256)
            if found:
                _audit(batch, _PAST[kind], mark, undone=True)
            taken += found
    return taken


def find_marks(store: Store, record: Record) -> list[Mark]:
    """Give the marks that speak of a checkpoint."""
    return [
        mark
        for mark in store.ask(load_marks)
        if (mark.sha256 is not None and mark.sha256 == record.sha256)
        or (mark.kind == PIN and (mark.root, mark.path) == (record.root, record.path))
    ]


def find_alias(store: Store, name: str) -> Mark | None:
    """Give what an alias names; None when there is no such alias."""
    return next((mark for mark in store.ask(load_marks) if mark.kind == ALIAS and mark.name == name), None)


def move_marks(batch: Batch, marks: Iterable[Mark], sha256: str) -> list[dict[str, Any]]:
    """Let marks speak of another content as well, which was made of theirs; the lines for the journal."""
    lines = []
    for mark in marks:
        moved = mark._replace(sha256=sha256)
        batch.tell(put_mark, moved)
        lines.append(_line(moved, is_gone=False))
    return lines


def replay_marks(lines: Iterable[Mapping[str, Any]]) -> list[Mark]:
    """Take the marks out of the journal, as they stood at its end."""
    standing: dict[tuple[str, str, str, str], Mark] = {}
    for line in lines:
        match line:
            case {"event": "mark", "kind": str(kind), "name": str(name), "root": str(root), "path": str(path)}:
                sha256, at, who = line.get("sha256"), line.get("at"), line.get("who")
                if kind not in (PIN, TAG, ALIAS) or not isinstance(at, int | float):
                    continue
                mark = Mark(kind, name, root, path, sha256 if isinstance(sha256, str) else None, float(at), str(who))
                if line.get("gone") is True:
                    _forget(standing, mark)
                else:
                    if kind == ALIAS:
                        for key in [key for key in standing if key[:2] == (ALIAS, name)]:
                            del standing[key]
                    standing[kind, name, root, path] = mark
    return list(standing.values())


def _forget(standing: dict[tuple[str, str, str, str], Mark], gone: Mark) -> None:
    for key, mark in list(standing.items()):
        is_here = (mark.root, mark.path) == (gone.root, gone.path)
        if key[:2] == (gone.kind, gone.name) and (is_here or (gone.sha256 is not None and mark.sha256 == gone.sha256)):
            del standing[key]


_PAST = {PIN: "pinned", TAG: "tagged", ALIAS: "aliased"}


def _line(mark: Mark, *, is_gone: bool) -> dict[str, Any]:
    line: dict[str, Any] = {"event": "mark", **mark._asdict()}
    return line | {"gone": True} if is_gone else line


def _audit(batch: Batch, done: str, mark: Mark, *, undone: bool = False) -> None:
    what = ("checkpoint", f"un{done}" if undone else done)
    why = {"who": mark.who, **({"name": mark.name} if mark.name else {})}
    batch.audit(".".join(what), mark.root, mark.path, mark.sha256, now=mark.at, why=why, job="marks")
