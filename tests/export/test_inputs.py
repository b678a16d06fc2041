"""Example inputs: what real modules take is among the candidates, and what is made is alike in every process."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from ckptd.checkpoint.inspection import inspect_path
from ckptd.export.inputs import (
    MAX_CANDIDATES,
    MAX_ELEMENTS,
    Case,
    derive_inputs,
    example_case,
    fix_sizes,
    make_cases,
    make_inputs,
)
from ckptd.model import Layer
from ckptd.proof import INPUT_DTYPES, InputSpec


class Pooled(nn.Module):
    """A picture through convolutions that are halved, and flattened."""

    def __init__(self, channels, side, padding):
        super().__init__()
        self.first = nn.Conv2d(channels, 6, 5, padding=padding)
        self.second = nn.Conv2d(6, 16, 5, padding=padding)
        for _ in range(2):
            side = (side - 4 + 2 * padding) // 2
        self.last = nn.Linear(16 * side * side, 10)

    def forward(self, x):
        for conv in (self.first, self.second):
            x = torch.max_pool2d(torch.relu(conv(x)), 2)
        return self.last(x.flatten(1))


class Recurrent(nn.Module):
    """A head that was made before its body."""

    def __init__(self, size):
        super().__init__()
        self.head = nn.Linear(16, 2)
        self.body = nn.GRU(size, 16, batch_first=True)

    def forward(self, x):
        return self.head(self.body(x)[0][:, -1])


class Series(nn.Module):
    """A convolution in front of an LSTM: the module turns time round."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(9, 16, 3, padding=1)
        self.lstm = nn.LSTM(16, 8, batch_first=True)

    def forward(self, x):
        return self.lstm(self.conv(x.transpose(1, 2)).transpose(1, 2))[0]


class Waves(nn.Module):
    """A convolution over a length, pooled to nothing or flattened."""

    def __init__(self, length):
        super().__init__()
        self.conv = nn.Conv1d(4, 8, 7, padding=3)
        self.last = nn.Linear(8 * (length or 1), 3)
        self.length = length

    def forward(self, x):
        x = torch.relu(self.conv(x))
        return self.last(x.flatten(1) if self.length else x.mean(-1))


class Words(nn.Module):
    """A Transformer on words, with a table of positions that ends."""

    def __init__(self, most):
        super().__init__()
        self.emb = nn.Embedding(100, 32)
        self.pos = nn.Embedding(most, 32)
        self.encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(32, 4, 64, batch_first=True), 1)

    def forward(self, x):
        return self.encoder(self.emb(x) + self.pos(torch.arange(x.shape[1])))


class Fixed(nn.Module):
    """An LSTM whose steps are flattened: it takes one length only."""

    def __init__(self, steps):
        super().__init__()
        self.lstm = nn.LSTM(3, 4, batch_first=True)
        self.last = nn.Linear(4 * steps, 2)

    def forward(self, x):
        return self.last(self.lstm(x)[0].flatten(1))


def candidates(module, hyperparameters, tmp_path):
    path = tmp_path / "weights.pth"
    torch.save(module.state_dict(), path)
    return derive_inputs(inspect_path(path).layers, hyperparameters)


def first_that_works(module, found):
    """Try as a worker does: the first candidate of which every case passes."""
    module.eval()
    for candidate in found:
        try:
            with torch.no_grad():
                for case in make_cases(candidate.specs, candidate.sizes):
                    module(*(torch.from_numpy(array) for array in make_inputs(candidate.specs, case)))
        except (RuntimeError, IndexError, TypeError, ValueError):
            continue
        return candidate
    return None


@pytest.mark.parametrize(
    ("module", "hyperparameters", "shape"),
    [
        (nn.Linear(12, 3), {}, ("batch", 12)),
        (nn.Sequential(nn.BatchNorm1d(6), nn.Linear(6, 2)), {}, ("batch", 6)),
        (nn.Sequential(nn.LayerNorm(6), nn.Linear(6, 2)), {}, ("batch", 6)),
        (nn.Sequential(nn.Unflatten(1, (2, 3)), nn.Flatten(), nn.Linear(6, 2)), {}, ("batch", 6)),
        (nn.LSTM(12, 8, 2, bidirectional=True, batch_first=True), {}, ("batch", "time", 12)),
        (nn.GRU(12, 8), {"batch_first": False}, ("time", "batch", 12)),
        (nn.LSTMCell(3, 4), {}, ("batch", 3)),
        (Recurrent(7), {}, ("batch", "time", 7)),
        (Recurrent(16), {"input_dim": 16}, ("batch", "time", 16)),
        (Fixed(20), {"seq_len": 20}, ("batch", 20, 3)),
        (Series(), {}, ("batch", "time", 9)),
        (Waves(None), {}, ("batch", 4, "length")),
        (Waves(64), {}, ("batch", 4, 64)),
        (Waves(200), {"seq_len": 200}, ("batch", 4, 200)),
        (Pooled(3, 32, 0), {}, ("batch", 3, 32, 32)),
        (Pooled(1, 28, 0), {}, ("batch", 1, 28, 28)),
        (Pooled(1, 28, 2), {}, ("batch", 1, 28, 28)),
        (Pooled(1, 8, 2), {}, ("batch", 1, 8, 8)),
        (Pooled(3, 224, 0), {}, ("batch", 3, 224, 224)),
        (Pooled(3, 48, 0), {"image_size": 48}, ("batch", 3, 48, 48)),
        (Pooled(3, 48, 0), {"img_size": [48, 48]}, ("batch", 3, 48, 48)),
        (Pooled(3, 48, 0), {"height": 48, "width": 48}, ("batch", 3, 48, 48)),
        (Pooled(3, 48, 0), {"input_shape": [3, 48, 48]}, ("batch", 3, 48, 48)),
        (Pooled(3, 48, 0), {"input_shape": [48, 48, 3]}, ("batch", 3, 48, 48)),
        (Pooled(3, 48, 0), {"input_shape": [None, 3, 48, 48]}, ("batch", 3, 48, 48)),
        (nn.Sequential(nn.Conv3d(1, 2, 3), nn.ReLU(), nn.Conv3d(2, 1, 1)), {}, ("batch", 1, 16, 16, 16)),
        (nn.Sequential(nn.Flatten(), nn.Linear(784, 10)), {}, ("batch", 784)),
        (nn.Sequential(nn.Conv2d(1, 2, (64, 1), stride=(4, 1)), nn.ReLU()), {}, ("batch", 1, 128, 1)),
        (nn.EmbeddingBag(10, 3), {}, ("batch", "time")),
        (Words(20), {}, ("batch", "time")),
        (nn.MultiheadAttention(8, 2, batch_first=True), {}, ("batch", "time", 8)),
    ],
)
def test_a_real_module_finds_what_it_takes(module, hyperparameters, shape, tmp_path):
    """From its weights alone, and what hyperparameters say."""
    found = first_that_works(module, candidates(module, hyperparameters, tmp_path))
    assert found is not None
    assert found.specs[0].shape == shape
    assert ", ".join(map(str, shape)) in found.why
    assert found.why.isprintable()


def test_a_transformer_gets_two_inputs(tmp_path):
    """Source and target, each of a length of its own."""
    module = nn.Transformer(16, 2, 1, 1, 32, batch_first=True)
    found = first_that_works(module, candidates(module, {}, tmp_path))
    assert found is not None
    assert [spec.name for spec in found.specs] == ["src", "tgt"]
    assert found.specs[1].shape == ("batch", "target_time", 16)


def test_words_are_drawn_from_the_vocabulary_and_end_where_positions_do(tmp_path):
    """Integers below the table's size; both lengths fit the table of positions."""
    (first, *_) = candidates(Words(20), {}, tmp_path)
    assert (first.specs[0].dtype, first.specs[0].high) == ("int64", 100)
    for case in make_cases(first.specs, first.sizes):
        (array,) = make_inputs(first.specs, case)
        assert array.dtype == np.int64
        assert array.min() >= 0
        assert array.max() < 100
        assert array.shape[1] <= 20


def test_hyperparameters_alone_say_something():
    """Without a layer that tells, as in a checkpoint of odd names."""
    shapes = {candidate.specs[0].shape for candidate in derive_inputs((), {"input_dim": 5})}
    assert shapes == {("batch", 5), ("batch", "time", 5)}
    (words, *_) = derive_inputs((), {"vocab_size": 50})
    assert words.specs[0].high == 50
    (picture,) = derive_inputs((), {"in_channels": 3, "image_size": 9})
    assert picture.specs[0].shape == ("batch", 3, 9, 9)
    assert derive_inputs((), {}) == ()


JSON = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.lists(st.integers(), max_size=5)
KEYS = st.sampled_from(
    "in_features out_features input_size in_channels out_channels kernel_size num_embeddings embed_dim num_features "
    "normalized_shape cell bias".split()
)
LAYERS = st.builds(
    Layer,
    st.text(max_size=8) | st.sampled_from(["encoder.a", "decoder.a", "pos"]),
    st.sampled_from("linear conv1d conv2d conv3d lstm gru rnn embedding batch_norm layer_norm attention other x".split()),
    st.just(0),
    st.just(0),
    st.dictionaries(KEYS, JSON, max_size=4),
)
HYPERPARAMETERS = st.dictionaries(
    st.sampled_from("input_dim seq_len max_len image_size input_shape vocab_size in_channels height width batch_first".split()),
    JSON,
)


@given(st.lists(LAYERS, max_size=6), HYPERPARAMETERS)
def test_no_claim_of_a_file_is_a_surprise(layers, hyperparameters):
    """Few candidates, each small enough to be made, whatever sizes and types a file claims."""
    found = derive_inputs(layers, hyperparameters)
    assert len(found) <= MAX_CANDIDATES
    for candidate in found:
        for spec in candidate.specs:
            assert all(isinstance(size, str) or size >= 1 for size in spec.shape)
            for case in make_cases(candidate.specs, candidate.sizes):
                size = np.prod([s if isinstance(s, int) else case.lengths.get(s, case.batch) for s in spec.shape], dtype=object)
                assert size <= MAX_ELEMENTS


def test_the_cases_of_a_dynamic_input():
    """Normal, zeros and ones; batch 1 and 3; two lengths; the last is the largest, and nothing in it is 1."""
    specs = (InputSpec("x", ("batch", "time", 2)), InputSpec("y", ("batch", "height")))
    cases = make_cases(specs, {"time": 16})
    assert {case.kind for case in cases} == {"normal", "zeros", "ones"}
    assert {case.batch for case in cases} == {1, 3}
    assert {case.lengths["time"] for case in cases} == {16, 23}
    assert {case.lengths["height"] for case in cases} == {64, 96}
    assert len({case.name for case in cases}) == len(cases)
    assert len({case.seed for case in cases}) == len(cases)
    last = example_case(cases)
    assert last == cases[-1]
    # An export that takes only the sizes of the last one is still seen on all three kinds.
    assert [case.kind for case in cases if (case.batch, case.lengths) == (last.batch, last.lengths)] == [
        "zeros",
        "ones",
        "normal",
    ]
    assert (last.kind, last.batch, last.lengths) == ("normal", 3, {"time": 23, "height": 96})
    assert [a.shape for a in make_inputs(specs, last)] == [(3, 23, 2), (3, 96)]
    assert [spec.shape for spec in fix_sizes(specs, last)] == [(3, 23, 2), (3, 96)]


def test_the_cases_of_a_fixed_input():
    """Without a dynamic length there is no second one to try, and without any dynamic dimension still other values."""
    cases = make_cases((InputSpec("x", ("batch", 2)),))
    said = [(case.kind, case.batch) for case in cases]
    assert said == [("normal", 1), ("zeros", 1), ("ones", 3), ("zeros", 3), ("normal", 3)]
    specs = (InputSpec("x", (2, 2)),)
    first, *_, last = (make_inputs(specs, case)[0] for case in make_cases(specs))
    assert first.shape == last.shape == (2, 2)
    assert not np.array_equal(first, last)


@pytest.mark.parametrize("dtype", INPUT_DTYPES)
@pytest.mark.parametrize("kind", ["normal", "zeros", "ones"])
def test_every_type_is_made(dtype, kind):
    """Of its own type; integers below their bound, also where the type itself ends before it."""
    high = 1000 if "int" in dtype else None
    (array,) = make_inputs((InputSpec("x", ("batch", 50), dtype, high),), Case("c", 1, kind, 2, {}))
    assert array.dtype == np.dtype(dtype)
    assert array.shape == (2, 50)
    assert array.flags.c_contiguous
    if kind != "normal":
        assert (array == (kind == "ones")).all()
    elif "int" in dtype:
        assert array.min() >= 0
        assert array.max() < 1000
    else:
        assert len(np.unique(array)) > 1


def test_ones_stay_inside_a_vocabulary_of_one():
    """The only entry is 0."""
    (array,) = make_inputs((InputSpec("x", (4,), "int64", 1),), Case("c", 0, "ones", 1, {}))
    assert not array.any()


def test_inputs_of_one_case_differ():
    """Two inputs of one shape are not the same numbers: a module that mixes them up is found out."""
    spec = InputSpec("x", ("batch", 8))
    one, two = make_inputs((spec, spec), Case("c", 0, "normal", 2, {}))
    assert not np.array_equal(one, two)


def test_an_input_that_is_too_large_is_refused():
    """Before memory is asked for."""
    with pytest.raises(ValueError, match="more than"):
        make_inputs((InputSpec("x", (1 << 20, 1 << 20)),), Case("c", 0, "normal", 1, {}))


_PROGRAM = """
import hashlib
from ckptd.export.inputs import make_cases, make_inputs
from ckptd.proof import InputSpec
specs = (InputSpec("x", ("batch", "time", 5)), InputSpec("i", ("batch", "time"), "int64", 100), InputSpec("b", (3,), "bool"))
digest = hashlib.sha256()
for case in make_cases(specs):
    for array in make_inputs(specs, case):
        digest.update(array.tobytes())
print(digest.hexdigest())
"""


def test_another_process_makes_the_same_inputs():
    """Exporter and verifier never send each other arrays."""
    command = [sys.executable, "-I", "-c", _PROGRAM]
    digests = {subprocess.run(command, capture_output=True, text=True, check=True).stdout for _ in range(2)}
    assert len(digests) == 1
    assert len(digests.pop().strip()) == hashlib.sha256().digest_size * 2


def test_numpy_is_imported_only_where_arrays_are_made():
    """The daemon imports this module."""
    program = "import sys, ckptd.export.inputs; sys.exit('numpy' in sys.modules or 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-I", "-c", program], check=False).returncode == 0
