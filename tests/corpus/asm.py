"""A pickle assembler: opcodes as functions that give bytes, so that a test can write what no pickler would.

>>> program(mapping({"w": tensor()}))          # the smallest state dict that torch.load takes
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

NONE, TRUE, FALSE = b"N", b"\x88", b"\x89"
MARK, STOP, POP, POP_MARK, DUP = b"(", b".", b"0", b"1", b"2"
EMPTY_DICT, EMPTY_LIST, EMPTY_TUPLE, EMPTY_SET = b"}", b"]", b")", b"\x8f"
REDUCE, BUILD, NEWOBJ, NEWOBJ_EX, OBJ = b"R", b"b", b"\x81", b"\x92", b"o"
SETITEM, SETITEMS, APPEND, APPENDS, ADDITEMS = b"s", b"u", b"a", b"e", b"\x90"
BINPERSID, STACK_GLOBAL, MEMOIZE = b"Q", b"\x93", b"\x94"


def program(body: bytes, protocol: int = 2, *, framed: bool | None = None) -> bytes:
    """Wrap a body in PROTO and STOP, and in a FRAME from protocol 4 on."""
    head = b"" if protocol < 2 else b"\x80" + bytes([protocol])
    if framed if framed is not None else protocol >= 4:
        return head + b"\x95" + struct.pack("<Q", len(body) + 1) + body + STOP
    return head + body + STOP


def text(value: str) -> bytes:
    """BINUNICODE."""
    raw = value.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(raw)) + raw


def short_text(value: str) -> bytes:
    """SHORT_BINUNICODE, protocol 4."""
    raw = value.encode("utf-8", "surrogatepass")
    return b"\x8c" + bytes([len(raw)]) + raw


def integer(value: int) -> bytes:
    """BININT1, BININT2, BININT or LONG1, as pickle itself would choose."""
    if 0 <= value < 256:
        return b"K" + bytes([value])
    if 0 <= value < 65536:
        return b"M" + struct.pack("<H", value)
    if -(2**31) <= value < 2**31:
        return b"J" + struct.pack("<i", value)
    return long1(value)


def long1(value: int) -> bytes:
    """LONG1 with as many bytes as the number needs."""
    raw = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(raw)]) + raw


def real(value: float) -> bytes:
    """BINFLOAT."""
    return b"G" + struct.pack(">d", value)


def short_bytes(value: bytes) -> bytes:
    """SHORT_BINBYTES, protocol 3."""
    return b"C" + bytes([len(value)]) + value


def named(module: str, name: str) -> bytes:
    """GLOBAL."""
    return b"c" + module.encode() + b"\n" + name.encode() + b"\n"


def stack_global(module: str, name: str) -> bytes:
    """STACK_GLOBAL with its two strings, protocol 4."""
    return short_text(module) + short_text(name) + STACK_GLOBAL


def sequence(*items: bytes) -> bytes:
    """TUPLE of any length."""
    return EMPTY_TUPLE if not items else MARK + b"".join(items) + b"t"


def listing(*items: bytes) -> bytes:
    """EMPTY_LIST and APPENDS."""
    return EMPTY_LIST + MARK + b"".join(items) + APPENDS


def mapping(items: Mapping[str, bytes]) -> bytes:
    """EMPTY_DICT and SETITEMS; keys are text."""
    return EMPTY_DICT + MARK + b"".join(text(key) + value for key, value in items.items()) + SETITEMS


def call(module: str, name: str, *args: bytes) -> bytes:
    """GLOBAL, a tuple, REDUCE."""
    return named(module, name) + sequence(*args) + REDUCE


def put(slot: int) -> bytes:
    """BINPUT or LONG_BINPUT."""
    return b"q" + bytes([slot]) if slot < 256 else b"r" + struct.pack("<I", slot)


def get(slot: int) -> bytes:
    """BINGET or LONG_BINGET."""
    return b"h" + bytes([slot]) if slot < 256 else b"j" + struct.pack("<I", slot)


def storage(key: str = "0", numel: int | bytes = 4, kind: str = "FloatStorage", location: str = "cpu") -> bytes:
    """Refer to a storage record, as torch.save does in a zip."""
    count = numel if isinstance(numel, bytes) else integer(numel)
    return sequence(text("storage"), named("torch", kind), text(key), text(location), count) + BINPERSID


def tensor(
    held: bytes | None = None,
    *,
    offset: bytes | int = 0,
    size: bytes | tuple[int, ...] = (2, 2),
    stride: bytes | tuple[int, ...] = (2, 1),
    requires_grad: bytes = FALSE,
    hooks: bytes | None = None,
    metadata: bytes = b"",
) -> bytes:
    """Rebuild a tensor by `_rebuild_tensor_v2` out of a storage (float32, key "0", four elements unless given)."""
    parts = (
        held if held is not None else storage(),
        offset if isinstance(offset, bytes) else integer(offset),
        size if isinstance(size, bytes) else sequence(*map(integer, size)),
        stride if isinstance(stride, bytes) else sequence(*map(integer, stride)),
        requires_grad,
        hooks if hooks is not None else call("collections", "OrderedDict"),
    )
    return named("torch._utils", "_rebuild_tensor_v2") + MARK + b"".join(parts) + metadata + b"t" + REDUCE


def state_dict(**more: bytes) -> bytes:
    """A dict with one honest tensor "w" and whatever else is given."""
    return mapping({"w": tensor(), **more})
