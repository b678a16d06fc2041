"""What a person stated is shown over ours, within the bounds that the index takes."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given

from ckptd.metadata.merge import overlay, read_values
from ckptd.model import Metadata, Source
from ckptd.wire import inspection_from_json, inspection_to_json
from tests.metadata.inspections import INSPECTION, METADATA
from tests.metadata.test_layout import OBJECTS


def test_a_persons_values_win_and_say_where_they_come_from() -> None:
    shown = overlay(
        METADATA, read_values({"model_name": "Mine", "metrics": {"f1": 0.5}, "hyperparameters": {"lr": 1}, "note": "x"})
    )
    assert shown.model_name == "Mine"
    assert shown.metrics == {"accuracy": 0.87, "val_loss": 0.41, "f1": 0.5}
    assert shown.hyperparameters["lr"] == 1
    assert shown.hyperparameters["layers"] == [64, 32]
    assert shown.other == {"fold": 3, "note": "x"}
    for field in ("model_name", "metrics.f1", "hyperparameters.lr", "other.note"):
        assert shown.sources[field] == Source("sidecar", 1.0)
    assert shown.sources["metrics.accuracy"] == METADATA.sources["metrics.accuracy"]
    assert shown.dataset == "ECG"


def test_without_values_nothing_changes() -> None:
    assert overlay(METADATA, Metadata()) is METADATA


@pytest.mark.parametrize(
    "stated",
    [
        {"model_name": 5, "architecture": [], "epoch": 1.5, "step": -1, "date": "yesterday", "metrics": "good"},
        {"metrics": {"accuracy": "0.9", "f1": None, "loss": True, "val_loss": float("inf"), "auc": 10**400}},
        {"epoch": 2**63, "step": True, "training_date": "2024-13-01", "hyperparameters": [1], "stage": ""},
        {"hyperparameters": {"lr": float("inf"), "n": 2**70, "deep": [[[[[[[[[[1]]]]]]]]]]}},
    ],
)
def test_what_does_not_fit_says_nothing(stated: dict) -> None:
    assert read_values(stated) == Metadata()


def test_the_person_wins_over_the_bound() -> None:
    many = {f"k{n}": n for n in range(1000)}
    shown = overlay(replace(METADATA, hyperparameters=many), read_values({"hyperparameters": {"mine": 1, "k5": "mine"}}))
    assert len(shown.hyperparameters) == 1000
    assert (shown.hyperparameters["mine"], shown.hyperparameters["k5"]) == (1, "mine")


@given(OBJECTS, OBJECTS, OBJECTS)
def test_law_whatever_a_person_writes_the_index_takes_it(stated: dict, metrics: dict, hyperparameters: dict) -> None:
    """Law: an overlaid inspection passes the wire's checks, and every text of it can be encoded."""
    stated |= {"metrics": metrics, "hyperparameters": hyperparameters, "model_name": next(iter(stated), "x")}
    shown = replace(INSPECTION, metadata=overlay(METADATA, read_values(stated)))
    assert inspection_from_json(json.loads(json.dumps(inspection_to_json(shown)))) == shown
    repr(shown.metadata.model_name).encode()
    (shown.metadata.model_name or "").encode()
