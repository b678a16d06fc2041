"""A zygote with torch and onnxruntime for tests: what their exporters and runtimes do must work in a jail."""

import os

from ckptd.sandbox.zygote import Task, run


def _make_model():
    import torch

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = torch.nn.Conv1d(4, 8, 3, padding=1)
            self.head = torch.nn.Linear(8, 5)

        def forward(self, x):
            return self.head(torch.relu(self.conv(x)).transpose(1, 2))

    torch.manual_seed(0)
    return Model().eval().requires_grad_(requires_grad=False), torch.randn(2, 4, 20)


def save_weights(task: Task):
    import safetensors.torch
    import torch

    model, x = _make_model()
    torch.save(model.state_dict(), "model.pth")
    model.to(torch.bfloat16)(x.to(torch.bfloat16))
    torch.set_num_threads(2)
    safetensors.torch.save_file(model.state_dict(), "model.safetensors")
    again, _ = _make_model()
    again.load_state_dict(torch.load("model.pth", weights_only=True))
    return {"difference": float((again(x) - _make_model()[0](x)).abs().max())}


def script(task: Task):
    import torch

    model, x = _make_model()
    torch.jit.trace(model, (x,)).save("traced.pt")
    torch.jit.script(model).save("scripted.pt")
    loaded = [torch.jit.load(name) for name in ("traced.pt", "scripted.pt")]
    return {"difference": max(float((again(x) - model(x)).abs().max()) for again in loaded)}


def export_program(task: Task):
    import torch

    model, x = _make_model()
    program = torch.export.export(model, (x,), dynamic_shapes={"x": {0: torch.export.Dim("batch")}})
    torch.export.save(program, "model.pt2")
    again = torch.export.load("model.pt2").module()
    return {"difference": float((again(x) - model(x)).abs().max())}


def export_onnx(task: Task):
    import torch

    model, x = _make_model()
    shapes = {"x": {0: torch.export.Dim("batch")}}
    common = {"external_data": False, "input_names": ["x"], "verbose": False}
    torch.onnx.export(model, (x,), "dynamo.onnx", dynamo=True, dynamic_shapes=shapes, opset_version=20, **common)
    torch.onnx.export(model, (x,), "legacy.onnx", dynamo=False, opset_version=17, **common)
    return {"difference": max(_run(name, x, model(x)) for name in ("dynamo.onnx", "legacy.onnx"))}


def quantize(task: Task):
    import onnx
    import torch
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic("legacy.onnx", "int8.onnx", weight_type=QuantType.QInt8)
    onnx.checker.check_model("int8.onnx")
    model, x = _make_model()
    assert _run("int8.onnx", x, model(x)) < 0.1
    return {"difference": float(torch.zeros(1))}


def _run(name, x, wanted):
    import numpy
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    session = onnxruntime.InferenceSession(name, options, providers=["CPUExecutionProvider"])
    return float(numpy.abs(session.run(None, {"x": x.numpy()})[0] - wanted.numpy()).max())


def main(arguments):
    import onnx  # noqa: F401 — what its jobs need is there before them
    import onnxruntime.quantization  # noqa: F401 — what its jobs need is there before them
    import onnxscript  # noqa: F401 — what its jobs need is there before them
    import safetensors.torch  # noqa: F401 — what its jobs need is there before them
    import torch._dynamo
    import torch.export
    import torch.onnx  # noqa: F401 — what its jobs need is there before them

    assert arguments[0] == "onnx"
    assert len(os.listdir("/proc/self/task")) == 1, "a thread that a job's jail would not bind"
    run(arguments, {act.__name__: act for act in (save_weights, script, export_program, export_onnx, quantize)})
