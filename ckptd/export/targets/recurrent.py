"""Let torch.export take an LSTM or a GRU as one operator whose length stays open.

torch finds the shapes of such an operator's outputs by unrolling it step by step, which fixes the length and takes seconds; the
graph that comes of it holds the operator whole all the same.  Its shapes can be said in a line.
Source: torch 2.13, torch/_decomp/decompositions.py, `one_layer_lstm` and `gru_impl`; measured: 13 s and a fixed length without
this, 1 s and an open one with it.  On a torch that is built otherwise the worst is a fixed length again, or an error; what an
export computes is verified whatever happens here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

#: Operators that ONNX translates whole; the others have to be unrolled for it.
#: Source: onnxscript 0.7, function_libs/torch_lib/ops/core.py.
TRANSLATED = ("lstm", "gru")
ALL = ("lstm", "gru", "rnn_tanh", "rnn_relu")


@contextmanager
def whole_recurrences(names: Sequence[str]) -> Iterator[None]:
    """Say the shapes of these recurrent operators for as long as it is open."""
    import torch
    from torch._decomp import decomposition_table as table

    ops = {getattr(torch.ops.aten, name).input: _lstm_shapes if name == "lstm" else _shapes for name in names}
    saved = [(op, dict(op.py_kernels), table.get(op)) for op in ops]
    for op, rule in ops.items():
        for key in list(op.py_kernels):
            op.py_kernels[key] = rule
        table[op] = rule
        op._dispatch_cache.clear()  # noqa: SLF001 — as torch/export/exported_program.py does it
    try:
        yield
    finally:
        for op, kernels, entry in saved:
            op.py_kernels.clear()
            op.py_kernels.update(kernels)
            table.pop(op, None)
            if entry is not None:
                table[op] = entry
            op._dispatch_cache.clear()  # noqa: SLF001 — there is no public way to have torch look anew


def has_plain_recurrence(program: Any) -> bool:
    """Say whether a program holds a recurrence that ONNX's translations know only unrolled."""
    import torch

    plain = {getattr(torch.ops.aten, name).input for name in ALL if name not in TRANSLATED}
    return any(node.target in plain for node in program.graph.nodes)


def _lstm_shapes(x: Any, states: Any, *arguments: Any) -> Any:
    import torch

    return _output(x, states[0], arguments[-2]), torch.empty_like(states[0]), torch.empty_like(states[1])


def _shapes(x: Any, state: Any, *arguments: Any) -> Any:
    import torch

    return _output(x, state, arguments[-2]), torch.empty_like(state)


def _output(x: Any, state: Any, bidirectional: Any) -> Any:
    """Make the output of a recurrence: the input's shape, with the width of the state, twice where it goes both ways."""
    return x.new_empty((x.shape[0], x.shape[1], state.shape[2] * (2 if bidirectional else 1)))
