"""Training-function files are data: read, linked to a model by its name, and never run."""

from __future__ import annotations

import hashlib
import json
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckptd.checkpoint.functions import MAX_TEXT, match_function, read_function

CODE = "import torch\n\n\ndef create_model(hidden=4):\n    return torch.nn.Linear(hidden, 1)\n"


def file(code=CODE, **entries):
    """The text of a training-function file."""
    return json.dumps({"training_code": code, **entries})


def test_a_training_function_is_read():
    """Its name, its arguments, and a digest of the text."""
    text = file(model_name="BiLSTM", hyperparams={"hidden": 8, "layers": [1, 2]})
    function = read_function(text)
    assert function.name == "BiLSTM"
    assert function.defines_create_model
    assert function.hyperparams == {"hidden": 8, "layers": [1, 2]}
    assert function.digest == hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize("key", ["hyperparams", "hyperparameters"])
def test_the_arguments_have_two_names(key):
    """As people write them."""
    assert read_function(file(**{key: {"a": 1}})).hyperparams == {"a": 1}


def test_its_code_is_never_run(tmp_path):
    """A file that would be written, an import that would be made, an exception that would be raised."""
    canary = tmp_path / "canary"
    code = f"import antigravity, this\nopen({str(canary)!r}, 'w').write('run')\nraise SystemExit\n{CODE}"
    events = []
    sys.addaudithook(lambda event, _: events.append(event))
    events.clear()
    function = read_function(file(code, hyperparams={"a": "__import__('os').system('touch x')"}))
    assert function.defines_create_model
    assert not canary.exists()
    assert "this" not in sys.modules
    assert not {"compile", "exec", "import", "open", "os.system", "subprocess.Popen"} & set(events)


@pytest.mark.parametrize(
    ("code", "defines"),
    [
        (CODE, True),
        (CODE.replace("\n", "\r\n"), True),
        ("async def create_model ():\n    pass", True),
        ('"""A model."""\ndef create_model(): ...', True),
        ('"""\ndef create_model(): a word of the docstring\n"""\n', False),
        ("'''\ndef create_model(): ...\n'''\ndef create_model(): ...", True),
        ("class A:\n    def create_model(self): ...", False),
        ("# def create_model():", False),
        ("create_model = build", False),
        ("def create_model2(): ...", False),
        ("def create_models(): ...", False),
        ("", False),
    ],
)
def test_a_definition_counts_only_at_the_begin_of_a_line_of_code(code, defines):
    """Not in a string, not in a class, not in a comment."""
    assert read_function(file(code)).defines_create_model is defines


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no JSON",
        "[]",
        "null",
        "{}",
        '{"training_code": 5}',
        '{"training_code": ["def create_model("]}',
        '{"hyperparams": {"a": 1}}',
        "[" * 200_000,
        '{"a":' * 200_000,
        '{"training_code": "def create_model(): ..."} trailing',
        "\udc80",
        '{"training_code": "def create_model(): ...", "x": "' + "y" * MAX_TEXT + '"}',
    ],
)
def test_what_is_no_training_function_says_nothing(text):
    """Broken, deep, huge, of another shape; it still has a digest."""
    function = read_function(text)
    assert not function.defines_create_model
    assert function.name is None
    assert function.hyperparams == {}
    assert len(function.digest) == 64


@pytest.mark.parametrize("settings", [5, "text", [1, 2], None])
def test_arguments_that_are_no_mapping_are_none(settings):
    """The code may still be one."""
    function = read_function(file(hyperparams=settings))
    assert function.defines_create_model
    assert function.hyperparams == {}


def test_hostile_arguments_are_bounded_and_escaped():
    """Many, deep, long, with control characters, homes and secrets."""
    deep = {"x": 1}
    for _ in range(100):
        deep = {"x": deep}
    many = {f"k{i}": i for i in range(20_000)}
    text = file(
        model_name="a\x1b[31m" + "b" * 5_000,
        hyperparams={
            "big": 10**4000,
            "out": "/home/alice/x",
            "api_key": "s3cret",
            "deep": deep,
            "long": "z" * 50_000,
            "many": many,
        },
    )
    function = read_function(text)
    shown = json.dumps(function.hyperparams)
    assert len(shown) < 20_000
    assert "alice" not in shown
    assert "s3cret" not in shown
    assert function.hyperparams["big"] == "13288-bit integer"
    assert "\x1b" not in function.name
    assert len(function.name) < 1_100


def test_numbers_that_python_refuses_to_read_are_no_training_function():
    """More digits than `int` takes from a text."""
    assert not read_function(file(hyperparams={}).replace("{}", '{"a": ' + "9" * 5_000 + "}")).defines_create_model


@given(st.text(max_size=300) | st.recursive(st.none() | st.text() | st.integers() | st.floats(), st.lists).map(json.dumps))
def test_any_text_is_read(text):
    """Nothing raises."""
    read_function(text)


@pytest.mark.parametrize(
    ("model", "filenames", "found"),
    [
        ("BiLSTM_Attention", ["bilstm-attention.json"], "bilstm-attention.json"),
        ("BiLSTM_Attention", ["training_function_BiLSTM_Attention.json"], "training_function_BiLSTM_Attention.json"),
        ("BiLSTM_Attention", ["BiLSTMAttention_training_function.json"], "BiLSTMAttention_training_function.json"),
        ("BiLSTM_Attention", ["BiLSTM.json"], None),
        ("BiLSTM", ["BiLSTM_Attention.json"], None),
        ("cnn", ["cnn.json", "CNN.json"], None),
        ("cnn", ["cnn.json", "cnn_train.json"], "cnn.json"),
        ("cnn", ["cnn_train.json", "train_cnn.json"], None),
        ("cnn", [], None),
        ("", ["function.json"], None),
        ("___", ["___.json"], None),
        ("train", ["train.json"], "train.json"),
    ],
)
def test_a_file_belongs_to_a_model_by_its_name(model, filenames, found):
    """Exactly one must fit; the exact name beats one with words around it."""
    assert match_function(model, filenames) == found
