"""Equal storages are stored once, in one archive and over all archives of a directory; only what is still right is shared."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from isal.isal_zlib import crc32

from ckptd.archive.interface import ArchiveError
from ckptd.archive.pack import known
from ckptd.archive.pack.format import collect_garbage
from ckptd.archive.pack.opening import read_archive
from ckptd.archive.pack.table import Objects, Place, make_block, pack_place, pack_recipe
from tests.archive.pack.packing import make_bytes, make_numbers, object_files, pack, restored, verify


def _stored(home: Path) -> int:
    return sum(path.stat().st_size for path in object_files(home))


def test_frozen_backbone_is_stored_once(archives: int, home: Path, zipped) -> None:
    """Of five checkpoints that differ in their head, an archive holds one backbone and five heads."""
    series = [zipped(f"epoch{number}.pth", {"backbone": 1, "head": 100 + number}) for number in range(5)]
    receipt = pack(archives, "a.pack", series)
    once = _stored(home)
    pack(archives, "b.pack", [zipped("alone.pth", {"backbone": 7, "head": 8})])
    alone = _stored(home) - once
    assert once < 3.2 * alone
    assert receipt.size_bytes < 3.4 * alone


def test_equal_storages_in_other_places_and_containers_are_found(archives: int, home: Path, tmp_path: Path) -> None:
    """The same weights as zip, as legacy file and as safetensors, the last with another order: three files, one copy."""
    import torch
    from safetensors.torch import save_file

    tensors = {key: torch.frombuffer(bytearray(make_numbers(ord(key), 20_000)), dtype=torch.float32) for key in "abc"}
    torch.save(tensors, tmp_path / "new.pth")
    torch.save(tensors, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    save_file(dict(reversed(tensors.items())), tmp_path / "export.safetensors")
    pack(archives, "a.pack", [tmp_path / "new.pth"])
    once = _stored(home)
    pack(archives, "b.pack", [tmp_path / "old.pth", tmp_path / "export.safetensors"])
    assert _stored(home) < once + 4_000


def test_later_archive_uses_the_objects_of_earlier_ones(archives: int, home: Path, zipped, scratch: Path) -> None:
    first, second = zipped("1.pth", {"a": 1, "b": 2}), zipped("2.pth", {"a": 1, "b": 3})
    pack(archives, "a.pack", [first])
    before = _stored(home)
    receipt = pack(archives, "b.pack", [second])
    assert _stored(home) - before < 0.6 * before
    assert receipt.size_bytes < 0.7 * before
    for name, path in (("a.pack", first), ("b.pack", second)):
        assert verify(archives, name).is_whole
        assert restored(archives, name, path.name, scratch) == path.read_bytes()


def test_archive_of_known_objects_only_has_no_object_file(archives: int, home: Path, zipped) -> None:
    path = zipped("1.pth", {"a": 1})
    pack(archives, "a.pack", [path])
    pack(archives, "b.pack", [path])
    assert len(object_files(home)) == 1
    assert verify(archives, "b.pack").is_whole


def _rot(path: Path, *, at: float) -> None:
    data = bytearray(path.read_bytes())
    data[int(len(data) * at)] ^= 0x10
    path.write_bytes(data)


@pytest.mark.parametrize("harm", ["rotten", "cut", "gone", "other"])
def test_bad_object_is_never_used_again(archives: int, home: Path, zipped, scratch: Path, harm: str) -> None:
    """A new archive of a file whose objects went bad in an earlier archive holds them anew, and is whole."""
    path = zipped("1.pth", {"a": 1})
    pack(archives, "a.pack", [path])
    (file,) = object_files(home)
    match harm:
        case "rotten":
            _rot(file, at=0.5)
        case "cut":
            os.truncate(file, file.stat().st_size // 2)
        case "gone":
            file.unlink()
        case "other":
            file.write_bytes(make_bytes(1, file.stat().st_size))
    pack(archives, "b.pack", [path])
    assert not verify(archives, "a.pack").is_whole
    assert verify(archives, "b.pack").is_whole
    assert restored(archives, "b.pack", "1.pth", scratch) == path.read_bytes()


def test_lying_object_is_never_used_again(archives: int, home: Path, tmp_path: Path) -> None:
    """An object whose CRC is right and whose bytes are not those of its digest: it is compared, byte for byte."""
    path = tmp_path / "a.bin"
    path.write_bytes(make_bytes(1, 30_000))
    pack(archives, "a.pack", [path])
    (file,) = object_files(home)
    _lie(home / "a.pack", file)
    pack(archives, "b.pack", [path])
    assert verify(archives, "b.pack").is_whole


def _lie(archive: Path, file: Path) -> None:
    """Change a stored object and let the archive say that its CRC is right."""
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with archive.open("rb") as opened:
        table = read_archive(opened.fileno()).table
    (place,) = table.objects
    changed = place._replace(crc=crc32(data[place.offset :]))
    recipes = [pack_recipe(bytes(recipe.skeleton_bytes), bytes(recipe.run_bytes)) for recipe in table.recipes]
    block = make_block(table.manifest, table.objects.files, pack_place(changed), recipes)
    archive.write_bytes(block * 2)
    assert "differ" in verify_lost(archive)


def verify_lost(archive: Path) -> str:
    fd = os.open(archive.parent, os.O_RDONLY)
    try:
        return verify(fd, archive.name).lost[0].why
    finally:
        os.close(fd)


def test_unreadable_archive_only_shares_nothing(archives: int, home: Path, zipped) -> None:
    """It is no reason to write no new archive."""
    path = zipped("1.pth", {"a": 1})
    pack(archives, "a.pack", [path])
    (home / "a.pack").write_bytes(b"rubbish")
    pack(archives, "b.pack", [path])
    assert len(object_files(home)) == 2
    assert verify(archives, "b.pack").is_whole


def test_no_more_is_known_than_memory_allows(
    archives: int, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond a number of objects the oldest archives are not looked through; what they have is stored once more."""
    for number, name in enumerate(("old", "new")):
        (tmp_path / name).write_bytes(make_bytes(number, 20_000))
        pack(archives, f"{number}.pack", [tmp_path / name])
    monkeypatch.setattr(known, "_MOST_KNOWN", 1)
    before = _stored(home)
    pack(archives, "2.pack", [tmp_path / "new"])
    assert _stored(home) == before
    pack(archives, "3.pack", [tmp_path / "old"])
    assert _stored(home) > before + 20_000


def test_known_objects_are_found_by_all_of_their_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two digests that begin alike are two objects; and what is beyond the limit is not known at all."""
    places = [Place(bytes(16) + bytes([number]) * 16, 0, 32, 1, 1, 0, 0) for number in range(2)]
    places.append(Place(bytes([9]) * 32, 0, 32, 1, 1, 0, 0))
    listed = Objects([b"i" * 16], memoryview(b"".join(map(pack_place, places))))
    found = known.Known()
    found.add(listed)
    assert found.find(places[0].sha256) == (b"i" * 16, places[0])
    assert found.find(places[1].sha256) is None
    assert found.find(places[2].sha256) == (b"i" * 16, places[2])
    monkeypatch.setattr(known, "_MOST_KNOWN", 1)
    less = known.Known()
    less.add(listed)
    assert len(less) == 1


def test_two_writers_are_refused(archives: int, home: Path, tmp_path: Path) -> None:
    """Nor is anything collected while somebody writes: what he shares might go."""
    path = tmp_path / "a.bin"
    path.write_bytes(b"x" * 10_000)
    said: list[str] = []

    def meddle(_done: int) -> None:
        for call in (lambda: pack(other, "b.pack", [path]), lambda: collect_garbage(other)):
            with pytest.raises(ArchiveError, match="another process") as caught:
                call()
            said.append(str(caught.value))

    other = os.open(home, os.O_RDONLY)
    try:
        pack(archives, "a.pack", [path], progress=meddle)
    finally:
        os.close(other)
    assert len(said) == 2
    assert verify(archives, "a.pack").is_whole
