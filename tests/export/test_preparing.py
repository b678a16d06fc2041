"""A zygote imports and warms up once; what it keeps is what each export would have built."""

from __future__ import annotations

import os
import subprocess
import sys

#: In a process of its own: what is kept there would stay in this one.
REGISTRY = """
from torch.onnx._internal.exporter._registration import ONNXRegistry
import logging; logging.disable(50)
fresh = {opset: {str(name): [str(d.onnx_function) for d in found] for name, found in
         ONNXRegistry.from_torchlib(opset_version=opset).functions.items()} for opset in (18, 20)}
from ckptd.export.preparing import keep_registry
keep_registry()
for opset, functions in fresh.items():
    for _ in range(2):
        made = ONNXRegistry.from_torchlib(opset_version=opset)
        assert made.opset_version == opset
        assert {str(name): [str(d.onnx_function) for d in found] for name, found in made.functions.items()} == functions
        for found in made.functions.values():  # what one export registers is not there in the next one
            found.clear()
"""

PREPARED = """
import threading, sys, os
from ckptd.export.preparing import prepare
prepare(("onnx", "onnxscript", "onnxruntime"))
import torch
assert torch.get_num_threads() == 1
# A job's process has to lock itself in before it has a second thread.
assert threading.active_count() == 1 and len(os.listdir("/proc/self/task")) == 1, os.listdir("/proc/self/task")
assert torch.backends.mha.get_fastpath_enabled()
assert "sklearn" not in sys.modules and "small" not in sys.modules
"""

WITHOUT_ONNX = """
import sys
from ckptd.export.preparing import prepare
prepare(())
assert "onnx" not in sys.modules and "onnxscript" not in sys.modules and "onnxruntime" not in sys.modules
"""


def run(code: str) -> str:
    # As workers are started: OpenBLAS would have threads of its own.
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_kept_registry() -> None:
    """The kept registry of translations is the one that torch builds, for each opset, however often it is asked for."""
    run(REGISTRY)


def test_prepared() -> None:
    """The zygote is quiet and has one thread, and what the warm-up switched is as it was."""
    assert run(PREPARED) == ""


def test_only_what_is_needed() -> None:
    """Without ONNX targets nothing of ONNX is imported."""
    assert run(WITHOUT_ONNX) == ""
