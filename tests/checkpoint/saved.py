"""What ckptd understands of an object that torch.save wrote: its pickle is read by our machine and by no other part."""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ckptd.checkpoint import opcodes, walk
from ckptd.checkpoint.tensors import Builder
from ckptd.checkpoint.understanding import Understanding, understand
from ckptd.checkpoint.values import TensorValue, Value
from ckptd.model import Container, Layer


class Read(NamedTuple):
    """An object as the machine read it, with the values of its tensors of one number."""

    root: Value
    tensors: list[tuple[str, TensorValue]]
    scalars: Mapping[str, float]


def read(value: Any) -> Read:
    """Save an object with torch.save, and read the pickle of the file."""
    import torch

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "saved.pth")
        torch.save(value, path)
        with zipfile.ZipFile(path) as archive:
            members = {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}
    root, _ = opcodes.run(members["data.pkl"], 0, Builder())
    tensors = walk.walk(root).tensors
    scalars = {}
    for name, tensor in tensors:
        if tensor.shape in ((), (1,)) and tensor.storage is not None and tensor.layout == "dense":
            numbers = torch.frombuffer(bytearray(members[f"data/{tensor.storage.key}"]), dtype=getattr(torch, tensor.dtype))
            scalars[name] = float(numbers[tensor.offset])
    return Read(root, tensors, scalars)


def say(value: Any, name: str = "saved.pth", container: Container = Container.ZIP) -> Understanding:
    """Save an object under a name and give what is understood of it."""
    found = read(value)
    return understand(found.root, found.tensors, name, container, scalars=found.scalars)


def layers(value: Any) -> dict[str, Layer]:
    """Give the layers of a saved object by their names."""
    return {layer.name: layer for layer in say(value).layers}
