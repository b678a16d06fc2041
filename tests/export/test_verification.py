"""Outputs are equal within a tolerance or the verdict says where they are not."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from ckptd.export.verification import compare_outputs

NAN, INF = float("nan"), float("inf")


def judge(wanted: Any, got: Any, kind: str = "onnx", dtype: str = "float32") -> dict[str, Any]:
    return compare_outputs({"a0.output0": np.array(wanted, dtype)}, {"a0.output0": np.array(got, dtype)}, kind)


@pytest.mark.parametrize(
    ("wanted", "got", "kind", "dtype", "verdict"),
    [
        ([1.0, 2.0], [1.0, 2.0], "onnx", "float32", "verified"),
        ([1.0, 2.0], [1.00001, 2.0], "onnx", "float32", "verified"),
        ([1.0, 2.0], [1.001, 2.0], "onnx", "float32", "failed"),
        # The largest value decides on what a rounding is: this one is next to 1000.
        ([1000.0, 0.0], [1000.0, 0.05], "onnx", "float32", "verified"),
        ([1.0, 0.0], [1.0, 0.05], "onnx", "float32", "failed"),
        ([1.0, 2.0], [1.000001, 2.0], "onnx", "float64", "failed"),
        ([1.0, 2.0], [1.005, 2.0], "onnx", "float16", "verified"),
        ([1.0, 2.0], [1.1, 2.0], "onnx", "float16", "failed"),
        # A lossy format may be further off, and not anywhere.
        ([1.0, 2.0], [1.15, 2.0], "onnx-int8", "float32", "verified"),
        ([1.0, 2.0], [1.15, 2.0], "int8", "float32", "verified"),
        ([1.0, 2.0], [1.5, 2.0], "int8", "float32", "failed"),
        ([1.0, 2.0], [1.01, 2.0], "float16", "float32", "verified"),
        ([1.0, 2.0], [1.1, 2.0], "float16", "float32", "failed"),
        ([1.0, 2.0], [1.09, 2.0], "bfloat16", "float32", "verified"),
        # What a safetensors file gives is what the checkpoint gives.
        ([1.0, 2.0], [1.1, 2.0], "safetensors", "float32", "failed"),
        # Integers and truth values are exact; behind changed numbers a near tie may fall the other way, one in ten at most.
        ([1, 2], [1, 2], "onnx", "int64", "verified"),
        ([1, 2], [1, 3], "onnx", "int64", "failed"),
        ([1, 2], [1, 3], "onnx-int8", "int64", "failed"),
        ([1] * 20, [1] * 19 + [2], "int8", "int64", "verified"),
        ([1] * 20, [1] * 17 + [2] * 3, "int8", "int64", "failed"),
        ([1] * 20, [1] * 19 + [2], "safetensors", "int64", "failed"),
        ([True], [False], "onnx", "bool", "failed"),
        # Values that are all tiny are not equal to anything that is tiny.
        ([1e-7, 2e-7], [0.0, 0.0], "onnx", "float32", "failed"),
        ([1e-7, 2e-7], [1e-7, 2.00001e-7], "onnx", "float32", "verified"),
        ([5e-4, 2e-4], [0.0, 0.0], "int8", "float32", "failed"),
        ([0.0, 0.0], [1e-8, 0.0], "onnx", "float32", "verified"),
        # NaN and infinities are values at their places.
        ([NAN, 1.0], [NAN, 1.0], "onnx", "float32", "verified"),
        ([NAN, 1.0], [1.0, 1.0], "onnx", "float32", "failed"),
        ([1.0, 1.0], [NAN, 1.0], "onnx", "float32", "failed"),
        ([INF, 1.0], [INF, 1.0], "onnx", "float32", "verified"),
        ([INF, 1.0], [-INF, 1.0], "onnx", "float32", "failed"),
        ([INF, 1.0], [1e30, 1.0], "onnx-int8", "float32", "failed"),
        # Where nothing but these is, nothing is proven.
        ([NAN], [NAN], "onnx", "float32", "failed"),
        ([NAN, INF], [NAN, INF], "int8", "float32", "failed"),
        ([], [], "onnx", "float32", "failed"),
        ([], [], "onnx", "int64", "failed"),
        ([1 + 1j], [1 + 1j], "pt2", "complex64", "verified"),
        ([1 + 1j], [1 - 1j], "pt2", "complex64", "failed"),
    ],
)
def test_verdicts(wanted: Any, got: Any, kind: str, dtype: str, verdict: str) -> None:
    """Each pair of outputs has its verdict, and a reason when it fails."""
    answer = judge(wanted, got, kind, dtype)
    assert answer["verdict"] == verdict
    assert bool(answer["reason"]) == (verdict == "failed")


class TestShapeOfTheAnswer:
    """The numbers stand in the answer, per output and over all."""

    def test_numbers(self) -> None:
        """The relative difference is that to the largest value over all cases."""
        wanted = {"zeros0.output0": np.zeros(2, np.float32), "ones1.output0": np.array([4.0, -8.0], np.float32)}
        got = {"zeros0.output0": np.full(2, 0.5, np.float32), "ones1.output0": np.array([4.0, -8.0], np.float32)}
        answer = compare_outputs(wanted, got, "onnx-int8")
        assert answer["verdict"] == "verified"
        assert answer["outputs"]["output0"]["max_abs"] == 0.5
        assert answer["outputs"]["output0"]["max_rel"] == 0.0625
        assert answer["outputs"]["output0"]["scale"] == 8.0
        assert answer["max_abs"] == 0.5
        assert answer["cases"] == ["zeros0", "ones1"] or answer["cases"] == ["ones1", "zeros0"]

    def test_the_worst_output_is_named(self) -> None:
        """Of several outputs the one that is off is named."""
        wanted = {f"a0.output{number}": np.ones(2, np.float32) for number in range(3)}
        answer = compare_outputs(wanted, {**wanted, "a0.output1": np.zeros(2, np.float32)}, "onnx")
        assert answer["reason"].startswith("output1 is off by 1, and ")


WANTED = {f"{case}.output{number}": np.ones(2, np.float32) for case in ("a0", "b1", "c2") for number in range(2)}


class TestNames:
    """What is missing or too much decides too."""

    def without(self, *names: str) -> dict[str, Any]:
        return compare_outputs(WANTED, {key: value for key, value in WANTED.items() if key not in names}, "onnx")

    def test_a_case_that_was_not_run(self) -> None:
        """An export that takes one size is judged on the cases of that size, and the others are listed."""
        answer = self.without("a0.output0", "a0.output1")
        assert (answer["verdict"], answer["cases_not_run"]) == ("verified", ["a0"])

    def test_the_last_case_must_run(self) -> None:
        """The case with which it was exported can't be left out, and so there is always one."""
        assert "not run on c2" in self.without("c2.output0", "c2.output1")["reason"]
        assert compare_outputs(WANTED, {}, "onnx")["verdict"] == "failed"

    def test_an_output_too_few(self) -> None:
        """An output that is missing in one case fails."""
        assert "fewer outputs than the original on b1" in self.without("b1.output1")["reason"]

    def test_an_output_too_many(self) -> None:
        """So does one that the original has not."""
        answer = compare_outputs(WANTED, {**WANTED, "a0.output2": np.ones(1)}, "onnx")
        assert "a0.output2, which the original does not" in answer["reason"]

    def test_nothing_at_all(self) -> None:
        """Nothing is no proof."""
        assert compare_outputs({}, {}, "onnx")["verdict"] == "failed"


def test_shape_and_dtype() -> None:
    """Another shape and another dtype fail, though the values could be compared."""
    one = np.ones((1, 2), np.float32)
    for got, sentence in (
        (one[0], "has the shape (2,) in place of (1, 2)"),
        (one.astype("f8"), "is float64 in place of float32"),
    ):
        assert sentence in compare_outputs({"a0.output0": one}, {"a0.output0": got}, "onnx")["reason"]


FLOATS = arrays.arrays(np.float32, arrays.array_shapes(max_dims=3, max_side=4), elements=st.floats(width=32))


@given(FLOATS, st.sampled_from(["onnx", "pt2", "onnx-int8", "safetensors"]))
def test_equal_is_verified(values: Any, kind: str) -> None:
    """What is the same is verified, whatever it holds, if it says anything."""
    said = "verified" if np.isfinite(values).any() else "failed"
    assert compare_outputs({"a0.output0": values}, {"a0.output0": values.copy()}, kind)["verdict"] == said


@given(FLOATS, st.integers(0, 63))
def test_a_nan_or_a_jump_is_seen(values: Any, place: int) -> None:
    """One value that became NaN, or that jumped by the scale, fails in every format."""
    wanted = np.nan_to_num(values, nan=1.0, posinf=1.0, neginf=1.0) % np.float32(1000)
    for wrong in (np.float32(NAN), np.float32(np.abs(wanted).max() * 2 + 1)):
        got = wanted.copy()
        got.flat[place % got.size] = wrong
        assert compare_outputs({"a0.output0": wanted}, {"a0.output0": got}, "onnx-int8")["verdict"] == "failed"


def test_it_is_light() -> None:
    """The process that judges has numpy and no torch."""
    code = "import sys, ckptd.export.verification; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
