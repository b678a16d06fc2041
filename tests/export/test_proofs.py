"""What workers answer is believed within bounds: tables and a law."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckptd.errors import WorkerError
from ckptd.export.proofs import bounded, read_compared, read_sizes, read_specs
from ckptd.proof import Verdict

GOOD = {
    "verdict": "verified",
    "reason": "",
    "max_abs": 0.1,
    "files": {"m.onnx": {"sha256": "ab" * 32, "size_bytes": 3, "identity": [1, 2, 3, 4, 5]}},
}
SPEC = {"name": "x", "shape": ["batch", 3], "dtype": "float32"}


def test_a_good_answer_is_read():
    """Verdict, numbers and files."""
    compared = read_compared(GOOD, ["m.onnx"])
    assert compared.verdict is Verdict.VERIFIED
    assert compared.numbers == {"max_abs": 0.1}
    assert compared.files["m.onnx"].identity.ino == 2


@pytest.mark.parametrize(
    "change",
    [
        {"verdict": "good"},
        {"verdict": None},
        {"verdict": ["verified"]},
        {"files": {}},
        {"files": None},
        {"files": {"m.onnx": {"sha256": "zz" * 32, "size_bytes": 3, "identity": [1, 2, 3, 4, 5]}}},
        {"files": {"m.onnx": {"sha256": "ab" * 32, "size_bytes": "3", "identity": [1, 2, 3, 4, 5]}}},
        {"files": {"m.onnx": {"sha256": "ab" * 32, "size_bytes": 3, "identity": [1, 2, 3, 4]}}},
        {"files": {"m.onnx": {"sha256": "ab" * 32, "size_bytes": 3, "identity": [1, 2, 3, 4, 1 << 70]}}},
        {"files": {"m.onnx": {"sha256": "ab" * 32, "size_bytes": True, "identity": [1, 2, 3, 4, 5]}}},
    ],
)
def test_a_forged_verdict_is_refused(change):
    """Anything that the checker would not say."""
    with pytest.raises(WorkerError):
        read_compared({**GOOD, **change}, ["m.onnx"])


@pytest.mark.parametrize(
    "specs",
    [
        None,
        [],
        [SPEC] * 17,
        [{**SPEC, "name": "x\n[[recipe]]"}],
        [{**SPEC, "name": "x" * 65}],
        [{**SPEC, "dtype": "float32; rm"}],
        [{**SPEC, "shape": [-1]}],
        [{**SPEC, "shape": [1 << 31]}],
        [{**SPEC, "shape": [True]}],
        [{**SPEC, "shape": ["a b"]}],
        [{**SPEC, "shape": [1] * 9}],
        [{**SPEC, "high": 0}],
        ["x"],
    ],
)
def test_forged_inputs_are_refused(specs):
    """They go into the next request and into the sidecar."""
    with pytest.raises(WorkerError):
        read_specs(specs)


def test_inputs_are_read():
    """With dynamic dimensions and with a vocabulary."""
    (spec,) = read_specs([{**SPEC, "high": 10}])
    assert (spec.name, spec.shape, spec.high) == ("x", ("batch", 3), 10)


@pytest.mark.parametrize("sizes", [None, {"a b": 1}, {"time": 0}, {"time": 1 << 21}, {"time": True}, {"time": 1.5}])
def test_forged_sizes_are_refused(sizes):
    """They become arrays in the verifier."""
    with pytest.raises(WorkerError):
        read_sizes(sizes)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=100) | st.dictionaries(st.text(), inner, max_size=100),
    max_leaves=200,
)


@given(JSON)
def test_words_of_a_worker_are_short_and_printable(value):
    """Whatever they are: JSON without NaN, no control character, no long list, no deep one."""
    text = json.dumps(bounded(value), allow_nan=False)
    assert len(text) < 1_000_000
    assert text.isprintable()


def test_words_that_are_too_much_are_cut():
    """A million texts, and one of a million characters."""
    cut = bounded({"a": ["x" * 1_000_000] * 1000, "deep": [[[[[[[["x"]]]]]]]]})
    assert len(cut["a"]) == 64
    assert len(cut["a"][0]) < 600
