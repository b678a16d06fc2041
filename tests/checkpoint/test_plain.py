"""Plain values: what `ckptd.load` rebuilds, and what only looks like it."""

from __future__ import annotations

import argparse
import collections
import datetime
import pathlib
import pickle
from fractions import Fraction

import pytest

from ckptd.checkpoint.plain import is_plain
from ckptd.checkpoint.values import Opaque
from ckptd.checkpoint.walk import walk
from tests.checkpoint.machine import read, value_of
from tests.corpus import asm

ints = asm.integer


def _honest() -> dict[str, object]:
    import numpy
    import torch

    zone = datetime.timezone(datetime.timedelta(hours=2), "there")
    return {
        "Counter": collections.Counter("hello"),
        "defaultdict": collections.defaultdict(list, {"a": [1]}),
        "defaultdict of None": collections.defaultdict(None, {"a": 1}),
        "Namespace": argparse.Namespace(lr=0.1, name="x"),
        "datetime": datetime.datetime(2025, 1, 2, 3, 4, 5, 6),  # noqa: DTZ001 — a time without a zone is the case
        "datetime in UTC": datetime.datetime(2025, 1, 2, tzinfo=datetime.UTC),
        "datetime elsewhere": datetime.datetime(2025, 1, 2, tzinfo=zone),
        "date": datetime.date(2025, 1, 2),
        "time": datetime.time(1, 2, 3, tzinfo=datetime.UTC),
        "timedelta": datetime.timedelta(1, 2, 3),
        "timezone": zone,
        "path": pathlib.PurePosixPath("/a/b"),
        "Windows path": pathlib.PureWindowsPath("C:/a"),
        "Size": torch.Size([1, 2]),
        "empty Size": torch.Size([]),
        "device": torch.device("cuda", 0),
        "bare device": torch.device("cpu"),
        "numpy float": numpy.float64(1.5),
        "numpy bool": numpy.bool_(True),  # noqa: FBT003 — the value itself
        "numpy dtype": numpy.dtype("<i4"),
        "numpy text": numpy.str_("x"),
        "numpy array": numpy.arange(6).reshape(2, 3),
        "numpy array of complex": numpy.ones(2, dtype="complex64"),
        "numpy array of text": numpy.array(["a", "bc"]),
        "empty array": numpy.zeros((0, 3)),
        "column-major array": numpy.asfortranarray(numpy.ones((2, 3))),
        "numpy times": numpy.array(["2025-01-01"], dtype="datetime64[s]"),
    }


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("name", _honest())
def test_what_libraries_write_is_plain(name, protocol):
    """Collections, dates, paths, Namespace, numpy scalars and arrays of plain types, at every protocol."""
    value, host = read(pickle.dumps(_honest()[name], protocol))
    assert not host.problems
    if type(value) is Opaque:
        assert is_plain(value)
    assert not walk(value).not_rebuilt


def _strange() -> dict[str, object]:
    import numpy

    return {
        "Fraction": Fraction(1, 2),
        "deque": collections.deque([1]),
        "array of objects": numpy.array([{}], dtype=object),
        "array with fields": numpy.zeros(2, dtype=[("a", "i4")]),
        "dtype of objects": numpy.dtype("O"),
        "defaultdict of a class": collections.defaultdict(Fraction),
        "exception": ValueError("x"),
        "RandomState": numpy.random.RandomState(1),
    }


@pytest.mark.parametrize("name", _strange())
def test_what_is_not_plain_needs_code(name):
    """Other classes are named as what is not rebuilt."""
    value, _ = read(pickle.dumps(_strange()[name], 2))
    assert type(value) is Opaque
    assert walk(value).not_rebuilt


SIZE = ("torch", "Size")
F8 = asm.call("numpy", "dtype", asm.text("f8"), asm.FALSE, asm.TRUE)
LITTLE = asm.sequence(ints(3), asm.text("<"), asm.NONE, asm.NONE, asm.NONE, ints(-1), ints(-1), ints(0)) + asm.BUILD
ZONE = asm.call("datetime", "timezone", asm.call("datetime", "timedelta", ints(0), ints(0), ints(0)))
STATE = asm.mapping({"a": ints(1)}) + asm.BUILD
ARRAY = asm.call(
    "numpy.core.multiarray", "_reconstruct", asm.named("numpy", "ndarray"), asm.sequence(ints(0)), asm.short_bytes(b"b")
)


def _array(*state: bytes) -> bytes:
    return ARRAY + asm.sequence(*state) + asm.BUILD


LOOKALIKES: dict[str, bytes] = {
    "Size with a state": asm.call(*SIZE, asm.sequence(ints(1))) + STATE,
    "Size of two": asm.call(*SIZE, asm.sequence(ints(1)), asm.NONE),
    "Size of a list": asm.call(*SIZE, asm.listing(ints(1))),
    "Size of floats": asm.call(*SIZE, asm.sequence(asm.real(1.0))),
    "Size of bools": asm.call(*SIZE, asm.sequence(asm.TRUE)),
    "Size with items": asm.call(*SIZE, asm.sequence(ints(1))) + ints(1) + ints(2) + asm.SETITEM,
    "Size with elements": asm.call(*SIZE, asm.sequence(ints(1))) + ints(1) + asm.APPEND,
    "Size by a list of arguments": asm.named(*SIZE) + asm.listing(asm.sequence(ints(1))) + asm.REDUCE,
    "device of a number": asm.call("torch", "device", ints(0)),
    "device of three": asm.call("torch", "device", asm.text("cuda"), ints(0), ints(0)),
    "device of text twice": asm.call("torch", "device", asm.text("cuda"), asm.text("0")),
    "device of another type": asm.call("torch", "device", asm.text("tpu")),
    "device with its number in the name": asm.call("torch", "device", asm.text("cuda:0"), ints(0)),
    "device below 0": asm.call("torch", "device", asm.text("cuda"), ints(-1)),
    "device of nine bits": asm.call("torch", "device", asm.text("cuda"), ints(256)),
    "device with a state": asm.call("torch", "device", asm.text("cpu")) + STATE,
    "Counter of a list": asm.call("collections", "Counter", asm.EMPTY_LIST),
    "Counter of two": asm.call("collections", "Counter", asm.EMPTY_DICT, asm.EMPTY_DICT),
    "Counter with a state": asm.call("collections", "Counter", asm.EMPTY_DICT) + STATE,
    "defaultdict of text": asm.call("collections", "defaultdict", asm.text("list")),
    "defaultdict of an unknown": asm.call("collections", "defaultdict", asm.named("my", "factory")),
    "defaultdict of two": asm.call("collections", "defaultdict", asm.NONE, asm.EMPTY_DICT),
    "defaultdict with a state": asm.call("collections", "defaultdict", asm.NONE) + STATE,
    "defaultdict with elements": asm.call("collections", "defaultdict", asm.NONE) + ints(1) + asm.APPEND,
    "Namespace with arguments": asm.call("argparse", "Namespace", ints(1)),
    "Namespace with a state of a list": asm.call("argparse", "Namespace") + asm.listing(ints(1)) + asm.BUILD,
    "Namespace with numbers for names": asm.call("argparse", "Namespace") + b"}K\x01K\x02sb",
    "timedelta of floats": asm.call("datetime", "timedelta", asm.real(1.0)),
    "timedelta of four": asm.call("datetime", "timedelta", *[ints(1)] * 4),
    "timedelta with a state": asm.call("datetime", "timedelta", ints(1)) + STATE,
    "timezone of a number": asm.call("datetime", "timezone", ints(1)),
    "timezone of nothing": asm.call("datetime", "timezone"),
    "timezone with a number for a name": asm.call("datetime", "timezone", asm.call("datetime", "timedelta"), ints(1)),
    "timezone with a state": ZONE + STATE,
    "datetime of nine bytes": asm.call("datetime", "datetime", asm.short_bytes(b"x" * 9)),
    "datetime of text": asm.call("datetime", "datetime", asm.text("x" * 10)),
    "datetime of numbers": asm.call("datetime", "datetime", ints(2025), ints(1), ints(2)),
    "datetime with a zone of text": asm.call("datetime", "datetime", asm.short_bytes(b"x" * 10), asm.text("UTC")),
    "datetime of three": asm.call("datetime", "datetime", asm.short_bytes(b"x" * 10), ZONE, ZONE),
    "datetime with a state": asm.call("datetime", "datetime", asm.short_bytes(b"x" * 10)) + STATE,
    "date with a zone": asm.call("datetime", "date", asm.short_bytes(b"x" * 4), ZONE),
    "time of five bytes": asm.call("datetime", "time", asm.short_bytes(b"x" * 5)),
    "path of a number": asm.call("pathlib", "PosixPath", ints(1)),
    "path with a state": asm.call("pathlib", "PosixPath", asm.text("a")) + STATE,
    "dtype of objects": asm.call("numpy", "dtype", asm.text("O"), asm.FALSE, asm.TRUE),
    "dtype of fields": asm.call("numpy", "dtype", asm.text("i4,f8"), asm.FALSE, asm.TRUE),
    "dtype of nothing": asm.call("numpy", "dtype"),
    "dtype with a short state": F8 + asm.sequence(ints(3), asm.text("<")) + asm.BUILD,
    "dtype with fields in its state": F8
    + asm.sequence(ints(3), asm.text("<"), asm.EMPTY_TUPLE, asm.NONE, asm.NONE, *[ints(0)] * 3)
    + asm.BUILD,
    "dtype of another order": F8 + asm.sequence(ints(3), asm.text("!"), *[asm.NONE] * 3, *[ints(0)] * 3) + asm.BUILD,
    "scalar of a list": asm.call("numpy.core.multiarray", "scalar", F8 + LITTLE, asm.listing()),
    "scalar of another type": asm.call("numpy.core.multiarray", "scalar", asm.text("f8"), asm.short_bytes(b"x" * 8)),
    "scalar of one": asm.call("numpy.core.multiarray", "scalar", F8 + LITTLE),
    "array without a state": ARRAY,
    "array of a list": _array(ints(1), asm.sequence(ints(1)), F8 + LITTLE, asm.FALSE, asm.listing(ints(1))),
    "array of four": _array(ints(1), asm.sequence(ints(1)), F8 + LITTLE, asm.FALSE),
    "array of text for a type": _array(ints(1), asm.sequence(ints(1)), asm.text("f8"), asm.FALSE, asm.short_bytes(b"x" * 8)),
    "array of another class": asm.call(
        "numpy.core.multiarray", "_reconstruct", asm.named("numpy", "matrix"), asm.sequence(ints(0)), asm.short_bytes(b"b")
    )
    + asm.sequence(ints(1), asm.sequence(ints(1)), F8 + LITTLE, asm.FALSE, asm.short_bytes(b"x" * 8))
    + asm.BUILD,
    "buffer of text": asm.call("numpy.core.numeric", "_frombuffer", asm.text("x"), F8, asm.sequence(ints(1)), asm.text("C")),
    "buffer of another order": asm.call(
        "numpy.core.numeric", "_frombuffer", asm.short_bytes(b"x" * 8), F8, asm.sequence(ints(1)), asm.text("K")
    ),
    "buffer of a list as shape": asm.call(
        "numpy.core.numeric", "_frombuffer", asm.short_bytes(b"x" * 8), F8, asm.listing(ints(1)), asm.text("C")
    ),
    "an unknown class": asm.call("my.models", "Net"),
    "the result of a result": asm.call(*SIZE, asm.sequence(ints(1))) + asm.EMPTY_TUPLE + asm.REDUCE,
}  # fmt: skip


@pytest.mark.parametrize("name", LOOKALIKES)
def test_a_lookalike_is_not_plain(name):
    """The right name with other arguments, a state or items that it never has is no plain value."""
    value = read(asm.program(LOOKALIKES[name]))[0]
    assert type(value) is Opaque
    assert not is_plain(value)


@pytest.mark.parametrize(
    "body",
    [
        *(F8, F8 + LITTLE, ZONE, asm.call(*SIZE), asm.call("collections", "Counter"), asm.call("collections", "defaultdict")),
        _array(ints(1), asm.sequence(ints(1)), F8 + LITTLE, asm.FALSE, asm.short_bytes(b"x" * 8)),
    ],
)
def test_the_model_of_the_lookalikes_is_plain(body):
    """What the broken ones were made from passes, so that each of them breaks one rule only."""
    assert is_plain(value_of(body))
