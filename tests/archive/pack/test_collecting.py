"""What no archive uses any more goes, and nothing else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ckptd.archive.interface import ArchiveError
from ckptd.archive.pack import collecting
from ckptd.archive.pack.format import collect_garbage
from tests.archive.pack.packing import PACK, make_bytes, object_files, pack, restored, verify


def _files(directory: Path, **seeds: int) -> list[Path]:
    for name, seed in seeds.items():
        (directory / name).write_bytes(make_bytes(seed, 60_000))
    return [directory / name for name in seeds]


def _blocks(home: Path) -> int:
    return sum(path.stat().st_blocks * 512 for path in (*object_files(home), *home.glob("*.pack")))


def test_removing_the_only_archive_leaves_nothing(archives: int, home: Path, tmp_path: Path) -> None:
    pack(archives, "a.pack", _files(tmp_path, one=1, two=2))
    held = _blocks(home)
    assert PACK.remove(archives, "a.pack") == held
    assert [path for path in home.rglob("*") if path.is_file()] == []


def test_what_another_archive_uses_stays(archives: int, home: Path, tmp_path: Path, scratch: Path) -> None:
    """The first archive goes, the second needs one of its three objects: the others give their blocks back in place."""
    (one, two, three) = _files(tmp_path, one=1, two=2, three=3)
    pack(archives, "a.pack", [one, two, three])
    pack(archives, "b.pack", [two])
    (shared,) = object_files(home)
    before = _blocks(home)
    freed = PACK.remove(archives, "a.pack")
    assert freed == before - _blocks(home)
    assert freed > 100_000
    assert object_files(home) == [shared]
    assert shared.stat().st_blocks * 512 < 80_000
    assert verify(archives, "b.pack").is_whole
    assert restored(archives, "b.pack", "two", scratch) == two.read_bytes()
    PACK.remove(archives, "b.pack")
    assert object_files(home) == []


def test_without_holes_an_object_file_stays_whole(
    archives: int, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the file system has none, a file goes when nobody uses any of it."""
    monkeypatch.setattr(collecting, "punch", lambda *_hole: False)
    (one, two) = _files(tmp_path, one=1, two=2)
    pack(archives, "a.pack", [one, two])
    pack(archives, "b.pack", [two])
    before = object_files(home)[0].read_bytes()
    PACK.remove(archives, "a.pack")
    assert object_files(home)[0].read_bytes() == before
    PACK.remove(archives, "b.pack")
    assert object_files(home) == []


def test_collection_changes_nothing_where_all_is_used(archives: int, home: Path, tmp_path: Path) -> None:
    pack(archives, "a.pack", _files(tmp_path, one=1, two=2))
    pack(archives, "b.pack", _files(tmp_path, two=2, three=3))
    before = {path: path.read_bytes() for path in object_files(home)}
    assert collect_garbage(archives) == 0
    assert {path: path.read_bytes() for path in object_files(home)} == before


def test_leftovers_of_a_killed_writer_go(archives: int, home: Path, tmp_path: Path) -> None:
    """Half-written files have a hidden name; object files that no archive names were written by one that died before it."""
    pack(archives, "a.pack", _files(tmp_path, one=1))
    (home / "pack" / ".ckptd-0123456789abcdef.tmp").write_bytes(b"x" * 5_000)
    (home / "pack" / f"{'ab' * 16}.objects").write_bytes(b"y" * 5_000)
    (home / "pack" / "a note of somebody").write_text("mine")
    assert collect_garbage(archives) >= 10_000
    assert len(object_files(home)) == 1
    assert (home / "pack" / "a note of somebody").exists()
    assert not (home / "pack" / ".ckptd-0123456789abcdef.tmp").exists()
    assert verify(archives, "a.pack").is_whole


def test_archive_that_was_never_named_stops_nothing(archives: int, home: Path, tmp_path: Path) -> None:
    """Where files can't be without a name, a kill leaves the beginning of one under a hidden name; nobody refers to that."""
    pack(archives, "a.pack", _files(tmp_path, one=1))
    (home / ".ckptd-0123456789abcdef.tmp").write_bytes((home / "a.pack").read_bytes()[:100])
    assert collect_garbage(archives) == 0
    assert verify(archives, "a.pack").is_whole


@pytest.mark.parametrize("name", ["b.pack", "renamed by somebody"])
def test_archive_that_cannot_be_read_stops_the_collection(archives: int, home: Path, tmp_path: Path, name: str) -> None:
    """It might use anything; the message says which one it is, and nothing is removed, the archive neither."""
    pack(archives, "a.pack", _files(tmp_path, one=1))
    pack(archives, "b.pack", _files(tmp_path, two=2))
    data = bytearray((home / "b.pack").read_bytes())
    data[100] ^= 1
    data[100 + len(data) // 2] ^= 1
    (home / "b.pack").unlink()
    (home / name).write_bytes(data)
    before = object_files(home)
    for call in (lambda: collect_garbage(archives), lambda: PACK.remove(archives, "a.pack")):
        with pytest.raises(ArchiveError, match=f"{name}.*not known"):
            call()
    assert object_files(home) == before
    assert verify(archives, "a.pack").is_whole


def test_archive_that_cannot_be_read_can_be_removed(archives: int, home: Path, tmp_path: Path) -> None:
    """That is the cure: the others are readable, so what they use is known."""
    pack(archives, "a.pack", _files(tmp_path, one=1))
    pack(archives, "b.pack", _files(tmp_path, two=2))
    (home / "b.pack").write_bytes(b"rubbish")
    PACK.remove(archives, "b.pack")
    assert len(object_files(home)) == 1
    assert verify(archives, "a.pack").is_whole


def test_archive_with_another_name_still_counts(archives: int, home: Path, tmp_path: Path) -> None:
    """Somebody who renames an archive does not lose what it holds."""
    pack(archives, "a.pack", _files(tmp_path, one=1))
    (home / "a.pack").rename(home / "a.pack.old")
    assert collect_garbage(archives) == 0
    (home / "a.pack.old").rename(home / "a.pack")
    assert verify(archives, "a.pack").is_whole


def test_archive_whose_first_copy_is_damaged_still_counts(archives: int, home: Path, tmp_path: Path) -> None:
    pack(archives, "a.pack", _files(tmp_path, one=1))
    data = bytearray((home / "a.pack").read_bytes())
    data[50] ^= 1
    (home / "a.pack").write_bytes(data)
    assert collect_garbage(archives) == 0
    assert verify(archives, "a.pack").good == ("one",)


def test_what_is_no_pack_is_not_removed(archives: int, home: Path) -> None:
    (home / "models_archive_20260101.tar.gz").write_bytes(b"something else")
    for name in ("models_archive_20260101.tar.gz", "nothing.pack"):
        with pytest.raises(ArchiveError):
            PACK.remove(archives, name)
    assert (home / "models_archive_20260101.tar.gz").exists()


def test_archive_without_its_objects_can_be_removed(archives: int, home: Path, tmp_path: Path) -> None:
    import shutil

    pack(archives, "a.pack", _files(tmp_path, one=1))
    shutil.rmtree(home / "pack")
    assert PACK.remove(archives, "a.pack") > 0
    assert list(home.iterdir()) == []


def test_what_has_another_link_does_not_come_back(archives: int, home: Path, tmp_path: Path) -> None:
    """A backup by hard links still holds the blocks."""
    pack(archives, "a.pack", _files(tmp_path, one=1))
    (file,) = object_files(home)
    os.link(file, tmp_path / "backup")
    assert PACK.remove(archives, "a.pack") < 60_000


def test_nothing_to_collect_where_no_pack_was_written(archives: int) -> None:
    assert collect_garbage(archives) == 0


def test_links_and_other_things_in_the_way_are_left_alone(archives: int, home: Path, tmp_path: Path) -> None:
    """A link called like an object file is removed when nobody uses it, its target never; a directory link is not entered."""
    treasure = tmp_path / "treasure"
    treasure.write_bytes(make_bytes(1, 10_000))
    pack(archives, "a.pack", _files(tmp_path, one=1))
    (home / "pack" / f"{'cd' * 16}.objects").symlink_to(treasure)
    (home / "link.pack.txt").symlink_to(treasure)
    os.mkfifo(home / "fifo")
    collect_garbage(archives)
    assert treasure.stat().st_size == 10_000
    assert not (home / "pack" / f"{'cd' * 16}.objects").is_symlink()
