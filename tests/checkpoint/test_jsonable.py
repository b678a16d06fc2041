"""Inert values as plain JSON: bounded, finite, without home directories, harmless to show."""

from __future__ import annotations

import collections
import datetime
import decimal
import json
import math
import pathlib
import unicodedata
import uuid
from argparse import Namespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ckptd.checkpoint.jsonable import MAX_TEXT, MAX_VALUES, clean, number_of, text_of, to_json
from ckptd.checkpoint.simple_values import moment_of
from ckptd.checkpoint.values import Global, Opaque, OrderedDictValue
from tests.checkpoint.saved import read


def shown(value):
    """Give a value as JSON after torch.save wrote it and our machine read it."""
    return to_json(read(value).root)


@pytest.mark.parametrize(
    "value",
    [
        np.float64(1.5),
        np.float32(1.5),
        np.float16(1.5),
        np.int64(-3),
        np.int32(-3),
        np.int16(-3),
        np.int8(-3),
        np.uint64(2**63 - 1),
        np.uint32(3),
        np.uint16(3),
        np.uint8(3),
        np.dtype(">f8").type(1.5),
        np.array(1.5, dtype=">f8")[()],
    ],
)
def test_every_scalar_of_numpy_is_a_number(value):
    """Of every width, signed or not, in either byte order."""
    assert number_of(read(value).root) == value.item()
    assert shown({"x": value}) == {"x": value.item()}


@pytest.mark.parametrize(
    "value", [True, None, "1", math.nan, math.inf, 2**63, -(2**63) - 1, np.float64("nan"), np.bool_(1), 1j, [1]]
)
def test_what_is_no_finite_number_of_64_bits_is_none(value):
    """Truth values among it."""
    assert number_of(read(value).root) is None


@pytest.mark.parametrize(
    "args",
    [
        (),
        (1,),
        (1, 2, 3),
        ("f8", b"12345678"),
        (Opaque(Global("numpy", "dtype"), ("f8",)), b"1234"),
        (Opaque(Global("numpy", "dtype"), ("V8",)), b"12345678"),
        (Opaque(Global("numpy", "dtype"), (5,)), b"12345678"),
        (Opaque(Global("numpy", "dtype"), ()), b"12345678"),
        (Opaque(Global("numpy", "dtype"), ("f8",)), b"x" * 5_000),
        (Opaque(Global("numpy", "dtype"), ("f8",)), 5),
        [1, 2],
    ],
)
def test_a_scalar_that_is_told_wrongly_is_none(args):
    """Missing, wrong and overlong parts."""
    assert number_of(Opaque(Global("numpy._core.multiarray", "scalar"), args)) is None


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, None),
        (True, True),
        (7, 7),
        (2**63 - 1, 2**63 - 1),
        (2**63, "64-bit integer"),
        (-(2**200), "201-bit integer"),
        (0.5, 0.5),
        (math.nan, "nan"),
        (-math.inf, "-inf"),
        ("text", "text"),
        ([1, (2, [3])], [1, [2, [3]]]),
        ({1}, [1]),
        ({"a": {7: 1, None: 2, 2.5: 3, True: 4}}, {"a": {"7": 1, "None": 2, "2.5": 3, "True": 4}}),
        ({"w": torch.ones(2), "b": b"abc", "c": 1j, "sd": {"w": torch.ones(1)}}, {"sd": {}}),
        ({"state": torch.nn.Linear(1, 1).state_dict(), "x": 1}, {"x": 1}),
        (collections.OrderedDict(a=1), {"a": 1}),
        (collections.defaultdict(list, a=[1]), {"a": [1]}),
        (Namespace(lr=0.1), {"lr": 0.1}),
        (pathlib.PurePosixPath("/data/x"), "/data/x"),
        (pathlib.PurePosixPath("data/x"), "data/x"),
        (torch.device("cuda:1"), "cuda:1"),
        (torch.Size([2, 3]), [2, 3]),
        (torch.Size([-(2**63)]), [-(2**63)]),
        (torch.float16, "torch.float16"),
        (datetime.datetime(2025, 1, 2, 3, 4, 5, tzinfo=datetime.UTC), "2025-01-02T03:04:05Z"),
        (datetime.date(2025, 1, 2), "2025-01-02"),
        (decimal.Decimal("0.1"), "0.1"),
        (torch.nn.Linear, "torch.nn.modules.linear.Linear"),
    ],
)
def test_a_value_is_shown_as_what_it_is(value, text):
    """Tensors and bytes are left out; what has a plain form has it."""
    assert shown(value) == text


def test_an_object_of_a_class_is_named_or_shown_by_its_attributes():
    """Whatever it is, it is JSON."""
    for value in (uuid.UUID(int=5), collections.Counter("aab"), np.arange(3), range(3), slice(1, 2)):
        json.dumps(shown({"x": value}))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("x" * 5_000, "x" * MAX_TEXT + "…"),
        ("\x1b[31mred\x07", "\\x1b[31mred\\x07"),
        ("two\nlines", "two\\x0alines"),
        ("\u202egnp", "\\u202egnp"),
        ("\udc80", "\\x80"),
        ("日本語", "日本語"),
        ("/home/alice", "~"),
        ("file:///home/alice/x", "file://~/x"),
        ("--out=/home/alice/x,/root/y", "--out=~/x,~/y"),
        ("D:\\Users\\Alice Smith\\x", "~\\x"),
        ("C:/Users/alice/x", "~/x"),
        ("/mnt/disk1/home/alice/x", "~/x"),
        ("/srv/home-office/x", "/srv/home-office/x"),
        ("/rooted", "/rooted"),
        ("a/root/b", "a/root/b"),
    ],
)
def test_a_text_is_bounded_escaped_and_without_homes(text, expected):
    """What is not visible is written out."""
    assert clean(text) == expected


@pytest.mark.parametrize("piece", ["/home/", "/", "C:\\Users\\", "/a/b/home/", "\\", "/root"])
def test_a_text_of_a_megabyte_of_paths_is_cut_first(piece):
    """Its length bounds the search for homes."""
    assert len(clean(piece * (1_000_000 // len(piece)))) <= 10 * MAX_TEXT


def test_a_text_with_nothing_in_it_is_none():
    """So that it hides no other key."""
    assert text_of("") is None
    assert text_of(read(pathlib.PurePosixPath("/data/x")).root) == "/data/x"
    assert text_of(5) is None


@pytest.mark.parametrize(
    "key", "password PASSWORD db_password api_key apikey hf_token auth-token secret private_key wandb_key".split()
)
def test_a_secret_keeps_its_key_only(key):
    """An empty one has nothing to hide."""
    assert to_json({key: "x"}) == {key: "***"}
    assert to_json({key: ""}) == {key: ""}


@pytest.mark.parametrize("key", "tokens token_dim keys secretary n_tokens passwords_seen".split())
def test_words_that_only_look_like_secrets_are_shown(key):
    """A number of tokens."""
    assert to_json({key: 5}) == {key: 5}


def test_the_number_of_values_is_bounded():
    """Side by side and in each other."""
    assert len(to_json(list(range(100_000)))) <= MAX_VALUES
    wide = [[[i] * 30 for i in range(30)] for _ in range(30)]
    assert json.dumps(to_json(wide)).count(",") <= MAX_VALUES
    assert len(to_json({str(i): i for i in range(100_000)})) <= MAX_VALUES


def test_a_graph_that_unfolds_to_a_giant_is_bounded():
    """Forty lists, each twice the one before."""
    node = [1]
    for _ in range(40):
        node = [node, node]
    assert len(json.dumps(to_json(node))) < 5_000


def test_cycles_end():
    """Through lists, dicts and objects."""
    loop = [1]
    loop.append(loop)
    thing = Opaque(Global("argparse", "Namespace"))
    thing.state = {"me": thing, "loop": loop}
    assert to_json(thing) == {"me": "…", "loop": [1, "…"]}


def test_a_value_twice_side_by_side_is_no_cycle():
    """Both are shown."""
    shared = {"a": 1}
    assert to_json([shared, shared]) == [shared, shared]


@pytest.mark.parametrize(
    "name", ["torch.Size", "torch.device", "pathlib.PosixPath", "datetime.datetime", "a.Enum", "_codecs.encode"]
)
@pytest.mark.parametrize("args", [(), (None,), ([],), ((),), ("x" * 9, 5), 5])
def test_a_known_name_with_arguments_it_never_has_is_shown_somehow(name, args):
    """As a text, a list, or nothing."""
    module, _, word = name.rpartition(".")
    json.dumps(to_json({"x": Opaque(Global(module, word), args)}))


def test_the_nodes_of_omegaconf_are_looked_through():
    """A config of hydra holds its values in attributes."""

    def node(value):
        made = Opaque(Global("omegaconf.nodes", "AnyNode"), new=True)
        made.state = {"_val": value, "_metadata": None}
        return made

    config = Opaque(Global("omegaconf.dictconfig", "DictConfig"), new=True)
    listed = Opaque(Global("omegaconf.listconfig", "ListConfig"), new=True)
    listed.state = {"_content": [node(1), node(2)]}
    config.state = {"_content": {"lr": node(0.1), "layers": listed}}
    assert to_json(config) == {"lr": 0.1, "layers": [1, 2]}
    assert number_of(node(3)) == 3
    assert text_of(node("x")) == "x"


def test_a_date_that_is_none_is_not_shown_as_one():
    """A thirteenth month in the bytes of a datetime."""
    for raw in (b"\x07\xe9\x0d\x01", b"\x07\xe9\x02\x1f\x00\x00\x00\x00\x00\x00", b"", b"123"):
        assert moment_of(Opaque(Global("datetime", "datetime"), (raw,))) is None


inert = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.binary(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(st.text(max_size=5) | st.integers(), inner, max_size=5)
        | st.tuples(inner, inner)
        | st.builds(lambda args: Opaque(Global("a.b", "C"), args), st.tuples(inner) | inner)
    ),
    max_leaves=40,
)


@given(inert)
@settings(max_examples=200, deadline=None)
def test_everything_is_strict_json_without_control_characters(value):
    """Also where NaN is not allowed."""
    text = json.dumps(to_json(value), allow_nan=False, ensure_ascii=False)
    assert all(char.isprintable() or unicodedata.category(char) == "Zs" for char in text)


def test_a_shape_has_numbers_of_64_bits():
    """Larger ones, of either sign, are left out: no reader of the answer could hold them."""
    shape = Opaque(Global("torch", "Size"), ((3, 10**30, -(10**30)),))
    assert to_json(shape) == [3]


def test_a_scalar_whose_byte_order_is_no_text_is_read_as_little_endian_or_not_at_all():
    """What stands where the byte order belongs may be anything, a dict too, which no set can be asked for."""
    dtype = Opaque(Global("numpy", "dtype"), ("f8", False, True))
    dtype.state = (3, OrderedDictValue(), None, None, None, -1, -1, 0)
    scalar = Opaque(Global("numpy._core.multiarray", "scalar"), (dtype, bytes(8)))
    assert number_of(scalar) in (None, 0.0)
