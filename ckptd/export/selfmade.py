"""Modules that are their own recipe: a pickled module of trusted classes, and a TorchScript archive.

A pickled module is rebuilt out of inert values: a class is found by its exact name, an object is made by `cls.__new__(cls)` and
its attributes are set as they stand in the file.  No `__setstate__`, no `__reduce__` and no name beyond the tables is called.
"""

from __future__ import annotations

import hashlib
import io
import os
import sys
from collections.abc import Sequence
from typing import Any

from ckptd.checkpoint.identify import is_module
from ckptd.checkpoint.jsonable import class_name, mapping_of, state_of
from ckptd.checkpoint.reader import Structure
from ckptd.checkpoint.values import Global, Opaque, Value
from ckptd.errors import CkptdError
from ckptd.export.arrays import silence
from ckptd.export.making import find_class, listed, reason
from ckptd.export.refusal import TargetError
from ckptd.proof import Recipe
from ckptd.text import escape

#: What a script that is run calls itself; its classes are pickled under this name.
_MAIN = "__main__"
_WRAPPERS = ("DataParallel", "DistributedDataParallel", "OptimizedModule")
_DEPTH = 3

#: Modules whose harmless names `ckptd.loading` has tables for, or refuses by itself.
_KNOWN = frozenset({"collections", "builtins", "__builtin__", "numpy", "datetime", "pathlib", "argparse", "torch"})
#: Functions that torch's own modules keep as an attribute: the activation of a Transformer layer.
_FUNCTIONS = frozenset({"relu", "gelu", "silu", "tanh", "sigmoid", "softmax", "elu", "leaky_relu", "mish", "hardswish"})
_FUNCTION_MODULES = frozenset({"torch.nn.functional", "torch", "torch._C._nn"})


def load_module(recipe: Recipe, structure: Structure, fd: int) -> Any:
    """Rebuild the module that the file holds.

    Raises:
        TargetError: it holds none, or something in it is not trusted, or can't be rebuilt.
    """
    from ckptd.loading.rebuild import rebuild
    from ckptd.loading.storages import Storages

    found = _find_module(structure.root)
    if found is None:
        raise TargetError("the file holds no pickled module")
    trusted = Trusted(recipe.classes, recipe.directories)
    try:
        module = rebuild(found, Storages(fd, structure, "cpu"), trusted)
    except CkptdError as error:
        if trusted.refused:
            names = listed(trusted.refused)
            raise TargetError(f"the pickled module is built of {names}, not trusted: name each in trust.classes") from error
        raise TargetError(f"the pickled module can't be rebuilt: {error}") from error
    complete(module)
    return module


def load_script(fd: int, sha256: str | None = None) -> Any:
    """Load a TorchScript archive: its program runs when it is called.

    Args:
        fd: of the archive.
        sha256: of what is trusted; other bytes, which somebody may have put into the same file since, are refused.

    Raises:
        TargetError: it is another one, or torch does not take it.
    """
    import torch

    with os.fdopen(os.dup(fd), "rb") as file:
        file.seek(0)
        data = file.read()
    if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256:
        raise TargetError("the archive is not the one that was inspected: it is exported again when its name is quiet")
    held = io.BytesIO(data)
    with silence():
        try:
            return torch.jit.load(held, map_location="cpu")
        except Exception as error:
            raise TargetError(f"torch.jit.load does not take the archive: {reason(error)}") from error


class Trusted:
    """Answer what a name in a file stands for, by exact tables.

    Attributes:
        refused: dotted names of classes that were asked for and are not trusted, in order.
    """

    def __init__(self, classes: Sequence[str], directories: Sequence[str]) -> None:
        self._classes = frozenset(classes)
        self._directories = directories
        self._found: dict[tuple[str, str], Any] = {}
        self.refused: list[str] = []

    def __call__(self, name: Global) -> Any:
        """Give what a name stands for, None when it is not trusted."""
        key = (name.module, name.name)
        if key not in self._found:
            self._found[key] = self._find(name)
        return self._found[key]

    def _find(self, name: Global) -> Any:
        found = _torch_function(name) or _torch_module(name)
        if found is not None:
            return found
        dotted = self._dotted(name)
        if dotted is not None:
            return find_class(dotted[: -len(name.name) - 1], name.name, self._directories)
        if name.module.partition(".")[0] not in _KNOWN and name.dotted not in self.refused:
            self.refused.append(name.dotted)
        return None

    def _dotted(self, name: Global) -> str | None:
        """Give the trusted name of a class; what a script called __main__ is known by the name of its module."""
        if name.module != _MAIN:
            return name.dotted if name.dotted in self._classes else None
        fitting = [dotted for dotted in sorted(self._classes) if dotted.endswith(f".{name.name}")]
        return fitting[0] if len(fitting) == 1 and not fitting[0].startswith(f"{_MAIN}.") else None


def complete(module: Any) -> None:
    """Give a rebuilt tree what older versions of torch did not save, and what no file can hold: weak references.

    Raises:
        TargetError: something in it is no module.
    """
    import weakref

    import torch

    if not isinstance(module, torch.nn.Module):
        raise TargetError(f"the file holds a {escape(type(module).__name__, 80)}, which is no torch.nn.Module")
    fresh = vars(torch.nn.Module())
    for part in _tree(module):
        for name, value in fresh.items():
            part.__dict__.setdefault(name, value if isinstance(value, bool) or value is None else type(value)())
        if isinstance(part, torch.nn.RNNBase):
            # Source: torch/nn/modules/rnn.py, `RNNBase.__setstate__`.
            part.__dict__.setdefault("proj_size", 0)
            held = [part._parameters.get(weight) for weight in part._flat_weights_names]  # noqa: SLF001 — as torch does it itself
            part.__dict__["_flat_weights"] = held
            part.__dict__["_flat_weight_refs"] = [None if weight is None else weakref.ref(weight) for weight in held]


def _torch_function(name: Global) -> Any:
    import torch

    if name.name not in _FUNCTIONS or name.module not in _FUNCTION_MODULES:
        return None
    places = {"torch": torch, "torch.nn.functional": torch.nn.functional, "torch._C._nn": torch._C._nn}  # noqa: SLF001 — where pickles name them
    return getattr(places[name.module], name.name, None)


def _torch_module(name: Global) -> Any:
    """Give a module class of torch.nn by the exact name it has for itself; nothing is imported for it."""
    import torch

    if not name.module.startswith(("torch.nn.modules.", "torch.nn.parallel.")) or not name.name.isidentifier():
        return None
    found = getattr(sys.modules.get(name.module), name.name, None)
    if not isinstance(found, type) or not issubclass(found, torch.nn.Module) or found.__module__ != name.module:
        return None
    return found


def _tree(root: Any) -> list[Any]:
    """Walk a tree of modules by its registries, as the file has them."""
    import torch

    found, todo = {id(root): root}, [root]
    while todo:
        registry = todo.pop().__dict__.get("_modules")
        if not isinstance(registry, dict):
            raise TargetError("the pickled module has no registry of its parts")
        for name, part in registry.items():
            if part is not None and not isinstance(part, torch.nn.Module):
                raise TargetError(f"the part {escape(str(name), 80)} of the pickled module is no torch.nn.Module")
            if part is not None and id(part) not in found:
                found[id(part)] = part
                todo.append(part)
    return list(found.values())


def _find_module(root: Value) -> Value:
    """Find the module in a file: the root itself, in a wrapper, or under a key of a checkpoint dict."""
    level, seen = [root], set()
    for _ in range(_DEPTH):
        for value in level:
            if isinstance(value, Opaque) and is_module(value):
                return _unwrap(value)
        inner: list[Value] = []
        for value in level:
            if id(value) not in seen and isinstance(value, dict):
                seen.add(id(value))
                inner += value.values()
        level = inner
    return None


def _unwrap(value: Opaque) -> Value:
    for _ in range(_DEPTH):
        state = state_of(value)
        parts = mapping_of(state["_modules"]) if state is not None and class_name(value) in _WRAPPERS else None
        inner = (parts.get("module") or parts.get("_orig_mod")) if parts is not None else None
        if not isinstance(inner, Opaque):
            break
        value = inner
    return value
