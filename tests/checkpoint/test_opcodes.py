"""The closed machine: every opcode, every limit, and what it makes of honest, mad and hostile pickles."""

from __future__ import annotations

import math
import pickle
import pickletools
import random
import struct
import subprocess
import sys
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ckptd.checkpoint.budgets import BUDGETS
from ckptd.checkpoint.opcodes import PickleError, run
from ckptd.checkpoint.tensors import Builder
from ckptd.checkpoint.values import Global, Opaque, OrderedDictValue
from tests.checkpoint.machine import codes_of, plain, read, refusal, same, value_of
from tests.corpus import asm, hostile_pickles

ONE = asm.integer(1)
NET = asm.named("my.models", "Net")


def u8(value: int) -> bytes:
    return struct.pack("<Q", value)


#: Every opcode that torch.save writes at protocols 2 to 5: the smallest body with it, and what comes out.
ALLOWED = {
    "MARK": (b"(t", ()),
    "POP": (ONE + asm.NONE + b"0", 1),
    "POP_MARK": (ONE + b"(NN1", 1),
    "BININT": (b"J\xff\xff\xff\xff", -1),
    "BININT1": (b"K\xff", 255),
    "BININT2": (b"M\x00\x01", 256),
    "NONE": (b"N", None),
    "REDUCE": (asm.named("builtins", "bytes") + b")R", b""),
    "BINUNICODE": (b"X\x02\x00\x00\x00\xc3\xa4", "ä"),
    "SHORT_BINUNICODE": (b"\x8c\x02\xc3\xa4", "ä"),
    "APPEND": (b"]Na", [None]),
    "BUILD": (asm.call("collections", "OrderedDict") + b"}b", OrderedDict()),
    "GLOBAL": (b"cmy.models\nNet\n", "my.models.Net"),
    "STACK_GLOBAL": (asm.short_text("my.models") + asm.short_text("Net") + b"\x93", "my.models.Net"),
    "EMPTY_DICT": (b"}", {}),
    "APPENDS": (b"](NNe", [None, None]),
    "BINGET": (b"K\x07q\x030h\x03", 7),
    "LONG_BINGET": (b"K\x07q\x030j\x03\x00\x00\x00", 7),
    "BINPUT": (b"K\x07q\x03", 7),
    "LONG_BINPUT": (b"K\x07r\x03\x00\x00\x00", 7),
    "MEMOIZE": (b"K\x07\x940h\x00", 7),
    "EMPTY_LIST": (b"]", []),
    "SETITEM": (b"}NNs", {None: None}),
    "TUPLE": (b"(NNNNt", (None,) * 4),
    "EMPTY_TUPLE": (b")", ()),
    "SETITEMS": (b"}(K\x01NK\x02Nu", {1: None, 2: None}),
    "BINFLOAT": (b"G?\xf8\x00\x00\x00\x00\x00\x00", 1.5),
    "NEWOBJ": (NET + b")\x81", "an opaque value"),
    "TUPLE1": (b"N\x85", (None,)),
    "TUPLE2": (b"NN\x86", (None, None)),
    "TUPLE3": (b"NNN\x87", (None, None, None)),
    "NEWTRUE": (b"\x88", True),
    "NEWFALSE": (b"\x89", False),
    "LONG1": (b"\x8a\x05" + (2**33).to_bytes(5, "little"), 2**33),
    "BINBYTES": (b"B\x02\x00\x00\x00ab", b"ab"),
    "SHORT_BINBYTES": (b"C\x02ab", b"ab"),
    "BYTEARRAY8": (b"\x96" + u8(2) + b"ab", bytearray(b"ab")),
    "EMPTY_SET": (b"\x8f", set()),
    "ADDITEMS": (b"\x8f(NK\x01\x90", {None, 1}),
    "FROZENSET": (b"(NK\x01\x91", frozenset({None, 1})),
    "FRAME": (b"\x95" + u8(2) + b"N", None),
    "BINPERSID": (asm.storage() + b"0N", None),
    "STOP": (b"N", None),
}
#: Opcodes that call what they are given; torch.save never writes them.
CALLING = {"INST", "OBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4"}
NAMES = {ord(op.code): op.name for op in pickletools.opcodes}


def _simple(value: object) -> object:
    if type(value) is Global:
        return value.dotted
    return "an opaque value" if type(value) is Opaque else plain(value)


@pytest.mark.parametrize("name", ALLOWED)
def test_an_opcode_of_torch_save_is_taken(name):
    """Each opcode that torch.save writes does what the pickle protocol says."""
    body, expected = ALLOWED[name]
    code = next(op.code.encode("latin1") for op in pickletools.opcodes if op.name == name)
    whole = asm.program(body)
    assert code in whole
    assert same(_simple(value_of(body)), expected)


@pytest.mark.parametrize("op", [op for op in range(256) if NAMES.get(op) not in ALLOWED])
def test_every_other_byte_is_refused(op):
    """Whatever else a byte could mean, the pickle ends there, with a code that says what it was."""
    name = NAMES.get(op)
    expected = "code-opcode" if name in CALLING else "forbidden-opcode" if name else "malformed-pickle"
    # A full stack, an open mark, a name on top, and more arguments than any opcode takes: nothing else can be wrong.
    body = asm.listing() + ONE * 8 + asm.MARK + NET + asm.EMPTY_TUPLE + asm.EMPTY_DICT
    with pytest.raises(PickleError) as caught:
        read(asm.program(body + bytes([op]) + b"1\n1\n" + b"\0" * 16))
    assert caught.value.code == expected
    assert name is None or name in str(caught.value)


def test_the_table_is_complete():
    """Allowed and refused opcodes together are the 256 bytes, and 43 are allowed."""
    assert len(ALLOWED) == 43
    assert set(ALLOWED) <= set(NAMES.values())


def test_strings_of_python2_only_where_asked_for():
    """Old containers may hold BINSTRING and SHORT_BINSTRING; a zip may not."""
    for body in (b"T\x02\x00\x00\x00ab", b"U\x02ab"):
        assert refusal(asm.program(body)) == "forbidden-opcode"
        assert run(asm.program(body), 0, Builder(), python2=True)[0] == "ab"
    assert run(asm.program(b"U\x02\xff\xfe"), 0, Builder(), python2=True)[0] == b"\xff\xfe"
    for body in (b"T\xff\xff\xff\xff", b"T\x09\x00\x00\x00ab"):
        with pytest.raises(PickleError, match=r"negative|early"):
            run(asm.program(body), 0, Builder(), python2=True)


# Limits ---------------------------------------------------------------------------------------------------------------

#: limit: (lowered value, body just below it, body beyond it).
LIMITS = {
    "text_bytes": (10, asm.text("x" * 10), asm.text("x" * 11)),
    "raw_bytes": (300, b"B" + struct.pack("<I", 300) + b"x" * 300, b"B" + struct.pack("<I", 301) + b"x" * 301),
    "long_bytes": (8, b"\x8a\x08" + b"\1" * 8, b"\x8a\x09" + b"\1" * 9),
    "name_bytes": (20, asm.named("m" * 10, "n" * 10), asm.named("m" * 10, "n" * 11)),
    "marks": (5, asm.MARK * 5 + b"t" * 5, asm.MARK * 6 + b"t" * 6),
    "sets": (3, asm.EMPTY_SET * 3 + b"000N"[:2] + b"", asm.EMPTY_SET * 4),
    "copied_items": (
        100,
        asm.call("builtins", "set", asm.listing(*[ONE] * 92)),
        asm.call("builtins", "set", asm.listing(*[ONE] * 93)),
    ),
}
LIMITS["sets"] = (3, asm.EMPTY_SET * 3 + b"00", asm.EMPTY_SET * 4 + b"000")


@pytest.mark.parametrize("limit", LIMITS)
def test_a_limit_holds_to_the_last_item(limit):
    """What just fits is read, and one more is a bomb."""
    value, fits, beyond = LIMITS[limit]
    budgets = replace(BUDGETS, **{limit: value})
    read(asm.program(fits), budgets)
    assert refusal(asm.program(beyond), budgets) == "pickle-bomb"
    read(asm.program(beyond))


@pytest.mark.parametrize(
    ("limit", "piece"),
    [("opcodes", asm.NONE + asm.POP), ("stack", asm.NONE * 2), ("memo", asm.MEMOIZE * 2)],
)
def test_a_coarse_limit_holds_within_a_batch(limit, piece):
    """Opcodes, stack and memo are looked at once in a batch: below the limit all is read, a batch beyond it nothing is."""
    batch = 4096
    budgets = replace(BUDGETS, **{limit: 3 * batch})
    tidy = b"" if limit != "stack" else asm.POP_MARK
    start = asm.NONE + (asm.MARK if limit == "stack" else b"")
    room = 3 * batch - 16
    read(asm.program(start + piece * (room // 2) + tidy), budgets)
    much = piece * ((5 * batch) // 2)
    assert refusal(asm.program(start + much + tidy), budgets) == "pickle-bomb"
    read(asm.program(start + much + tidy))


def test_the_stack_below_a_mark_counts():
    """Items cannot hide below marks."""
    budgets = replace(BUDGETS, stack=10_000)
    body = (asm.NONE * 3_000 + asm.MARK) * 6 + asm.POP_MARK * 6 + asm.MARK
    assert refusal(asm.program(body), budgets) == "pickle-bomb"


@pytest.mark.parametrize("body", [asm.short_text("x" * 11), b"\x96" + u8(11) + b"x" * 11])
def test_a_limit_holds_for_each_spelling(body):
    """The other opcodes for text and bytes have the same limits."""
    budgets = replace(BUDGETS, text_bytes=10, raw_bytes=10)
    assert refusal(asm.program(body), budgets) == "pickle-bomb"


def test_a_name_by_stack_has_the_same_limit():
    """STACK_GLOBAL takes as long a name as GLOBAL does."""
    budgets = replace(BUDGETS, name_bytes=20)
    read(asm.program(asm.stack_global("m" * 10, "n" * 10)), budgets)
    assert refusal(asm.program(asm.stack_global("m" * 10, "n" * 11)), budgets) == "pickle-bomb"


# Honest pickles -------------------------------------------------------------------------------------------------------

_numbers = st.integers(-(2**250), 2**250) | st.integers(-(2**33), 2**33) | st.integers(0, 70_000)
_scalars = st.none() | st.booleans() | _numbers | st.floats() | st.text() | st.binary() | st.complex_numbers(allow_nan=False)
_keys = st.none() | st.booleans() | st.integers(-(2**62), 2**62) | st.floats(allow_nan=False) | st.text() | st.binary()
_objects = st.recursive(
    _scalars | st.sets(_keys) | st.frozensets(_keys) | st.binary().map(bytearray),
    lambda inner: (
        st.lists(inner)
        | st.tuples(inner)
        | st.tuples(inner, inner)
        | st.lists(inner, max_size=5).map(tuple)
        | st.dictionaries(_keys, inner)
        | st.dictionaries(_keys, inner).map(OrderedDict)
        | inner.map(lambda shared: [shared, shared])
    ),
    max_leaves=25,
)


@settings(max_examples=300, deadline=None)
@given(_objects, st.integers(2, 5))
def test_plain_objects_come_out_as_they_went_in(value, protocol):
    """What pickle writes at protocols 2 to 5 is read as the same value, of the same types, in the same order."""
    found, host = read(pickle.dumps(value, protocol))
    assert not host.problems
    assert same(plain(found), value)


@settings(max_examples=100, deadline=None)
@given(_objects, st.integers(2, 5))
def test_the_pure_python_pickler_is_read_too(value, protocol):
    """Python's own pickler in Python writes other memo opcodes."""
    import io

    out = io.BytesIO()
    pickle._Pickler(out, protocol).dump(value)
    found, host = read(out.getvalue())
    assert not host.problems
    assert same(plain(found), value)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_large_containers_come_in_batches(protocol):
    """Containers of more than 1,000 items are written in pieces, and memo slots beyond 255 by the long opcodes."""
    value = {"list": list(range(3_000)), "dict": {f"k{i}": [i] for i in range(3_000)}, "text": ["x" * 300, "y" * 70_000]}
    assert same(plain(read(pickle.dumps(value, protocol))[0]), value)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_identity_survives(protocol):
    """What was one object twice is one object twice."""
    shared = [1]
    found = read(pickle.dumps({"a": shared, "b": shared, "c": [1]}, protocol))[0]
    assert found["a"] is found["b"]
    assert found["a"] is not found["c"]


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_cycles_are_read(protocol):
    """A list in itself, a dict in itself, and a tuple that a list of its own holds."""
    inside: list[object] = []
    inside.append(inside)
    found = read(pickle.dumps(inside, protocol))[0]
    assert found[0] is found
    knot: dict[str, object] = {}
    knot["me"] = knot
    found = read(pickle.dumps(knot, protocol))[0]
    assert found["me"] is found
    for width in (1, 5):  # short tuples end in POPs, long ones in POP_MARK
        held: list[object] = []
        ring = (held,) * width
        held.append(ring)
        found = read(pickle.dumps(ring, protocol))[0]
        assert type(found) is tuple
        assert len(found) == width
        assert found[0][0] is found


def test_a_module_state_is_kept():
    """BUILD on an OrderedDict, which is how `_metadata` of a state_dict is saved, is kept beside its items."""
    found = read(pickle.dumps(_with_metadata(), 2))[0]
    assert type(found) is OrderedDictValue
    assert found.state == {"_metadata": {"": {"version": 1}}}


def _with_metadata() -> OrderedDict[str, int]:
    made = OrderedDict(w=1)
    made._metadata = {"": {"version": 1}}
    return made


# Rules ----------------------------------------------------------------------------------------------------------------

_ORDERED = asm.call("collections", "OrderedDict")
_OPAQUE = NET + b")\x81"

#: Bodies that are refused, and how.
REFUSED = {
    # stack and marks
    "POP of nothing": (asm.POP + asm.NONE, "malformed-pickle"),
    "POP of a mark": (asm.NONE + asm.MARK + asm.POP, "malformed-pickle"),
    "POP_MARK without a mark": (asm.POP_MARK + asm.NONE, "malformed-pickle"),
    "TUPLE without a mark": (b"t", "malformed-pickle"),
    "APPENDS without a mark": (b"]e", "malformed-pickle"),
    "SETITEMS without a mark": (b"}u", "malformed-pickle"),
    "ADDITEMS without a mark": (b"\x8f\x90", "malformed-pickle"),
    "FROZENSET without a mark": (b"\x91", "malformed-pickle"),
    "TUPLE3 of two": (b"NN\x87", "malformed-pickle"),
    "TUPLE2 does not reach below a mark": (b"N(N\x86", "malformed-pickle"),
    "REDUCE of one": (b")R", "malformed-pickle"),
    "BINPUT of nothing": (b"q\x00N", "malformed-pickle"),
    "MEMOIZE of nothing": (b"\x94N", "malformed-pickle"),
    "BINPERSID of nothing": (b"Q", "malformed-pickle"),
    "SETITEMS of three": (b"}(NNNu", "malformed-pickle"),
    # memo
    "BINGET never put": (b"h\x07", "malformed-pickle"),
    "LONG_BINGET never put": (b"j\xff\xff\xff\xff", "malformed-pickle"),
    # the end
    "two values": (b"NN", "malformed-pickle"),
    "no value": (b"", "malformed-pickle"),
    "an open mark": (b"(N", "malformed-pickle"),
    "a mark below the value": (b"N(", "malformed-pickle"),
    # lengths
    "text beyond the end": (b"X\xff\x00\x00\x00abc", "malformed-pickle"),
    "text of 2 GiB beyond the end": (b"X\xff\xff\xff\x7fabc", "malformed-pickle"),
    "short text beyond the end": (b"\x8c\xffabc", "malformed-pickle"),
    "bytes beyond the end": (b"B\xff\x00\x00\x00abc", "malformed-pickle"),
    "short bytes beyond the end": (b"C\xffabc", "malformed-pickle"),
    "bytearray beyond the end": (b"\x96" + u8(2**62) + b"abc", "malformed-pickle"),
    "integer beyond the end": (b"\x8a\x20abc", "malformed-pickle"),
    "frame beyond the end": (b"\x95" + u8(3) + b"N", "malformed-pickle"),
    "half an argument": (b"J\x01\x02", "malformed-pickle"),
    "text that is no UTF-8": (b"X\x01\x00\x00\x00\xff", "malformed-pickle"),
    "name without an end": (b"cx\ny", "malformed-pickle"),
    "name that is no UTF-8": (b"c\xff\nx\n", "malformed-pickle"),
    # targets
    "SETITEM on a list": (b"]NNs", "forbidden-opcode"),
    "SETITEMS on a list": (b"](NNu", "forbidden-opcode"),
    "SETITEM on a tuple": (b")NNs", "forbidden-opcode"),
    "SETITEM on a name": (NET + b"NNs", "forbidden-opcode"),
    "SETITEM on a bytearray": (b"\x96" + u8(0) + b"NNs", "forbidden-opcode"),
    "SETITEM on a tensor": (asm.tensor() + b"NNs", "forbidden-opcode"),
    "APPEND on a dict": (b"}Na", "forbidden-opcode"),
    "APPENDS on a set": (b"\x8f(Ne", "forbidden-opcode"),
    "APPEND on a bytearray": (b"\x96" + u8(0) + b"Na", "forbidden-opcode"),
    "APPEND on an OrderedDict": (_ORDERED + b"Na", "forbidden-opcode"),
    "ADDITEMS on a list": (b"](N\x90", "forbidden-opcode"),
    "ADDITEMS on a frozenset": (b"(\x91(N\x90", "forbidden-opcode"),
    "BUILD on a dict": (b"}}b", "forbidden-opcode"),
    "BUILD on a list": (b"]}b", "forbidden-opcode"),
    "BUILD on a name": (NET + b"}b", "forbidden-opcode"),
    "BUILD on a tensor": (asm.tensor() + b"}b", "forbidden-opcode"),
    "BUILD of a list on an OrderedDict": (_ORDERED + b"]b", "forbidden-opcode"),
    "BUILD twice": (_OPAQUE + b"}b}b", "forbidden-opcode"),
    "REDUCE of text": (asm.text("os.system") + b")R", "forbidden-opcode"),
    "REDUCE of None": (b"N)R", "forbidden-opcode"),
    "REDUCE of a dict": (b"})R", "forbidden-opcode"),
    "NEWOBJ of text": (asm.text("x") + b")\x81", "forbidden-opcode"),
    "NEWOBJ of a tuple": (b"))\x81", "forbidden-opcode"),
    "STACK_GLOBAL of numbers": (b"K\x01K\x02\x93", "malformed-pickle"),
    "STACK_GLOBAL of text and bytes": (asm.text("x") + b"C\x01x\x93", "malformed-pickle"),
    # persistent ids
    "BINPERSID of text": (asm.text("0") + b"Q", "malformed-pickle"),
    "BINPERSID of four": (asm.sequence(asm.text("storage"), asm.NONE, asm.NONE, asm.NONE) + b"Q", "malformed-pickle"),
    "BINPERSID of a module": (asm.sequence(asm.text("module"), *[asm.NONE] * 4) + b"Q", "malformed-pickle"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_broken_rule_ends_the_reading(name):
    """Each rule of the machine has a pickle that breaks only it."""
    body, code = REFUSED[name]
    assert refusal(asm.program(body)) == code


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "malformed-pickle"),
        (b"\x80", "malformed-pickle"),
        (b"\x80\x02", "malformed-pickle"),
        (b"\x80\x02N", "malformed-pickle"),
        (b"N.", "forbidden-opcode"),
        (b"N\x02N.", "forbidden-opcode"),
        (b"\x80\x00N.", "forbidden-opcode"),
        (b"\x80\x01N.", "forbidden-opcode"),
        (b"\x80\x06N.", "forbidden-opcode"),
        (b"\x80\xffN.", "forbidden-opcode"),
    ],
)
def test_a_pickle_begins_with_its_protocol_and_ends_with_stop(data, code):
    """Nothing before PROTO, protocols 2 to 5 only, and an end."""
    assert refusal(data) == code


def test_the_machine_says_where_a_pickle_ends():
    """What follows STOP is the caller's to judge."""
    data = b"junk" + asm.program(asm.NONE) + b"more"
    assert run(data, 4, Builder()) == (None, len(data) - 4)


@pytest.mark.parametrize(
    "key",
    {
        "list": asm.EMPTY_LIST,
        "dict": asm.EMPTY_DICT,
        "set": asm.EMPTY_SET,
        "bytearray": b"\x96" + u8(0),
        "nested tuple": asm.sequence(asm.sequence(ONE)),
        "long tuple": asm.sequence(*[ONE] * 9),
        "frozenset": b"(\x91",
        "tensor": asm.tensor(),
        "integer of 64 bits": asm.long1(2**64),
        "tuple of an integer of 64 bits": asm.sequence(asm.long1(2**64)),
        "complex": asm.call("builtins", "complex", asm.real(1.0), asm.real(2.0)),
    }.items(),
    ids=lambda item: item[0],
)
def test_a_key_is_plain(key):
    """Keys that are slow to hash, or that no checkpoint has, are left out and named; the rest of the dict is read."""
    for body in (
        asm.EMPTY_DICT + key[1] + ONE + asm.SETITEM + asm.text("good") + ONE + asm.SETITEM,
        asm.EMPTY_DICT + asm.MARK + key[1] + ONE + asm.text("good") + ONE + asm.SETITEMS,
    ):
        value, host = read(asm.program(body))
        assert value == {"good": 1}
        assert [problem.code for problem in host.problems] == ["odd-dict-key"]
    for body, expected in (
        (asm.EMPTY_SET + asm.MARK + key[1] + ONE + asm.ADDITEMS, {1}),
        (asm.MARK + key[1] + ONE + b"\x91", frozenset({1})),
    ):
        value, host = read(asm.program(body))
        assert value == expected
        assert [problem.code for problem in host.problems] == ["odd-dict-key"]


@pytest.mark.parametrize(
    "key",
    [
        *(asm.text("x"), ONE, asm.real(1.5), asm.TRUE, asm.NONE, b"C\x01x", asm.long1(2**62), asm.sequence(ONE, asm.text("a"))),
        *(asm.named("torch", "float32"), _OPAQUE),
    ],
)
def test_a_plain_key_is_taken(key):
    """Text, numbers, None, bytes, short flat tuples, names and opaque values (by identity) are keys."""
    assert len(value_of(asm.EMPTY_DICT + key + ONE + asm.SETITEM)) == 1


def test_a_key_stands_once():
    """Readers differ on the value of a key that is given twice; pickle never writes it."""
    twice = asm.text("a") + ONE
    assert codes_of(asm.EMPTY_DICT + asm.MARK + twice * 2 + asm.SETITEMS) == ["duplicate-key"]
    assert codes_of(asm.EMPTY_DICT + (twice + asm.SETITEM) * 2) == ["duplicate-key"]
    assert codes_of(_ORDERED + asm.MARK + twice * 2 + asm.SETITEMS) == ["duplicate-key"]
    assert codes_of(asm.EMPTY_DICT + asm.MARK + asm.TRUE + ONE + ONE + ONE + asm.SETITEMS) == ["duplicate-key"]
    assert codes_of(asm.EMPTY_DICT + asm.MARK + asm.text("a") + ONE + asm.text("b") + ONE + asm.SETITEMS) == []


def test_opaque_values_take_what_they_are_given_as_data():
    """REDUCE, NEWOBJ, BUILD, SETITEM(S), APPEND(S) and ADDITEMS of an unknown class are written down, in order."""
    body = NET + asm.sequence(ONE) + asm.REDUCE + b"K\x02a(K\x03K\x04e(K\x05\x90" + b"K\x06K\x07s(]K\x08K\x09]u" + b"}b"
    value = value_of(body)
    assert (type(value), value.dotted, value.args, value.new) == (Opaque, "my.models.Net", (1,), False)
    assert value.elements == [2, 3, 4, 5]
    assert value.items == [(6, 7), ([], 8), (9, [])]
    assert value.state == {}
    again = value_of(NET + b")\x81")
    assert (again.new, again.args, again.state) == (True, (), None)
    called = value_of(NET + b")R)R")
    assert type(called.callee) is Opaque
    assert called.dotted == "?"


def test_arguments_may_be_anything_where_a_class_is_unknown():
    """A pickle may call an unknown name with what is no tuple: that is data too."""
    assert value_of(NET + b"]R").args == []
    assert value_of(NET + b"}\x81").args == {}


def test_newobj_of_an_inert_name_is_the_value():
    """OrderedDict, set and the like come by NEWOBJ too."""
    assert type(value_of(asm.named("collections", "OrderedDict") + b")\x81")) is OrderedDictValue
    assert value_of(asm.named("builtins", "set") + b")\x81") == set()
    given = value_of(asm.named("builtins", "set") + asm.sequence(asm.listing(ONE)) + b"\x81")
    assert (type(given), given.new, given.args) == (Opaque, True, ([1],))


# Madness --------------------------------------------------------------------------------------------------------------


def _survives(data: bytes) -> None:
    """Run bytes that may be anything: a value or a PickleError, and nothing else."""
    host = Builder()
    try:
        run(data, 0, host)
    except PickleError as error:
        refused = error
    else:
        refused = PickleError("malformed-pickle", "")
    assert refused.code in {"malformed-pickle", "forbidden-opcode", "code-opcode", "pickle-bomb"}
    assert str(refused).isprintable()
    for problem in host.problems:
        assert problem.message.isprintable()


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=200), st.integers(2, 5))
def test_random_bytes_are_data(tail, protocol):
    """Whatever follows PROTO, nothing but a PickleError comes out."""
    _survives(bytes([0x80, protocol]) + tail)


_OPS = st.sampled_from([op.code.encode("latin1") for op in pickletools.opcodes if op.name in ALLOWED])
_INERT_NAMES = [
    *("torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_tensor_v3", "torch._utils._rebuild_parameter"),
    *("torch._utils._rebuild_qtensor", "torch._utils._rebuild_sparse_tensor", "torch._tensor._rebuild_from_type_v2"),
    *("torch._utils._rebuild_meta_tensor_no_storage", "torch._utils._rebuild_wrapper_subclass", "torch.Size"),
    *("torch._utils._rebuild_parameter_with_state", "torch._utils._rebuild_tensor", "torch.float32", "torch.FloatStorage"),
    *("collections.OrderedDict", "builtins.set", "builtins.frozenset", "builtins.bytearray", "builtins.bytes"),
    *("builtins.complex", "_codecs.encode", "torch.serialization._get_layout", "torch.sparse_coo", "my.models.Net"),
]
_PIECES = (
    _OPS
    | st.sampled_from([*map(asm.integer, (0, 1, 2, 255, 65536, 2**63, 2**200, -1)), asm.real(math.nan), asm.text("latin1")])
    | st.sampled_from([asm.named(*name.rsplit(".", 1)) for name in _INERT_NAMES])
    | st.sampled_from([asm.storage(), asm.tensor(), asm.get(0), asm.put(0), _ORDERED, _OPAQUE])
    | st.sampled_from([asm.named(*name.rsplit(".", 1)) + asm.MARK for name in _INERT_NAMES])
    | st.just(b"tR")
    | st.binary(max_size=4)
)


@settings(max_examples=1500, deadline=None)
@given(st.lists(_PIECES, max_size=40), st.integers(2, 5))
def test_random_programs_are_data(pieces, protocol):
    """Sequences of real opcodes, names and values in any order: a value or a PickleError."""
    _survives(asm.program(b"".join(pieces), protocol, framed=False))


@settings(max_examples=600, deadline=None)
@given(
    st.sampled_from(_INERT_NAMES), st.lists(st.sampled_from([*map(asm.integer, (0, 1, 5, 2**70, -1))]) | _PIECES, max_size=9)
)
def test_inert_calls_take_any_arguments(name, arguments):
    """No arguments of an inert call raise anything else than a PickleError."""
    _survives(asm.program(asm.named(*name.rsplit(".", 1)) + asm.MARK + b"".join(arguments) + b"tR"))


@pytest.mark.parametrize("seed", range(4))
def test_bent_pickles_are_data(seed):
    """Honest pickles with flipped, dropped and doubled bytes."""
    rng = random.Random(seed)
    whole = [asm.program(asm.state_dict(), p) for p in (2, 4)]
    whole += [pickle.dumps({"a": [1, 2.5, ("x", None)], "b": {1, 2}, "c": OrderedDict(x=b"y")}, p) for p in (2, 3, 4, 5)]
    for _ in range(3_000):
        data = bytearray(rng.choice(whole))
        for _ in range(rng.randrange(1, 4)):
            at = rng.randrange(2, len(data))
            match rng.randrange(3):
                case 0:
                    data[at] ^= 1 << rng.randrange(8)
                case 1:
                    del data[at]
                case _:
                    data.insert(at, rng.choice(data))
        _survives(bytes(data))


def _graph(depth: int) -> bytes:
    return hostile_pickles._tuple_graph(depth)


@pytest.mark.parametrize(
    "body",
    {
        "key": asm.EMPTY_DICT + _graph(60) + asm.NONE + asm.SETITEM,
        "set": asm.EMPTY_SET + asm.MARK + _graph(60) + asm.ADDITEMS,
        "frozenset": asm.MARK + _graph(60) + b"\x91",
        "set by call": asm.call("builtins", "set", asm.listing(_graph(60))),
        "items of an OrderedDict": asm.call("collections", "OrderedDict", asm.listing(asm.sequence(_graph(60), ONE))),
        "codec": asm.call("_codecs", "encode", asm.text("x"), _graph(60)),
        "codec of a bytearray": asm.call("builtins", "bytearray", asm.text("x"), _graph(60)),
        "layout": asm.call("torch.serialization", "_get_layout", _graph(60)),
        "size": asm.tensor(size=_graph(60)),
        "hooks": asm.tensor(hooks=_graph(60)),
        "persistent id": asm.sequence(asm.text("storage"), *[_graph(60)] * 4) + asm.BINPERSID,
        "arguments of NEWOBJ": asm.named("builtins", "set") + _graph(60) + asm.NEWOBJ,
        "name by stack": asm.text("torch") + _graph(60) + asm.STACK_GLOBAL,
        "module by stack": _graph(60) + asm.text("Size") + asm.STACK_GLOBAL,
        "state": _OPAQUE + _graph(60) + asm.BUILD,
    }.items(),
    ids=lambda item: item[0],
)
def test_a_tuple_graph_costs_nothing(body):
    """A tuple of twice the same tuple, 60 deep: hashing, comparing or showing it would take for ever."""
    _survives(asm.program(body[1]))


_WATCHED = """
import sys
from ckptd.checkpoint.opcodes import PickleError, run
from ckptd.checkpoint.tensors import Builder
from tests.corpus import asm, gadgets, hostile_code
calls = gadgets.certain("/nowhere/canary") + gadgets.exotic("/nowhere/canary")
programs = [asm.program(asm.mapping({"w": asm.integer(1), "x": gadget.code})) for gadget in calls]
programs += [asm.program(asm.stack_global(g.module, g.name) + asm.sequence(*g.args) + asm.NEWOBJ, 4) for g in calls]
programs.append(b"junk")
modules, seen = set(sys.modules), []
def one(data):
    try:
        return run(data, 0, Builder())
    except PickleError as error:
        return str(error)
one(programs[0]), one(programs[-1])
sys.addaudithook(lambda event, args: seen.append(event))
for data in programs:
    one(data)
print(len(programs), seen, sorted(set(sys.modules) - modules))
"""


def test_nothing_is_looked_up_or_run():
    """No import, no file, no code object, no process: gadgets of every kind raise no audit event at all."""
    done = subprocess.run(
        [sys.executable, "-c", _WATCHED], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2]
    )
    count, _, rest = done.stdout.partition(" ")
    assert int(count) > 200
    assert rest == "[] []\n"
