"""All that a plan asks the index about each checkpoint: a hundred thousand rows, lean."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from sqlalchemy import Connection, bindparam, select

from ckptd.index.known import uncollected
from ckptd.index.tables import contents, metrics, places, traits, unsigned
from ckptd.model import GONE_STATES, RawIdentity

_p, _c, _t = places.c, contents.c, traits.c


class Candidate(NamedTuple):
    """One checkpoint as the index has it; `content` is the key of its description.

    Attributes:
        model_confidence: how sure the name of the model is, 0 to 1; 0 where nothing is known of it.
    """

    id: int
    path: str
    sha256: str | None
    identity: RawIdentity
    first_seen_at: float
    content: str | None
    status: str | None
    container: str | None
    kind: str | None
    model: str | None
    dataset: str | None
    architecture: str | None
    quantization: str | None
    stage: str | None
    epoch: int | None
    step: int | None
    date: str | None
    model_confidence: float
    optimizer_bytes: int


_ROWS = (
    select(
        _p.id, _p.path, _p.sha256, _p.dev, _p.ino, _p.size, _p.mtime_ns, _p.ctime_ns, _p.first_seen_at, _p.content,
        _c.status, _c.container, _c.kind, _c.model_name, _c.dataset, _c.architecture, _c.quantization, _c.stage,
        _c.epoch, _c.step, _c.date, _t.model_confidence, _t.optimizer_bytes,
    )
    .select_from(places.outerjoin(contents, _c.key == _p.content).outerjoin(traits, _t.content == _c.key))
    .where(_p.host == bindparam("host"), _p.root == bindparam("root"))
    .where(_p.state.not_in([state.value for state in GONE_STATES]))
)  # fmt: skip


def load_candidates(connection: Connection, host: str, root: str) -> list[Candidate]:
    """Give every checkpoint of a root that is there."""
    found: list[Candidate] = []
    old: list[tuple[int, str]] = []
    decode, new = os.fsdecode, tuple.__new__
    with uncollected():
        rows: Any = connection.execute(_ROWS, {"host": host, "root": os.fsencode(root)}).cursor
        for number, path, sha256, dev, ino, size, mtime_ns, ctime_ns, first_seen_at, *rest, confidence, optimizer in rows:
            if dev < 0 or ino < 0:
                dev, ino = unsigned(dev), unsigned(ino)  # noqa: PLW2901 — the one row in a million
            if optimizer is None and rest[0] is not None:  # an older ckptd wrote it down
                old.append((len(found), rest[0]))
            identity = (dev, ino, size, mtime_ns, ctime_ns)
            start = (number, decode(path), sha256, identity, first_seen_at)
            found.append(new(Candidate, (*start, *rest, confidence or 0.0, optimizer or 0)))
    for position, key in old:
        confidence, optimizer = _read_payload(connection, key)
        found[position] = found[position]._replace(model_confidence=confidence, optimizer_bytes=optimizer)
    return found


def load_scores(
    connection: Connection, host: str, root: str, choose: Callable[[Iterable[tuple[str, float]]], dict[str, float]]
) -> dict[str, dict[str, float]]:
    """Give the metrics of every content in a root, as `choose` makes scores of them: key of the description → scores."""
    query = (
        select(metrics.c.content, metrics.c.name, metrics.c.value)
        .where(metrics.c.content.in_(select(_p.content).where(_p.host == host, _p.root == os.fsencode(root))))
        .order_by(metrics.c.content)
    )
    scores: dict[str, dict[str, float]] = {}
    with uncollected():
        rows: Any = connection.execute(query).cursor
        key, values = None, list[tuple[str, float]]()
        for content, name, value in rows:
            if content != key:
                if key is not None:
                    scores[key] = choose(values)
                key, values = content, []
            values.append((name, value))
        if key is not None:
            scores[key] = choose(values)
    return scores


def _read_payload(connection: Connection, key: str) -> tuple[float, int]:
    """Take out of the description what an older ckptd did not put into columns."""
    text = connection.scalar(select(_c.payload).where(_c.key == key))
    try:
        value = json.loads(text or "")
        source = value["metadata"]["sources"].get("model_name") or {}
        return float(source.get("confidence", 0.0)), int(value["tensors"]["optimizer_bytes"])
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return 0.0, 0
