"""What a torch zygote does once, before it forks: import, and warm up what exporters build anew in every process.

Measured with torch 2.13 on one core: a first ONNX export of a small CNN takes 3.5 s beyond the imports, 1.7 s of it in
building the registry of ONNX translations and the rest in tables that torch.export fills when it is first used; in a fork of a
process that has done both it takes 0.6 s.  A single export pays no more for this than it would have paid itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def prepare(packages: Sequence[str]) -> None:
    """Import torch and the packages, and warm up; runs no code but theirs and stays on one thread.

    Args:
        packages: importable names, "onnx" and "onnxscript" among them; none for targets that need torch alone.
    """
    import gc
    import importlib

    import torch

    torch.set_num_threads(1)
    torch.set_num_interop_threads(1)
    import torch.export
    import torch.jit
    import torch.utils._pytree

    import ckptd.export.building
    import ckptd.export.inputs
    import ckptd.loading.rebuild
    import ckptd.loading.storages  # noqa: F401 — imported so that no job has to

    for name in packages:
        # ONNX Runtime starts a thread when it is imported, beside which a process should not fork; it takes 0.05 s.
        if name != "onnxruntime":
            importlib.import_module(name)
    from ckptd.export.arrays import silence

    with silence():
        program = _capture_small()
        if "onnxscript" in packages:
            keep_registry()
            _export_small(program)
    gc.collect()
    # A child that collects garbage would copy every page that it looks at.
    gc.freeze()


def keep_registry() -> None:
    """Build torch's registry of ONNX translations once for each opset, in place of once for each export.

    Source: torch 2.13, torch/onnx/_internal/exporter/_registration.py, `ONNXRegistry.from_torchlib`.  Where a torch has no such
    method, nothing is changed and every export takes a second longer.
    """
    try:
        from torch.onnx._internal.exporter import _registration

        kind: Any = _registration.ONNXRegistry
        build = kind.from_torchlib.__func__
    except (ImportError, AttributeError):
        return
    if getattr(build, "is_kept", False):
        return
    held: dict[int, Any] = {}

    def from_torchlib(cls: Any, opset_version: int = 18) -> Any:
        if opset_version not in held:
            held[opset_version] = build(cls, opset_version)
        made = cls()
        made._opset_version = opset_version
        made.functions = {name: list(found) for name, found in held[opset_version].functions.items()}
        return made

    from_torchlib.is_kept = True  # type: ignore[attr-defined]  # a mark on a function
    kind.from_torchlib = classmethod(from_torchlib)


def _capture_small() -> Any:
    """Export a module that uses what most do, so that the tables behind it are filled."""
    import torch

    from ckptd.export.targets.recurrent import TRANSLATED, whole_recurrences

    nn = torch.nn
    small = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(18, 2))
    small.eval().requires_grad_(False)  # noqa: FBT003 — torch's own signature
    auto = torch.export.Dim.AUTO
    with whole_recurrences(TRANSLATED):
        return torch.export.export(small, (torch.zeros(2, 1, 8, 8),), dynamic_shapes=({0: auto},))


def _export_small(program: Any) -> None:
    import torch

    from ckptd.export.targets.recurrent import TRANSLATED, whole_recurrences

    with whole_recurrences(TRANSLATED):
        made = torch.onnx.export(program, (), dynamo=True, verbose=False, opset_version=20)
    made.model_proto.SerializeToString()
