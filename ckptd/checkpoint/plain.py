"""Tell whether an opaque value is one of the plain things that `ckptd.load` rebuilds without running code.

One check for each name: collections, numpy scalars and arrays of plain dtypes, dates, paths, Namespace.  `ok` is a promise
that loading works, so a value that only looks like one of these is refused here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from ckptd.checkpoint.globals import FACTORIES
from ckptd.checkpoint.values import Global, Opaque, Value

#: dtype codes of plain elements: no objects, no fields.
_DTYPE = re.compile(r"[?bBhHiIlLqQefdgFDG]|[biufcSUV][0-9]{1,9}|[mM]8")

#: Types of devices; their index has 8 bits.  Source: c10/core/Device.cpp of torch 2.13, `parse_type`.
_DEVICES = frozenset(
    "cpu cuda ipu xpu mkldnn opengl opencl ideep hip ve fpga maia xla lazy vulkan mps meta hpu mtia privateuseone".split()
)


def is_plain(value: Opaque) -> bool:
    """Tell whether the call, its arguments, state, items and elements are those of a plain value; parts are not looked at."""
    if type(value.callee) is not Global or type(value.args) is not tuple or value.elements:
        return False
    check = _CHECKS.get(value.callee.dotted)
    if check is None or (value.items and value.dotted not in _MAPPINGS):
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
    factory = args[0] if args else None
    return factory is None or (type(factory) is Global and (factory.module, factory.name) in FACTORIES)


def _namespace(value: Opaque, args: tuple[Value, ...]) -> bool:
    return not args and (value.state is None or (type(value.state) is dict and all(type(key) is str for key in value.state)))


def _timedelta(value: Opaque, args: tuple[Value, ...]) -> bool:
    return value.state is None and len(args) <= 3 and all(type(n) is int for n in args)


def _timezone(value: Opaque, args: tuple[Value, ...]) -> bool:
    if value.state is not None or not 1 <= len(args) <= 2 or (len(args) == 2 and type(args[1]) is not str):
        return False
    return type(args[0]) is Opaque and args[0].dotted == "datetime.timedelta"


def _packed(width: int, *, zoned: bool) -> Callable[[Opaque, tuple[Value, ...]], bool]:
    def check(value: Opaque, args: tuple[Value, ...]) -> bool:
        if value.state is not None or not args or type(args[0]) is not bytes or len(args[0]) != width:
            return False
        if len(args) == 1:
            return True
        return zoned and len(args) == 2 and type(args[1]) is Opaque and args[1].dotted == "datetime.timezone"

    return check


def _path(value: Opaque, args: tuple[Value, ...]) -> bool:
    return value.state is None and all(type(part) is str for part in args)


def _dtype(value: Opaque, args: tuple[Value, ...]) -> bool:
    if len(args) != 3 or type(args[0]) is not str or _DTYPE.fullmatch(args[0]) is None:
        return False
    state = value.state
    if state is None:
        return True
    return (
        type(state) is tuple and len(state) in {8, 9} and state[1] in ("<", ">", "|", "=") and state[2:5] == (None, None, None)
    )


def _is_dtype(value: Value) -> bool:
    return type(value) is Opaque and value.dotted == "numpy.dtype" and is_plain(value)


def _scalar(value: Opaque, args: tuple[Value, ...]) -> bool:
    return value.state is None and len(args) == 2 and _is_dtype(args[0]) and type(args[1]) is bytes


def _reconstructed(value: Opaque, args: tuple[Value, ...]) -> bool:
    state = value.state
    if len(args) != 3 or type(args[0]) is not Global or args[0].dotted != "numpy.ndarray":
        return False
    return type(state) is tuple and len(state) == 5 and _is_dtype(state[2]) and type(state[4]) is bytes


def _from_buffer(value: Opaque, args: tuple[Value, ...]) -> bool:
    if value.state is not None or len(args) != 4 or not _is_dtype(args[1]):
        return False
    return type(args[0]) in {bytes, bytearray} and type(args[2]) is tuple and args[3] in ("C", "F")


_MAPPINGS = frozenset({"collections.Counter", "collections.defaultdict"})

_CHECKS: Mapping[str, Callable[[Opaque, tuple[Value, ...]], bool]] = {
    "torch.Size": _size,
    "torch.device": _device,
    "collections.Counter": _counter,
    "collections.defaultdict": _defaultdict,
    "argparse.Namespace": _namespace,
    "datetime.timedelta": _timedelta,
    "datetime.timezone": _timezone,
    "datetime.datetime": _packed(10, zoned=True),
    "datetime.date": _packed(4, zoned=False),
    "datetime.time": _packed(6, zoned=True),
    "numpy.dtype": _dtype,
    **{
        f"{module}.{name}": _path
        for module in ("pathlib", "pathlib._local")
        for name in ("PosixPath", "PurePosixPath", "WindowsPath", "PureWindowsPath")
    },
    **{f"numpy.{core}.multiarray.scalar": _scalar for core in ("core", "_core")},
    **{f"numpy.{core}.multiarray._reconstruct": _reconstructed for core in ("core", "_core")},
    **{f"numpy.{core}.numeric._frombuffer": _from_buffer for core in ("core", "_core")},
}
