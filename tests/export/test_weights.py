"""What a weights target sees of a checkpoint: the module's names, and the very bytes that torch would load."""

from __future__ import annotations

import os
import zipfile

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ckptd.export.refusal import TargetError
from ckptd.export.weights import Sums, read_weights
from tests.corpus import objects, savers
from tests.export.weighing import bits, network, opened, saved


def assert_same(weights, state):
    """All names are there, and under each of them the bytes of the state dict."""
    found = {tensor.name: tensor for tensor in weights.tensors}
    found |= {other: tensor for tensor in weights.tensors for other in tensor.others}
    assert found.keys() == state.keys()
    for name, tensor in state.items():
        assert found[name].shape == tuple(tensor.shape), name
        assert found[name].dtype == str(tensor.dtype).removeprefix("torch."), name
        assert b"".join(chunk.tobytes() for chunk in found[name].chunks()) == bits(tensor), name


@pytest.mark.parametrize(
    "name", ["views", "conjugates", "bilstm_attention", "tied_embeddings", "float16_weights", "not_finite"]
)
@pytest.mark.parametrize("way", [savers.save_zip, savers.save_legacy, savers.save_without_crc], ids=["zip", "legacy", "no-crc"])
def test_bytes_of_a_state_dict(name, way, tmp_path):
    """Views of every kind come in C order, in every container."""
    path = tmp_path / "x.pth"
    way(objects.SHAPES[name].make(), path)
    state = torch.load(path, weights_only=True)
    with opened(path) as weights:
        assert_same(weights, state)


@pytest.mark.parametrize("name", ["data_parallel", "adam_checkpoint", "sgd_checkpoint", "whole_module", "module_inside"])
def test_names_of_the_module(name, tmp_path):
    """The checkpoint's key, a wrapper's prefix and a module's registries fall away; the optimizer stays behind."""
    path = tmp_path / "x.pth"
    value = objects.SHAPES[name].make()
    savers.save_zip(value, path)
    state = torch.load(path, weights_only=False)
    if isinstance(state, dict):
        state = state.get("model_state_dict") or state.get("state_dict") or state.get("model") or state
    state = state.state_dict() if isinstance(state, torch.nn.Module) else state
    with opened(path) as weights:
        assert_same(weights, {key.removeprefix("module."): tensor for key, tensor in state.items()})


def test_big_endian(tmp_path):
    """A file of a big-endian machine gives the same numbers."""
    path = tmp_path / "x.pth"
    savers.save_big_endian(objects.bilstm_attention(), path)
    with opened(path) as weights:
        assert_same(weights, torch.load(path, weights_only=True))


def test_old_tar(tmp_path):
    """A storage that is a view of another one is read where its bytes lie."""
    path = tmp_path / "x.tar"
    savers.save_tar(path)
    with opened(path) as weights:
        assert_same(weights, torch.load(path, weights_only=False))


def test_every_dtype_that_is_held(tmp_path):
    """Each dtype keeps its name and its bits."""
    state = {name: value for name, value in objects.every_dtype().items() if name not in ("complex32", "packed")}
    with opened(saved(state, tmp_path)) as weights:
        assert_same(weights, state)


def test_one_tensor_has_a_name(tmp_path):
    """A file that is one tensor gives it the name "tensor"."""
    with opened(saved(torch.arange(3.0), tmp_path)) as weights:
        assert [tensor.name for tensor in weights.tensors] == ["tensor"]


def test_averaged_weights_only_when_there_is_nothing_else(tmp_path):
    """Of weights and their averages the weights are taken; averages alone are the weights."""
    both = {"state_dict": {"w": torch.zeros(2, 2)}, "ema": {"w": torch.ones(2, 2)}, "epoch": 1}
    with opened(saved(both, tmp_path)) as weights:
        assert_same(weights, {"w": torch.zeros(2, 2)})
    with opened(saved({"ema": both["ema"], "epoch": 1}, tmp_path)) as weights:
        assert_same(weights, {"w": torch.ones(2, 2)})


def test_tied_weights_are_one_tensor(tmp_path):
    """The first name in sorted order is kept, as safetensors keeps it; another view of the same storage is its own tensor."""
    w = torch.randn(4, 4)
    state = {"z": w, "a": w, "t": w.t(), "part": w[:2], "one": torch.zeros(0), "two": torch.zeros(0)}
    with opened(saved(state, tmp_path)) as weights:
        assert weights.tied == {"z": "a"}
        assert {tensor.name for tensor in weights.tensors} == {"a", "t", "part", "one", "two"}


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("sparse", "coo is sparse"),
        ("quantized", "per_tensor is quantized"),
        ("meta", "meta is a meta tensor"),
        ("tensor_subclass", "weight is of a tensor class"),
        ("every_dtype", "complex32 has the dtype complex32"),
        ("adam_alone", "no weights"),
        ("plain_values", "no weights"),
    ],
)
def test_what_no_format_holds(name, word, tmp_path):
    """The refusal is one sentence that names the tensor."""
    path = tmp_path / "x.pth"
    savers.save_zip(objects.SHAPES[name].make(), path)
    with pytest.raises(TargetError, match=word), opened(path):
        pass


def test_unsafe_and_damaged_files_are_refused(tmp_path):
    """A file that names os.system has no weights for anybody, and neither has one that was cut."""
    from tests.corpus import asm, zips

    path = saved({"w": torch.zeros(3)}, tmp_path)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(TargetError, match="damaged"), opened(path):
        pass
    program = asm.program(asm.named("os", "system") + asm.sequence(asm.text("true")) + asm.REDUCE)
    path.write_bytes(zips.make_zip([zips.Member(b"archive/data.pkl", program), zips.Member(b"archive/version", b"3\n")]))
    with pytest.raises(TargetError, match="unsafe"), opened(path):
        pass


def test_views_that_would_fill_a_disk(tmp_path):
    """A thousand views of the same bytes are refused before the first is written."""
    base = torch.zeros(100_000)
    state = {str(n): base[n:] for n in range(1000)}
    with pytest.raises(TargetError, match=r"would have 39\d,\d+,\d+ bytes"), opened(saved(state, tmp_path)):
        pass


def test_names_that_become_one_are_refused(tmp_path):
    """Two tensors cannot have one name."""
    with (
        pytest.raises(TargetError, match=r"called w\.1"),
        opened(saved({"w.1": torch.ones(1), "w": [0, torch.ones(2)]}, tmp_path)),
    ):
        pass


def test_a_flipped_bit_has_a_name(tmp_path):
    """The CRC of a storage is checked while its tensors are read, and in full when they show only a part of it."""
    base = torch.randn(1000)
    path = saved({"good": torch.ones(5), "part": base[10:20], "turned": base[:900].view(30, 30).t()}, tmp_path)
    with zipfile.ZipFile(path) as archive:
        (record,) = [i for i in archive.infolist() if i.file_size == 4000]
    raw = bytearray(path.read_bytes())
    raw[raw.index(base.numpy().tobytes()) + 3999] ^= 1  # nothing shows the last byte
    with opened(path) as weights:
        sums = Sums()
        for tensor in weights.tensors:
            assert list(tensor.chunks(sums))
        assert sums.finish(weights) == ()
    path.write_bytes(raw)
    with opened(path) as weights:
        sums = Sums()
        for tensor in weights.tensors:
            assert list(tensor.chunks(sums))
        assert sums.finish(weights) == ("part", "turned")
    assert record.CRC


def test_a_file_that_shrinks_is_an_error(tmp_path):
    """Bytes that are gone are no zeros."""
    from ckptd.errors import StorageError

    path = saved({"w": torch.ones(1000)}, tmp_path)
    fd = os.open(path, os.O_RDWR)
    try:
        weights = read_weights(fd)
        os.ftruncate(fd, 1000)
        with pytest.raises(StorageError):
            list(weights.tensors[0].chunks())
    finally:
        os.close(fd)


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_any_view_any_run(data, tmp_path_factory):
    """Every run of elements of every view is what torch gives."""
    shape = data.draw(st.lists(st.integers(1, 7), min_size=1, max_size=4))
    base = torch.arange(2 * int(np.prod(shape)) + 20, dtype=torch.int32)
    order = data.draw(st.permutations(range(len(shape))))
    steps = data.draw(st.lists(st.integers(1, 2), min_size=len(shape), max_size=len(shape)))
    stride, at = [0] * len(shape), 1
    for axis in order:
        stride[axis] = data.draw(st.sampled_from([at, 0])) if shape[axis] < 4 else at
        at *= shape[axis]
    view = base.as_strided(shape, stride, data.draw(st.integers(0, 9)))
    view = view[tuple(slice(None, None, step) for step in steps)]
    with opened(saved({"w": view}, tmp_path_factory.mktemp("view"))) as weights:
        (tensor,) = weights.tensors
        start = data.draw(st.integers(0, view.numel()))
        stop = data.draw(st.integers(start, view.numel()))
        assert tensor.read(start, stop).tolist() == view.reshape(-1)[start:stop].tolist()


def test_large_views_are_read_in_parts(tmp_path):
    """A view whose boxes are cut many times is the same as one that is read at once."""
    base = torch.randn(3000, 1700)
    state = {
        "turned": base.t(),
        "column": base[:, 3],
        "thin": base[::7, ::5],
        "cube": base.view(30, 100, 1700).permute(2, 0, 1),
    }
    with opened(saved(state, tmp_path)) as weights:
        assert_same(weights, state)


def test_a_whole_network(tmp_path):
    """Recurrent layers, convolutions, norms and embeddings come whole, from the module as from its state dict."""
    model = network()
    for value in (model, model.state_dict(), {"model": model.state_dict(), "epoch": 1}):
        with opened(saved(value, tmp_path)) as weights:
            assert_same(weights, dict(model.state_dict()))
