"""`ckptd recipe suggest`: what is printed is a settings file, whatever stands in the checkpoint."""

from __future__ import annotations

import tomllib

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from ckptd.checkpoint.inspection import inspect_path
from ckptd.export.suggesting import guess_hyperparameters, suggest
from ckptd.model import Inspection, Kind, Layer, Metadata, Status
from ckptd.settings import load_settings
from ckptd.text import escape


def recipe_of(text, tmp_path):
    """Read what was printed as a settings file, as a person would after filling it in."""
    path = tmp_path / "ckptd.toml"
    path.write_text(text)
    (recipe,) = load_settings(path, None, {}).recipe
    return recipe


class BiLSTM(nn.Module):
    """The usual one."""

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(12, 32, 2, bidirectional=True, batch_first=True)
        self.head = nn.Linear(64, 5)


def test_a_suggestion_is_a_settings_file(tmp_path):
    """Match, callable and guesses as values; layers, what was read and inputs as comments."""
    path = tmp_path / "BiLSTM_UCI.pth"
    content = {"state_dict": BiLSTM().state_dict(), "hyperparameters": {"hidden_size": 32, "lr": 0.1, "note": None}}
    torch.save(content, path)
    text = suggest(inspect_path(path), "BiLSTM_UCI")
    recipe = recipe_of(text, tmp_path)
    assert recipe.match == "BiLSTM_UCI*"
    assert recipe.callable == "module:BiLSTMUCI"
    assert recipe.hyperparameters == {"input_size": 12, "num_layers": 2, "bidirectional": True, "num_classes": 5}
    assert "# hyperparameters = { hidden_size = 32 }" in text
    assert "#   lstm: lstm (input_size=12, hidden_size=32, num_layers=2, bidirectional=true)" in text
    assert 'callable = "module:BiLSTMUCI"  # fill in' in text
    assert '# inputs = [{ name = "input", shape = ["batch", "time", 12] }]' in text
    assert "takes 12 features: (batch, time, 12)" in text


def test_its_inputs_are_inputs_when_the_mark_is_taken_away(tmp_path):
    """Each commented line is a valid one."""
    path = tmp_path / "words.pth"
    torch.save(nn.Sequential(nn.Embedding(50, 8), nn.Linear(8, 2)).state_dict() | {"emb.weight": torch.zeros(50, 8)}, path)
    text = suggest(inspect_path(path))
    lines = [line for line in text.splitlines() if line.startswith(("# inputs", "# outputs"))]
    assert lines
    for line in lines:
        recipe_of(text + line.removeprefix("# ") + "\n", tmp_path)


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ([("linear", {"in_features": 4, "out_features": 8}), ("linear", {"in_features": 8, "out_features": 3})],
         {"in_features": 4, "hidden_size": 8, "num_classes": 3}),
        ([("linear", {"in_features": 4, "out_features": 8})], {"in_features": 4, "hidden_size": 8}),
        ([("conv2d", {"in_channels": 3}), ("linear", {"in_features": 8, "out_features": 3})],
         {"in_channels": 3, "num_classes": 3}),
        ([("embedding", {"num_embeddings": 50, "embedding_dim": 8}), ("gru", {"input_size": 8, "hidden_size": 9})],
         {"vocab_size": 50, "embedding_dim": 8, "input_size": 8, "hidden_size": 9}),
        ([("attention", {"embed_dim": 16})], {"d_model": 16}),
        ([("other", {})], {}),
        ([], {}),
    ],
)  # fmt: skip
def test_what_layers_say_about_hyperparameters(layers, expected):
    """By the names that most people give them."""
    assert guess_hyperparameters([Layer(f"l{n}", kind, 0, 0, detail) for n, (kind, detail) in enumerate(layers)]) == expected


def test_without_any_layer_there_is_something_to_fill_in(tmp_path):
    """Still a recipe, with the places marked."""
    text = suggest(Inspection("/x/weights.pth", Status.OK))
    assert recipe_of(text, tmp_path).match == "weights*"
    assert text.count("fill in") >= 3


def test_a_pickled_module_is_told_of_the_shorter_way():
    """Its classes are its recipe."""
    assert "trust.classes" in suggest(Inspection("m.pth", Status.NEEDS_CODE, kind=Kind.MODULE))


def test_inputs_that_look_alike_are_shown_once():
    """Two guesses may differ in nothing but the size that is tried first."""
    layer = Layer("conv", "conv1d", 1, 1, {"in_channels": 12, "out_channels": 4})
    lines = suggest(Inspection("m.pth", Status.OK, layers=(layer,))).splitlines()
    inputs = [line for line in lines if line.startswith("# inputs")]
    assert inputs
    assert len(inputs) == len(set(inputs))


TEXT = st.text(max_size=12) | st.sampled_from(
    ['a"b', "a\nb = 1", "*[x]?", "\x1b[2J", "\u202e", "\ud800", "\x7f", "]]\n[[recipe", "\U0001f600"]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
LAYERS = st.builds(
    Layer,
    TEXT,
    st.sampled_from("linear conv1d conv2d lstm embedding attention other".split()),
    st.just(0),
    st.just(0),
    st.dictionaries(
        st.sampled_from("in_features out_features in_channels input_size num_embeddings".split()), st.integers(1, 2**40)
    ),
)


@given(TEXT.filter(bool), st.lists(LAYERS, max_size=3), st.dictionaries(TEXT, JSON, max_size=4))
def test_no_name_out_of_a_file_breaks_out_of_its_place(tmp_path_factory, name, layers, hyperparameters):
    """It stays one recipe of one match, and no line moves a cursor."""
    metadata = Metadata(model_name=name, hyperparameters=hyperparameters, architecture=name)
    text = suggest(Inspection(f"/x/{name}.pth", Status.OK, layers=tuple(layers), metadata=metadata))
    assert all(escape(line, 100_000) == line for line in text.split("\n"))
    values = tomllib.loads(text)
    assert set(values) == {"recipe"}
    assert set(values["recipe"][0]) <= {"match", "callable", "hyperparameters", "inputs"}
    commented = [line.removeprefix("# ") for line in text.splitlines() if line.startswith("# hyperparameters = {")]
    for line in commented:
        assert set(tomllib.loads(line.partition("  # ")[0])) == {"hyperparameters"}
