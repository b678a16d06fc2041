"""The contract of every export target, through real processes: one suite for all, and a new target is a new parameter."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
import torch

from ckptd.export.targets import TARGETS, find_target
from ckptd.proof import TARGET_NAMES, InputSpec, Maker, Recipe, Verdict, digest_json
from ckptd.settings.exporting import ExportSettings
from tests.export.making_models import module_of
from tests.export.running import kitchen

TRUSTED = str(Path(__file__).parents[1] / "export" / "trusted")
DOCS = (Path(__file__).parents[2] / "docs" / "exports.md").read_text()

#: Name → (hyperparameters, inputs): a CNN with int8 buffers, a recurrent model, one with two inputs, one with tied weights.
MODELS = {
    "QuantizedCNN": ({}, ()),
    "Attention": ({"input_size": 6, "hidden_size": 8}, ()),
    "TwoInputs": ({}, (InputSpec("query", ("batch", 4)), InputSpec("context", ("batch", 6)))),
    "Tied": ({}, ()),
}


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    with kitchen(tmp_path_factory.mktemp("contract"), workers=2) as one:
        for name, (hyperparameters, _) in MODELS.items():
            torch.manual_seed(0)
            module = module_of(name, **hyperparameters)
            optimizer = {"state": {0: {"exp_avg": torch.ones(1000)}}, "param_groups": [{"lr": 0.1}]}
            torch.save({"model_state_dict": module.state_dict(), "optimizer": optimizer, "epoch": 3}, one.root / f"{name}.pth")
        yield one


def recipe_of(name):
    hyperparameters, inputs = MODELS[name]
    return Recipe(Maker.CALLABLE, "test", f"small:{name}", hyperparameters, inputs, directories=(TRUSTED,))


@pytest.mark.parametrize("model", list(MODELS))
@pytest.mark.parametrize("target", TARGET_NAMES)
def test_an_export_is_verified_and_says_how(opened, target, model):
    """A regular file of its name, no longer than it should be, and a proof with the numbers that docs/exports.md promises."""
    kind = find_target(target)
    recipe = recipe_of(model) if kind.needs_module or kind.is_lossy else None
    made = opened.make(opened.root / f"{model}.pth", target, recipe)
    assert made.verdict is Verdict.VERIFIED, made.reason
    assert made.reason == ""
    name = next(iter(made.files))
    assert name == model + kind.ending
    assert made.scratch is not None
    path = made.scratch.path / name
    assert path.is_file()
    assert not path.is_symlink()
    assert path.stat().st_size == made.files[name].size_bytes
    assert (torch.ones(1000).numpy().tobytes() in path.read_bytes()) is False, "the optimizer travelled"
    assert set(made.proof["sandbox"]["applied"]) >= {"landlock", "seccomp", "rlimits", "no_new_privs", "capabilities"}
    assert made.proof["size_ratio"] > 0
    assert made.proof.keys() >= ({"outputs", "inputs", "recipe"} if recipe is not None else {"weights"})
    assert all(output["max_abs"] >= 0 for output in made.proof.get("outputs", ()))
    for key in made.proof:
        assert f"`{key}`" in DOCS, key
    made.scratch.close()
    assert os.listdir(opened.root / ".ckptd" / "scratch") == []


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_what_the_daemon_knows_of_a_target(target):
    """Its name, its ending, its settings and what it needs stand in the documentation; its options are plain JSON."""
    (line,) = re.findall(rf"^\| `{re.escape(target.name)}` \| .*$", DOCS, re.MULTILINE)
    assert f"`NAME{target.ending}`" in line
    assert ("a recipe" in line) is target.needs_module
    assert (f"`ckptd[{target.extra}]`" in line) is bool(target.packages)
    assert ("deprecated" in line) is bool(target.deprecated)
    assert len(digest_json(target.options(ExportSettings()))) == 64


def test_names_and_endings_are_unique():
    """Two targets never write the same file."""
    assert tuple(target.name for target in TARGETS) == TARGET_NAMES
    assert len({target.ending for target in TARGETS}) == len(TARGETS)
