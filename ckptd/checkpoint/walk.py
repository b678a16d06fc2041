"""Walk an object once, by identity and with a budget: name its tensors, and notice what could not be loaded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any, NamedTuple

from ckptd.checkpoint.budgets import BUDGETS, Budgets
from ckptd.checkpoint.globals import ITEM_BYTES, LAYOUTS, SCHEMES
from ckptd.checkpoint.plain import is_hashable, is_plain
from ckptd.checkpoint.values import Global, Opaque, OrderedDictValue, StorageValue, TensorValue, Value
from ckptd.text import escape

_LEAVES = frozenset({type(None), bool, int, float, complex, str, bytes, bytearray, StorageValue})
_CONTAINERS = frozenset({dict, list, tuple, set, frozenset})
#: Inside a pickled module these are levels of its own making; a state dict has no such parts in its names.
_MODULE_PARTS = frozenset({"_parameters", "_buffers", "_modules"})
#: Longer names are cut: a name made of names, a million deep, must not eat the memory.
_MOST_CHARACTERS = 1_000

_Named = tuple[str, Value]


class Walk(NamedTuple):
    """What the walk saw.

    Attributes:
        tensors: (dotted name, tensor) in the file's order; the same tensor under two names stands there twice.
        not_rebuilt: what `ckptd.load` does not rebuild, in words, at most a few.
        too_deep: what went beyond a budget, or None.
    """

    tensors: list[tuple[str, TensorValue]]
    not_rebuilt: list[str]
    too_deep: str | None


def walk(root: Value, budgets: Budgets = BUDGETS) -> Walk:
    """Visit everything below `root`, each container once."""
    return _Walker(budgets).walk(root)


class _Walker:
    def __init__(self, budgets: Budgets) -> None:
        self._budgets = budgets
        self._seen: set[int] = set()
        self._tensors: list[tuple[str, TensorValue]] = []
        self._not_rebuilt: dict[str, None] = {}

    def walk(self, root: Value) -> Walk:
        open_levels: list[Iterator[_Named]] = [iter((("", root),))]
        left, too_deep = self._budgets.nodes, None
        seen, tensors = self._seen, self._tensors
        while open_levels:
            for name, value in open_levels[-1]:
                kind = type(value)
                if kind is TensorValue:
                    tensors.append((name, value))
                    if value.attributes is None and value.layout != "subclass":
                        continue
                elif kind in _LEAVES:
                    continue
                left -= 1
                if id(value) in seen:
                    continue
                seen.add(id(value))
                if kind in _CONTAINERS and not value:
                    continue
                open_levels.append(self._parts(name[:_MOST_CHARACTERS], value))
                break
            else:
                open_levels.pop()
            if left <= 0:
                too_deep = f"it holds more than {self._budgets.nodes:,} objects"
                break
            if len(open_levels) > self._budgets.depth:
                too_deep = f"it nests deeper than {self._budgets.depth:,} levels"
                break
        return Walk(tensors, list(self._not_rebuilt), too_deep)

    def _parts(self, name: str, value: Value) -> Iterator[_Named]:
        kind = type(value)
        prefix = f"{name}." if name else ""
        if kind is dict:
            return self._items(prefix, value)
        if kind is OrderedDictValue:
            items = self._items(prefix, value)
            return items if value.state is None else chain(items, self._items(prefix, value.state))
        if kind is list or kind is tuple:
            return ((f"{prefix}{index}", part) for index, part in enumerate(value) if type(part) not in _LEAVES)
        if kind is set or kind is frozenset:
            for part in value:
                if type(part) is Opaque and not is_hashable(part):
                    self._refuse(f"a set that holds {escape(part.dotted, 80)}")
            return ((f"{prefix}?", part) for part in value if type(part) not in _LEAVES)
        if kind is Opaque:
            return self._opaque(prefix, value)
        if kind is TensorValue:
            return self._tensor(prefix, value)
        if kind is Global and not (value.module == "torch" and value.name in _CONSTANTS):
            self._refuse(f"the name {escape(value.dotted, 80)}")
        return iter(())

    def _items(self, prefix: str, value: Mapping[Any, Value]) -> Iterator[_Named]:
        for key, part in value.items():
            if type(part) in _LEAVES and type(key) in _KEYS:
                continue
            if type(key) is str:
                yield prefix + (key if len(key) <= _MOST_CHARACTERS else key[:_MOST_CHARACTERS]), part
            else:
                yield prefix + self._key(key), part

    def _key(self, key: Value) -> str:
        kind = type(key)
        if kind is Global or kind is Opaque:
            self._refuse(f"a dict with {escape(key.dotted, 80)} as a key")
            return "?"
        if kind is bytes:
            return "?"
        return str(key)[:_MOST_CHARACTERS]

    def _opaque(self, prefix: str, value: Opaque) -> Iterator[_Named]:
        if not is_plain(value):
            self._refuse(escape(value.dotted, 80))
        plain_names = value.dotted in _NAMED_BY_ARGUMENT
        if type(value.callee) is not Global:
            yield prefix + "?", value.callee
        if type(value.args) is not tuple:
            yield prefix + "?", value.args
        elif not plain_names:
            for index, part in enumerate(value.args):
                yield f"{prefix}{index}", part
        elif value.args and type(value.args[0]) is dict:
            yield from self._items(prefix, value.args[0])
        yield from self._state(prefix, value.state)
        for key, part in value.items:
            named = str(key)[:_MOST_CHARACTERS] if type(key) in _KEYS else self._key(key) if type(key) in _OPAQUE else "?"
            yield prefix + named, part
        for index, part in enumerate(value.elements):
            yield f"{prefix}{index}", part

    def _state(self, prefix: str, state: Value) -> Iterator[_Named]:
        if type(state) is tuple and len(state) == 2 and type(state[0]) is dict:  # attributes and slots
            yield from self._state(prefix, state[0])
            state = state[1]
        if type(state) is not dict and type(state) is not OrderedDictValue:
            yield prefix + "?", state
            return
        for key, part in self._items("", state):
            if key in _MODULE_PARTS and type(part) in {dict, OrderedDictValue}:
                yield from self._items(prefix, part)
            else:
                yield prefix + key, part

    def _tensor(self, prefix: str, value: TensorValue) -> Iterator[_Named]:
        if value.layout == "subclass":
            self._refuse("a subclass of Tensor")
        return self._state(prefix, value.attributes) if value.attributes is not None else iter(())

    def _refuse(self, what: str) -> None:
        if len(self._not_rebuilt) < 10:
            self._not_rebuilt[what] = None


#: Names of torch that are values by themselves.
_CONSTANTS = frozenset(ITEM_BYTES) | LAYOUTS | SCHEMES
#: Their first argument is a dict of content (Counter), or a factory that is no content (defaultdict).
_NAMED_BY_ARGUMENT = frozenset(
    {
        "collections.Counter",
        "collections.defaultdict",
        "numpy._core.multiarray._reconstruct",
        "numpy.core.multiarray._reconstruct",
    }
)
_KEYS = frozenset({str, int, float, bool, type(None)})
_OPAQUE = frozenset({Global, Opaque})
