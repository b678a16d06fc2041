"""Exports in a sidecar: what is known is said, nothing else in the file changes, and a person's edits and saves win."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from ckptd.metadata import sidecar
from ckptd.metadata.exports import MOST_PROOF_BYTES, render_exports
from ckptd.metadata.layout import is_sealed
from ckptd.metadata.names import NoNameError, export_name
from ckptd.metadata.recipes import read_recipe
from ckptd.metadata.sidecar import Action, ensure, read, state_exports
from ckptd.model import Identity, Inspection
from ckptd.proof import Export, Verdict
from tests.metadata.inspections import INSPECTION, NOW, inspection

SIDECAR = "a_metadata.json"
ONNX = Export(
    "onnx",
    Verdict.VERIFIED,
    "a" * 64,
    "b" * 64,
    "c" * 64,
    "a.onnx",
    "d" * 64,
    1_100,
    at=NOW,
    proof={"opset": 18, "outputs": [{"name": "output", "max_abs": 1e-7}]},
)
STATED = render_exports([ONNX])


def bring(dir_fd: int, what: Inspection = INSPECTION, **options):
    return ensure(dir_fd, "a.pth", what, generated_at=options.pop("generated_at", NOW), **options)


def state(dir_fd: int, exports=STATED, what: Inspection = INSPECTION, checkpoint: str = "a.pth"):
    return state_exports(dir_fd, checkpoint, what, exports, generated_at=NOW + 60)


def edit(place: Path, change) -> None:
    document = json.loads(place.read_text())
    change(document)
    place.write_text(json.dumps(document, indent=4))


def said(directory: Path, name: str = SIDECAR):
    return json.loads((directory / name).read_text())["ckptd"]["exports"]


# — what it says —


def test_only_verified_exports_are_named_each_with_its_proof():
    """A failed one is never listed as an export."""
    others = [replace(ONNX, target=str(verdict), verdict=verdict) for verdict in Verdict if verdict is not Verdict.VERIFIED]
    assert render_exports([*others, ONNX]) == {
        "onnx": {
            "file": "a.onnx",
            "sha256": "d" * 64,
            "size_bytes": 1_100,
            "verdict": "verified",
            "exported_at": "2025-10-09T08:53:20Z",
            "opset": 18,
            "outputs": [{"name": "output", "max_abs": 1e-7}],
        }
    }


def test_a_proof_is_bounded_hides_homes_and_says_nothing_about_the_file():
    """An exporter's texts come from anywhere."""
    proof = {"file": "/etc/passwd", "verdict": "splendid", "from": "/home/alice/x", "lines": ["x" * 5_000] * 50}
    entry = render_exports([replace(ONNX, proof=proof)])["onnx"]
    assert (entry["file"], entry["verdict"], entry["from"], entry["shortened"]) == ("a.onnx", "verified", "~/x", True)
    assert len(json.dumps(entry)) < MOST_PROOF_BYTES + 1_000


# — a sidecar of ours —


def test_a_new_sidecar_names_them(tmp_path: Path, dir_fd: int):
    """In one write."""
    assert bring(dir_fd, exports=STATED).action is Action.WRITTEN
    assert said(tmp_path) == STATED
    assert is_sealed((tmp_path / SIDECAR).read_bytes())


@pytest.mark.parametrize("how", [bring, state], ids=["ensure", "state_exports"])
def test_ours_is_written_anew_with_them_and_then_left_alone(tmp_path: Path, dir_fd: int, how):
    """Everything else in it is as it was, and a second pass touches nothing."""
    bring(dir_fd)
    before = json.loads((tmp_path / SIDECAR).read_text())
    options = {"exports": STATED}
    assert how(dir_fd, **options).action is Action.REGENERATED
    data = (tmp_path / SIDECAR).read_bytes()
    assert is_sealed(data)
    after = json.loads(data)
    assert after["ckptd"]["exports"] == STATED
    for document in (before, after):
        for key in ("exports", "generated_at", "seal"):
            del document["ckptd"][key]
    assert list(after.items()) == list(before.items())
    assert list(after["ckptd"]) == list(before["ckptd"])
    seen = Identity.of((tmp_path / SIDECAR).stat())
    assert how(dir_fd, **options).action is Action.UNCHANGED
    assert bring(dir_fd).action is Action.UNCHANGED
    assert Identity.of((tmp_path / SIDECAR).stat()) == seen


def test_what_is_no_more_is_said_no_more(tmp_path: Path, dir_fd: int):
    """The section is brought to exactly what is given."""
    bring(dir_fd, exports=STATED)
    assert bring(dir_fd, exports={}).action is Action.REGENERATED
    assert said(tmp_path) == {}


def test_another_content_loses_them(tmp_path: Path, dir_fd: int):
    """They were exports of other weights; the new ones get their own."""
    bring(dir_fd, exports=STATED)
    assert bring(dir_fd, inspection("e" * 64)).action is Action.REGENERATED
    assert said(tmp_path) == {}
    assert bring(dir_fd, inspection("f" * 64), exports=STATED).action is Action.REGENERATED
    assert said(tmp_path) == STATED


def test_a_sidecar_that_had_to_be_shortened_is_not_written_again_and_again(tmp_path: Path, dir_fd: int):
    """What was cut is told from what changed."""
    huge = {f"k{n}": ["v" * 16_000] * 5 for n in range(100)}
    exports = render_exports([replace(ONNX, proof={"cases": list(range(500)), "text": "x" * 900})])
    assert bring(dir_fd, inspection(hyperparameters=huge), exports=exports).action is Action.WRITTEN
    assert len(said(tmp_path)["onnx"]["cases"]) == 100
    assert bring(dir_fd, inspection(hyperparameters=huge), exports=exports).action is Action.UNCHANGED
    assert state(dir_fd, exports).action is Action.UNCHANGED


def test_homes_in_what_is_given_are_hidden_and_it_is_still_known_again(tmp_path: Path, dir_fd: int):
    """Whoever made the mapping."""
    exports = {"onnx": {"file": "a.onnx", "from": "/home/alice/x"}}
    bring(dir_fd, exports=exports)
    assert "alice" not in (tmp_path / SIDECAR).read_text()
    assert bring(dir_fd, exports=exports).action is Action.UNCHANGED
    assert state(dir_fd, exports).action is Action.UNCHANGED


# — a person's —


@pytest.mark.parametrize("how", [bring, state], ids=["ensure", "state_exports"])
def test_a_person_s_edits_survive_byte_for_byte(tmp_path: Path, dir_fd: int, how):
    """Only the value of `ckptd` is another one, and what a person put inside of that stays too."""
    bring(dir_fd)
    text = (tmp_path / SIDECAR).read_text()
    text = text.replace('"model_name":', '"notes":  "mine, 1.0 and 1e0",\n\t"model_name":', 1)
    text = text.replace('"schema_version"', '"mine": [1.0,  1e0],\n    "schema_version"', 1)
    (tmp_path / SIDECAR).write_text(text)
    assert how(dir_fd, exports=STATED).action is Action.UPDATED
    after = (tmp_path / SIDECAR).read_text()
    at = text.index('"ckptd":')
    assert after[:at] == text[:at]
    assert '"mine": [1.0,  1e0]' in after
    assert json.loads(after)["ckptd"]["exports"] == STATED
    assert json.loads(after)["ckptd"]["seal"] is None
    assert read(dir_fd, "a.pth", INSPECTION).values.other == {"notes": "mine, 1.0 and 1e0"}
    assert how(dir_fd, exports=STATED).action is Action.UNCHANGED


def test_a_save_that_falls_between_look_and_write_wins(tmp_path: Path, dir_fd: int, monkeypatch):
    """It is looked at again, and the exports are written into what was saved."""
    bring(dir_fd)
    exchange, saves = sidecar.exchange_if_same, []

    def exchange_later(fd, name, *args, **options):
        if not saves:
            saves.append(1)
            edit(tmp_path / name, lambda document: document.update(notes="mine"))
        return exchange(fd, name, *args, **options)

    monkeypatch.setattr(sidecar, "exchange_if_same", exchange_later)
    assert state(dir_fd).action is Action.UPDATED
    document = json.loads((tmp_path / SIDECAR).read_text())
    assert document["notes"] == "mine"
    assert document["ckptd"]["exports"] == STATED


def test_beside_a_person_s_own_file_ours_is_the_one_that_names_them(tmp_path: Path, dir_fd: int):
    """The person's is not touched."""
    (tmp_path / SIDECAR).write_text('{"model_name": "mine"}')
    assert bring(dir_fd, exports=STATED).action is Action.WRITTEN
    assert said(tmp_path, "a.pth.ckptd.json") == STATED
    assert state(dir_fd, {}).action is Action.REGENERATED
    assert said(tmp_path, "a.pth.ckptd.json") == {}
    assert (tmp_path / SIDECAR).read_text() == '{"model_name": "mine"}'


@pytest.mark.parametrize("what", ["missing", "broken", "of another content", "a person's"])
def test_without_a_sidecar_that_speaks_of_this_content_nothing_is_written(tmp_path: Path, dir_fd: int, what):
    """That is for a whole description."""
    match what:
        case "broken":
            (tmp_path / SIDECAR).write_text('{"ckptd": ')
        case "of another content":
            bring(dir_fd, inspection("e" * 64))
        case "a person's":
            (tmp_path / SIDECAR).write_text("{}")
    before = {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)}
    assert state(dir_fd) is None
    assert {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)} == before


# — recipes —


def test_a_recipe_is_read_where_a_person_wrote_it(tmp_path: Path, dir_fd: int):
    """In our sidecar, and nearer to the checkpoint it wins over that of the model; with the hyperparameters beside it."""
    bring(dir_fd)
    assert read_recipe(dir_fd, "a.pth", INSPECTION) is None
    (tmp_path / "BiLSTM_Attention_metadata.json").write_text('{"recipe": "models:General"}')
    assert read_recipe(dir_fd, "a.pth", INSPECTION) == "models:General"
    recipe = {"callable": "models:Net", "inputs": [{"shape": ["batch", 3]}]}
    edit(tmp_path / SIDECAR, lambda document: document.update(recipe=recipe, hyperparameters={"hidden": 9}))
    assert read_recipe(dir_fd, "a.pth", INSPECTION) == recipe
    assert read(dir_fd, "a.pth", INSPECTION).values.hyperparameters == {"hidden": 9}


DEEP = "[" * 20 + "]" * 20


@pytest.mark.parametrize(
    "text", ['{"recipe": ', '{"recipe": 1, "recipe": 2}', "", f'{{"recipe": {DEEP}}}', '{"recipe": 1e400}']
)
def test_a_broken_file_and_a_value_beyond_all_bounds_say_nothing(tmp_path: Path, dir_fd: int, text):
    """No error, and no recipe."""
    (tmp_path / SIDECAR).write_text(text)
    assert read_recipe(dir_fd, "a.pth", INSPECTION) is None


def test_a_recipe_of_another_checkpoint_is_none_of_ours(tmp_path: Path, dir_fd: int):
    """A sidecar speaks of its own file."""
    ensure(dir_fd, "b.pth", INSPECTION, generated_at=NOW)
    edit(tmp_path / "b_metadata.json", lambda document: document.update(recipe="models:Net"))
    (tmp_path / "b.pth").touch()
    assert read_recipe(dir_fd, "a.pth", INSPECTION) is None
    assert read_recipe(dir_fd, "b.pth", INSPECTION) == "models:Net"


# — names —


@pytest.mark.parametrize(
    ("checkpoint", "ending", "siblings", "name"),
    [
        ("a.pth", ".onnx", (), "a.onnx"),
        ("d/a.pth.tar", "_scripted.pt", (), "a_scripted.pt"),
        ("a.pth", ".onnx", {"a.pth", "a.pt"}, "a.pth.onnx"),
        ("a.pt", "_scripted.pt", {"a.pth", "a.pt"}, "a.pt_scripted.pt"),
        ("a.pth", ".pt2", {"ab.pt", "a.onnx"}, "a.pt2"),
        ("x" * 230 + ".pth", ".safetensors", (), "x" * 230 + ".safetensors"),
    ],
)
def test_an_export_is_called_by_the_stem_or_by_the_full_name(checkpoint, ending, siblings, name):
    """The full one where checkpoints share a stem."""
    assert export_name(checkpoint, ending, siblings) == name


def test_a_name_that_no_file_can_have_is_a_clear_error():
    """Room for `.failed` is in it, and the cure too."""
    with pytest.raises(NoNameError, match=r"File name too long.*shorter name"):
        export_name("x" * 245 + ".pth", ".onnx")
