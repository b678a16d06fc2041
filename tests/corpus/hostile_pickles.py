"""Pickles that break one rule of the opcode machine each, and bombs that exhaust a machine without one."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

from ckptd.model import Status
from tests.corpus import asm, oldforms, zips
from tests.corpus.case import DECEIT, NOT_OK, Case, late, raw

_ORDERED = asm.named("collections", "OrderedDict")


def cases() -> list[Case]:
    """Give all of them."""
    return [*_in_zip(_opcodes()), *_in_zip(_stack()), *_in_zip(_types()), *_in_zip(_arguments()), *_frames(), *_bombs()]


def _in_zip(bodies: dict[str, bytes]) -> Iterator[Case]:
    for name, body in bodies.items():
        yield raw(f"pickle-{name}", zips.checkpoint(asm.program(asm.state_dict(x=body))), NOT_OK, name)


def _opcodes() -> dict[str, bytes]:
    """Opcodes that torch.save never emits."""
    return {
        "DUP": asm.integer(1) + asm.DUP + b"\x86",
        "INT": b"I1\n",
        "INT bool": b"I01\n",
        "LONG": b"L1L\n",
        "FLOAT": b"F1.5\n",
        "STRING": b"S'abc'\n",
        "UNICODE": b"Vabc\n",
        "BINSTRING": b"T\x03\x00\x00\x00abc",
        "PUT": asm.integer(1) + b"p5\n",
        "GET": asm.integer(1) + asm.put(7) + b"g7\n" + b"\x86",
        "DICT": asm.MARK + b"d",
        "LIST": asm.MARK + b"l",
        "PERSID": b"P0\n",
        "NEXT_BUFFER": b"\x97",
        "READONLY_BUFFER": asm.short_bytes(b"x") + b"\x98",
        "unknown 0xff": b"\xff",
        "unknown 0x00": b"\x00",
        "second PROTO": b"\x80\x02" + asm.NONE,
        "FRAME in protocol 2": b"\x95" + struct.pack("<Q", 2**40) + asm.NONE,
    }


def _stack() -> dict[str, bytes]:
    """Programs that reach below their stack, or leave something on it."""
    return {
        "POP below the mark": asm.MARK + asm.POP + asm.NONE,
        "TUPLE without mark": b"t" * 3,
        "POP_MARK without mark": asm.POP_MARK * 3,
        "APPENDS without mark": asm.EMPTY_LIST + asm.APPENDS,
        "SETITEMS without mark": asm.EMPTY_DICT + asm.SETITEMS + asm.SETITEMS,
        "SETITEMS odd": asm.EMPTY_DICT + asm.MARK + asm.integer(1) + asm.SETITEMS,
        "TUPLE3 underflow": asm.MARK + b"\x87",
        "mark left open": asm.MARK + asm.NONE,
        "value left over": asm.NONE + asm.NONE,
        "memo never put": asm.get(200),
        "memo never put, long": asm.get(2**31),
        "REDUCE underflow": asm.MARK + asm.REDUCE,
        "BINPERSID underflow": asm.MARK + asm.BINPERSID,
        "MEMOIZE empty": asm.MARK + asm.MEMOIZE,
    }


def _types() -> dict[str, bytes]:
    """Opcodes aimed at objects that they don't fit."""
    unhashable = asm.EMPTY_DICT + asm.listing() + asm.integer(1) + asm.SETITEM
    return {
        "list as key": unhashable,
        "dict as key": asm.EMPTY_DICT + asm.EMPTY_DICT + asm.integer(1) + asm.SETITEM,
        "nested tuple as key": asm.EMPTY_DICT + asm.sequence(asm.sequence(asm.integer(1))) + asm.integer(1) + asm.SETITEM,
        "huge tuple as key": asm.EMPTY_DICT + asm.sequence(*[asm.integer(1)] * 100) + asm.integer(1) + asm.SETITEM,
        "tensor as key": asm.EMPTY_DICT + asm.tensor() + asm.integer(1) + asm.SETITEM,
        "huge integer as key": asm.EMPTY_DICT + asm.long1(2**240) + asm.integer(1) + asm.SETITEM,
        "global as key": asm.EMPTY_DICT + asm.named("torch", "float32") + asm.integer(1) + asm.SETITEM,
        "SETITEM on a list": asm.listing(asm.integer(1)) + asm.integer(0) + asm.integer(2) + asm.SETITEM,
        "SETITEM on a tuple": asm.EMPTY_TUPLE + asm.integer(0) + asm.integer(2) + asm.SETITEM,
        "SETITEM on a tensor": asm.tensor() + asm.integer(0) + asm.integer(2) + asm.SETITEM,
        "SETITEM on text": asm.text("x") + asm.integer(0) + asm.integer(2) + asm.SETITEM,
        "APPEND on a dict": asm.EMPTY_DICT + asm.integer(0) + asm.APPEND,
        "APPEND on a tuple": asm.EMPTY_TUPLE + asm.integer(0) + asm.APPEND,
        "APPEND on a bytearray": asm.call("builtins", "bytearray", asm.short_bytes(b"x")) + asm.integer(0) + asm.APPEND,
        "APPENDS on a set": asm.EMPTY_SET + asm.MARK + asm.integer(0) + asm.APPENDS,
        "ADDITEMS on a list": asm.EMPTY_LIST + asm.MARK + asm.integer(0) + asm.ADDITEMS,
        "ADDITEMS unhashable": asm.EMPTY_SET + asm.MARK + asm.EMPTY_LIST + asm.ADDITEMS,
        "FROZENSET unhashable": asm.MARK + asm.EMPTY_DICT + b"\x91",
        "BUILD on a dict": asm.EMPTY_DICT + asm.mapping({"a": asm.integer(1)}) + asm.BUILD,
        "BUILD on a list": asm.EMPTY_LIST + asm.mapping({"a": asm.integer(1)}) + asm.BUILD,
        "BUILD on a tensor": asm.tensor() + asm.sequence(asm.integer(1)) + asm.BUILD,
        "BUILD on an OrderedDict with a list": _ORDERED + asm.EMPTY_TUPLE + asm.REDUCE + asm.listing() + asm.BUILD,
        "REDUCE of text": asm.text("os.system") + asm.EMPTY_TUPLE + asm.REDUCE,
        "REDUCE with a list": _ORDERED + asm.EMPTY_LIST + asm.REDUCE,
        "REDUCE with None": _ORDERED + asm.NONE + asm.REDUCE,
        "NEWOBJ of text": asm.text("x") + asm.EMPTY_TUPLE + asm.NEWOBJ,
        "STACK_GLOBAL of integers": asm.integer(1) + asm.integer(2) + asm.STACK_GLOBAL,
        "STACK_GLOBAL of bytes": asm.short_bytes(b"torch") + asm.short_bytes(b"Size") + asm.STACK_GLOBAL,
        "GLOBAL with an empty name": asm.named("torch", ""),
        "GLOBAL with a name of 300": asm.named("torch", "x" * 300),
        "GLOBAL that is not UTF-8": b"c\xff\xfe\nx\n",
        "text that is not UTF-8": b"X\x02\x00\x00\x00\xff\xfe",
    }


def _arguments() -> dict[str, bytes]:
    """Allowed names with arguments that would blow up or mean something else."""
    many = asm.integer(10**12)
    return {
        "bytearray of a number": asm.call("builtins", "bytearray", many),
        "bytearray of text and codec": asm.call("builtins", "bytearray", asm.text("x"), asm.text("zip")),
        "set of a number": asm.call("builtins", "set", many),
        "set of a tuple graph": asm.call("builtins", "set", asm.listing(_tuple_graph(40))),
        "frozenset of a tuple graph": asm.call("builtins", "frozenset", asm.listing(_tuple_graph(40))),
        "complex of text": asm.call("builtins", "complex", asm.text("1" * 1000)),
        "OrderedDict of a number": _ORDERED + asm.sequence(many) + asm.REDUCE,
        "OrderedDict of triples": _ORDERED + asm.sequence(asm.listing(asm.sequence(*[asm.integer(1)] * 3))) + asm.REDUCE,
        "Size of text": asm.call("torch", "Size", asm.text("ab")),
        "Size of a float": asm.call("torch", "Size", asm.sequence(asm.real(1.5))),
        "device of a dict": asm.call("torch", "device", asm.EMPTY_DICT),
        "encode by rot13": asm.call("_codecs", "encode", asm.text("x"), asm.text("rot13")),
        "encode by zip": asm.call("_codecs", "encode", asm.text("x"), asm.text("zip")),
        "encode what is not latin1": asm.call("_codecs", "encode", asm.text("日本"), asm.text("latin1")),
        "encode a number": asm.call("_codecs", "encode", many, asm.text("latin1")),
        "Counter of a list": asm.call("collections", "Counter", asm.integer(5)),
        "layout unknown": asm.call("torch.serialization", "_get_layout", asm.text("torch.nosuch")),
        "dtype called": asm.named("torch", "float32") + asm.EMPTY_TUPLE + asm.REDUCE,
        "storage class called": asm.call("torch", "FloatStorage", many),
        "persistent id of text": asm.text("0") + asm.BINPERSID,
        "persistent id of four": asm.sequence(asm.text("storage"), asm.text("x"), asm.text("0"), asm.text("cpu"))
        + asm.BINPERSID,
        "persistent id of another kind": asm.sequence(asm.text("module"), asm.NONE, asm.NONE, asm.NONE) + asm.BINPERSID,
        "persistent id empty": asm.EMPTY_TUPLE + asm.BINPERSID,
    }


def _tuple_graph(depth: int) -> bytes:
    """A tuple of twice the same tuple, `depth` times: hashing it takes 2^depth steps."""
    return asm.EMPTY_TUPLE + b"".join(asm.put(100 + i) + asm.get(100 + i) + b"\x86" for i in range(depth))


def _frames() -> Iterator[Case]:
    """Whole pickles that end wrongly, or whose lengths lie."""
    body = asm.state_dict()
    good = asm.program(body)
    whole: dict[str, tuple[bytes, frozenset[Status]]] = {
        "no STOP": (good[:-1], NOT_OK),
        "empty": (b"", NOT_OK),
        "only STOP": (b"\x80\x02.", NOT_OK),
        "data after STOP": (good + b"more", NOT_OK),
        "zeros after STOP": (good + b"\0" * 8, NOT_OK),
        "no PROTO": (body + asm.STOP, NOT_OK),
        "protocol 0 said": (b"\x80\x00" + body + asm.STOP, NOT_OK),
        "protocol 6": (b"\x80\x06" + body + asm.STOP, NOT_OK),
        "protocol 255": (b"\x80\xff" + body + asm.STOP, NOT_OK),
        "two values at STOP": (b"\x80\x02" + body + body + asm.STOP, NOT_OK),
        "mark open at STOP": (b"\x80\x02" + asm.MARK + body + asm.STOP, NOT_OK),
        "frame too long": (b"\x80\x04\x95" + struct.pack("<Q", 2**62) + body + asm.STOP, NOT_OK),
        # Readers differ on this one; it hides nothing, and the C unpickler takes it.
        "frame too short": (b"\x80\x04\x95" + struct.pack("<Q", 3) + body + asm.STOP, NOT_OK | {Status.OK}),
        "frame in a frame": (
            b"\x80\x04\x95" + struct.pack("<Q", len(body) + 10) + b"\x95" + struct.pack("<Q", 2**40) + body + asm.STOP,
            NOT_OK,
        ),
        "text longer than the rest": (b"\x80\x02X\xff\xff\xff\x7fabc.", NOT_OK),
        "text8 longer than the rest": (b"\x80\x04\x8d" + struct.pack("<Q", 2**63 - 1) + b"abc.", NOT_OK),
        "text8 beyond 64 bits": (b"\x80\x04\x8d" + b"\xff" * 8 + b"abc.", NOT_OK),
        "bytes longer than the rest": (b"\x80\x03B\xff\xff\xff\xffabc.", NOT_OK),
        "bytes8 longer than the rest": (b"\x80\x04\x8e" + struct.pack("<Q", 2**62) + b"abc.", NOT_OK),
        "bytearray8 longer than the rest": (b"\x80\x05\x96" + struct.pack("<Q", 2**62) + b"abc.", NOT_OK),
        "LONG4 longer than the rest": (b"\x80\x02\x8b\xff\xff\xff\x7fabc.", NOT_OK),
        "LONG4 negative": (b"\x80\x02\x8b\xff\xff\xff\xff.", NOT_OK),
        "LONG1 of 33 bytes": (asm.program(asm.state_dict(x=b"\x8a\x21" + b"\x01" * 33)), NOT_OK),
        "LONG1 of 255 bytes": (asm.program(asm.state_dict(x=b"\x8a\xff" + b"\x01" * 255)), NOT_OK),
        "GLOBAL without an end": (b"\x80\x02ctorch", NOT_OK),
    }
    for name, (data, statuses) in whole.items():
        yield raw(f"program-{name}", zips.checkpoint(data), statuses, name)
    yield raw("program-legacy no STOP", oldforms.legacy(good[:-1]), NOT_OK, "no STOP in the legacy format")
    yield raw("program-storage in a plain pickle", good, NOT_OK, "a plain pickle has no storages")
    yield raw("legacy-data after the end", oldforms.legacy(_legacy_body()) + b"more", NOT_OK, "bytes behind the last storage")
    yield raw(
        "legacy-keys lie", oldforms.legacy(_legacy_body(), {"1": (4, b"\0" * 16)}), NOT_OK, "the list names another storage"
    )
    yield raw("legacy-key twice", _legacy_twice(), NOT_OK, "one storage is listed twice")
    yield raw(
        "legacy-size lies", oldforms.legacy(_legacy_body(), {"0": (5, b"\0" * 16)}), NOT_OK, "a storage says another size"
    )
    yield raw("legacy-size negative", oldforms.legacy(_legacy_body(), {"0": (-1, b"\0" * 16)}), NOT_OK, "a negative size")
    yield raw("legacy-size huge", oldforms.legacy(_legacy_body(), {"0": (2**60, b"\0" * 16)}), NOT_OK, "a huge size")
    yield raw("legacy-unused storage", _legacy_extra(), NOT_OK, "a storage that no tensor uses")
    yield raw("tar-unused member", oldforms.tar(_tar_body(), members={"evil.sh": b"#!/bin/sh\n"}), NOT_OK, "a fifth member")
    yield raw(
        "tar-missing tensor", oldforms.tar(_tar_body(), tensors=()), NOT_OK, "the pickle refers to a tensor that is not there"
    )
    yield raw(
        "tar-wrong storage", oldforms.tar(_tar_body(), tensors=((2, 9, (2, 2), (2, 1), 0),)), NOT_OK, "a tensor of no storage"
    )
    yield raw(
        "tar-beyond storage", oldforms.tar(_tar_body(), tensors=((2, 1, (9, 9), (9, 1), 0),)), NOT_OK, "larger than its storage"
    )
    yield raw("tar-negative", oldforms.tar(_tar_body(), tensors=((2, 1, (2, 2), (2, 1), -1),)), NOT_OK, "a negative offset")
    yield raw("tar-view beyond", oldforms.tar(_tar_body(), views=((3, 1, 2, 9),)), NOT_OK, "a view larger than its root")


def _legacy_body() -> bytes:
    return asm.program(asm.mapping({"w": oldforms.legacy_tensor()}))


def _legacy_twice() -> bytes:
    import pickle

    honest = oldforms.legacy(_legacy_body())
    return honest.replace(pickle.dumps(["0"], 2), pickle.dumps(["0", "0"], 2)) + honest[-24:]


def _legacy_extra() -> bytes:
    return oldforms.legacy(_legacy_body(), {"0": (4, b"\0" * 16), "7": (4, b"\0" * 16)})


def _tar_body() -> bytes:
    return asm.program(asm.mapping({"w": oldforms.tar_tensor()}))


def _bombs() -> Iterator[Case]:
    """Small programs that cost a naive reader all its memory, time or stack."""
    bombs: dict[str, Callable[[], bytes]] = {
        "tuple graph as key": lambda: asm.program(asm.EMPTY_DICT + _tuple_graph(60) + asm.NONE + asm.SETITEM),
        "tuple graph compared": lambda: asm.program(
            asm.EMPTY_DICT + _tuple_graph(40) + asm.NONE + asm.SETITEM + _tuple_graph(40) + asm.NONE + asm.SETITEM
        ),
        "lists 1e6 deep": lambda: asm.program(asm.EMPTY_LIST * 1_000_000 + asm.APPEND * 999_999),
        "tuples 1e6 deep": lambda: asm.program(asm.EMPTY_TUPLE + b"\x85" * 1_000_000),
        "dicts 200,000 deep": lambda: asm.program((asm.EMPTY_DICT + asm.NONE) * 200_000 + asm.NONE + asm.SETITEM * 200_000),
        "calls 200,000 deep": lambda: asm.program(
            asm.named("my.models", "Net")
            + asm.put(0)
            + asm.EMPTY_TUPLE
            + (asm.REDUCE + b"\x85" + asm.put(1) + asm.POP + asm.get(0) + asm.get(1)) * 200_000
            + asm.REDUCE
        ),
        "marks": lambda: asm.program(asm.MARK * 2_000_000),
        "stack": lambda: asm.program(asm.NONE * 5_000_000),
        "memo": lambda: asm.program(asm.NONE + b"".join(b"r" + struct.pack("<I", i) for i in range(2_100_000))),
        "memo slot 2^32-1": lambda: asm.program(asm.NONE + asm.put(2**32 - 1)),
        "memoize": lambda: asm.program(asm.NONE + asm.MEMOIZE * 3_000_000, 4, framed=False),
        "opcodes": lambda: asm.program(asm.NONE + (asm.NONE + asm.POP) * 3_000_000),
        "text of 2 MiB": lambda: asm.program(asm.text("x" * (2 << 20))),
        "texts of 70 MiB": lambda: asm.program(asm.listing(*[asm.text("x" * (1 << 20) + str(i)) for i in range(70)])),
        "billion laughs": lambda: asm.program(
            asm.listing(asm.text("ha"))
            + b"".join(asm.put(i) + asm.POP + asm.EMPTY_LIST + asm.MARK + asm.get(i) * 100 + asm.APPENDS for i in range(100))
        ),
        "colliding keys": lambda: asm.program(
            asm.EMPTY_DICT + asm.MARK + b"".join(asm.long1(i * (2**61 - 1)) + asm.NONE for i in range(1, 30_000)) + asm.SETITEMS
        ),
        "many globals": lambda: asm.program(b"".join(asm.named(f"m{i}", "x") + asm.POP for i in range(300_000)) + asm.NONE),
        "many dicts": lambda: asm.program(asm.EMPTY_LIST + asm.MARK + asm.EMPTY_DICT * 900_000 + asm.APPENDS),
        "long integers": lambda: asm.program(asm.listing(*[asm.long1(2**250)] * 200_000)),
        "10^12 bytes": lambda: asm.program(asm.call("builtins", "bytearray", asm.long1(10**12))),
    }
    for name, make in bombs.items():
        # What stays inside every budget may be called ok: it is then harmless, and must be quick all the same.
        harmless = name in ("tuples 1e6 deep", "billion laughs", "many dicts", "long integers", "memo slot 2^32-1")
        yield late(f"bomb-{name}", _zipped(make), NOT_OK | {Status.OK} if harmless else NOT_OK, name)
    plain = bombs["tuple graph as key"]
    yield late(
        "bomb-tuple graph-legacy", lambda: oldforms.legacy(plain(), {}), DECEIT | NOT_OK, "a tuple graph in the legacy format"
    )
    yield late("bomb-tuple graph-pickle", plain, NOT_OK, "a tuple graph in a plain pickle")
    yield late("bomb-tuple graph-tar", lambda: oldforms.tar(plain(), (), ()), NOT_OK, "a tuple graph in a tar")


def _zipped(make: Callable[[], bytes]) -> Callable[[], bytes]:
    return lambda: zips.checkpoint(make(), {})
