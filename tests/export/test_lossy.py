"""Lossy spellings keep their laws: the casts are torch's, and an integer is never more than half a step off."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open

import ckptd
from ckptd.export.encodings import BFloat16, Float16, Piece, free_suffix
from ckptd.export.targets.bfloat16 import BFloat16Target
from ckptd.export.targets.float16 import Float16Target
from ckptd.export.targets.int8 import Int8Target
from tests.export.weighing import check, export, network, saved

PATTERNS = st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=64)
#: Bit patterns around each border: zeros, subnormal numbers of either type, ties, the greatest, infinities, NaN.
BORDERS = [
    sign | pattern
    for sign in (0, 1 << 31)
    for pattern in (
        *(0, 1, 0x7FFFFF, 0x800000, 0x33000000, 0x33000001, 0x387FC000, 0x387FE000, 0x38800000, 0x3F801000, 0x3F803000),
        *(0x3F808000, 0x3F818000, 0x3F808001, 0x477FE000, 0x477FEFFF, 0x477FF000, 0x7F7FFFFF, 0x7F7F7FFF, 0x7F800000),
        *(0x7F800001, 0x7FC00000, 0x7FFFFFFF),
    )
]


def assert_as_torch(encoding, dtype, patterns):
    """Cast and read back as torch does; NaN stays NaN, with whichever bits."""
    values = np.array(patterns, np.uint32).view(np.float32)
    with np.errstate(all="ignore"):
        coded = encoding.encode(values)
        decoded = encoding.decode(Piece(coded, values))
    theirs = torch.from_numpy(values.copy()).to(dtype)
    numbers = ~torch.isnan(theirs).numpy()
    assert (coded.view(np.uint16)[numbers] == theirs.view(torch.uint16).numpy()[numbers]).all()
    assert np.array_equal(decoded, theirs.float().numpy(), equal_nan=True)
    finite = np.isfinite(decoded)
    with np.errstate(all="ignore"):
        bound = encoding.bound(Piece(coded, values))
        assert (np.abs(values - decoded)[finite] <= bound[finite]).all()


@settings(deadline=None, max_examples=200)
@given(patterns=PATTERNS)
def test_casts_are_those_of_torch(patterns):
    """Every float32 becomes the bits that torch makes of it, is read back as torch reads it, and keeps the stated bound."""
    assert_as_torch(Float16(), torch.float16, patterns)
    assert_as_torch(BFloat16(), torch.bfloat16, patterns)


def test_casts_at_the_borders():
    """The same for the numbers at which a cast goes wrong."""
    assert_as_torch(Float16(), torch.float16, BORDERS)
    assert_as_torch(BFloat16(), torch.bfloat16, BORDERS)


def test_every_16_bit_number_is_read_back():
    """All 65,536 patterns are decoded as torch decodes them."""
    bits = np.arange(65536, dtype=np.uint16)
    for encoding, dtype in ((Float16(), torch.float16), (BFloat16(), torch.bfloat16)):
        coded = bits.view(np.float16) if dtype is torch.float16 else bits
        with np.errstate(invalid="ignore"):
            decoded = encoding.decode(Piece(coded))
        assert np.array_equal(decoded, torch.from_numpy(bits.copy()).view(dtype).float().numpy(), equal_nan=True)


@pytest.mark.parametrize(("target", "dtype"), [(Float16Target(), torch.float16), (BFloat16Target(), torch.bfloat16)])
def test_every_floating_dtype_is_cast_and_nothing_else(target, dtype, tmp_path):
    """float64, float32 and the other 16-bit floats become what torch makes of them; the rest stays."""
    torch.manual_seed(0)
    values = torch.randn(1000, dtype=torch.float64) * 10
    state = {str(kind): values.to(kind) for kind in (torch.float64, torch.float32, torch.float16, torch.bfloat16)}
    state["int"] = torch.arange(5)
    state["bool"] = torch.tensor([True, False])
    state["complex"] = torch.randn(3, dtype=torch.complex64)
    state["float8"] = torch.randn(4).to(torch.float8_e4m3fn)
    path = saved(state, tmp_path)
    made, notes = export(path, target)
    loaded = safetensors.torch.load_file(made)
    for name, tensor in loaded.items():
        if name.startswith("torch."):
            assert tensor.dtype == dtype
            assert torch.equal(tensor, state[name].to(dtype)), name
        else:
            assert tensor.dtype == state[name].dtype
            assert torch.equal(tensor.view(torch.uint8), state[name].view(torch.uint8))
    stated = json.loads(safe_open(made, "pt").metadata()["ckptd"])
    assert stated["scheme"] == target.name
    assert stated["dtypes"]["torch.float32"] == "float32"
    assert "findings" not in notes
    assert check(path, made, target)["verdict"] == "verified"


def test_what_is_too_large_is_told(tmp_path):
    """A value that float16 cannot hold is counted in the notes, and the check fails with that sentence."""
    path = saved({"w": torch.tensor([65519.0, 65520.0, -1e9, math.inf, math.nan]), "v": torch.ones(2)}, tmp_path)
    made, notes = export(path, Float16Target())
    (told,) = notes["findings"]
    assert told.startswith("2 values of w are too large for float16")
    answer = check(path, made, Float16Target())
    assert (answer["verdict"], answer["reason"], answer["worst"], answer["max_abs"]) == ("failed", told, "w", None)
    path.with_suffix(".bf16.safetensors").unlink(missing_ok=True)
    made, notes = export(path, BFloat16Target())
    assert "findings" not in notes
    assert check(path, made, BFloat16Target())["verdict"] == "verified"


def test_int8_of_every_layer(tmp_path):
    """Matrices become integers with one scale a row, vectors stay, and `ckptd.load` gives the dtypes back."""
    model = network()
    path = saved(model.state_dict(), tmp_path)
    made, _ = export(path, Int8Target())
    stored, state = safetensors.torch.load_file(made), model.state_dict()
    for name, tensor in state.items():
        kept = "embedding.weight" if name == "head.weight" else name
        if tensor.dim() >= 2:
            assert stored[kept].dtype == torch.int8
            assert stored[f"{kept}_scale"].shape == tensor.shape[:1]
            assert int(stored[kept].view(torch.int8).abs().max()) == 127
        else:
            assert torch.equal(stored[kept], tensor)
    loaded = ckptd.load(made)
    assert loaded.keys() == state.keys()
    assert loaded["head.weight"] is loaded["embedding.weight"]
    for name, tensor in loaded.items():
        assert (tensor.dtype, tensor.shape) == (state[name].dtype, state[name].shape)
        if tensor.dim() >= 2:
            scale = state[name].flatten(1).abs().amax(1) / 127
            error = (state[name] - tensor).flatten(1).abs().amax(1)
            assert (error <= scale * 0.5001).all()
    assert check(path, made, Int8Target())["verdict"] == "verified"


@settings(deadline=None, max_examples=60)
@given(
    rows=st.lists(st.lists(st.floats(-(2.0**100), 2.0**100, width=32), min_size=5, max_size=5), min_size=1, max_size=5),
    kind=st.sampled_from(["float64", "float32", "float16", "bfloat16"]),
)
def test_half_a_step(rows, kind, tmp_path_factory):
    """Whatever is in a row, each value comes back within half of the row's step (and half a step of its own dtype)."""
    dtype = getattr(torch, kind)
    values = torch.tensor(rows, dtype=torch.float64).to(dtype)
    place = tmp_path_factory.mktemp("int8")
    path = saved({"w": values}, place)
    made, notes = export(path, Int8Target())
    loaded = ckptd.load(made)["w"]
    assert loaded.dtype == dtype
    if not torch.isfinite(values).all():
        assert notes["findings"]
        assert torch.equal(loaded.nan_to_num(), values.nan_to_num())
    else:
        original, seen = values.double(), loaded.double()
        step = (original.abs().amax(1, keepdim=True) / 127).clamp(min=2.0**-126)
        own = seen.abs() * torch.finfo(dtype).eps + torch.finfo(dtype).smallest_normal * torch.finfo(dtype).eps
        assert ((original - seen).abs() <= step * 0.5001 + own).all()
    assert check(path, made, Int8Target())["verdict"] == "verified"


def test_rows_that_are_odd(tmp_path):
    """Zeros, the least numbers and one row of many elements are fine; NaN, infinity and the greatest keep their dtype."""
    state = {
        "zeros": torch.zeros(3, 4),
        "least": torch.tensor([[1e-45, 0, -1e-45, 2e-39], [1, 2, 3, 4]]),
        "nan": torch.tensor([[1, math.nan], [2, 3]]),
        "infinite": torch.tensor([[1.0, 2], [-math.inf, 3]]),
        "greatest": torch.full((2, 4), torch.finfo(torch.float32).max),
        "wide": torch.tensor([[1e300, 1, 2], [1, 2, 3]], dtype=torch.float64),
        "long": torch.randn(2, 700_000),
        "many": torch.randn(70_000, 3),
        "turned": torch.randn(300, 400).t(),
        "empty": torch.zeros(0, 4),
        "hollow": torch.zeros(4, 0),
        "column": torch.randn(6, 1),
    }
    path = saved(state, tmp_path)
    made, notes = export(path, Int8Target())
    assert [told.partition(" ")[0] for told in notes["findings"]] == ["nan", "infinite", "greatest", "wide"]
    stored = safetensors.torch.load_file(made)
    integers = {name for name, tensor in stored.items() if tensor.dtype == torch.int8}
    assert integers == {"zeros", "least", "long", "many", "turned"}  # a column would become larger
    assert not stored["zeros"].any()
    assert (stored["zeros_scale"] == 1).all()
    assert check(path, made, Int8Target())["verdict"] == "verified"
    loaded = ckptd.load(made)
    for name in state.keys() - integers:
        assert torch.equal(loaded[name].nan_to_num(), state[name].nan_to_num())


def test_scales_that_are_not_held(tmp_path, monkeypatch):
    """A tensor of too many rows has its scales computed anew, and the file is the same."""
    from ckptd.export import encodings

    path = saved({"w": torch.randn(5000, 7), "v": torch.randn(1, 9)}, tmp_path)
    made, _ = export(path, Int8Target())
    expected = made.read_bytes()
    monkeypatch.setattr(encodings, "_HELD_ROWS", 0)
    made.unlink()
    export(path, Int8Target())
    assert made.read_bytes() == expected


def test_names_that_are_taken(tmp_path):
    """Where a tensor is called like the scales of another, the scales are called otherwise."""
    state = {"w": torch.randn(4, 8), "w_scale": torch.randn(5)}
    path = saved(state, tmp_path)
    made, _ = export(path, Int8Target())
    assert safetensors.torch.load_file(made).keys() == {"w", "w_scale", "w_int8_scale"}
    loaded = ckptd.load(made)
    assert loaded.keys() == state.keys()
    assert torch.equal(loaded["w_scale"], state["w_scale"])
    assert free_suffix(["a", "a_scale", "a_int8_scale"]) == "_int8_int8_scale"
