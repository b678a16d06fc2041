"""What was read in one name, field by field, while the parts of the name are taken one after the other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from ckptd.checkpoint.names.lexer import Atom
from ckptd.model import Json


class NameReading(NamedTuple):
    """What a file's name says; None and empty where it says nothing.

    Attributes:
        model_name: as written ("BiLSTM_Attention").
        metrics: canonical name → value, percent as fraction.
        written: canonical name → (spelling, number) as they stand in the name.
        date: ISO 8601, as precise as written; one without its year is in `other["date_without_year"]`.
        quantization: "int8", "float16", "8-bit", "quantized" …
        other: what else it says: seed, fold, version, batch, lr, hash, flags (True) …
        confidence: field ("epoch", "metrics.accuracy") → 0 to 1.
    """

    model_name: str | None = None
    dataset: str | None = None
    metrics: Mapping[str, float] = {}
    written: Mapping[str, tuple[str, str]] = {}
    epoch: int | None = None
    step: int | None = None
    date: str | None = None
    quantization: str | None = None
    stage: str | None = None
    other: Mapping[str, Json] = {}
    confidence: Mapping[str, float] = {}


class Draft:
    """A reading in the making: which atoms are still free, and what the others said.

    Attributes:
        taken: one flag an atom; a taken atom says nothing more, and ends a run of model words.
    """

    __slots__ = (
        "atoms",
        "confidence",
        "dataset",
        "date",
        "epoch",
        "metrics",
        "model",
        "other",
        "quantization",
        "stem",
        "step",
        "taken",
        "written",
    )

    def __init__(self, stem: str, atoms: list[Atom]) -> None:
        self.stem = stem
        self.atoms = atoms
        self.taken = [False] * len(atoms)
        self.model: str | None = None
        self.dataset: str | None = None
        self.metrics: dict[str, float] = {}
        self.written: dict[str, tuple[str, str]] = {}
        self.epoch: int | None = None
        self.step: int | None = None
        self.date: str | None = None
        self.quantization: str | None = None
        self.other: dict[str, Json] = {}
        self.confidence: dict[str, float] = {}

    def take(self, first: int, last: int) -> None:
        """Take the atoms from first to last, both included."""
        for position in range(first, last + 1):
            self.taken[position] = True

    def note(self, key: str, value: Json, confidence: float = 0.8) -> None:
        """Put a further field down, unless it was said before."""
        if key not in self.other:
            self.other[key] = value
            self.confidence[f"other.{key}"] = confidence

    def free(self, position: int) -> bool:
        """Say whether there is a free atom at a position."""
        return 0 <= position < len(self.atoms) and not self.taken[position]

    def runs_on(self, position: int) -> bool:
        """Say whether something is glued behind an atom ("5fold")."""
        return position + 1 < len(self.atoms) and self.atoms[position + 1].glued
