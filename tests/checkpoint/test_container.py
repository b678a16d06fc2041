"""Containers are told by their bytes; a file that may still be written to is told from one that is whole."""

from __future__ import annotations

import io
import os
import struct
import tarfile
from pathlib import Path

import pytest
import torch

from ckptd.checkpoint.container import looks_complete
from ckptd.model import Container, Status
from tests.corpus import asm, oldforms, savers, zips
from tests.fuzz.probe import inspect_bytes


def _complete(data: bytes) -> bool:
    fd = os.memfd_create("x")
    try:
        os.write(fd, data)
        return looks_complete(fd, len(data))
    finally:
        os.close(fd)


def _saved(save, tmp_path: Path) -> bytes:
    path = tmp_path / "x.pth"
    save(path)
    return path.read_bytes()


def test_a_zip_is_complete_with_its_end(tmp_path):
    """No beginning of a zip looks complete, the whole does."""
    whole = _saved(lambda path: torch.save({"w": torch.ones(300)}, path), tmp_path)
    assert _complete(whole)
    assert not [end for end in range(1, len(whole)) if _complete(whole[:end])]


def test_a_tar_is_complete_with_its_last_record(tmp_path):
    """No beginning of a tar looks complete, the whole does."""
    whole = _saved(savers.save_tar, tmp_path)
    assert _complete(whole)
    assert not [end for end in range(512, len(whole), 64) if _complete(whole[:end])]


def test_a_pickle_is_complete_with_its_stop(tmp_path):
    """A plain pickle ends with STOP; the legacy container shows no end, and strangers need none."""
    whole = _saved(lambda path: savers.save_plain_pickle({"a": 1}, path), tmp_path)
    assert _complete(whole)
    assert not _complete(whole[:-1])
    assert _complete(_saved(lambda path: savers.save_legacy({"w": torch.ones(3)}, path), tmp_path)[:-5])
    assert _complete(b"some text")


@pytest.mark.parametrize("data", [b"", b"\0" * 5_000, b"PK", b"PK\x03\x04"])
def test_what_is_still_to_be_written(data):
    """Nothing, zeros and a first header are beginnings."""
    assert not _complete(data)


@pytest.mark.parametrize("name", ["model.zip", "model.tar", "x.json", "weights.h5"])
def test_the_name_says_nothing(name, tmp_path):
    """A container is what its bytes are, whatever the file is called."""
    torch.save({"w": torch.ones(1)}, tmp_path / name)
    assert inspect_bytes((tmp_path / name).read_bytes(), name).container is Container.ZIP


def _tar_with(**changes: object) -> bytes:
    whole = oldforms.tar(asm.program(asm.mapping({"w": oldforms.tar_tensor()})))
    out = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(whole)) as old, tarfile.open(fileobj=out, mode="w:", format=tarfile.PAX_FORMAT) as new:
        for member in old.getmembers():
            content = old.extractfile(member).read()
            if member.name == "pickle":
                for field, value in changes.items():
                    setattr(member, field, value)
            new.addfile(member, io.BytesIO(content))
    return out.getvalue()


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({}, Status.OK),
        ({"mtime": 12.5}, Status.OK),  # Python writes a PAX header for it
        ({"uname": "a" * 40}, Status.OK),
        ({"name": "./pickle"}, Status.DAMAGED),
        ({"name": "p" * 150}, Status.DAMAGED),
        ({"type": tarfile.SYMTYPE, "linkname": "/etc/passwd", "size": 0}, Status.DAMAGED),
        ({"pax_headers": {"path": "evil"}}, Status.DAMAGED),
    ],
)
def test_a_tar_holds_four_plain_files(changes, status):
    """Times and owners may vary; names, links and headers that rename may not."""
    found = inspect_bytes(_tar_with(**changes))
    assert found.status is status or (status is Status.DAMAGED and found.status is Status.UNSAFE), found.findings


@pytest.mark.parametrize("at", [0, 110, 124, 148, 156, 257, 500])
def test_a_flip_in_a_tar_header_is_seen(at):
    """The header's own checksum finds it; where it lies in no reader's way it is damage all the same."""
    whole = bytearray(_tar_with())
    whole[at] ^= 4
    assert inspect_bytes(bytes(whole)).status is not Status.OK


def test_the_parts_of_a_legacy_file_agree():
    """Keys, sizes and the end of a legacy file are checked against the object; each lie is another finding."""
    body = asm.program(asm.mapping({"w": oldforms.legacy_tensor()}))
    good = struct.pack("<4f", 1, 2, 3, 4)
    cases = {
        "storage-unreferenced": oldforms.legacy(body, {"0": (4, good), "9": (4, good)}),
        "storage-size-mismatch": oldforms.legacy(body, {"0": (3, good)}),
        "truncated": oldforms.legacy(body)[:-1],
        "trailing-bytes": oldforms.legacy(body) + b"\0",
        "storage-missing": oldforms.legacy(body, {}),
    }
    assert inspect_bytes(oldforms.legacy(body)).status is Status.OK
    for code, data in cases.items():
        found = inspect_bytes(data)
        assert code in {finding.code for finding in found.findings}, code
        assert found.status in (Status.DAMAGED, Status.UNSAFE)


def test_records_of_a_zip_say_what_torch_writes():
    """A version or byte order that torch would stumble over is a finding, CRC or not."""
    members = zips.records(asm.program(asm.state_dict()))
    for name, said in (
        ("version", b"three\n"),
        ("byteorder", b"middle"),
        (".format_version", b"x"),
        (".storage_alignment", b"-1"),
    ):
        if not any(member.name.endswith(b"/" + name.encode()) for member in members):
            members = [*members, zips.Member(b"archive/" + name.encode(), said)]
            data = zips.make_zip(members)
            members = members[:-1]
        else:
            data = zips.make_zip([zips.Member(m.name, said) if m.name.endswith(b"/" + name.encode()) else m for m in members])
        assert "bad-record" in {finding.code for finding in inspect_bytes(data).findings}, name


def test_a_pickle_of_one_number_is_no_checkpoint():
    """A pickle that holds nothing but a number or a text is named for that."""
    import pickle

    assert inspect_bytes(pickle.dumps(42)).status is Status.NOT_A_CHECKPOINT
    assert inspect_bytes(pickle.dumps({"a": 42}, 4)).status is Status.OK


def test_a_storage_of_a_program_is_not_compressed(tmp_path):
    """Only code is, so that a storage which says so of itself is a finding, and no bytes are taken for its values."""
    whole = bytearray(_saved(savers.save_traced, tmp_path))
    for mark, method in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        at = whole.index(b"/data/0", whole.index(mark))
        whole[whole.rindex(mark, 0, at) + method] = 8
    found = inspect_bytes(bytes(whole))
    assert found.status in (Status.DAMAGED, Status.UNSAFE)
    assert "compressed-member" in {finding.code for finding in found.findings}, found.findings
