"""What an opaque value stands for, where that is a number of numpy's, bytes, a moment or a path."""

from __future__ import annotations

import datetime
import struct

from ckptd.checkpoint.values import Global, Opaque, Value

_FORMATS = {
    "f8": "d",
    "f4": "f",
    "f2": "e",
    "i8": "q",
    "i4": "i",
    "i2": "h",
    "i1": "b",
    "u8": "Q",
    "u4": "I",
    "u2": "H",
    "u1": "B",
    "b1": "?",
}


def numpy_scalar(value: Opaque) -> int | float | bool | None:
    """Decode `numpy.core.multiarray.scalar(dtype, raw)`.

    Source: numpy/_core/src/multiarray/scalartypes.c.src, gentype_reduce.
    """
    if not isinstance(value.callee, Global) or value.callee.name != "scalar" or not value.callee.module.startswith("numpy."):
        return None
    if type(value.args) is not tuple or len(value.args) != 2:
        return None
    dtype, raw = value.args[0], bytes_of(value.args[1])
    if not isinstance(dtype, Opaque) or type(dtype.args) is not tuple or not dtype.args or raw is None or len(raw) > 8:
        return None
    code = dtype.args[0]
    form = _FORMATS.get(code.lstrip("<>=|")) if type(code) is str else None
    if form is None or struct.calcsize(form) != len(raw):
        return None
    state = dtype.state
    order = state[1] if type(state) is tuple and len(state) > 1 and state[1] in ("<", ">") else "<"
    found: int | float | bool = struct.unpack(order + form, raw)[0]
    return found


def bytes_of(value: Value) -> bytes | None:
    """Give bytes, also those that protocol 2 wrote as `_codecs.encode(text, "latin1")`."""
    if isinstance(value, (bytes, bytearray)):
        return bytes(value[:4096])
    if isinstance(value, Opaque) and value.dotted == "_codecs.encode" and type(value.args) is tuple and value.args:
        text = value.args[0]
        if type(text) is str and len(text) <= 4096:
            return text.encode("latin-1", "replace")
    return None


def moment_of(value: Value) -> str | None:
    """Give a pickled `datetime.datetime` or `date` in ISO 8601.  Source: CPython Lib/_pydatetime.py, `_getstate`."""
    if not isinstance(value, Opaque) or value.dotted not in {"datetime.datetime", "datetime.date"}:
        return None
    raw = bytes_of(value.args[0]) if type(value.args) is tuple and value.args else None
    try:
        if raw is not None and len(raw) == 4:
            return datetime.date(raw[0] * 256 + raw[1], raw[2], raw[3]).isoformat()
        if raw is not None and len(raw) == 10:
            year, month = raw[0] * 256 + raw[1], raw[2] & 0x7F  # bit 7 is the fold
            zone = datetime.UTC if len(value.args) > 1 and _is_utc(value.args[1]) else None
            return (
                datetime.datetime(year, month, raw[3], raw[4], raw[5], raw[6], tzinfo=zone).isoformat().replace("+00:00", "Z")
            )
    except ValueError:
        return None
    return None


def _is_utc(zone: Value) -> bool:
    if not isinstance(zone, Opaque) or type(zone.args) is not tuple:
        return False
    return not zone.args or (isinstance(zone.args[0], Opaque) and zone.args[0].args == (0, 0, 0))


def path_of(value: Opaque) -> str | None:
    """Give the text of a pickled path, as it was; None when it is no path."""
    if not value.dotted.startswith("pathlib.") or type(value.args) is not tuple:
        return None
    parts = [part for part in value.args[:100] if type(part) is str]
    if not parts or len(parts) != len(value.args):
        return None
    return "/" + "/".join(parts[1:]) if parts[0] == "/" else "/".join(parts)
