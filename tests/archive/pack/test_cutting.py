"""Files are cut where their storages lie, and every byte of them belongs to exactly one piece."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ckptd.archive.pack.cutting import Piece, Span, _apart, cut
from ckptd.archive.pack.sizes import LONGEST_STRETCH_BYTES, PIECE_BYTES, SMALLEST_OBJECT_BYTES
from tests.archive.pack.packing import make_bytes, make_numbers
from tests.corpus import good, hostile_tensors, hostile_zips


def _cut(path: Path) -> list[Piece]:
    fd = os.open(path, os.O_RDONLY)
    try:
        return list(cut(fd, path.stat().st_size))
    finally:
        os.close(fd)


def _objects(path: Path) -> list[bytes]:
    """Give the bytes of the pieces that are objects."""
    data, at, found = path.read_bytes(), 0, []
    for piece in _cut(path):
        if piece.is_object:
            found.append(data[at : at + piece.length])
        at += piece.length
    assert at == len(data)
    return found


def _tensors():
    import torch

    return {str(number): torch.frombuffer(bytearray(make_numbers(number, 3_000)), dtype=torch.float32) for number in range(4)}


@pytest.mark.parametrize("way", ["zip", "legacy", "safetensors", "numpy"])
def test_each_tensor_is_an_object(tmp_path: Path, way: str) -> None:
    """In the containers of torch, in safetensors, and in any zip that stores its members."""
    import numpy as np
    import torch
    from safetensors.torch import save_file

    path = tmp_path / "file"
    tensors = _tensors()
    match way:
        case "zip" | "legacy":
            torch.save(tensors, path, _use_new_zipfile_serialization=way == "zip")
        case "safetensors":
            save_file(tensors, path)
        case "numpy":
            with path.open("wb") as file:
                np.savez(file, **{key: tensor.numpy() for key, tensor in tensors.items()})
    found = _objects(path)
    wanted = [make_numbers(number, 3_000) for number in range(4)]
    assert len(found) == 4
    for one, bytes_ in zip(sorted(found), sorted(wanted), strict=True):
        # A member of an .npz begins with 128 bytes of head.
        assert one in (bytes_, one[:128] + bytes_)


def test_old_tar_is_cut(tmp_path: Path) -> None:
    """Its storages are small in the corpus, so they are found and not worth an object."""
    from ckptd.archive.pack import cutting

    (case,) = (case for case in good.cases() if case.name == "old-tar")
    path = case.write(tmp_path)
    fd = os.open(path, os.O_RDONLY)
    try:
        assert cutting._find_storages(fd, path.stat().st_size) == [(3632, 24), (3698, 16)]
    finally:
        os.close(fd)


def test_large_storages_are_cut_at_fixed_places(tmp_path: Path) -> None:
    """Two files whose storage begins at different offsets have the same pieces."""
    import torch

    storage = torch.frombuffer(bytearray(make_bytes(1, 2 * PIECE_BYTES + 5_000)), dtype=torch.uint8)
    torch.save({"a": storage}, tmp_path / "1")
    torch.save({"some more": torch.zeros(10_000), "a": storage}, tmp_path / "2")
    first, second = _objects(tmp_path / "1"), _objects(tmp_path / "2")
    assert [len(piece) for piece in first] == [PIECE_BYTES, PIECE_BYTES, 5_000]
    assert set(first) < set(second)


def test_small_things_stay_in_the_skeleton(tmp_path: Path) -> None:
    import torch

    torch.save(
        {"bias": torch.zeros(SMALLEST_OBJECT_BYTES // 4 - 1), "weight": torch.zeros(SMALLEST_OBJECT_BYTES // 4)}, tmp_path / "1"
    )
    assert [len(piece) for piece in _objects(tmp_path / "1")] == [SMALLEST_OBJECT_BYTES]


@pytest.mark.parametrize("length", [0, 1, LONGEST_STRETCH_BYTES, LONGEST_STRETCH_BYTES + 1, PIECE_BYTES, PIECE_BYTES + 1])
def test_what_is_no_checkpoint_is_cut_by_length(tmp_path: Path, length: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(make_bytes(1, length))
    pieces = _cut(path)
    assert sum(piece.length for piece in pieces) == length
    assert all(piece.is_object == (length > LONGEST_STRETCH_BYTES) for piece in pieces)
    assert len(pieces) == -(-length // PIECE_BYTES)


def test_hostile_checkpoints_are_cut_somehow(tmp_path: Path) -> None:
    """Whatever is in them: the pieces are the whole file."""
    for case in (*hostile_zips.cases(), *hostile_tensors.cases()):
        path = case.write(tmp_path)
        if path.is_file() and path.stat().st_size < 50_000_000:
            assert sum(piece.length for piece in _cut(path)) == path.stat().st_size, case.name
            path.unlink()


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(0, 60_000), st.integers(0, 30_000))), st.integers(0, 60_000))
def test_spans_never_overlap_nor_lead_out(spans: list[tuple[int, int]], size: int) -> None:
    at = 0
    for span in _apart([Span(*span) for span in spans], size):
        assert span.offset >= at
        assert span.length >= SMALLEST_OBJECT_BYTES
        at = span.offset + span.length
    assert at <= size
