"""The walk: every tensor by its name, once and in order, whatever the shape of the object."""

from __future__ import annotations

import pickle
from dataclasses import replace

import pytest

from ckptd.checkpoint.budgets import BUDGETS
from ckptd.checkpoint.walk import Walk, walk
from tests.checkpoint.machine import read
from tests.corpus import asm

T = asm.tensor()
NET = asm.named("my.models", "Net")


def walked(body: bytes, **budgets: int) -> Walk:
    return walk(read(asm.program(body))[0], replace(BUDGETS, **budgets))


def names(body: bytes) -> list[str]:
    return [name for name, _ in walked(body).tensors]


_STATE = asm.mapping({"training": asm.TRUE, "_parameters": asm.mapping({"weight": T}), "_buffers": asm.mapping({"mean": T})})

_MODULES = asm.mapping({"_modules": asm.mapping({"fc": NET + b")\x81" + _STATE + asm.BUILD})})
_ORDERED = asm.call("collections", "OrderedDict") + asm.text("w") + T + asm.SETITEM


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (T, [""]),
        (asm.mapping({"a": T, "b.c": T}), ["a", "b.c"]),
        (asm.mapping({"a": asm.mapping({"w": T}), "b": asm.listing(T, asm.sequence(T, T))}), ["a.w", "b.0", "b.1.0", "b.1.1"]),
        (_ORDERED, ["w"]),
        (_ORDERED + asm.mapping({"_metadata": T}) + asm.BUILD, ["w", "_metadata"]),
        (asm.EMPTY_DICT + asm.integer(3) + asm.mapping({"exp_avg": T}) + asm.SETITEM, ["3.exp_avg"]),
        (asm.EMPTY_DICT + asm.NONE + T + asm.SETITEM, ["None"]),
        (asm.EMPTY_DICT + asm.sequence(asm.integer(1), asm.text("a")) + T + asm.SETITEM, ["(1, 'a')"]),
        (asm.EMPTY_DICT + asm.short_bytes(b"\xff") + T + asm.SETITEM, ["?"]),
        (NET + b")\x81" + _STATE + asm.BUILD, ["weight", "mean"]),
        (asm.mapping({"net": NET + b")\x81" + _MODULES + asm.BUILD}), ["net.fc.weight", "net.fc.mean"]),
        (NET + b")\x81" + asm.sequence(asm.mapping({"a": T}), asm.mapping({"b": T})) + asm.BUILD, ["a", "b"]),
        (NET + b")\x81" + asm.listing(T) + asm.BUILD, ["?.0"]),
        (NET + asm.sequence(T) + asm.REDUCE, ["0"]),
        (NET + asm.listing(T) + asm.REDUCE, ["?.0"]),
        (NET + asm.sequence(T) + asm.REDUCE + asm.EMPTY_TUPLE + asm.REDUCE, ["?.0"]),
        (NET + b")R" + T + asm.APPEND + asm.text("k") + T + asm.SETITEM, ["k", "0"]),
        (NET + b")R" + asm.EMPTY_LIST + T + asm.SETITEM, ["?"]),
        (asm.call("collections", "Counter", asm.mapping({"w": T})), ["w"]),
        (asm.call("collections", "defaultdict", asm.named("builtins", "list")) + asm.text("w") + T + asm.SETITEM, ["w"]),
        (asm.call("argparse", "Namespace") + asm.mapping({"w": T}) + asm.BUILD, ["w"]),
    ],
)  # fmt: skip
def test_tensors_have_the_names_that_people_use(body, expected):
    """Names are the path to a tensor, as state dicts and modules spell it."""
    assert names(body) == expected


def test_a_tensor_under_two_names_stands_there_twice():
    """Tied weights have two names, and are one tensor; a container in two places is looked into once."""
    body = asm.mapping({"a": T + asm.put(0), "b": asm.get(0)})
    (a, first), (b, second) = walked(body).tensors
    assert (a, b) == ("a", "b")
    assert first is second
    assert names(asm.mapping({"a": asm.listing(T) + asm.put(0), "b": asm.get(0)})) == ["a.0"]


def test_parts_and_attributes_of_tensors():
    """A parameter's attributes are walked; a tensor's own storage parts have no names of their own."""
    hooks = asm.call("collections", "OrderedDict")
    body = asm.call("torch._utils", "_rebuild_parameter_with_state", T, asm.TRUE, hooks, asm.mapping({"tag": T}))
    assert names(asm.mapping({"w": body})) == ["w", "w.tag"]


@pytest.mark.parametrize("protocol", [2, 4])
def test_cycles_end(protocol):
    """An object inside itself is seen once."""
    knot: dict[str, object] = {"list": []}
    knot["me"] = knot
    knot["list"].append(knot)
    assert walk(read(pickle.dumps(knot, protocol))[0]) == Walk([], [], None)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (asm.state_dict(), []),
        (asm.state_dict(x=NET), ["the name my.models.Net"]),
        (asm.state_dict(x=NET + b")R"), ["my.models.Net"]),
        (asm.state_dict(x=NET + b")R)R"), ["?", "my.models.Net"]),
        (asm.state_dict(x=asm.named("torch", "float32")), []),
        (asm.state_dict(x=asm.named("torch", "sparse_coo")), []),
        (asm.state_dict(x=asm.named("my", "float32")), ["the name my.float32"]),
        (asm.state_dict(x=asm.named("collections", "OrderedDict")), ["the name collections.OrderedDict"]),
        (asm.state_dict(x=asm.call("torch", "Size", asm.sequence(asm.integer(1)))), []),
        (asm.state_dict(x=asm.call("torch", "Size", asm.text("a"))), ["torch.Size"]),
        (asm.EMPTY_DICT + NET + asm.NONE + asm.SETITEM, ["a dict with my.models.Net as a key"]),
        (asm.state_dict(x=NET + b")R" + NET + asm.NONE + asm.SETITEM), ["my.models.Net", "a dict with my.models.Net as a key"]),
        (asm.EMPTY_SET + asm.MARK + NET + asm.ADDITEMS, ["the name my.models.Net"]),
        (asm.MARK + asm.sequence(asm.integer(1), asm.text("a")) + b"\x91", []),
        (asm.state_dict(x=asm.named("my", "a\x1b[2J")), ["the name my.a\\x1b[2J"]),
    ],
)  # fmt: skip
def test_what_is_not_rebuilt_is_named(body, expected):
    """Everything that loading without code would leave out, escaped."""
    assert walked(body).not_rebuilt == expected


def test_a_subclass_is_not_rebuilt():
    """A tensor of a class of its own has a name, and loading it would run that class."""
    parts = asm.sequence(asm.storage(), asm.integer(0), asm.sequence(), asm.sequence(), asm.FALSE, asm.NONE)
    body = asm.call(
        "torch._tensor",
        "_rebuild_from_type_v2",
        *(asm.named("torch._utils", "_rebuild_tensor_v2"), asm.named("my.tensors", "T"), parts, asm.EMPTY_DICT),
    )
    found = walked(asm.mapping({"w": body}))
    assert [name for name, _ in found.tensors] == ["w"]
    assert found.not_rebuilt == ["a subclass of Tensor"]


def test_few_things_are_named():
    """A file of a thousand classes names the first ten."""
    assert len(walked(asm.listing(*[asm.named("m", f"n{i}") for i in range(50)])).not_rebuilt) == 10


def test_names_are_cut():
    """A name that is made of names, a million deep, must not eat the memory."""
    deep = asm.EMPTY_DICT
    body = (deep + asm.text("k" * 900)) * 20 + T + asm.SETITEM * 20
    ((name, _),) = walked(body).tensors
    assert len(name) < 2_100
    ((name, _),) = walked(asm.mapping({"k" * 5_000: T})).tensors
    assert len(name) == 1_000


def test_depth_has_a_budget():
    """Nesting goes as deep as the budget, and no deeper."""
    for depth, too_deep in ((18, False), (20, True)):
        body = asm.EMPTY_LIST * depth + asm.APPEND * (depth - 1)
        inner = asm.EMPTY_LIST * depth + asm.NONE + asm.APPEND * depth
        assert (walked(inner, depth=19).too_deep is not None) is too_deep
        assert walked(body, depth=10_000).too_deep is None


def test_nodes_have_a_budget():
    """A walk over more objects than the budget ends, and says so; leaves cost nothing."""
    many = asm.listing(*[asm.listing(asm.NONE)] * 50)
    assert walked(many, nodes=60).too_deep is None
    assert "50 objects" in (walked(many, nodes=50).too_deep or "")
    assert walked(asm.listing(*[asm.integer(1)] * 500), nodes=10).too_deep is None
    again = asm.listing(asm.listing(asm.NONE) + asm.put(0), *[asm.get(0)] * 50)
    assert walked(again, nodes=50).too_deep is not None


def test_a_wide_graph_is_walked_once():
    """A list of a hundred times the same list, a hundred levels: 10^200 paths, a hundred lists."""
    body = asm.listing(asm.text("ha")) + b"".join(
        asm.put(i) + asm.POP + asm.EMPTY_LIST + asm.MARK + asm.get(i) * 100 + asm.APPENDS for i in range(100)
    )
    assert walked(body) == Walk([], [], None)
