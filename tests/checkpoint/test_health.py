"""Values as they pass: numpy and plain Python see the same, and both see what is there."""

from __future__ import annotations

import math
import struct
import sys
from array import array

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from ckptd.checkpoint import health
from ckptd.checkpoint.float8 import table
from ckptd.checkpoint.health import Meter, make_meter

_DTYPES = ("float16", "bfloat16", "float32", "float64", "complex64", "complex128", "complex32")
_FLOAT8 = [name for name in dir(torch) if name.startswith("float8_")]


def _plain(dtype: str, *, swap: bool = False) -> Meter:
    held = sys.modules.pop("numpy")
    try:
        meter = make_meter(dtype, swap=swap)
    finally:
        sys.modules["numpy"] = held
    assert meter is not None
    return meter


def _seen(meter: Meter) -> tuple[object, ...]:
    found = meter.health
    return found.minimum, found.maximum, found.norm, found.nan, found.inf


@given(dtype=st.sampled_from(_DTYPES), data=st.binary(max_size=600), swap=st.booleans(), step=st.integers(1, 99))
@example(dtype="float32", data=struct.pack("<3f", math.nan, math.inf, -math.inf), swap=False, step=5)
@example(dtype="float32", data=struct.pack("<2f", 3e38, -3e38), swap=False, step=8)
@example(dtype="float64", data=struct.pack("<2d", 1e200, 1e200), swap=False, step=3)
@example(dtype="float64", data=struct.pack("<2d", 0.0, -0.0), swap=True, step=7)
def test_two_ways_one_answer(dtype, data, swap, step):
    """Whatever the bytes, the byte order and the pieces they come in, numpy and plain Python agree."""
    width = health._WIDTHS[dtype]
    data = data[: len(data) - len(data) % width]
    by_numpy, plainly = make_meter(dtype, swap=swap), _plain(dtype, swap=swap)
    assert by_numpy is not None
    by_numpy.feed(memoryview(data))
    for at in range(0, len(data), step):
        plainly.feed(memoryview(data)[at : at + step])
    a, b = _seen(by_numpy), _seen(plainly)
    assert (a[0], a[1], a[3], a[4]) == (b[0], b[1], b[3], b[4])
    assert a[2] == b[2] or a[2] == pytest.approx(b[2], rel=1e-4)


@pytest.mark.parametrize("swap", [False, True])
def test_what_is_seen_is_there(swap):
    """Least, greatest, norm and counts of a known storage, in either byte order."""
    values = array("f", [3.0, -4.0, math.nan, math.inf, -math.inf, 0.0])
    if swap:
        values.byteswap()
    for meter in (make_meter("float32", swap=swap), _plain("float32", swap=swap)):
        meter.feed(memoryview(values.tobytes()))
        assert _seen(meter) == (-4.0, 3.0, 5.0, 1, 2)


@pytest.mark.parametrize("dtype", ["int64", "uint8", "bool", "quint8", "float4_e2m1fn_x2", ""])
def test_integers_have_no_health(dtype):
    """Where values are not floating-point numbers, nothing is said of them."""
    assert make_meter(dtype) is None


def test_nothing_finite_has_no_norm():
    """A storage of NaN has no least, no greatest and no norm."""
    for meter in (make_meter("float16"), _plain("float16")):
        meter.feed(memoryview(struct.pack("<2e", math.nan, math.nan)))
        assert _seen(meter) == (None, None, None, 2, 0)


@pytest.mark.parametrize("dtype", _FLOAT8)
def test_the_tables_are_those_of_torch(dtype):
    """Each of the 256 bytes of each 8-bit format has the value that torch gives it."""
    theirs = torch.arange(256, dtype=torch.uint8).view(getattr(torch, dtype)).to(torch.float32).tolist()
    assert len(_FLOAT8) == 5
    np.testing.assert_array_equal(np.array(table(dtype)), np.array(theirs))


@pytest.mark.parametrize("dtype", _FLOAT8)
def test_two_ways_one_answer_for_float8(dtype):
    """All 256 bytes, some more often than others, look the same both ways."""
    data = bytes(range(256)) + bytes(range(0, 256, 3))
    by_numpy, plainly = make_meter(dtype), _plain(dtype)
    for meter in (by_numpy, plainly):
        meter.feed(memoryview(data))
    assert _seen(by_numpy) == _seen(plainly)
    assert by_numpy.health.nan > 0
