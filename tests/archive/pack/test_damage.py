"""Damage of every kind is found, the members that are lost are named, and the others come back."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from ckptd.archive.interface import ArchiveError
from tests.archive.pack.packing import PACK, make_bytes, object_files, pack, restored, verify


@pytest.fixture
def files(archives: int, home: Path, tmp_path: Path) -> dict[str, bytes]:
    """Four files in one archive; the second and the fourth are equal."""
    shared = make_bytes(2, 200_000)
    contents = {"a": make_bytes(1, 100_000), "b": shared, "c": make_bytes(3, 100_000), "d": shared}
    for name, data in contents.items():
        (tmp_path / name).write_bytes(data)
    pack(archives, "x.pack", [tmp_path / name for name in contents])
    return contents


def _flip(path: Path, at: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 0x04]))


def _check(archives: int, scratch: Path, files: dict[str, bytes], lost: set[str]) -> list[str]:
    """Verification and restoring agree on what is lost; give the reasons."""
    found = verify(archives, "x.pack")
    assert not found.is_whole
    assert {one.name for one in found.lost} - {""} == lost
    assert set(found.good) == files.keys() - lost
    for name, data in files.items():
        if name in lost:
            with pytest.raises(ArchiveError):
                restored(archives, "x.pack", name, scratch)
        else:
            assert restored(archives, "x.pack", name, scratch) == data
    return [one.why for one in found.lost]


def test_flipped_bit_in_an_object_costs_who_uses_it(archives: int, home: Path, files: dict[str, bytes], scratch: Path) -> None:
    (path,) = object_files(home)
    _flip(path, path.read_bytes().index(files["c"]) + 50_000)
    (why,) = _check(archives, scratch, files, {"c"})
    assert path.name in why
    assert "damaged at byte" in why


def test_flipped_bit_in_a_shared_object_costs_both(archives: int, home: Path, files: dict[str, bytes], scratch: Path) -> None:
    (path,) = object_files(home)
    _flip(path, path.read_bytes().index(files["b"]))
    _check(archives, scratch, files, {"b", "d"})


def test_cut_object_file_costs_what_was_behind(archives: int, home: Path, files: dict[str, bytes], scratch: Path) -> None:
    """Which object lies last, threads decide."""
    (path,) = object_files(home)
    data = path.read_bytes()
    end = max(data.index(content) for content in files.values())
    os.truncate(path, end + 1)
    reasons = _check(archives, scratch, files, {name for name, content in files.items() if data.index(content) == end})
    assert all("cut short" in why for why in reasons)


@pytest.mark.parametrize(
    ("harm", "why"),
    [
        (Path.unlink, "missing"),
        (lambda path: path.write_bytes(b""), "another file"),
        (lambda path: path.write_bytes(make_bytes(1, path.stat().st_size)), "another file"),
        (lambda path: _flip(path, 0), "another file"),
        (lambda path: _flip(path, 20), "another file"),
        (lambda path: (path.unlink(), path.mkdir()), "another file"),
        (lambda path: (path.unlink(), os.mkfifo(path)), "another file"),
        (lambda path: (path.rename(path.with_suffix(".was")), path.symlink_to(path.with_suffix(".was"))), "can't be read"),
        (lambda path: shutil.rmtree(path.parent), "no directory pack"),
    ],
)
def test_object_file_that_is_none(
    archives: int, home: Path, files: dict[str, bytes], scratch: Path, harm: Callable[[Path], object], why: str
) -> None:
    """Missing, empty, replaced, with another head, a directory, a pipe, a link, or the whole directory gone."""
    (path,) = object_files(home)
    harm(path)
    reasons = _check(archives, scratch, files, set(files))
    assert all(why in reason for reason in reasons)


def test_object_file_of_another_archive_in_its_place(
    archives: int, home: Path, files: dict[str, bytes], tmp_path: Path, scratch: Path
) -> None:
    """Its id stands in it, so it is known for what it is."""
    (path,) = object_files(home)
    (tmp_path / "z").write_bytes(make_bytes(20, 700_000))
    pack(archives, "y.pack", [tmp_path / "z"])
    (other,) = set(object_files(home)) - {path}
    other.replace(path)
    _check(archives, scratch, files, set(files))


def test_every_bit_of_the_archive_file(archives: int, home: Path, files: dict[str, bytes], scratch: Path) -> None:
    """Whichever byte of it is hit, the other copy of the table serves; verification says so, and every member comes back."""
    path = home / "x.pack"
    for at in range(0, path.stat().st_size, 61):
        _flip(path, at)
        found = verify(archives, "x.pack")
        assert not found.is_whole
        assert set(found.good) == files.keys()
        assert [one.name for one in found.lost] == [""]
        _flip(path, at)
    _flip(path, 70)
    _check(archives, scratch, files, set())


def test_both_copies_of_the_table_hit(archives: int, home: Path, files: dict[str, bytes], scratch: Path) -> None:
    path = home / "x.pack"
    _flip(path, 200)
    _flip(path, 200 + path.stat().st_size // 2)
    found = verify(archives, "x.pack")
    assert (found.manifest, found.good) == (None, ())
    assert found.lost[0].name == ""
    for call in (lambda: restored(archives, "x.pack", "a", scratch), lambda: PACK.read_manifest(archives, "x.pack")):
        with pytest.raises(ArchiveError):
            call()


def test_archive_file_cut_anywhere(archives: int, home: Path, files: dict[str, bytes]) -> None:
    """As long as the first copy is whole, so is what it says; shorter, it is no archive any more, and never an exception."""
    path = home / "x.pack"
    data = path.read_bytes()
    for length in [*range(0, len(data), 97), len(data) // 2 - 1, len(data) // 2, len(data) - 1]:
        path.write_bytes(data[:length])
        found = verify(archives, "x.pack")
        assert not found.is_whole
        assert set(found.good) == (files.keys() if length >= len(data) // 2 else set())


def test_bytes_behind_the_end(archives: int, home: Path, files: dict[str, bytes], scratch: Path) -> None:
    path = home / "x.pack"
    path.write_bytes(path.read_bytes() + b"more")
    assert _check(archives, scratch, files, set()) == ["bytes follow its end"]


@pytest.mark.parametrize("kind", ["missing", "directory", "fifo", "link"])
def test_archive_that_cannot_be_opened(archives: int, home: Path, scratch: Path, kind: str) -> None:
    path = home / "x.pack"
    match kind:
        case "directory":
            path.mkdir()
        case "fifo":
            os.mkfifo(path)
        case "link":
            path.symlink_to("/etc/hostname")
    for call in (
        lambda: verify(archives, "x.pack"),
        lambda: PACK.read_manifest(archives, "x.pack"),
        lambda: restored(archives, "x.pack", "a", scratch),
    ):
        with pytest.raises(ArchiveError, match=r"x\.pack"):
            call()


def test_lost_members_count_in_the_progress(archives: int, home: Path, files: dict[str, bytes]) -> None:
    for path in object_files(home):
        path.unlink()
    seen: list[int] = []
    PACK.verify(archives, "x.pack", seen.append)
    assert seen[-1] == sum(map(len, files.values()))
