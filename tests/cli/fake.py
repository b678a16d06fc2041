"""An `App` that knows a few records, so that the verbs can be tested without an index."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ckptd.errors import UsageError
from ckptd.model import (
    Container,
    Finding,
    Identity,
    Inspection,
    Kind,
    Layer,
    Metadata,
    PlaceState,
    Record,
    Severity,
    Source,
    Status,
    TensorTotals,
)

DIGEST = "ab" * 32
HOSTILE = "evil\x1b[2J\u202e[red]\n.pth"


def inspection(path: str = "a.pth", status: Status = Status.OK, **values: Any) -> Inspection:
    """Build an inspection with something in each part."""
    metadata = Metadata(
        model_name="BiLSTM",
        dataset="ECG",
        metrics={"accuracy": 0.87, "loss": 0.31},
        epoch=7,
        hyperparameters={"lr": 0.001, "name": "\x1b[31m"},
        spellings={"accuracy": "acc"},
        sources={"model_name": Source("name", 0.9), "epoch": Source("content:epoch", 1.0)},
    )
    defaults: dict[str, Any] = {
        "container": Container.ZIP,
        "kind": Kind.STATE_DICT,
        "sha256": DIGEST,
        "size_bytes": 1536,
        "tensors": TensorTotals(2, 1234567, 1400, {"float32": 1234567}, optimizer_bytes=100),
        "metadata": metadata,
        "findings": (Finding("crc-not-computed", Severity.INFO, "no CRC was computed"),),
        "layers": (Layer("lstm", "lstm", 1000, 4000, {"hidden_size": 32}),),
    }
    return Inspection(path, status, **{**defaults, **values})


def record(
    number: int = 1, path: str = "a.pth", *, root: str = "/srv/models", inspected: Inspection | None = None, **values: Any
) -> Record:
    """Build a record of the index."""
    defaults: dict[str, Any] = {
        "state": PlaceState.READY,
        "identity": Identity(1, number, 1536, 1_700_000_000_000_000_000, 1),
        "sha256": DIGEST,
        "first_seen_at": 1_700_000_000.0,
        "inspected_at": 1_700_000_001.0,
    }
    return Record(number, root, path, inspection=inspected or inspection(path), **{**defaults, **values})


@dataclass
class Summary:
    seen: int = 3
    new: int = 2
    changed: int = 0
    unchanged: int = 1
    rejected: int = 0
    missing: int = 0
    moved: int = 0
    unfinished: int = 0
    frozen: int = 0
    exported: int = 0
    seconds: float = 0.25


@dataclass
class Check:
    name: str
    ok: bool
    severity: Severity
    message: str
    cure: str = ""


@dataclass
class View:
    path: Path
    current: str | None
    proposed: str
    diff: str


@dataclass
class FakeApp:
    """Answers from lists; notes what it was asked."""

    known: list[Record] = field(default_factory=lambda: [record(1), record(2, "b.pth")])
    summary: Summary = field(default_factory=Summary)
    checks: list[Check] = field(default_factory=list)
    view: View = field(default_factory=lambda: View(Path("/srv/models/a_metadata.json"), '{"a": 1}', '{"a": 2}', "-1\n+2\n"))
    settings: Any = None
    asked: Any = None
    regenerated: int = 0
    closed: int = 0

    def __call__(self, settings: Any) -> FakeApp:
        self.settings = settings
        return self

    def close(self) -> None:
        self.closed += 1

    def scan(self, paths: Any, progress: Any, *, believe_losses: bool = False) -> Summary:
        self.asked = (*paths, *(["believe"] if believe_losses else []))
        progress(1, 2)
        return self.summary

    def reindex(self, progress: Any) -> Summary:
        progress(1, 2)
        return self.summary

    def records(self, query: str | None, sort: str, reverse: bool, limit: int | None) -> list[Record]:
        self.asked = (query, sort, reverse, limit)
        return self.known

    def marks(self, _record: Record) -> list[Any]:
        return []

    def show(self, name: str) -> Record:
        found = [one for one in self.known if name in {str(one.id), one.path}]
        if len(found) != 1:
            raise UsageError("find the checkpoint", path=name, why="nothing is called so", cure="a.pth, b.pth")
        return found[0]

    def best(self, metric: str, group: str | None, mode: str | None) -> list[Record]:
        self.asked = (metric, group, mode)
        return self.known

    def sidecar(self, name: str) -> View:
        self.asked = name
        return self.view

    def regenerate_sidecar(self, name: str) -> View:
        self.asked = name
        self.regenerated += 1
        return self.view

    def doctor(self, config: Any = None, *, deep: bool = False, told: Any = None) -> list[Check]:  # noqa: ARG002 — as App has it
        self.asked = (config, deep)
        return self.checks
