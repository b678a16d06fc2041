"""Tell whether an opaque value is one of the plain things that `ckptd.load` rebuilds without running code.

One check for each name: collections, numpy scalars and arrays of plain dtypes, dates, paths, Namespace.  `ok` is a promise
that loading works, so a value that only looks like one of these is refused here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ckptd.checkpoint.globals import FACTORIES
from ckptd.checkpoint.plain_arrays import is_array, is_buffer, is_dtype, is_scalar
from ckptd.checkpoint.values import Global, Opaque, Value

#: Numbers that are keys of a defaultdict, and larger than it, can be made to collide; a real one has a few.
_MOST_NUMBERS = 10_000

#: Types of devices; their index has 8 bits.  Source: c10/core/Device.cpp of torch 2.13, `parse_type`.
_DEVICES = frozenset(
    "cpu cuda ipu xpu mkldnn opengl opencl ideep hip ve fpga maia xla lazy vulkan mps meta hpu mtia privateuseone".split()
)


def is_hashable(value: Opaque) -> bool:
    """Tell whether a plain value may be an item of a set."""
    return value.dotted not in _UNHASHABLE


def is_plain(value: Opaque) -> bool:
    """Tell whether the call, its arguments, state, items and elements are those of a plain value; parts are not looked at."""
    if type(value.callee) is not Global or type(value.args) is not tuple or value.elements:
        return False
    dotted = value.callee.dotted
    check = _CHECKS.get(dotted)
    if check is None or (value.items and dotted != "collections.defaultdict"):
        return False
    if value.new and dotted in _NOT_BY_NEW and value.args:  # __new__ leaves the arguments to __init__, which never comes
        return False
    return check(value, value.args)


def _size(value: Opaque, args: tuple[Value, ...]) -> bool:
    if value.state is not None or len(args) > 1:
        return False
    return not args or (type(args[0]) is tuple and all(type(n) is int for n in args[0]))


def _device(value: Opaque, args: tuple[Value, ...]) -> bool:
    if value.state is not None or [type(part) for part in args] not in ([str], [str, int]) or args[0] not in _DEVICES:
        return False
    return len(args) == 1 or 0 <= args[1] <= 127


def _counter(value: Opaque, args: tuple[Value, ...]) -> bool:
    return value.state is None and (not args or (len(args) == 1 and type(args[0]) is dict))


def _defaultdict(value: Opaque, args: tuple[Value, ...]) -> bool:
    if value.state is not None or len(args) > 1:
        return False
    if not all(_is_key(key) for key, _ in value.items):
        return False
    if sum(type(key) in {int, float} for key, _ in value.items) > _MOST_NUMBERS:
        return False
    factory = args[0] if args else None
    return factory is None or (type(factory) is Global and (factory.module, factory.name) in FACTORIES)


def _is_key(key: Value) -> bool:
    if type(key) is tuple:
        return len(key) <= 8 and all(type(part) is not tuple and _is_key(part) for part in key)
    return type(key) in _KEYS and not (type(key) is int and key.bit_length() > 63)


def _namespace(value: Opaque, args: tuple[Value, ...]) -> bool:
    return not args and (value.state is None or (type(value.state) is dict and all(type(key) is str for key in value.state)))


def _timedelta(value: Opaque, args: tuple[Value, ...]) -> bool:
    if value.state is not None or len(args) > 3 or not all(type(n) is int for n in args):
        return False
    days, seconds, microseconds = (*args, 0, 0, 0)[:3]
    return bool(abs(days) < 10**9 and 0 <= seconds < 86_400 and 0 <= microseconds < 10**6)


def _timezone(value: Opaque, args: tuple[Value, ...]) -> bool:
    if value.state is not None or not 1 <= len(args) <= 2 or (len(args) == 2 and type(args[1]) is not str):
        return False
    if type(args[0]) is not Opaque or args[0].dotted != "datetime.timedelta" or not is_plain(args[0]):
        return False
    days, seconds, microseconds = (*args[0].args, 0, 0, 0)[:3]
    return bool(days == 0 or (days == -1 and seconds + microseconds > 0))


def _date(raw: bytes) -> bool:
    return raw[:2] != b"\0\0" and 1 <= raw[2] <= 12 and 1 <= raw[3] <= 31


def _time(raw: bytes) -> bool:
    return raw[0] & 0x7F < 24 and raw[1] < 60 and raw[2] < 60 and raw[3:] < b"\x0f\x42\x40"


def _moment(raw: bytes) -> bool:
    # Bit 7 of the month, or of the hour of a time, is the fold.
    return _date(raw[:2] + bytes([raw[2] & 0x7F]) + raw[3:4]) and raw[4] < 24 and _time(raw[4:])


def _packed(width: int, is_sane: Callable[[bytes], bool], *, zoned: bool) -> Callable[[Opaque, tuple[Value, ...]], bool]:
    def check(value: Opaque, args: tuple[Value, ...]) -> bool:
        if value.state is not None or not args or type(args[0]) is not bytes or len(args[0]) != width:
            return False
        if not is_sane(args[0]):
            return False
        if len(args) == 1:
            return True
        return zoned and len(args) == 2 and type(args[1]) is Opaque and args[1].dotted == "datetime.timezone"

    return check


def _path(value: Opaque, args: tuple[Value, ...]) -> bool:
    return value.state is None and all(type(part) is str for part in args)


_NOT_BY_NEW = frozenset({"collections.Counter", "collections.defaultdict"})
_KEYS = frozenset({str, int, float, bool, type(None), bytes})
_UNHASHABLE = frozenset(
    {
        *("collections.Counter", "collections.defaultdict", "argparse.Namespace"),
        *[f"numpy.{core}.multiarray._reconstruct" for core in ("core", "_core")],
        *[f"numpy.{core}.numeric._frombuffer" for core in ("core", "_core")],
    }
)

_CHECKS: Mapping[str, Callable[[Opaque, tuple[Value, ...]], bool]] = {
    "torch.Size": _size,
    "torch.device": _device,
    "collections.Counter": _counter,
    "collections.defaultdict": _defaultdict,
    "argparse.Namespace": _namespace,
    "datetime.timedelta": _timedelta,
    "datetime.timezone": _timezone,
    "datetime.datetime": _packed(10, _moment, zoned=True),
    "datetime.date": _packed(4, _date, zoned=False),
    "datetime.time": _packed(6, _time, zoned=True),
    "numpy.dtype": is_dtype,
    **{
        f"{module}.{name}": _path
        for module in ("pathlib", "pathlib._local")
        for name in ("PosixPath", "PurePosixPath", "WindowsPath", "PureWindowsPath")
    },
    **{f"numpy.{core}.multiarray.scalar": is_scalar for core in ("core", "_core")},
    **{f"numpy.{core}.multiarray._reconstruct": is_array for core in ("core", "_core")},
    **{f"numpy.{core}.numeric._frombuffer": is_buffer for core in ("core", "_core")},
}
