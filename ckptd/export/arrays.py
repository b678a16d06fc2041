"""Arrays at the edges of a module: numpy in, torch inside, numpy out, in one order whatever the outputs' structure."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

from ckptd.export.refusal import TargetError
from ckptd.text import escape


def to_tensors(arrays: Sequence[Any]) -> tuple[Any, ...]:
    """Give numpy arrays as tensors with memory of their own."""
    import numpy as np
    import torch

    return tuple([torch.from_numpy(np.array(array, order="C", copy=True)) for array in arrays])


def flatten(outputs: Any) -> tuple[Any, ...]:
    """Give the tensors of what a forward returned, in the order that torch itself gives them.

    Raises:
        TargetError: there is something beside tensors, or nothing.
    """
    import torch
    from torch.utils import _pytree as pytree

    leaves = pytree.tree_leaves(outputs)
    strange = next((leaf for leaf in leaves if not isinstance(leaf, torch.Tensor)), None)
    if strange is not None or any(leaf is None for leaf in leaves):
        what = "None" if strange is None else f"a {escape(type(strange).__name__, 80)}"
        raise TargetError(f"its forward returns {what} beside or instead of tensors, which no format holds")
    if not leaves:
        raise TargetError("its forward returns no tensor")
    return tuple(leaves)


def to_arrays(tensors: Sequence[Any]) -> list[Any]:
    """Give tensors as numpy arrays; bfloat16, which numpy lacks, as float32, which holds every value of it."""
    return [_to_array(tensor) for tensor in tensors]


def _to_array(tensor: Any) -> Any:
    import numpy as np
    import torch

    plain = tensor.detach()
    if plain.is_quantized:
        plain = plain.dequantize()
    if plain.layout is not torch.strided:
        plain = plain.to_dense()
    if plain.dtype is torch.bfloat16:
        plain = plain.float()
    return np.array(plain.resolve_conj().resolve_neg().cpu().numpy(), order="C", copy=True)


@contextmanager
def silence() -> Iterator[None]:
    """Keep warnings, log lines and prints of exporters to ourselves: the verdict says what matters."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        # The legacy ONNX exporter prints the whole graph that it does not take.
        with warnings.catch_warnings(), Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
