"""The export formats, one a file; a new one is a new file and a line in `TARGETS`.

Importing them imports nothing that they need: that happens in a worker, when they are called.
"""

from __future__ import annotations

from ckptd.errors import UsageError
from ckptd.export.interface import ModuleTarget, WeightsTarget
from ckptd.export.targets.bfloat16 import BFloat16Target
from ckptd.export.targets.float16 import Float16Target
from ckptd.export.targets.int8 import Int8Target
from ckptd.export.targets.onnx import OnnxTarget
from ckptd.export.targets.onnx_int8 import OnnxInt8Target
from ckptd.export.targets.pt2 import Pt2Target
from ckptd.export.targets.safetensors import SafetensorsTarget
from ckptd.export.targets.torchscript import TorchScriptTarget
from ckptd.export.targets.torchscript_trace import TorchScriptTraceTarget
from ckptd.text import escape

#: In the order in which they are shown and made.
TARGETS: tuple[WeightsTarget | ModuleTarget, ...] = (
    SafetensorsTarget(),
    Float16Target(),
    BFloat16Target(),
    Int8Target(),
    TorchScriptTarget(),
    TorchScriptTraceTarget(),
    Pt2Target(),
    OnnxTarget(),
    OnnxInt8Target(),
)


def find_target(name: str) -> WeightsTarget | ModuleTarget:
    """Give the target of a name.

    Raises:
        UsageError: there is none.
    """
    for target in TARGETS:
        if target.name == name:
            return target
    known = ", ".join(target.name for target in TARGETS)
    raise UsageError("export", why=f"{escape(name, 80)} is no target", cure=f"there are {known}")


def find_weights_target(name: str) -> WeightsTarget:
    """Give a target that needs the tensors alone; UsageError where there is none of that name."""
    target = find_target(name)
    if not isinstance(target, WeightsTarget):
        raise UsageError("export", why=f"{target.name} needs the module")
    return target


def find_module_target(name: str) -> ModuleTarget:
    """Give a target that needs the module; UsageError where there is none of that name."""
    target = find_target(name)
    if not isinstance(target, ModuleTarget):
        raise UsageError("export", why=f"{target.name} needs no module")
    return target
