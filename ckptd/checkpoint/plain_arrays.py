"""Tell whether a call of numpy's makes a plain dtype, number or array: every number in it is checked, as loading will.

Source: numpy/_core/src/multiarray/descriptor.c, arraydescr_reduce and arraydescr_setstate, and methods.c, array_setstate.
"""

from __future__ import annotations

import math
import re

from ckptd.checkpoint.values import Global, Opaque, Value

#: Codes of numbers → bytes an element takes, on the 64-bit systems that ckptd runs on.
_NUMBERS = {
    **dict.fromkeys("? b B b1 i1 u1".split(), 1),
    **dict.fromkeys("h H e i2 u2 f2".split(), 2),
    **dict.fromkeys("i I f i4 u4 f4".split(), 4),
    **dict.fromkeys("l L q Q d F i8 u8 f8 c8 m8 M8".split(), 8),
    **dict.fromkeys("g D f16 c16".split(), 16),
    **dict.fromkeys("G c32".split(), 32),
}
#: Texts, bytes and raw bytes: a letter and a count.
_FLEXIBLE = re.compile(r"([SUV])(0|[1-9][0-9]{0,8})")
_UNITS = frozenset("Y M W D h m s ms us ns ps fs as generic".split())


def is_dtype(value: Opaque, args: tuple[Value, ...]) -> bool:
    """Take dtype(code, False, True) with the state that belongs to the code, or without one."""
    width = itemsize(value)
    if width is None or len(args) != 3 or not all(type(flag) in {bool, int} for flag in args[1:]):
        return False
    state = value.state
    if state is None:
        return True
    if type(state) is not tuple or len(state) not in {8, 9} or state[2:5] != (None, None, None):
        return False
    if not all(type(number) is int for number in (state[0], *state[5:8])) or type(state[1]) is not str:
        return False
    kind = args[0][0]
    if kind in "mM":
        return state[1] in {"<", ">", "="} and (len(state) == 8 or _is_unit(state[8]))
    if kind in "SUV":
        return len(state) == 8 and state[5] == width and state[7] in {0, 8} and (state[1] in {"<", ">", "="}) == (kind == "U")
    return len(state) == 8 and state[1] in ({"|", "="} if width == 1 else {"<", ">", "="})


def is_scalar(value: Opaque, args: tuple[Value, ...]) -> bool:
    """Take scalar(dtype, bytes)."""
    if value.new or value.state is not None or len(args) != 2 or type(args[1]) is not bytes:
        return False
    return _is_plain_dtype(args[0]) and itemsize(args[0]) == len(args[1])


def is_array(value: Opaque, args: tuple[Value, ...]) -> bool:
    """Take _reconstruct(ndarray, (0,), b"b") and its state (1, shape, dtype, is_fortran, bytes)."""
    state = value.state
    if value.new or len(args) != 3 or type(args[0]) is not Global or args[0].dotted != "numpy.ndarray":
        return False
    if args[1] != (0,) or type(args[1][0]) is not int or args[2] not in (b"b", "b"):
        return False
    if type(state) is not tuple or len(state) != 5 or type(state[0]) is not int or state[0] != 1:
        return False
    return type(state[3]) is bool and type(state[4]) is bytes and _fits(state[2], state[1], state[4])


def is_buffer(value: Opaque, args: tuple[Value, ...]) -> bool:
    """Take _frombuffer(bytes, dtype, shape, order)."""
    if value.new or value.state is not None or len(args) != 4 or type(args[0]) not in {bytes, bytearray}:
        return False
    return type(args[3]) is str and args[3] in {"C", "F"} and _fits(args[1], args[2], args[0])


def itemsize(dtype: Opaque) -> int | None:
    """Give the bytes of one element, None for what has objects or fields in it."""
    code = dtype.args[0] if type(dtype.args) is tuple and dtype.args else None
    if type(code) is not str:
        return None
    flexible = _FLEXIBLE.fullmatch(code)
    if flexible is not None:
        return int(flexible[2]) * (4 if flexible[1] == "U" else 1)
    return _NUMBERS.get(code)


def _is_plain_dtype(value: Value) -> bool:
    return type(value) is Opaque and value.dotted == "numpy.dtype" and not value.items and is_dtype(value, value.args)


def _fits(dtype: Value, shape: Value, raw: bytes | bytearray) -> bool:
    """Tell whether the bytes are as many as the shape wants; numpy makes elements of no bytes wider, ckptd leaves them."""
    if not _is_plain_dtype(dtype) or type(shape) is not tuple or len(shape) > 64:
        return False
    if not all(type(size) is int and 0 <= size < 1 << 62 for size in shape):
        return False
    width = itemsize(dtype)
    return width is not None and width > 0 and math.prod(shape) * width == len(raw)


def _is_unit(described: Value) -> bool:
    """Take (metadata, (unit, count, 1, 1)) of times."""
    if type(described) is not tuple or len(described) != 2 or type(described[1]) is not tuple or len(described[1]) != 4:
        return False
    unit, count, *rest = described[1]
    name = unit.decode("latin-1") if type(unit) is bytes else unit
    return type(name) is str and name in _UNITS and type(count) is int and 0 < count < 2**31 and rest == [1, 1]
