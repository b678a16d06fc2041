"""Inert values as plain JSON: bounded, finite, without home directories, harmless to show.

Everything here takes hostile values: shared and cyclic ones end at a budget, never at the recursion limit.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from ckptd.checkpoint.simple_values import moment_of, numpy_scalar, path_of
from ckptd.checkpoint.values import Global, Opaque, OrderedDictValue, TensorValue, Value
from ckptd.model import Json
from ckptd.text import escape

#: Characters of one string; more of a path or a description helps nobody.
MAX_TEXT = 1024
#: Nesting and number of values of the hyperparameters of one file.
MAX_DEPTH = 6
MAX_VALUES = 500
#: JSON readers and the index hold 64-bit integers; a larger one is given as its digits.
_INT64 = 2**63

_HOME = re.compile(
    r"(?:/[\w.-]{1,64}){0,2}/(?:home|Users)/[^/\\\s:;,'\"]{1,64}"
    r"|(?<![\w.~/-])/root(?![\w.-])"
    r"|[A-Za-z]:[\\/]{1,2}(?:Users|Documents and Settings)[\\/]{1,2}[^\\/:;\"]{1,64}"
)
#: Keys whose values are nobody else's business.
_SECRET = re.compile(
    r"(?i)(?:^|[_-])(?:password|passwd|secret|(?:api|access|secret|private|wandb)[_-]?key"
    r"|(?:auth|access|hf|github|wandb|api)[_-]?token)$"
)


def clean(text: str) -> str:
    """Bound a string, replace home directories by "~" and escape what is no visible text."""
    text = text[: 4 * MAX_TEXT]
    if "/" in text or "\\" in text:
        text = _HOME.sub("~", text)
    return escape(text, MAX_TEXT)


def class_of(value: Opaque) -> Global | None:
    """Give the class an opaque value would have been an object of, None when it is no plain construction."""
    callee = value.callee
    if not isinstance(callee, Global):
        return None
    if callee.name in {"_reconstructor", "__newobj__", "__newobj_ex__"} and callee.module in {"copyreg", "copy_reg"}:
        first = value.args[0] if type(value.args) is tuple and value.args else None
        return first if isinstance(first, Global) else None
    return callee


def state_of(value: Opaque) -> dict[Value, Value] | None:
    """Give the attributes of an opaque object, None when it has none."""
    state = value.state
    if type(state) is tuple and len(state) == 2:  # (__dict__, slots)
        state = state[0] if isinstance(state[0], dict) else state[1]
    return state if isinstance(state, dict) else None


def mapping_of(value: Value) -> dict[Value, Value] | None:
    """Give what is or would be a mapping: dicts, namespaces, OmegaConf's and others' dictionaries with attributes."""
    if isinstance(value, dict):
        return value
    if not isinstance(value, Opaque):
        return None
    if value.items:
        return {key: item for key, item in value.items if type(key) is str}
    state = state_of(value)
    if state is None:
        return None
    content = state.get("_content", state.get("_fields"))
    return content if isinstance(content, dict) else state


def unwrap(value: Value) -> Value:
    """Take the value out of OmegaConf's nodes."""
    if isinstance(value, Opaque):
        state = state_of(value)
        if state is not None:
            if "_val" in state:
                return state["_val"]
            if isinstance(state.get("_content"), list):
                return state["_content"]
    return value


def number_of(value: Value) -> int | float | None:
    """Give a finite number: an int, a float, or a numpy scalar; bools are none."""
    value = unwrap(value)
    if type(value) is int:
        return value if -_INT64 <= value < _INT64 else None
    if type(value) is float:
        return value if value - value == 0.0 else None
    if isinstance(value, Opaque):
        found = numpy_scalar(value)
        return None if found is None or type(found) is bool or found - found != 0 else found
    return None


def text_of(value: Value) -> str | None:
    """Give a string that has something in it, cleaned; a path object counts."""
    value = unwrap(value)
    if type(value) is str:
        return clean(value) or None
    if isinstance(value, Opaque):
        path = path_of(value)
        return clean(path) or None if path is not None else None
    return None


def class_name(value: Value) -> str | None:
    """Give the name of a class without its module, of a class itself or of an object."""
    found = value if isinstance(value, Global) else class_of(value) if isinstance(value, Opaque) else None
    return None if found is None else clean(found.name.rpartition(".")[2]) or None


class _Budget:
    __slots__ = ("left", "open")

    def __init__(self, values: int) -> None:
        self.left = values
        self.open: set[int] = set()  # ids of the containers that are being read: a cycle comes back to one of them


def to_json(value: Value, *, values: int = MAX_VALUES, depth: int = MAX_DEPTH) -> Json:
    """Turn an inert value into plain JSON; tensors, bytes and what lies beyond the bounds are left out or named."""
    return _to_json(value, depth, _Budget(values))


def _to_json(value: Value, depth: int, budget: _Budget) -> Json:
    budget.left -= 1
    value = unwrap(value)
    if value is None or type(value) is bool:
        return value
    if type(value) is str:
        return clean(value)
    if type(value) is int:
        return value if -_INT64 <= value < _INT64 else f"{value.bit_length()}-bit integer"
    if type(value) is float:
        return value if value - value == 0.0 else str(value)
    if isinstance(value, (list, tuple, set, frozenset, dict, Opaque)):
        if depth <= 0 or id(value) in budget.open:
            return "…"
        budget.open.add(id(value))
        try:
            return _container(value, depth, budget)
        finally:
            budget.open.discard(id(value))
    return _named(value)


def _container(value: Value, depth: int, budget: _Budget) -> Json:
    if isinstance(value, Opaque):
        simple = _simple(value)
        if simple is not None:
            return simple
        if value.elements and not value.items:
            return _sequence(value.elements, depth, budget)
    mapping = mapping_of(value)
    if mapping is None:
        return _named(value) if isinstance(value, Opaque) else _sequence(value, depth, budget)
    result: dict[str, Json] = {}
    for key, item in mapping.items():
        if budget.left <= 0:
            break
        name = _key(key)
        if name is not None and name not in result and not _is_heavy(item):
            result[name] = "***" if item and _SECRET.search(name) else _to_json(item, depth - 1, budget)
    return result


def _sequence(value: Value, depth: int, budget: _Budget) -> Json:
    result: list[Json] = []
    for item in value:
        if budget.left <= 0:
            break
        if not _is_heavy(item):
            result.append(_to_json(item, depth - 1, budget))
    return result


def _simple(value: Opaque) -> Json:
    """Give what an opaque value stands for when that is a number, a path, a date, a device, a shape or an enum member."""
    number = number_of(value)
    if number is not None:
        return number
    text = path_of(value) or moment_of(value)
    if text is not None:
        return clean(text)
    args = value.args if type(value.args) is tuple else ()
    if value.dotted == "torch.device":
        return clean(":".join(str(part) for part in args[:2] if type(part) is str or number_of(part) is not None))
    if value.dotted == "torch.Size" and args and type(args[0]) is tuple:
        return [int(n) for n in args[0][:64] if type(n) is int and -_INT64 <= n < _INT64]
    if value.dotted == "builtins.getattr" and len(args) == 2 and isinstance(args[0], Global) and type(args[1]) is str:
        return clean(args[1])  # an enum member by its name, as Python 3.11.2 writes it
    if len(args) == 1 and type(args[0]) in (str, int) and value.state is None and not value.items and not value.elements:
        return clean(args[0]) if type(args[0]) is str else number_of(args[0])  # an enum member: Class(value)
    return None


def _named(value: Value) -> Json:
    if isinstance(value, Global):
        return clean(value.dotted)
    if isinstance(value, Opaque):
        found = class_of(value)
        return f"<{clean(found.dotted)}>" if found is not None else "<object>"
    return None


def _key(key: Value) -> str | None:
    if type(key) is str:
        return clean(key)
    return str(key) if type(key) in (int, float, bool) or key is None else None


def _is_heavy(value: Value) -> bool:
    return isinstance(value, (TensorValue, bytes, bytearray, complex)) or (
        isinstance(value, OrderedDictValue) and _holds_tensors(value)
    )


def _holds_tensors(value: dict[Value, Value]) -> bool:
    return isinstance(next(iter(value.values()), None), TensorValue)


def entries(value: Value, most: int) -> Iterator[tuple[str, Value]]:
    """Yield the first entries of a mapping whose keys are strings."""
    mapping = mapping_of(value)
    for number, (key, item) in enumerate(mapping.items() if mapping is not None else ()):
        if number >= most:
            return
        if type(key) is str:
            yield key, item
