"""Two objects are equal only when nothing tells them apart: each line of the table is one thing that could."""

from __future__ import annotations

import math
from struct import pack, unpack
from typing import Any

import pytest

from ckptd.checkpoint.values import Global, Opaque, OrderedDictValue, StorageValue, TensorValue
from ckptd.slim.comparing import Comparison, DifferenceError, Reference


def tensor(**changes: Any) -> TensorValue:
    """Make a tensor of one small storage, some of it changed."""
    fields = {
        "storage": StorageValue("0", "float32", 4, "cpu"),
        "dtype": "float32",
        "shape": (2, 2),
        "stride": (2, 1),
    } | changes
    made = TensorValue(fields["storage"], fields["dtype"], fields["shape"], fields["stride"])
    for name, value in changes.items():
        setattr(made, name, value)
    return made


def opaque(callee: Any = None, args: Any = (), **changes: Any) -> Opaque:
    """Make an opaque value, some of it changed."""
    made = Opaque(callee or Global("a", "B"), args, new=changes.pop("new", False))
    for name, value in changes.items():
        setattr(made, name, value)
    return made


def reference(kind: Global, key: str = "3") -> Reference:
    """Describe a storage of a class."""
    return Reference(("storage", kind, key, "cpu", 4))


def ordered(state: Any = None, **items: Any) -> OrderedDictValue:
    """Make an OrderedDict."""
    made = OrderedDictValue()
    made.update(items)
    made.state = state
    return made


def shared(*, apart: bool) -> list[Any]:
    """Make a list of two lists, which are one or not."""
    inner: list[Any] = [1]
    return [inner, [1] if apart else inner]


def ring(length: int) -> list[Any]:
    """Make a list that holds itself through so many others."""
    first: list[Any] = []
    last = first
    for _ in range(length - 1):
        last.append([])
        last = last[0]
    last.append(first)
    return first


def other_nan() -> float:
    """Give a NaN with another payload."""
    return unpack("<d", pack("<Q", 0x7FF8000000000001))[0]


EQUAL = {
    "plain": lambda: [None, True, 1, 1.5, math.nan, -0.0, 1j, "a", b"b", bytearray(b"c"), (), (1, (2,)), {"a": 1, 2: []}],
    "sets": lambda: [{1, "a", 2.5}, frozenset({(1, "b"), None}), set(), frozenset()],
    "sets of names": lambda: {Global("a", "B"), Global("a", "C"), opaque(args=("x",)), opaque(args=("y",))},
    "ordered": lambda: ordered({"_metadata": ordered(a=1)}, b=2, a=1),
    "opaque": lambda: opaque(args=(1,), state={"a": 1}, items=[("k", [])], elements=[2], new=True),
    "tensor": lambda: [tensor(), tensor(extra=(1, tensor()), attributes={"a": 1})],
    "reference": lambda: reference(Global("torch", "FloatStorage")),
    "shared": lambda: shared(apart=False),
    "apart": lambda: shared(apart=True),
    "ring": lambda: ring(3),
}


@pytest.mark.parametrize("name", EQUAL)
def test_what_is_made_twice_in_one_way_is_equal(name):
    """The same, made twice; it lies in other places of the memory."""
    one, other = EQUAL[name](), EQUAL[name]()
    Comparison().compare(one, other)
    Comparison().compare([one, one], [other, other])


DIFFERENT = {
    "bool and int": (True, 1),
    "int and float": (1, 1.0),
    "text and bytes": ("a", b"a"),
    "bytes and bytearray": (b"a", bytearray(b"a")),
    "zeros": (0.0, -0.0),
    "payload of a NaN": (math.nan, other_nan()),
    "part of a complex": (complex(0.0, 1.0), complex(-0.0, 1.0)),
    "text": ("a", "b"),
    "bytearray": (bytearray(b"a"), bytearray(b"b")),
    "list and tuple": ([1], (1,)),
    "longer": ([1], [1, 2]),
    "order of keys": ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
    "type of a key": ({1: 2}, {True: 2}),
    "dict and OrderedDict": ({}, ordered()),
    "state of an OrderedDict": (ordered({"a": 1}), ordered()),
    "set and frozenset": ({1}, frozenset({1})),
    "item of a set": ({1}, {2}),
    "type of an item": ({1}, {True}),
    "more in a set": ({1}, {1, 2}),
    "named otherwise": (Global("a", "B"), Global("a", "C")),
    "module": (Global("a", "B"), Global("c", "B")),
    "callee": (opaque(), opaque(Global("a", "C"))),
    "arguments": (opaque(args=(1,)), opaque(args=(2,))),
    "no tuple of arguments": (opaque(args=(1,)), opaque(args=[1])),
    "made by new": (opaque(), opaque(new=True)),
    "state": (opaque(state={"a": 1}), opaque(state={"a": 2})),
    "items": (opaque(items=[("a", 1)]), opaque(items=[("a", 2)])),
    "elements": (opaque(elements=[1]), opaque(elements=[])),
    "alike in a set": ({opaque(), opaque()}, {opaque(), opaque()}),
    "shape": (tensor(), tensor(shape=(4, 1))),
    "stride": (tensor(), tensor(stride=(1, 2))),
    "offset": (tensor(), tensor(offset=1)),
    "dtype": (tensor(), tensor(dtype="int32")),
    "layout": (tensor(), tensor(layout="meta")),
    "requires_grad": (tensor(), tensor(requires_grad=True)),
    "parameter": (tensor(), tensor(parameter=True)),
    "conjugate": (tensor(), tensor(conjugate=True)),
    "negative": (tensor(), tensor(negative=True)),
    "extra": (tensor(extra=(1,)), tensor(extra=(2,))),
    "attributes": (tensor(attributes={"a": 1}), tensor()),
    "numel of a storage": (tensor(), tensor(storage=StorageValue("0", "float32", 5, "cpu"))),
    "dtype of a storage": (tensor(), tensor(storage=StorageValue("0", "int32", 4, "cpu"))),
    "place of a storage": (tensor(), tensor(storage=StorageValue("0", "float32", 4, "cuda:0"))),
    "no storage": (tensor(), tensor(storage=None)),
    "class of a storage": (reference(Global("t", "A")), reference(Global("t", "B"))),
    "one and two": (shared(apart=False), shared(apart=True)),
    "two and one": (shared(apart=True), shared(apart=False)),
    "length of a ring": (ring(2), ring(3)),
    "unknown": (object(), object()),
}  # fmt: skip


@pytest.mark.parametrize("name", DIFFERENT)
def test_whatever_tells_two_objects_apart_is_seen(name):
    """By itself, and deep inside."""
    one, other = DIFFERENT[name]
    for left, right in ((one, other), (other, one), ({"a": [(one,)]}, {"a": [(other,)]})):
        with pytest.raises(DifferenceError):
            Comparison().compare(left, right)


def test_storages_may_be_called_otherwise_but_each_in_one_way():
    """Tied tensors stay tied, and others are not tied by renaming."""

    def tensors(*keys):
        held = {key: StorageValue(key, "float32", 4, "cpu") for key in keys}
        return [tensor(storage=held[key]) for key in keys]

    def references(*keys):
        kind = Global("torch", "FloatStorage")
        return [reference(kind, key) for key in keys]

    comparison = Comparison()
    comparison.compare(tensors("5", "6", "5"), tensors("0", "1", "0"))
    assert comparison.keys == {"5": "0", "6": "1"}
    for make in (tensors, references):
        for one, other in ((make("5", "6"), make("0", "0")), (make("5", "5"), make("0", "1"))):
            with pytest.raises(DifferenceError):
                Comparison().compare(one, other)


@pytest.mark.parametrize(
    "make", [dict, lambda items: ordered({"m": 1}, **items), lambda items: opaque(items=list(items.items()))]
)
def test_parts_that_may_be_gone(make):
    """Only those, all of those, and everything else as it was."""
    whole = make({"a": [1], "gone": 2, "b": [3]})
    Comparison().compare(whole, make({"a": [1], "b": [3]}), ["gone"])
    for other in (
        {"a": [1]},
        {"b": [3], "a": [1]},
        {"a": [1], "gone": 2, "b": [3]},
        {"a": [1], "b": [4]},
        {"a": [1], "b": [3], "c": 1},
    ):
        with pytest.raises(DifferenceError):
            Comparison().compare(whole, make(other), ["gone"])
    with pytest.raises(DifferenceError):
        Comparison().compare(whole, make({"a": [1], "gone": 2, "b": [3]}), ["other"])
    with pytest.raises(DifferenceError):
        Comparison().compare(whole, ["a", "b"], ["gone"])
