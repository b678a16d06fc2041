"""What torch's exporters, onnxruntime and the rest of an export need is there in a jail, with every wall standing."""

from pathlib import Path

import pytest

from ckptd.sandbox.command import torch_command
from ckptd.sandbox.limits import JOB_LAYERS
from tests.sandbox.nursing import Nursing


@pytest.fixture
def nursing(tmp_path):
    command = torch_command("torch_zygote", ["onnx"], paths=[str(Path(__file__).parent)])
    nursing = Nursing(tmp_path, command=command, nice=0)
    yield nursing
    nursing.close()


def test_exporters_and_runtimes_work_in_a_jail(nursing):
    """TorchScript, `torch.export`, both ONNX exporters, ONNX Runtime, its quantization, and safetensors.

    The zygote has one thread although all of them are imported, and no quirk of a library was refused a file.
    """
    jail = {"nice": 0, "memory_bytes": 2 << 30, "file_bytes": 64 << 20}
    for function in ("save_weights", "script", "export_program", "export_onnx", "quantize"):
        result = nursing.ask(function, jail=jail, seconds=300.0)
        assert result.error is None, (function, result.error, result.words)
        assert (result.layers.applied, result.layers.missing) == (JOB_LAYERS, ())
        assert result.answer["difference"] < 1e-5
    made = {
        "model.pth",
        "model.safetensors",
        "scripted.pt",
        "traced.pt",
        "model.pt2",
        "dynamo.onnx",
        "legacy.onnx",
        "int8.onnx",
    }
    assert set(nursing.clear()) == made
