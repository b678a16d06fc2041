"""A sidecar is written anew on demand: shown first, a person's values kept, a save in between respected."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ckptd.errors import UsageError
from ckptd.metadata.layout import is_sealed
from ckptd.metadata.proposal import Proposal, apply, propose
from ckptd.metadata.sidecar import Action, ensure
from ckptd.model import Identity, Inspection
from tests.metadata.inspections import INSPECTION, NOW, inspection

SIDECAR = "a_metadata.json"
LATER = inspection("b" * 64, metrics={"accuracy": 0.5, "f1": 0.4}, hyperparameters={"lr": 0.1})


def proposal(dir_fd: int, what: Inspection, now: float = NOW + 60) -> Proposal:
    return propose(dir_fd, "a.pth", what, generated_at=now)


def test_a_missing_one_is_shown_whole_and_written_on_demand(tmp_path: Path, dir_fd: int) -> None:
    shown = proposal(dir_fd, INSPECTION)
    assert shown.current is None
    assert not (tmp_path / SIDECAR).exists()
    assert '+  "model_name": "BiLSTM_Attention",' in shown.diff
    assert apply(dir_fd, shown).action is Action.REGENERATED
    assert (tmp_path / SIDECAR).read_text() == shown.proposed


def test_one_that_is_current_has_no_difference_whatever_the_time(tmp_path: Path, dir_fd: int) -> None:
    ensure(dir_fd, "a.pth", INSPECTION, generated_at=NOW)
    shown = proposal(dir_fd, INSPECTION)
    assert shown.diff == ""
    assert shown.proposed == shown.current == (tmp_path / SIDECAR).read_text()
    before = Identity.of((tmp_path / SIDECAR).stat())
    assert apply(dir_fd, shown).action is Action.UNCHANGED
    assert Identity.of((tmp_path / SIDECAR).stat()) == before


def test_values_of_ours_are_renewed_and_values_of_a_person_stay_in_their_spelling(tmp_path: Path, dir_fd: int) -> None:
    ensure(dir_fd, "a.pth", INSPECTION, generated_at=NOW)
    place = tmp_path / SIDECAR
    text = place.read_text()
    text = text.replace('"layers": [64, 32]', '"layers": [64,32,  1e0]').replace(
        '"quantization": null', '"quantization": "mine", "notes": {"x":1.0}'
    )
    place.write_text(text)
    ensure(dir_fd, "a.pth", LATER, generated_at=NOW)
    shown = proposal(dir_fd, LATER)
    assert '-    "accuracy": 0.87,' in shown.diff
    assert '+    "accuracy": 0.5,' in shown.diff
    assert apply(dir_fd, shown).action is Action.REGENERATED
    now = place.read_text()
    document = json.loads(now)
    assert document["metrics"] == {"accuracy": 0.5, "f1": 0.4}, "what we wrote gives way, what is known no more goes"
    assert '"layers": [64,32,  1e0]' in now
    assert document["hyperparameters"] == {"lr": 0.1, "layers": [64, 32, 1.0]}
    assert '"notes": {"x":1.0}' in now
    assert document["quantization"] == "mine"
    assert document["ckptd"]["seal"] is None
    assert proposal(dir_fd, LATER).diff == ""
    assert ensure(dir_fd, "a.pth", LATER, generated_at=NOW).action is Action.UNCHANGED


def test_without_anything_of_a_person_it_is_ours_again(tmp_path: Path, dir_fd: int) -> None:
    """A person only changed the spaces: after it was written anew it is sealed."""
    ensure(dir_fd, "a.pth", INSPECTION, generated_at=NOW)
    (tmp_path / SIDECAR).write_text(json.dumps(json.loads((tmp_path / SIDECAR).read_text()), indent=8))
    apply(dir_fd, proposal(dir_fd, INSPECTION))
    assert is_sealed((tmp_path / SIDECAR).read_bytes())


def test_a_save_between_the_look_and_the_yes_wins(tmp_path: Path, dir_fd: int) -> None:
    ensure(dir_fd, "a.pth", INSPECTION, generated_at=NOW)
    shown = proposal(dir_fd, LATER)
    (tmp_path / SIDECAR).write_text('{"mine": 1}')
    assert apply(dir_fd, shown).action is Action.KEPT
    assert (tmp_path / SIDECAR).read_text() == '{"mine": 1}'


def test_a_file_that_appears_between_the_look_and_the_yes_wins(tmp_path: Path, dir_fd: int) -> None:
    shown = proposal(dir_fd, INSPECTION)
    (tmp_path / SIDECAR).write_text("mine")
    assert apply(dir_fd, shown).action is Action.KEPT
    assert (tmp_path / SIDECAR).read_text() == "mine"


def test_a_broken_one_is_not_ours_to_replace(tmp_path: Path, dir_fd: int) -> None:
    (tmp_path / SIDECAR).write_text('{"model_name": mine}')
    with pytest.raises(UsageError, match=r"a_metadata\.json: it is not JSON.*move it away"):
        proposal(dir_fd, INSPECTION)


def test_beside_a_persons_file_ours_is_proposed(tmp_path: Path, dir_fd: int) -> None:
    (tmp_path / SIDECAR).write_text("{}")
    assert proposal(dir_fd, INSPECTION).name == "a.pth.ckptd.json"


def test_a_difference_does_not_act_on_a_terminal(tmp_path: Path, dir_fd: int) -> None:
    ensure(dir_fd, "a.pth", INSPECTION, generated_at=NOW)
    place = tmp_path / SIDECAR
    place.write_text(place.read_text().replace("LSTM", "\u202e\x7f\u009b2J"))
    ensure(dir_fd, "a.pth", LATER, generated_at=NOW)
    shown = proposal(dir_fd, inspection("c" * 64))
    assert shown.diff
    assert all(char.isprintable() or char == "\n" for char in shown.diff)
