"""`load` takes a safetensors file, of ours or of anybody, and a header that lies is refused."""

from __future__ import annotations

import json
import struct
import warnings

import pytest
import safetensors
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ckptd.errors import FormatError, StorageError
from ckptd.loading.load import load
from ckptd.loading.safetensors_header import WORD_OF, make_header, read_header

STATE = {
    "weight": torch.arange(6.0).reshape(2, 3),
    "half": torch.tensor([1.5, -2]).half(),
    "brain": torch.ones(3).bfloat16(),
    "scalar": torch.tensor(7),
    "empty": torch.zeros(0, 4),
    "flags": torch.tensor([True, False]),
    "complex": torch.tensor([1 + 2j]),
    "float8": torch.ones(5).to(torch.float8_e5m2),
}


def write(path, header, data=b""):
    """Write a file by hand: a header that may lie, and some bytes."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


@pytest.mark.parametrize("mmap", [False, True])
def test_what_the_library_wrote(mmap, tmp_path):
    """Tensors of every dtype come equal, whatever the file is called, read or mapped."""
    path = tmp_path / "x.pth"
    safetensors.torch.save_file(STATE, path, metadata={"format": "pt", "by": "somebody"})
    loaded = load(path, mmap=mmap)
    assert loaded.keys() == STATE.keys()
    for name, tensor in STATE.items():
        assert (loaded[name].dtype, loaded[name].shape) == (tensor.dtype, tensor.shape)
        assert torch.equal(loaded[name].reshape(-1).view(torch.uint8), tensor.reshape(-1).view(torch.uint8))
    loaded["weight"].zero_()
    assert load(path)["weight"].any()


def test_bytes_that_are_not_aligned(tmp_path):
    """A mapped tensor that begins at an odd byte is copied."""
    entries = {
        "a": {"dtype": "U8", "shape": [3], "data_offsets": [0, 3]},
        "b": {"dtype": "F32", "shape": [1], "data_offsets": [3, 7]},
    }
    path = write(tmp_path / "x", entries, b"\1\2\3" + struct.pack("<f", 1.5))
    for mmap in (False, True):
        loaded = load(path, mmap=mmap)
        assert loaded["b"].item() == 1.5
        assert loaded["b"].data_ptr() % 4 == 0


def test_tied_tensors_are_one(tmp_path):
    """Names that `save_model` left out are there again, as the same object."""
    model = torch.nn.ModuleDict({"embedding": torch.nn.Embedding(5, 4), "head": torch.nn.Linear(4, 5)})
    model["head"].weight = model["embedding"].weight
    safetensors.torch.save_model(model, tmp_path / "x", metadata={"author": "somebody"})
    loaded = load(tmp_path / "x")
    assert loaded.keys() == model.state_dict().keys()
    assert loaded["head.weight"] is loaded["embedding.weight"]


def test_places(tmp_path):
    """`map_location` says where the tensors go; without it they come to the CPU, and nothing is warned of."""
    path = tmp_path / "x"
    safetensors.torch.save_file(STATE, path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load(path)["weight"].device.type == "cpu"
    seen = []
    for where in ("cpu", torch.device("cpu"), {"cpu": "cpu"}, lambda bare, location: seen.append(location) or bare):
        assert torch.equal(load(path, where)["weight"], STATE["weight"])
    assert set(seen) == {"cpu"}
    meta = load(path, "meta")
    assert all(tensor.is_meta and tensor.shape == STATE[name].shape for name, tensor in meta.items())


F32 = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
LIES = {
    "too long": (struct.pack("<Q", 100_000_001) + b"{" + b" " * 40, None),
    "longer than the file": (struct.pack("<Q", 1000) + b"{}", None),
    "no json": (b"{'w': 1}", b""),
    "not utf-8": (b'{"\xff": 1}', b""),
    "deep": (b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", b""),
    "huge number": (b'{"w":{"dtype":"F32","shape":[' + b"9" * 5000 + b'],"data_offsets":[0,8]}}', bytes(8)),
    "twice": (
        b'{"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}',
        b"x",
    ),
    "no object": ({"w": [1]}, bytes(8)),
    "keys": ({"w": {**F32, "more": 1}}, bytes(8)),
    "missing": ({"w": {"dtype": "F32", "shape": [2]}}, bytes(8)),
    "dtype": ({"w": {**F32, "dtype": "F31"}}, bytes(8)),
    "dtype is no text": ({"w": {**F32, "dtype": ["F32"]}}, bytes(8)),
    "negative": ({"w": {**F32, "shape": [-2]}}, bytes(8)),
    "float": ({"w": {**F32, "shape": [2.0]}}, bytes(8)),
    "bool": ({"w": {**F32, "shape": [True, 2]}}, bytes(8)),
    "nan": (b'{"w":{"dtype":"F32","shape":[NaN],"data_offsets":[0,8]}}', bytes(8)),
    "rank": ({"w": {**F32, "shape": [1] * 70 + [2]}}, bytes(8)),
    "offsets": ({"w": {**F32, "data_offsets": [0, 8, 8]}}, bytes(8)),
    "backwards": ({"w": {**F32, "data_offsets": [8, 0]}}, bytes(8)),
    "shape": ({"w": {**F32, "shape": [3]}}, bytes(8)),
    "overflow": ({"w": {**F32, "shape": [1 << 61, 8]}}, bytes(8)),
    "out of the file": ({"w": F32}, bytes(7)),
    "more bytes": ({"w": F32}, bytes(9)),
    "gap": ({"w": F32, "v": {**F32, "data_offsets": [9, 17]}}, bytes(17)),
    "overlap": ({"w": F32, "v": {**F32, "data_offsets": [4, 12]}}, bytes(12)),
    "metadata": ({"__metadata__": {"a": 1}, "w": F32}, bytes(8)),
    "metadata is no object": ({"__metadata__": ["a"], "w": F32}, bytes(8)),
}


@pytest.mark.parametrize("name", LIES)
def test_headers_that_lie(name, tmp_path):
    """Each lie is a FormatError that names the file."""
    header, data = LIES[name]
    path = tmp_path / "x.safetensors"
    if data is None:
        path.write_bytes(header)
    else:
        write(path, header, data)
    with pytest.raises(FormatError) as caught:
        load(path)
    assert caught.value.path == str(path)
    assert caught.value.why


INT8 = {
    "w": {"dtype": "I8", "shape": [2, 4], "data_offsets": [8, 16]},
    "w_scale": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
}
SCHEME = {"scheme": "int8", "axis": 0, "suffix": "_scale", "dtypes": {"w": "float16"}}


def quantized(path, scheme, entries=INT8):
    return write(path, {"__metadata__": {"ckptd": scheme}, **entries}, struct.pack("<ff", 0.5, 2) + bytes([1, 2, 3, 255] * 2))


def test_integers_become_floats(tmp_path):
    """An int8 export is dequantized by its scales, to the dtype it had."""
    loaded = load(quantized(tmp_path / "x", json.dumps(SCHEME)))
    assert loaded.keys() == {"w"}
    assert torch.equal(loaded["w"], torch.tensor([[0.5, 1, 1.5, -0.5], [2, 4, 6, -2]]).half())


@pytest.mark.parametrize(
    "scheme",
    [
        "no json",
        "[" * 100_000,
        "[]",
        json.dumps({"scheme": "int3"}),
        json.dumps({"scheme": ["int8"]}),
        json.dumps({**SCHEME, "axis": 1}),
        json.dumps({**SCHEME, "suffix": ""}),
        json.dumps({**SCHEME, "suffix": "_zero"}),
        json.dumps({**SCHEME, "dtypes": {"v": "float32"}}),
        json.dumps({**SCHEME, "dtypes": {"w": "load"}}),
        json.dumps({**SCHEME, "dtypes": {"w_scale": "float32"}}),
        json.dumps({**SCHEME, "dtypes": ["w"]}),
    ],
)
def test_schemes_that_lie(scheme, tmp_path):
    """What the metadata say about the integers has to fit the tensors."""
    with pytest.raises(FormatError, match="cannot load"):
        load(quantized(tmp_path / "x", scheme))


def test_scales_of_another_shape(tmp_path):
    """One scale for two rows is no scale."""
    entries = {"w": {**INT8["w"], "shape": [8]}, "w_scale": INT8["w_scale"]}
    with pytest.raises(FormatError, match="do not fit"):
        load(quantized(tmp_path / "x", json.dumps(SCHEME), entries))


def test_a_checkpoint_stays_a_checkpoint(tmp_path):
    """A file of a container that ckptd inspects is never read as safetensors."""
    path = tmp_path / "x.safetensors"
    torch.save({"w": torch.ones(2)}, path)
    assert torch.equal(load(path)["w"], torch.ones(2))
    path.write_text('{"json": "text that is longer than eight bytes"}')
    with pytest.raises(FormatError, match="JSON"):
        load(path)


@settings(deadline=None, max_examples=150)
@given(position=st.integers(0, 400), value=st.integers(0, 255), cut=st.one_of(st.none(), st.integers(0, 400)))
def test_any_damage(position, value, cut, tmp_path_factory):
    """A file with a changed byte, or cut anywhere, loads or is an error of ours; where the library refuses, so do we."""
    path = tmp_path_factory.mktemp("damage") / "x.safetensors"
    safetensors.torch.save_file({name: STATE[name] for name in ("weight", "half", "flags")}, path, metadata={"format": "pt"})
    raw = bytearray(path.read_bytes())
    raw[position % len(raw)] = value
    path.write_bytes(raw[:cut])
    try:
        loaded = load(path)
    except (FormatError, StorageError):
        return
    assert safetensors.torch.load_file(path).keys() <= loaded.keys()


@settings(deadline=None, max_examples=50)
@given(names=st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=20), unique=True, max_size=5), data=st.data())
def test_headers_come_back(names, data):
    """What `make_header` writes, `read_header` and the library read."""
    names = [name for name in names if name != "__metadata__"]
    entries, at = [], 0
    for name in names:
        word = data.draw(st.sampled_from(sorted(set(WORD_OF.values()))))
        shape = tuple(data.draw(st.lists(st.integers(0, 3), max_size=3)))
        from ckptd.loading.safetensors_header import WORDS, Entry

        size = WORDS[word].item_bytes * torch.Size(shape).numel()
        entries.append(Entry(name, word, shape, at, at + size))
        at += size
    raw = make_header(entries, {"format": "pt"}) + bytes(at)
    header = read_header(lambda offset, length: raw[offset : offset + length], len(raw))
    assert sorted(header.entries) == sorted(entries)
    assert dict(header.metadata) == {"format": "pt"}
    assert {name for name, _ in safetensors.deserialize(raw)} == set(names)
