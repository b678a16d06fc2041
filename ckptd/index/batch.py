"""One transaction: entries are collected and written in a few statements, each for all of them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Connection, delete, exists, select, tuple_, update

from ckptd.index.exported import EXPORT, export_row, identity_columns, recipe_row
from ckptd.index.payload import payload_of
from ckptd.index.rows import content_row, hyperparameter_rows, metric_rows, place_row, trait_row
from ckptd.index.statements import Row, insert_rows, put_rows
from ckptd.index.tables import audit, contents, exports, hyperparameters, metrics, outputs, places, recipes, roots, traits
from ckptd.model import GONE_STATES, Identity, Inspection, PlaceState, RawIdentity, Severity, Status
from ckptd.proof import Export, Recipe

_READY = frozenset((Status.OK, Status.NEEDS_CODE))
_Answer = TypeVar("_Answer")
_encode = json.JSONEncoder().encode
#: Rows in one statement; SQLite takes at most 32,766 variables.
_CHUNK = 200
#: Kinds of findings and characters of a reason in one line of the audit, which stays for ever.
_MOST_FINDINGS = 10
_MOST_REASON = 300
#: Findings that are told whatever else was found, each in its own words.
_TOLD = ("non-finite-weights",)


def _why(inspection: Inspection, how: str) -> Row:
    """Say what was found, so that who follows the audit need not ask what the index says by then."""
    why: Row = {"status": inspection.status.value}
    findings = [finding for finding in inspection.findings if finding.severity is not Severity.INFO]
    if findings:
        first = max(findings, key=lambda finding: finding.severity is Severity.ERROR)
        told = {finding.code: finding.message[:_MOST_REASON] for finding in reversed(findings) if finding.code in _TOLD}
        codes = list(dict.fromkeys(finding.code for finding in findings))
        why["findings"] = list(dict.fromkeys((*codes[:_MOST_FINDINGS], *told)))
        why["reason"] = first.message[:_MOST_REASON]
        if told:
            why["told"] = told
    if how:
        why["how"] = how
    return why


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
        self._traits: list[Row] = []
        self._metrics: list[Row] = []
        self._hyperparameters: list[Row] = []
        self._places: dict[tuple[bytes, bytes], Row] = {}
        self._outputs: dict[tuple[bytes, bytes], Row] = {}
        self._exports: dict[tuple[bytes, bytes, str], Row] = {}
        self._audit: list[Row] = []
        self._left: set[str] = set()

    def tell(self, write: Callable[..., _Answer], *arguments: Any) -> _Answer:
        """Call `write(connection, host, *arguments)` inside of the transaction; for marks, archives, runs and the like."""
        self.flush()
        return write(self._connection, self._host, *arguments)

    def record_ready(
        self, root: str, path: str, identity: Identity, inspection: Inspection, *, now: float, how: str = ""
    ) -> None:
        """Write down what one read of a file said; good or bad, it is a row.

        Args:
            root: where it lies.
            path: relative to the root.
            identity: of the file.
            inspection: what was said.
            now: seconds since the epoch.
            how: what makes it no news to who follows the audit: "recalled" (known, and nothing was read), "moved" (likewise,
                under a new name), "retried" (it failed and is tried again), "described" (known as it lies there, and only what
                people or a sidecar say of it may be new); "" for what was read for the first time.
        """
        payload = payload_of(inspection)
        state = PlaceState.READY if inspection.status in _READY else PlaceState.REJECTED
        if payload.key not in self._contents:
            self._contents[payload.key] = content_row(payload, inspection, now)
            self._traits.append(trait_row(payload.key, inspection))
            self._metrics += metric_rows(payload.key, inspection.metadata.metrics)
            self._hyperparameters += hyperparameter_rows(payload.key, inspection.metadata.hyperparameters)
        row = place_row(self._host, root, path, identity)
        first_seen = self._first_seen.get((root, path), now)
        row |= {"state": state.value, "content": payload.key, "sha256": inspection.sha256}
        row |= {"first_seen_at": first_seen, "state_since": now}
        self._places[row["root"], row["path"]] = row
        self.audit("checkpoint." + state.value, root, path, inspection.sha256, now=now, why=_why(inspection, how))

    def record_missing(self, root: str, path: str, *, now: float) -> None:
        """Write down that a file is gone; all that is known of it stays."""
        self.flush()
        gone = {"state": PlaceState.MISSING.value, "state_since": now}
        here = places.c.state.not_in([state.value for state in GONE_STATES])  # what ckptd took away itself is not missed
        if self._connection.execute(update(places).where(*self._at(root, path), here).values(**gone)).rowcount:
            self.audit("checkpoint.missing", root, path, None, now=now, why={})

    def record_state(self, root: str, path: str, state: PlaceState, *, now: float) -> None:
        """Write down where a known place stands now: before ckptd takes a file away, and when it is back."""
        self.flush()
        self._connection.execute(update(places).where(*self._at(root, path)).values(state=state.value, state_since=now))

    def record_gone(self, root: str, path: str, identity: Identity, state: PlaceState, sha256: str, *, now: float) -> None:
        """Write down a place whose file ckptd took away before there was this index; nothing more is known of it."""
        self.flush()
        row = place_row(self._host, root, path, identity)
        row |= {"state": state.value, "content": None, "sha256": sha256, "first_seen_at": now, "state_since": now}
        put_rows(self._connection, places, [row])

    def record_moved(self, root: str, source: str, target: str, identity: Identity, *, now: float) -> None:
        """Write down that a known file lies elsewhere in its root now; its number and its first-seen time go with it.

        Its exports do not: they bear the old name.  They stay known as ours, and the new name gets its own.
        """
        self.flush()
        if self._connection.scalar(select(places.c.id).where(*self._at(root, source))) is None:
            return
        over = self._connection.scalar(delete(places).where(*self._at(root, target)).returning(places.c.content))
        if over is not None:
            self._left.add(over)
        row = place_row(self._host, root, target, identity)
        self._connection.execute(update(places).where(*self._at(root, source)).values(**row, state_since=now))
        self._connection.execute(delete(exports).where(*self._exports_at(root, source)))
        self.audit("checkpoint.moved", root, target, None, now=now, why={"from": source})

    def record_output(
        self, root: str, path: str, sha256: str, what: str, *, now: float, identity: RawIdentity | None = None
    ) -> None:
        """Write down that we wrote a file ourselves, so that it is never taken for a newcomer.

        Args:
            root: where it lies.
            path: relative to the root.
            sha256: of what we wrote.
            what: "sidecar" or "export".
            now: seconds since the epoch.
            identity: of the file as it was put in place, by which an export is known without a read.
        """
        place = (os.fsencode(root), os.fsencode(path))
        row = {"host": self._host, "root": place[0], "path": place[1], "sha256": sha256, "what": what, "written_at": now}
        self._outputs[place] = row | identity_columns(identity)
        self.audit(f"{what}.written", root, path, sha256, now=now, why={})

    def record_export(self, root: str, path: str, export: Export, *, now: float) -> None:
        """Write down what became of one export of a checkpoint; it is the last word for that target."""
        row = export_row(self._host, root, path, export)
        self._exports[row["root"], row["path"], row["target"]] = row
        why: Row = {"target": export.target, "source": export.source_sha256}
        if export.reason:
            why["reason"] = export.reason[:1_000]
        if export.file is not None:
            why["file"] = export.file
        self.audit(f"export.{export.verdict.value}", root, path, export.sha256, now=now, why=why, job=EXPORT)

    def record_recipe(self, group: str, recipe: Recipe, *, sha256: str | None, now: float) -> None:
        """Remember a recipe that fits for its group.

        Args:
            group: name of the model.
            recipe: that built a module whose parameters are those of the checkpoint.
            sha256: of the content that it was learnt on.
            now: seconds since the epoch.
        """
        put_rows(self._connection, recipes, [recipe_row(self._host, group, recipe, sha256, now)])
        why = {"group": group[:1_000], "recipe": recipe.digest, "origin": recipe.origin[:1_000]}
        self.audit("recipe.remembered", None, None, sha256, now=now, why=why, job=EXPORT)

    def save_root(self, root: str, root_id: str | None) -> None:
        """Remember the id of a root."""
        put_rows(self._connection, roots, [{"host": self._host, "root": os.fsencode(root), "root_id": root_id}])

    def forget_other_hosts(self) -> None:
        """Forget that other hosts had roots here: the file is this one's from now on, also under its next name."""
        self._connection.execute(delete(roots).where(roots.c.host != self._host))

    def audit(
        self, what: str, root: str | None, path: str | None, sha256: str | None, *, now: float, why: Row, job: str = "ingest"
    ) -> None:
        """Add a line to the audit."""
        self._audit.append(
            {
                "at": now,
                "what": what,
                "root": None if root is None else os.fsencode(root),
                "path": None if path is None else os.fsencode(path),
                "sha256": sha256,
                "job": job,
                "run": self._run,
                "why": _encode(why),
            }
        )

    def flush(self) -> None:
        """Write what was collected, in the order in which rows refer to each other."""
        insert_rows(self._connection, contents, list(self._contents.values()))
        insert_rows(self._connection, traits, self._traits)
        insert_rows(self._connection, metrics, self._metrics)
        insert_rows(self._connection, hyperparameters, self._hyperparameters)
        self._contents, self._traits, self._metrics, self._hyperparameters = {}, [], [], []
        if self._places:
            self._note_replaced()
            put_rows(self._connection, places, list(self._places.values()))
            self._places = {}
        if self._left:
            self._clear_left()
        put_rows(self._connection, outputs, list(self._outputs.values()))
        put_rows(self._connection, exports, list(self._exports.values()))
        insert_rows(self._connection, audit, self._audit)
        self._outputs, self._exports, self._audit = {}, {}, []

    def _note_replaced(self) -> None:
        """Find what lay at these places before: other bytes are a line of the audit, another description is left over."""
        c = places.c
        query = select(c.root, c.path, c.content, c.sha256).where(c.host == self._host)
        keys = list(self._places)
        for start in range(0, len(keys), _CHUNK):
            for root, path, content, sha256 in self._connection.execute(
                query.where(tuple_(c.root, c.path).in_(keys[start : start + _CHUNK]))
            ):
                row = self._places[root, path]
                if content is not None and content != row["content"]:
                    self._left.add(content)
                if sha256 is not None and sha256 != row["sha256"]:
                    names = os.fsdecode(root), os.fsdecode(path)
                    self.audit("checkpoint.replaced", *names, row["sha256"], now=row["state_since"], why={"before": sha256})

    def _clear_left(self) -> None:
        """Drop descriptions that no place refers to any more; a file saved each minute would leave one each minute."""
        keys = sorted(self._left)
        for start in range(0, len(keys), _CHUNK):
            unused = ~exists().where(places.c.content == contents.c.key)
            self._connection.execute(delete(contents).where(contents.c.key.in_(keys[start : start + _CHUNK]), unused))
        self._left = set()

    def _at(self, root: str, path: str) -> tuple[ColumnElement[bool], ...]:
        return places.c.host == self._host, places.c.root == os.fsencode(root), places.c.path == os.fsencode(path)

    def _exports_at(self, root: str, path: str) -> tuple[ColumnElement[bool], ...]:
        return exports.c.host == self._host, exports.c.root == os.fsencode(root), exports.c.path == os.fsencode(path)
