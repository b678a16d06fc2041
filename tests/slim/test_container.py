"""The zip around a smaller checkpoint, held against what torch writes and what others read."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path

import pytest
from isal.isal_zlib import crc32

from ckptd.checkpoint.contents import Span
from ckptd.checkpoint.reader import read_structure
from ckptd.slim.container import plan_zip, serialization_id
from ckptd.slim.writing import Draft
from tests.corpus import asm

_BIG = 2**32 + 100


def test_every_byte_is_what_torch_writes():
    """Given the records of a file that torch.save wrote, the same file comes out, padding and end records included."""
    import torch

    held = io.BytesIO()
    torch.save({"a": torch.arange(5.0), "none": torch.zeros(0), "b": torch.ones(100, dtype=torch.uint8), "c": "x" * 999}, held)
    archive = zipfile.ZipFile(held)
    records = {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}
    plan = plan_zip([(name, len(raw)) for name, raw in records.items()])
    out = bytearray(plan.size)
    for slot in plan.slots:
        raw = records[slot.name]
        out[slot.header : slot.end] = slot.local_header() + raw + slot.descriptor(crc32(raw))
    out[plan.directory :] = plan.ending([crc32(raw) for raw in records.values()])
    assert bytes(out) == held.getvalue()


def _write_sparse(path: Path, records: dict[str, int], small: dict[str, bytes]) -> list[tuple[int, int]]:
    """Write records of zeros as holes; give offset and size of each, as the plan has them."""
    plan = plan_zip(records.items())
    zeros, crcs = bytes(1 << 20), []
    with path.open("wb") as file:
        for slot in plan.slots:
            raw, crc = small.get(slot.name), 0
            file.seek(slot.header)
            file.write(slot.local_header() + (raw or b""))
            if raw is None and slot.size < 1 << 20:
                crc = crc32(zeros[: slot.size])
            crcs.append(crc32(raw) if raw is not None else crc)
            file.seek(slot.offset + slot.size)
            file.write(slot.descriptor(crcs[-1]))
        file.seek(plan.directory)
        file.write(plan.ending(crcs))
    assert path.stat().st_size == plan.size
    return [(slot.offset, slot.size) for slot in plan.slots]


def test_beyond_four_gigabytes(tmp_path):
    """A storage of more than 4 GiB, one behind it, and the directory behind both are found by torch, Python and the reader."""
    import torch

    def tensor(key: str, length: int) -> bytes:
        return asm.tensor(asm.storage(key, length, "ByteStorage"), size=(length,), stride=(1,))

    pickled = asm.program(asm.mapping({"big": tensor("0", _BIG), "small": tensor("1", 16)}))
    records = {"data.pkl": len(pickled), ".format_version": 1, "data/0": _BIG, "data/1": 16, "version": 2}
    small = {"data.pkl": pickled, ".format_version": b"1", "data/1": bytes(range(16)), "version": b"3\n"}
    path = tmp_path / "big.pth"
    places = _write_sparse(path, records, small)
    assert all(offset % 64 == 0 for offset, _ in places)
    fd = os.open(path, os.O_RDONLY)
    try:
        structure = read_structure(fd)
    finally:
        os.close(fd)
    assert structure.status == "ok", structure.findings
    assert [(span.offset, span.length) for span in structure.storages.values()] == places[2:4]
    assert zipfile.ZipFile(path).read("archive/data/1") == bytes(range(16))
    loaded = torch.load(path, mmap=True)
    assert loaded["small"].tolist() == list(range(16))
    assert len(loaded["big"]) == _BIG
    assert loaded["big"][-1] == 0


@pytest.mark.parametrize("size", [2**32 - 2, 2**32 - 1, 2**32])
def test_at_the_edge_of_four_gigabytes(tmp_path, size):
    """The first size that does not fit into 32 bits, and its neighbours, are told in a way that the reader believes."""
    pickled = asm.program(asm.mapping({"big": asm.tensor(asm.storage("0", size, "ByteStorage"), size=(size,), stride=(1,))}))
    path = tmp_path / "edge.pth"
    _write_sparse(path, {"data.pkl": len(pickled), "data/0": size, "version": 2}, {"data.pkl": pickled, "version": b"3\n"})
    fd = os.open(path, os.O_RDONLY)
    try:
        structure = read_structure(fd)
    finally:
        os.close(fd)
    assert structure.status == "ok", structure.findings
    assert structure.storages["0"].length == size


def test_the_id_tells_contents_apart():
    """Forty digits out of names and CRCs, the same each time."""
    one = serialization_id([("data.pkl", 1), ("data/0", 2)])
    assert one == serialization_id([("data.pkl", 1), ("data/0", 2)])
    assert len(one) == 40
    assert one.isdigit()
    assert one != serialization_id([("data.pkl", 1), ("data/0", 3)])


def test_a_draft_has_the_records_of_torch_in_their_order():
    """Object, version of the format, alignment, byte order, storages, version, id."""
    plan = Draft(b"x" * 99, [Span(0, 8, None), Span(8, 0, None)], "little").plan()
    names = "data.pkl .format_version .storage_alignment byteorder data/0 data/1 version .data/serialization_id".split()
    assert [slot.name for slot in plan.slots] == names
