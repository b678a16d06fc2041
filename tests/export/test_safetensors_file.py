"""The file that a weights target writes is one that the safetensors library writes and reads."""

from __future__ import annotations

import json
import os

import pytest
import safetensors.torch
import torch
from safetensors import safe_open

from ckptd.export.encodings import Exact
from ckptd.export.refusal import TargetError
from ckptd.export.safetensors_file import plan_file, write_file
from ckptd.loading.safetensors_header import WORDS
from tests.corpus import objects, savers
from tests.export.weighing import TARGETS, bits, export, network, opened, saved


@pytest.mark.parametrize(
    "name", ["views", "conjugates", "bilstm_attention", "transformer_encoder", "float16_weights", "not_finite"]
)
def test_the_library_loads_equal_tensors(name, tmp_path):
    """`safetensors.torch.load_file` gives the state dict, bit by bit."""
    state = objects.SHAPES[name].make()
    made, notes = export(saved(state, tmp_path), TARGETS[0])
    loaded = safetensors.torch.load_file(made)
    tied = safe_open(made, "pt").metadata()
    assert loaded.keys() | (tied.keys() - {"format"}) == state.keys()
    assert notes["tensors"] == len(loaded)
    for key, tensor in loaded.items():
        assert (tensor.dtype, tensor.shape) == (state[key].dtype, state[key].shape)
        assert bits(tensor) == bits(state[key])


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_every_target_is_a_safetensors_file(target, tmp_path):
    """The library opens each of them, finds every tensor at a multiple of its element's size, and is told of torch."""
    made, notes = export(saved(network(), tmp_path), target)
    with safe_open(made, "pt") as opened_file:
        assert opened_file.metadata()["format"] == "pt"
        assert opened_file.metadata()["head.weight"] == "embedding.weight"
        tensors = opened_file.get_tensors()
        assert "head.weight" not in tensors
    assert notes["tied"] == 1
    raw = made.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    assert length % 8 == 0
    header = json.loads(raw[8 : 8 + length])
    header.pop("__metadata__")
    assert header.keys() == tensors.keys()
    assert all(value["data_offsets"][0] % WORDS[value["dtype"]].item_bytes == 0 for value in header.values())
    assert made.name.endswith(target.ending)


def test_load_model_takes_tied_weights(tmp_path):
    """`safetensors.torch.load_model` fills a real module, whose tied weights are one name in the file."""
    model, fresh = network(), network()
    made, _ = export(saved(model.state_dict(), tmp_path), TARGETS[0])
    for parameter in fresh.parameters():
        torch.nn.init.zeros_(parameter)
    assert safetensors.torch.load_model(fresh, made) == (set(), [])
    assert all(torch.equal(one, other) for one, other in zip(model.parameters(), fresh.parameters(), strict=True))


def test_ties_are_those_of_save_model(tmp_path):
    """The kept name and the metadata are the ones that `safetensors.torch.save_model` would have chosen."""
    model = network()
    made, _ = export(saved(model.state_dict(), tmp_path), TARGETS[0])
    safetensors.torch.save_model(model, tmp_path / "theirs")
    with safe_open(made, "pt") as ours, safe_open(tmp_path / "theirs", "pt") as theirs:
        assert set(ours.keys()) == set(theirs.keys())
        assert ours.metadata() == {**theirs.metadata(), "format": "pt"}


def test_no_word_for_a_dtype(tmp_path):
    """A dtype that the format does not know is refused by name, and nothing is written."""
    path = saved({"w": torch.zeros(2, dtype=torch.complex128)}, tmp_path)
    with pytest.raises(TargetError, match="w has the dtype complex128"):
        export(path, TARGETS[0])
    assert not path.with_suffix(".safetensors").stat().st_size


@pytest.mark.parametrize("name", ["__metadata__", "\ud800"])
def test_names_that_the_format_cannot_hold(name, tmp_path):
    """The key of the metadata, and what is no Unicode, are no names of tensors."""
    with pytest.raises(TargetError, match=r"cannot hold|can hold"), opened(saved({name: torch.ones(2)}, tmp_path)) as weights:
        plan_file(weights, Exact())


def test_a_tied_name_that_is_a_key_of_the_metadata(tmp_path):
    """A tied tensor called "format" is written out, so that the metadata keep saying "pt"."""
    w = torch.randn(3)
    made, _ = export(saved({"a": w, "format": w, "other": w}, tmp_path), TARGETS[0])
    loaded = safetensors.torch.load_file(made)
    assert loaded.keys() == {"a", "format"}
    assert torch.equal(loaded["format"], w)
    assert safe_open(made, "pt").metadata() == {"format": "pt", "other": "a"}


def test_odd_names_survive(tmp_path):
    """Quotes, control characters and other scripts come back as they were."""
    state = {'a"b\\c': torch.ones(1), "层.weight": torch.ones(2), "a\x1b[2J": torch.ones(3), " ": torch.ones(4)}
    made, _ = export(saved(state, tmp_path), TARGETS[0])
    assert safetensors.torch.load_file(made).keys() == state.keys()


@pytest.mark.parametrize("way", [savers.save_legacy, savers.save_big_endian, savers.save_without_crc])
def test_other_containers(way, tmp_path):
    """The container makes no difference."""
    path = tmp_path / "x.pth"
    way(objects.bilstm_attention(), path)
    state = torch.load(path, weights_only=True)
    made, _ = export(path, TARGETS[0])
    loaded = safetensors.torch.load_file(made)
    assert all(torch.equal(loaded[key], state[key]) for key in state)


def test_copies_of_every_length(tmp_path):
    """Tensors around the size of the buffer and of a page come whole, one behind the other."""
    lengths = (1, 4095, 4096, 4097, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 3_000_001)
    state = {str(length): torch.randint(0, 256, (length,), dtype=torch.uint8) for length in lengths}
    made, _ = export(saved(state, tmp_path), TARGETS[0])
    loaded = safetensors.torch.load_file(made)
    assert all(torch.equal(loaded[name], tensor) for name, tensor in state.items())


def test_a_checkpoint_that_shrinks(tmp_path):
    """A checkpoint that is cut while the kernel copies it is an error and no short file."""
    from ckptd.errors import StorageError
    from ckptd.export.weights import read_weights

    path = saved({"w": torch.ones(1000)}, tmp_path)
    fd, out = os.open(path, os.O_RDWR), os.open(tmp_path / "out", os.O_RDWR | os.O_CREAT)
    try:
        weights = read_weights(fd)
        os.ftruncate(fd, 1000)
        with pytest.raises(StorageError):
            write_file(weights, out, Exact())
    finally:
        os.close(fd)
        os.close(out)
