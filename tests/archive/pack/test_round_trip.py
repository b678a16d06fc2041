"""What goes in comes out, bit for bit, whatever it is."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from ckptd.archive.interface import ArchiveError
from ckptd.archive.pack import sizes
from tests.archive.pack.packing import PACK, make_bytes, make_numbers, member, nothing, object_files, pack, restored, verify
from tests.corpus import good


def test_every_good_checkpoint_comes_back(archives: int, tmp_path: Path, scratch: Path) -> None:
    """Every container and every kind of object that the corpus has."""
    files = tmp_path / "files"
    files.mkdir()
    paths = [case.write(files) for case in good.cases()]
    pack(archives, "a.pack", paths)
    found = verify(archives, "a.pack")
    assert found.is_whole
    assert found.good == tuple(path.name for path in paths)
    for path in paths[::7]:  # by the same way as verification went, so some will do
        assert restored(archives, "a.pack", path.name, scratch) == path.read_bytes()


def _strange(directory: Path) -> list[Path]:
    weights = make_numbers(1, 30_000)
    contents = {
        "empty": b"",
        "one": b"x",
        "zeros": bytes(100_000),
        "noise": make_bytes(2, 100_000),
        "sidecar.json": json.dumps({"accuracy": 0.9}).encode(),
        "numbers": weights,
        "piece": make_bytes(3, sizes.PIECE_BYTES),
        "piece and one": make_bytes(3, sizes.PIECE_BYTES) + b"x",
        "stretch": make_bytes(4, sizes.LONGEST_STRETCH_BYTES),
        "stretch and one": make_bytes(4, sizes.LONGEST_STRETCH_BYTES) + b"x",
        "zip that is none": b"PK\x03\x04" + make_bytes(5, 10_000),
        "pickle that is none": b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02" + make_bytes(6, 10_000),
        "safetensors that is none": (5).to_bytes(8, "little") + b"{}   " + make_bytes(7, 10_000),
    }
    for name, data in contents.items():
        (directory / name).write_bytes(data)
    return [directory / name for name in contents]


def test_anything_comes_back(archives: int, tmp_path: Path, scratch: Path) -> None:
    """Files that are no checkpoints: nothing, one byte, noise, zeros, and what only begins like one."""
    paths = _strange(tmp_path)
    pack(archives, "a.pack", paths)
    assert verify(archives, "a.pack").is_whole
    for path in paths:
        assert restored(archives, "a.pack", path.name, scratch) == path.read_bytes(), path.name


@pytest.mark.parametrize("damage", ["cut", "flipped", "inserted", "doubled"])
def test_damaged_checkpoints_come_back_as_damaged_as_they_were(
    archives: int, tmp_path: Path, scratch: Path, zipped, damage: str
) -> None:
    """An archive keeps what it is given and mends nothing."""
    data = bytearray(zipped("good.pth", {"a": 1, "b": 2}).read_bytes())
    match damage:
        case "cut":
            del data[len(data) // 2 :]
        case "flipped":
            data[-10] ^= 1
        case "inserted":
            data[100:100] = b"?"
        case "doubled":
            data += bytes(data)
    path = tmp_path / "bad.pth"
    path.write_bytes(data)
    pack(archives, "a.pack", [path])
    assert verify(archives, "a.pack").is_whole
    assert restored(archives, "a.pack", "bad.pth", scratch) == data


def test_many_pieces_and_a_long_skeleton(archives: int, tmp_path: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With small pieces a skeleton fills several objects, and more objects wait than there are buffers."""
    for module in ("reading", "cutting", "table", "rebuilding"):
        monkeypatch.setattr(f"ckptd.archive.pack.{module}.PIECE_BYTES", 8192)
    monkeypatch.setattr("ckptd.archive.pack.cutting.LONGEST_STRETCH_BYTES", 8192)
    import torch

    state = {f"{number}": torch.arange(number * 37, number * 37 + 900 + number * 40) for number in range(150)}
    path = tmp_path / "many.pth"
    torch.save(state, path)
    pack(archives, "a.pack", [path])
    assert verify(archives, "a.pack").is_whole
    assert restored(archives, "a.pack", "many.pth", scratch) == path.read_bytes()


def test_manifest_says_what_was_given(archives: int, tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"some bytes")
    given = member(path, "runs/ä/best.pth")
    receipt = PACK.write(archives, "a.pack", [given], now=5.0, free_bytes=0, progress=nothing)
    found = PACK.read_manifest(archives, "a.pack")
    assert found == receipt.manifest
    (entry,) = found.entries
    assert (entry.name, entry.what, entry.size_bytes, entry.sha256) == (given.name, given.what, given.size_bytes, given.sha256)
    assert (entry.mtime_ns, entry.mode, entry.facts) == (given.mtime_ns, given.mode, given.facts)
    assert (found.format, found.created_at) == ("pack", 5.0)


def test_receipt_counts_the_archive_and_its_objects(archives: int, home: Path, tmp_path: Path) -> None:
    import hashlib

    path = tmp_path / "a.bin"
    path.write_bytes(make_bytes(1, 50_000))
    receipt = pack(archives, "a.pack", [path])
    files = [home / "a.pack", *object_files(home)]
    assert receipt.size_bytes == sum(file.stat().st_size for file in files)
    assert receipt.sha256 == hashlib.sha256((home / "a.pack").read_bytes()).hexdigest()


def test_progress_counts_every_byte(archives: int, tmp_path: Path) -> None:
    """Whoever watches sees numbers that grow up to the size of all members, when it is written and when it is verified."""
    paths = _strange(tmp_path)
    total = sum(path.stat().st_size for path in paths)
    for call in (
        lambda told: pack(archives, "a.pack", paths, progress=told),
        lambda told: PACK.verify(archives, "a.pack", told),
    ):
        seen: list[int] = []
        call(seen.append)
        assert seen == sorted(seen)
        assert seen[-1] == total


def test_member_that_is_not_there(archives: int, tmp_path: Path, scratch: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"x")
    pack(archives, "a.pack", [path])
    with pytest.raises(ArchiveError, match=r"holds no 'b\.bin'"):
        restored(archives, "a.pack", "b.bin", scratch)


def test_one_member_is_restored_without_the_others(archives: int, home: Path, tmp_path: Path, scratch: Path) -> None:
    """What the other members need may be gone: zeros stand where their objects were."""
    paths = []
    for number in range(10):
        paths.append(tmp_path / f"{number}.bin")
        paths[-1].write_bytes(make_bytes(number, 30_000))
    pack(archives, "a.pack", paths)
    (file,) = object_files(home)
    data = file.read_bytes()
    wanted = data.index(make_bytes(4, 30_000))
    file.write_bytes(data[:32] + bytes(wanted - 32) + data[wanted : wanted + 30_000] + bytes(len(data) - wanted - 30_000))
    assert restored(archives, "a.pack", "4.bin", scratch) == paths[4].read_bytes()
    assert verify(archives, "a.pack").good == ("4.bin",)


def test_what_is_larger_than_the_disk_is_refused_at_once(archives: int, tmp_path: Path, scratch: Path) -> None:
    """An archive may say that a member has a petabyte; nothing is written then."""
    from ckptd.archive.pack.restoring import _check_room

    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        with pytest.raises(ArchiveError, match="more than are free"):
            _check_room(fd, 1 << 60)
    finally:
        os.close(fd)
