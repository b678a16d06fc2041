"""An archive is written whole or not at all, and says why not."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from ckptd.archive.interface import ArchiveError, MemberChangedError
from ckptd.archive.pack import objects
from tests.archive.pack.packing import NOW, PACK, make_bytes, member, nothing, object_files, pack, verify


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    made = []
    for number in range(3):
        made.append(tmp_path / f"{number}.bin")
        made[-1].write_bytes(make_bytes(number, 200_000))
    return made


def _left(home: Path) -> list[str]:
    return sorted(path.name for path in home.rglob("*") if path.name != "pack")


def _write(archives: int, members) -> None:
    PACK.write(archives, "a.pack", members, now=NOW, free_bytes=0, progress=nothing)


@pytest.mark.parametrize("change", ["digest", "size", "gone", "link", "directory"])
def test_changed_member_leaves_nothing(archives: int, home: Path, paths: list[Path], change: str) -> None:
    """The error names the member, so that the caller can leave it out."""
    members = [member(path) for path in paths]
    match change:
        case "digest":
            data = bytearray(paths[1].read_bytes())
            data[-1] ^= 1
            paths[1].write_bytes(data)
        case "size":
            os.truncate(paths[1], 150_000)
        case "gone":
            paths[1].unlink()
        case "link":
            paths[1].rename(paths[1].with_suffix(".was"))
            paths[1].symlink_to(paths[1].with_suffix(".was"))
        case "directory":
            paths[1].unlink()
            paths[1].mkdir()
    with pytest.raises(MemberChangedError) as caught:
        _write(archives, members)
    assert caught.value.member == "1.bin"
    assert _left(home) == []


def test_member_that_shrinks_while_it_is_read(archives: int, home: Path, tmp_path: Path) -> None:
    """Its size was right when it was opened; progress is told after each piece, and then it is cut."""
    path = tmp_path / "large.bin"
    path.write_bytes(make_bytes(1, 5 << 20))
    with pytest.raises(MemberChangedError, match="became shorter"):
        pack(archives, "a.pack", [path], progress=lambda _done: os.truncate(path, 1 << 20))
    assert _left(home) == []


def test_progress_may_stop_the_work(archives: int, home: Path, paths: list[Path]) -> None:
    class EnoughError(Exception):
        pass

    def stop(done: int) -> None:
        if done > 300_000:
            raise EnoughError

    with pytest.raises(EnoughError):
        pack(archives, "a.pack", paths, progress=stop)
    assert _left(home) == []


def test_taken_name_is_never_replaced(archives: int, home: Path, paths: list[Path]) -> None:
    """Whether it was there before or comes while the archive is written."""
    (home / "a.pack").write_bytes(b"somebody's")
    with pytest.raises(ArchiveError, match="File exists"):
        pack(archives, "a.pack", paths)

    with pytest.raises(ArchiveError, match=r"b\.pack"):
        pack(archives, "b.pack", paths, progress=lambda _done: (home / "b.pack").write_bytes(b"also"))
    assert (home / "a.pack").read_bytes() == b"somebody's"
    assert (home / "b.pack").read_bytes() == b"also"
    assert _left(home) == ["a.pack", "b.pack"]


def test_room_that_has_to_stay_free(archives: int, home: Path, paths: list[Path]) -> None:
    now = os.statvfs(home)
    with pytest.raises(ArchiveError, match="have to stay free"):
        pack(archives, "a.pack", paths, free_bytes=now.f_bavail * now.f_frsize + (1 << 30))
    assert _left(home) == []


def test_room_is_asked_for_before_every_byte(home: Path) -> None:
    """Small objects together, large ones alone; nothing is written that was not asked for."""
    asked: list[int] = []
    place = os.open(home, os.O_RDONLY)
    try:
        with objects.ObjectWriter(place, asked.append) as writer:
            for length in (10, 2 << 20, 500, 600_000, 600_000):
                writer.put(bytes(length))
            writer.finish([])
        assert sum(asked) == writer.size_bytes == sum(path.stat().st_size for path in home.iterdir())
        assert len(asked) == 3
    finally:
        os.close(place)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize(
    ("call", "which"),
    [*(("write", n) for n in range(1, 7)), *(("fsync", n) for n in range(1, 5)), ("rename", 1), ("link", 1)],
)
def test_disk_that_says_no_leaves_nothing(
    archives: int, home: Path, paths: list[Path], monkeypatch: pytest.MonkeyPatch, code: int, call: str, which: int
) -> None:
    """At each write, sync and rename: an error with the cause in it, and the directory as it was."""
    (home / "pack").mkdir()
    monkeypatch.setattr(objects, "_TOGETHER_BYTES", 1)
    left = [which]

    def failing(real):
        def called(*args, **options):
            left[0] -= 1
            if left[0] == 0:
                raise OSError(code, os.strerror(code))
            return real(*args, **options)

        return called

    if call == "rename":
        monkeypatch.setattr(objects, "rename_new", failing(objects.rename_new))
    else:
        monkeypatch.setattr(os, call, failing(getattr(os, call)))
    with pytest.raises(ArchiveError, match=os.strerror(code)):
        pack(archives, "a.pack", paths)
    monkeypatch.undo()
    assert _left(home) == []


@pytest.mark.parametrize(
    ("modes", "wanted"), [((0o644, 0o640), 0o640), ((0o664, 0o666), 0o644), ((0o600, 0o644), 0o600), ((0o755, 0o444), 0o644)]
)
def test_nobody_reads_an_archive_who_could_not_read_a_member(
    archives: int, home: Path, paths: list[Path], modes: tuple[int, int], wanted: int
) -> None:
    """The right to read is that which all members give; nobody else gets to write."""
    for path, mode in zip(paths, modes, strict=False):
        path.chmod(mode)
    pack(archives, "a.pack", paths[:2])
    for path in (home / "a.pack", *object_files(home)):
        assert stat.S_IMODE(path.stat().st_mode) == wanted


@pytest.mark.root
def test_another_group_gets_nothing_from_a_member_of_its_own(archives: int, home: Path, paths: list[Path]) -> None:
    """A member that a group of its own may read does not open the archive to the group of the directory."""
    os.chown(paths[0], -1, 12_345)
    for path in paths[:2]:
        path.chmod(0o640)
    pack(archives, "a.pack", paths[:2])
    for path in (home / "a.pack", *object_files(home)):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_large_objects_go_to_several_files(
    archives: int, home: Path, paths: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects, "OBJECT_FILE_BYTES", 100_000)
    pack(archives, "a.pack", paths)
    assert len(object_files(home)) == 3
    assert verify(archives, "a.pack").is_whole


def test_link_in_place_of_the_objects_is_not_followed(archives: int, home: Path, tmp_path: Path, paths: list[Path]) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (home / "pack").symlink_to(elsewhere)
    with pytest.raises(ArchiveError):
        pack(archives, "a.pack", paths)
    assert list(elsewhere.iterdir()) == []


def test_name_with_a_slash_is_refused(archives: int, home: Path, paths: list[Path]) -> None:
    with pytest.raises(ArchiveError):
        pack(archives, "../a.pack", paths)
    assert not (home.parent / "a.pack").exists()


def test_missing_package_is_said(archives: int, home: Path, paths: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from ckptd.archive.pack import codec

    codec._blosc2.cache_clear()
    monkeypatch.setitem(sys.modules, "blosc2", None)
    with pytest.raises(ArchiveError, match=r"pip install 'ckptd\[pack\]'"):
        pack(archives, "a.pack", paths)
    codec._blosc2.cache_clear()
    assert _left(home) == []
