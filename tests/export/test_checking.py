"""A check says what is true of an export: one wrong byte anywhere fails it, and says where."""

from __future__ import annotations

import hashlib
import json
import math
import os
import random

import pytest
import torch

from ckptd.export.checking import check_file
from ckptd.loading.safetensors_header import read_header
from ckptd.model import Identity
from tests.export.weighing import LOSSY, TARGETS, check, export, network, opened, saved

EACH = pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)


@EACH
def test_a_good_export_is_verified(target, tmp_path):
    """The answer is plain JSON: verdict, differences and their bound, digest, size and identity of the file."""
    path = saved(network(), tmp_path)
    made, _ = export(path, target)
    answer = json.loads(json.dumps(check(path, made, target), allow_nan=False))
    assert (answer["verdict"], answer["reason"]) == ("verified", "")
    assert answer["sha256"] == hashlib.sha256(made.read_bytes()).hexdigest()
    assert answer["size_bytes"] == made.stat().st_size
    assert answer["identity"] == list(Identity.of(made.stat()))
    assert answer["compared"] == len(header_of(made).entries)
    assert (answer["max_abs"] == answer["max_rel"] == 0) == (not target.is_lossy)
    assert bool(answer["tolerance"]) == bool(answer["worst"]) == target.is_lossy


def header_of(path):
    raw = path.read_bytes()
    return read_header(lambda offset, length: raw[offset : offset + length], len(raw))


@EACH
def test_one_wrong_byte_has_a_name(target, tmp_path):
    """A flipped bit in any tensor, its scales included, fails the check and names the tensor."""
    path = saved(network(), tmp_path)
    made, _ = export(path, target)
    good, header = made.read_bytes(), header_of(made)
    chance = random.Random(0)
    for entry in header.entries:
        raw = bytearray(good)
        raw[header.data_offset + chance.randrange(entry.begin, entry.end)] ^= 1 << chance.randrange(8)
        made.write_bytes(raw)
        answer = check(path, made, target)
        assert answer["verdict"] == "failed"
        assert entry.name in answer["reason"]
        assert answer["sha256"] == hashlib.sha256(raw).hexdigest()


@EACH
def test_any_wrong_byte_of_the_header(target, tmp_path):
    """A flipped bit in length, JSON, metadata or padding fails the check, whatever the library makes of it."""
    path = saved({"a.weight": torch.randn(4, 4), "b": torch.arange(3)}, tmp_path)
    made, _ = export(path, target)
    good = made.read_bytes()
    for position in range(header_of(made).data_offset):
        for bit in (0x01, 0x10):
            raw = bytearray(good)
            raw[position] ^= bit
            made.write_bytes(raw)
            assert check(path, made, target)["verdict"] == "failed", position


@EACH
def test_another_models_export(target, tmp_path):
    """An export of other weights, of more weights, an empty file and a cut one fail with a sentence."""
    (tmp_path / "other").mkdir()
    path, other = saved({"w": torch.randn(8, 8)}, tmp_path), tmp_path / "other"
    for state in ({"w": torch.randn(8, 8)}, {"w": torch.randn(8, 4)}, {"w": torch.randn(8, 8), "v": torch.ones(2)}):
        made, _ = export(saved(state, other), target)
        answer = check(path, made, target)
        assert answer["verdict"] == "failed"
        assert answer["reason"]
        made.unlink()
    made, _ = export(path, target)
    for raw in (b"", made.read_bytes()[:-1], made.read_bytes() + b"\0", b"{}"):
        made.write_bytes(raw)
        answer = check(path, made, target)
        assert answer["verdict"] == "failed"
        assert answer["sha256"] == hashlib.sha256(raw).hexdigest()


@EACH
def test_a_damaged_checkpoint(target, tmp_path):
    """An export of a checkpoint with a flipped bit is an exact copy of damage, and the CRC says whose."""
    weight = torch.randn(64, 64)
    path = saved({"good": torch.ones(4, 4), "conv6.weight": weight, "view": weight[:8]}, tmp_path)
    raw = bytearray(path.read_bytes())
    raw[raw.index(weight.numpy().tobytes()) + 5] ^= 4
    path.write_bytes(raw)
    made, _ = export(path, target)
    answer = check(path, made, target)
    assert answer["verdict"] == "failed"
    assert answer["reason"] == "the checkpoint is damaged: conv6.weight, view does not match its CRC-32"


@pytest.mark.parametrize("target", LOSSY, ids=lambda target: target.name)
def test_differences_are_measured(target, tmp_path):
    """The worst tensor is that with the largest difference for its size, and the numbers are those of torch's arithmetic."""
    import ckptd

    state = {"mild": torch.full((4, 4), 2.0), "wild": torch.tensor([[1.0, 0.004, 0.333, 7.77], [2.0, 0.25, 3.3, 1.0]])}
    path = saved(state, tmp_path)
    made, _ = export(path, target)
    answer = check(path, made, target)
    loaded = ckptd.load(made)
    difference = (state["wild"] - loaded["wild"].float()).abs().max().item()
    assert answer["worst"] == "wild"
    assert math.isclose(answer["max_abs"], difference, rel_tol=1e-6)
    assert math.isclose(answer["max_rel"], difference / 7.77, rel_tol=1e-6)


@EACH
def test_what_is_not_finite_stays_so(target, tmp_path):
    """NaN and infinities are equal to themselves and fail nothing."""
    path = saved({"w": torch.tensor([[math.nan, math.inf], [-math.inf, 1.0]]), "v": torch.tensor([math.nan, 2])}, tmp_path)
    made, _ = export(path, target)
    assert check(path, made, target)["verdict"] == "verified"


def test_odd_dtypes_and_views(tmp_path):
    """Types that numpy does not know are compared by their bits, empty and 0-dimensional tensors too."""
    from tests.corpus import objects

    state = {name: value for name, value in objects.every_dtype().items() if not name.startswith(("complex", "packed"))}
    state |= objects.views() | {"complex64": torch.randn(3, dtype=torch.complex64).conj()}
    path = saved(state, tmp_path)
    made, notes = export(path, TARGETS[0])
    answer = check(path, made, TARGETS[0])
    assert (answer["verdict"], answer["compared"]) == ("verified", notes["tensors"])


def test_an_open_descriptor(tmp_path):
    """A descriptor serves as well as a path, and stays open."""
    path = saved(network(), tmp_path)
    made, _ = export(path, TARGETS[0])
    fd = os.open(made, os.O_RDONLY)
    try:
        with opened(path) as weights:
            assert check_file(weights, fd, TARGETS[0])["verdict"] == "verified"
        assert os.fstat(fd).st_size
    finally:
        os.close(fd)


def test_hostile_names_are_escaped(tmp_path):
    """A name that would move a cursor is text in the answer."""
    path = saved({"a\x1b[2J": torch.randn(4, 4)}, tmp_path)
    for target in TARGETS:
        made, _ = export(path, target)
        raw = bytearray(made.read_bytes())
        raw[-1] ^= 0x40
        made.write_bytes(raw)
        assert "\x1b" not in json.dumps(check(path, made, target), ensure_ascii=False)
