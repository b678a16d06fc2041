"""Rebuild the plain things beside tensors: collections, numpy scalars and arrays, dates, paths, Namespace.

One table, by exact name.  Nothing here resolves a name out of a file: each entry is a function of ours that checks what it
is given and builds one harmless type.  An array is made from its bytes and a checked dtype, never by numpy's own
`__setstate__`, which trusts its input.
"""

from __future__ import annotations

import argparse
import datetime
import pathlib
import re
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable
from typing import Any

from ckptd.checkpoint.values import Global, Opaque
from ckptd.errors import FormatError, NeedsCodeError
from ckptd.text import escape

#: A built object, and what is left to do once everything it contains exists (None: nothing).
Built = Any

_WIDE = re.compile(r"[?bBhHiIlLqQefdgFDG]|[biufcSUV][0-9]{1,9}|[mM]8")
_UNITS = frozenset("Y M W D h m s ms us ns ps fs as generic".split())

#: What a defaultdict may call for a missing key: types that build something empty.
_FACTORIES: dict[str, Any] = {
    **{f"builtins.{kind.__name__}": kind for kind in (list, dict, set, int, float, str, tuple, bool)},
    "collections.OrderedDict": OrderedDict,
    "collections.Counter": Counter,
}


def build_plain(value: Opaque, args: tuple[Any, ...], state: Any) -> Built:
    """Build what `value` describes, its arguments and state already built; items and elements come later.

    Raises:
        NeedsCodeError: when it is nothing that can be built without code of its own.
        FormatError: when the arguments are not what this type takes.
    """
    # Protocol 2 writes Python 2's name of the module.
    maker = _MAKERS.get(value.dotted.replace("__builtin__.", "builtins.", 1))
    if maker is None:
        raise needs_code(value.dotted)
    try:
        return maker(args, state)
    except (TypeError, ValueError, OverflowError, KeyError, IndexError, AttributeError) as error:
        raise FormatError("cannot rebuild an object", why=f"{escape(value.dotted)}: {escape(str(error))}") from error


def needs_code(dotted: str) -> NeedsCodeError:
    """Name what would have to run."""
    return NeedsCodeError(
        "loading would run code",
        why=f"the file names {escape(dotted)}, which ckptd does not rebuild",
        cure="if you trust its author: torch.load(path, weights_only=False)",
    )


def fill_plain(built: Built, items: list[tuple[Any, Any]], elements: list[Any]) -> None:
    """Put the items of SETITEMS and the elements of APPENDS into what was built."""
    if items:
        if not isinstance(built, dict):
            raise FormatError("cannot rebuild an object", why=f"a {type(built).__name__} takes no items")
        built.update(items)
    if elements:
        raise FormatError("cannot rebuild an object", why=f"a {type(built).__name__} takes no elements")


def _counter(_args: tuple[Any, ...], state: Any) -> Any:
    # The counts stand in a dict that may still be empty here; `rebuild` fills a Counter from its argument later.
    _expect(state is None, "state")
    return Counter()


def _defaultdict(args: tuple[Any, ...], state: Any) -> Any:
    _expect(len(args) <= 1 and state is None, "arguments")
    if not args or args[0] is None:
        return defaultdict(None)
    _expect(type(args[0]) is Global, "arguments")
    dotted = args[0].dotted.replace("__builtin__.", "builtins.", 1)
    if dotted not in _FACTORIES:
        raise needs_code(dotted)
    return defaultdict(_FACTORIES[dotted])


def _bytes(args: tuple[Any, ...], state: Any) -> Any:
    """Protocol 2 writes empty bytes as a call without arguments."""
    _expect(not args and state is None, "arguments")
    return b""


def _namespace(args: tuple[Any, ...], _state: Any) -> Any:
    _expect(not args, "arguments")
    return argparse.Namespace()


def _timedelta(args: tuple[Any, ...], state: Any) -> Any:
    _expect(len(args) <= 3 and all(type(n) is int for n in args) and state is None, "arguments")
    return datetime.timedelta(*args)


def _timezone(args: tuple[Any, ...], state: Any) -> Any:
    named = len(args) == 2 and type(args[1]) is str
    _expect((len(args) == 1 or named) and type(args[0]) is datetime.timedelta and state is None, "arguments")
    return datetime.timezone(*args)


def _packed_time(kind: Any, width: int) -> Callable[[tuple[Any, ...], Any], Any]:
    def make(args: tuple[Any, ...], state: Any) -> Any:
        zoned = len(args) == 2 and isinstance(args[1], datetime.timezone) and kind is not datetime.date
        _expect((len(args) == 1 or zoned) and state is None, "arguments")
        _expect(type(args[0]) is bytes and len(args[0]) == width, "length")
        return kind(*args)

    return make


def _path(kind: Callable[..., Any]) -> Callable[[tuple[Any, ...], Any], Any]:
    def make(args: tuple[Any, ...], state: Any) -> Any:
        _expect(all(type(part) is str for part in args) and state is None, "arguments")
        return kind(*args)

    return make


def _dtype(args: tuple[Any, ...], state: Any) -> Any:
    import numpy as np

    _expect(
        len(args) == 3 and type(args[0]) is str and _WIDE.fullmatch(args[0]) is not None,
        "dtype (objects and fields are not rebuilt)",
    )
    made = np.dtype(args[0])
    if state is None:
        return made
    _expect(type(state) is tuple and len(state) in (8, 9) and state[2:5] == (None, None, None), "state")
    order = state[1]
    _expect(order in ("<", ">", "|", "="), "byte order")
    if made.kind in "mM" and len(state) == 9:
        made = np.dtype(f"{made.kind}8[{_unit(state[8])}]")
    return made if order in "|=" else made.newbyteorder(order)


def _unit(metadata: Any) -> str:
    _expect(type(metadata) is tuple and len(metadata) == 2 and type(metadata[1]) is tuple and len(metadata[1]) >= 2, "unit")
    unit, count = metadata[1][:2]
    name = unit.decode("ascii") if type(unit) is bytes else unit
    _expect(type(name) is str and name in _UNITS and type(count) is int and 0 < count < 2**31, "unit")
    return name if count == 1 else f"{count}{name}"


def _scalar(args: tuple[Any, ...], state: Any) -> Any:
    import numpy as np

    _expect(len(args) == 2 and isinstance(args[0], np.dtype) and type(args[1]) is bytes and state is None, "arguments")
    _expect(len(args[1]) == args[0].itemsize, "length")
    if args[0].itemsize == 0:
        return args[0].type()
    return np.frombuffer(args[1], args[0])[0]


def _reconstructed(args: tuple[Any, ...], state: Any) -> Any:
    """`_reconstruct(ndarray, (0,), b"b")` and a state (version, shape, dtype, is_fortran, bytes)."""
    _expect(len(args) == 3 and type(args[0]) is Global and args[0].dotted == "numpy.ndarray", "arguments")
    _expect(type(state) is tuple and len(state) == 5, "state")
    _, shape, dtype, fortran, raw = state
    order = "F" if fortran is True else "C"
    # numpy itself turns a foreign byte order into the native one here, and leaves it in `_frombuffer`.
    return _array(raw, dtype, shape, order).astype(dtype.newbyteorder("="), order=order, copy=False)


def _from_buffer(args: tuple[Any, ...], state: Any) -> Any:
    """`_frombuffer(bytes, dtype, shape, order)`, what protocol 5 writes."""
    _expect(len(args) == 4 and state is None and args[3] in ("C", "F"), "arguments")
    return _array(args[0], args[1], args[2], args[3])


def _array(raw: Any, dtype: Any, shape: Any, order: Any) -> Any:
    import numpy as np

    _expect(isinstance(dtype, np.dtype) and type(raw) in (bytes, bytearray), "content")
    _expect(type(shape) is tuple and len(shape) <= 64 and all(type(n) is int and n >= 0 for n in shape), "shape")
    count = 1
    for size in shape:
        count *= size
    _expect(count * dtype.itemsize == len(raw), "length")
    flat = np.empty(count, dtype)
    if raw:
        flat.view(np.uint8)[:] = np.frombuffer(raw, np.uint8)
    return flat.reshape(shape, order=order)


def _expect(condition: bool, what: str) -> None:
    if not condition:
        raise ValueError(f"unexpected {what}")


#: Exact names, and how each is built.  A Windows path is given as a pure one: on another system it cannot be opened.
_MAKERS: dict[str, Callable[[tuple[Any, ...], Any], Any]] = {
    "builtins.bytes": _bytes,
    "collections.Counter": _counter,
    "collections.defaultdict": _defaultdict,
    "argparse.Namespace": _namespace,
    "datetime.timedelta": _timedelta,
    "datetime.timezone": _timezone,
    "datetime.datetime": _packed_time(datetime.datetime, 10),
    "datetime.date": _packed_time(datetime.date, 4),
    "datetime.time": _packed_time(datetime.time, 6),
    **{f"{module}.PosixPath": _path(pathlib.Path) for module in ("pathlib", "pathlib._local")},
    **{f"{module}.PurePosixPath": _path(pathlib.PurePosixPath) for module in ("pathlib", "pathlib._local")},
    **{f"{module}.PureWindowsPath": _path(pathlib.PureWindowsPath) for module in ("pathlib", "pathlib._local")},
    **{f"{module}.WindowsPath": _path(pathlib.PureWindowsPath) for module in ("pathlib", "pathlib._local")},
    "numpy.dtype": _dtype,
    **{f"{core}.multiarray.scalar": _scalar for core in ("numpy.core", "numpy._core")},
    **{f"{core}.multiarray._reconstruct": _reconstructed for core in ("numpy.core", "numpy._core")},
    **{f"{core}.numeric._frombuffer": _from_buffer for core in ("numpy.core", "numpy._core")},
}
