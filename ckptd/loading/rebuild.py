"""Walk the inert values of a file and build the object that torch.load would give.

Mutable things (lists, dicts, sets, Namespace) get an empty shell first and are filled later, so that shared and recursive
structures come out as they were; immutable ones (tuples, tensors) are built once their parts exist.  The walk keeps a
stack of its own: a file may nest deeper than Python recurses.
"""

from __future__ import annotations

import argparse
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterable
from typing import Any

import torch

from ckptd.checkpoint.values import Global, Opaque, OrderedDictValue, StorageValue, TensorValue, Value
from ckptd.errors import FormatError
from ckptd.loading.plain import build_plain, fill_plain
from ckptd.loading.storages import Storages
from ckptd.loading.tensors import build_tensor, constant
from ckptd.text import escape

_LEAVES = frozenset({type(None), bool, int, float, complex, str, bytes, bytearray})
_SHELLS: dict[type, type] = {list: list, dict: dict, OrderedDictValue: OrderedDict, set: set}


#: Gives the class or function that a name of the file stands for, None where it is not trusted.
Trusted = Callable[[Global], Any]


def rebuild(root: Value, storages: Storages, trusted: Trusted | None = None) -> Any:
    """Build the object that `root` describes.

    Args:
        root: what the file says.
        storages: of the same file.
        trusted: asked about names outside of the fixed tables.  An object of a class it gives is made by `cls.__new__(cls)` and
            its attributes by a plain update of `__dict__`; its `__setstate__` is never called.  None: such objects are refused.

    Raises:
        NeedsCodeError: it holds something that only code of its own could build.
        FormatError: it contradicts itself.
    """
    return _Builder(storages, trusted).build(root)


class _Builder:
    def __init__(self, storages: Storages, trusted: Trusted | None) -> None:
        self._storages = storages
        self._trusted = trusted
        self._shells: dict[int, Any] = {}
        self._built: dict[int, Any] = {}
        self._unfilled: deque[Value] = deque()

    def build(self, root: Value) -> Any:
        result = self._resolve(root)
        while self._unfilled:
            self._fill(self._unfilled.popleft())
        return result

    def _resolve(self, root: Value) -> Any:
        if type(root) in _LEAVES:
            return root
        built = self._built
        stack, opened = [root], set()
        while stack:
            value = stack[-1]
            if id(value) in built:
                stack.pop()
                continue
            parts = () if self._shell(value) is not None else _parts(value)
            missing = [part for part in parts if type(part) not in _LEAVES and id(part) not in built]
            if not missing:
                built[id(value)] = self._make(value)
                stack.pop()
            elif id(value) in opened:
                raise FormatError("cannot rebuild an object", why="it contains itself where nothing can")
            else:
                opened.add(id(value))
                stack.extend(missing)
        return built[id(root)]

    def _known(self, value: Value) -> Any:
        return value if type(value) in _LEAVES else self._built[id(value)]

    def _make(self, value: Value) -> Any:
        kind = type(value)
        if kind in _SHELLS:
            self._unfilled.append(value)
            return _SHELLS[kind]()
        if kind is tuple:
            return tuple([self._known(part) for part in value])
        if kind is TensorValue:
            return self._tensor(value)
        if kind is Opaque:
            return self._opaque(value)
        if kind is Global:
            found = self._trusted(value) if self._trusted is not None else None
            return constant(value) if found is None else found
        if kind is StorageValue:
            return self._storages.typed(value)
        if kind is frozenset:
            return frozenset([self._known(part) for part in value])
        raise FormatError("cannot rebuild an object", why=f"unexpected {kind.__name__}")

    def _tensor(self, value: TensorValue) -> torch.Tensor:
        if value.attributes is not None:
            # Attributes of a tensor may lead back to it: they are filled in later.
            self._unfilled.append(value)
        return build_tensor(value, self._known(value.extra), self._storages)

    def _shell(self, value: Value) -> Any:
        """Give the empty object of a trusted class, None for everything else; made once."""
        if self._trusted is None or type(value) is not Opaque or type(value.callee) is not Global:
            return None
        if id(value) not in self._shells:
            found = self._trusted(value.callee)
            self._shells[id(value)] = _make_shell(value, found) if isinstance(found, type) else None
        return self._shells[id(value)]

    def _opaque(self, value: Opaque) -> Any:
        shell = self._shell(value)
        if shell is not None:
            self._unfilled.append(value)
            return shell
        dotted = value.dotted
        args = tuple([part if _is_class(value, part) else self._known(part) for part in value.args])
        if dotted in _TORCH:
            return self._torch_value(dotted, args)
        made = build_plain(value, args, self._known(value.state))
        if value.items or value.elements or isinstance(made, (Counter, argparse.Namespace)):
            self._unfilled.append(value)
        return made

    def _torch_value(self, dotted: str, args: tuple[Any, ...]) -> Any:
        try:
            return _TORCH[dotted](*args)
        except (TypeError, ValueError, RuntimeError, OverflowError) as error:
            raise FormatError("cannot rebuild an object", why=f"{dotted} does not take what it was given") from error

    def _fill(self, value: Value) -> None:
        made = self._built[id(value)]
        kind = type(value)
        if kind is list:
            made.extend([self._resolve(part) for part in value])
        elif kind is set:
            made.update([self._resolve(part) for part in value])
        elif kind is Opaque:
            self._fill_opaque(value, made)
        elif kind is TensorValue:
            vars(made).update(self._resolve_attributes(value.attributes))
        else:
            for key, part in value.items():
                made[key] = self._resolve(part)
            if kind is OrderedDictValue and value.state is not None:
                vars(made).update(self._resolve_attributes(value.state))

    def _fill_opaque(self, value: Opaque, made: Any) -> None:
        if self._shells.get(id(value)) is not None:
            vars(made).update({} if value.state is None else self._resolve_attributes(value.state))
            return
        if isinstance(made, Counter) and value.args:
            made.update(self._resolve_dict(value.args[0]))
        elif isinstance(made, argparse.Namespace) and value.state is not None:
            vars(made).update(self._resolve_attributes(value.state))
        fill_plain(made, [(key, self._resolve(part)) for key, part in value.items], [self._resolve(p) for p in value.elements])

    def _resolve_attributes(self, value: Value) -> dict[str, Any]:
        """Give the attributes that a pickled object carries: a dict, or a pair of a dict and its slots."""
        parts = value if type(value) is tuple and len(value) == 2 else (value,)
        found: dict[str, Any] = {}
        for part in parts:
            if part is not None:
                found.update(self._resolve_dict(part))
        if not all(type(key) is str for key in found):
            raise FormatError("cannot rebuild an object", why="an attribute's name is no text")
        return found

    def _resolve_dict(self, value: Value) -> dict[Any, Any]:
        if not isinstance(value, dict):
            raise FormatError("cannot rebuild an object", why="its state is not a dict")
        return {key: self._resolve(part) for key, part in value.items()}


def _make_shell(value: Opaque, kind: Any) -> Any:
    if not value.new or value.args != () or value.items or value.elements:
        raise FormatError("cannot rebuild an object", why=f"{escape(value.dotted)} is not saved as a plain object")
    made = kind.__new__(kind)
    if type(getattr(made, "__dict__", None)) is not dict:
        raise FormatError("cannot rebuild an object", why=f"{escape(value.dotted)} takes no attributes")
    return made


def _parts(value: Value) -> Iterable[Value]:
    """Give what must exist before `value` can be built."""
    kind = type(value)
    if kind is tuple or kind is frozenset:
        return tuple(value)
    if kind is TensorValue:
        return (value.extra,)
    if kind is Opaque:
        if type(value.args) is not tuple:
            raise FormatError("cannot rebuild an object", why="its arguments are no tuple")
        return [part for part in (*value.args, value.state) if not _is_class(value, part)]
    return ()


def _is_class(value: Opaque, part: Value) -> bool:
    """Tell an argument that names a class, which `plain` looks up in a table of its own, from a dtype or layout."""
    return type(part) is Global and not part.module.startswith("torch") and type(value.callee) is Global


def _layout(name: str) -> torch.layout:
    return torch.serialization._get_layout(name)  # noqa: SLF001 — what the file itself names


_TORCH: dict[str, Any] = {"torch.Size": torch.Size, "torch.device": torch.device, "torch.serialization._get_layout": _layout}
