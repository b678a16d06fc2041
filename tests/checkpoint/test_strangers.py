"""A file that is no checkpoint is called by its name, so that its owner knows what happened."""

from __future__ import annotations

import json
import struct
import zipfile

import pytest

from ckptd.checkpoint.strangers import name_stranger
from ckptd.model import Status
from tests.fuzz.probe import inspect_bytes

_HEADER = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (b"", "an empty file"),
        (b"\0" * 5_000, "a file of zeros"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "a git-LFS pointer"),
        (b'{"accuracy": 0.9}', "JSON"),
        (b"[1, 2]", "JSON"),
        (b"  <!DOCTYPE html><title>Sign in</title>", "an HTML page"),
        (b'<?xml version="1.0"?><Error/>', "an XML document"),
        (struct.pack("<Q", len(_HEADER)) + _HEADER + b"\0\0\0\0", "a safetensors file"),
        (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
        (b"\x1f\x8b\x08", "gzip-compressed data"),
        (b"GGUF\x03\0\0\0", "a GGUF model"),
        (b"SQLite format 3\0", "an SQLite database"),
        (b"#!/bin/sh\n", "a script"),
        ("Grüße\n".encode(), "text"),
        (b"\x01\x02\x03\x04", "a format that ckptd does not know"),
    ],
)
def test_each_is_named(data, named):
    """By marks first, by a question to text then."""
    found = inspect_bytes(data)
    assert found.status is Status.NOT_A_CHECKPOINT
    assert named in found.findings[0].message
    assert (found.kind, found.tensors.count) == (None, 0)


def test_text_that_is_cut_in_a_character_is_text():
    """Only the beginning of a file is looked at, and it may end inside of a character."""
    assert name_stranger("é".encode() * 2_048 + "é".encode()[:1], 9_999) == "text"
    assert name_stranger(b"abc\xff\xfeabc", 8) != "text"


@pytest.mark.parametrize(
    ("members", "named"),
    [
        ({"arr_0.npy": b""}, "numpy archive"),
        ({"m/archive_format": b"pt2", "m/archive_version": b"0"}, ".pt2"),
        ({"config.json": b"{}", "model.weights.h5": b""}, "Keras"),
        ({"mimetype": b"application/epub"}, "office"),
        ({"notes\x1b[2J.txt": b""}, "notes\\x1b[2J.txt"),
    ],
)
def test_other_zips_are_named(members, named, tmp_path):
    """A zip that torch.save did not write says what it holds, escaped."""
    with zipfile.ZipFile(tmp_path / "x.pth", "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    found = inspect_bytes((tmp_path / "x.pth").read_bytes())
    assert found.status is Status.NOT_A_CHECKPOINT
    assert named in found.findings[0].message
