"""What is in the trash comes back as it was, and never over anything."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from ckptd.errors import StorageError
from ckptd.storage import kernel
from ckptd.storage.trash import Refusal, RefusedError, list_entries, put, restore, sweep
from ckptd.storage.trash.entries import open_entry
from tests.storage.trash.making import DATA, NOW, removal, trash_of, trashed, tree, write


def refused(root_fd: int, *args, **how) -> Refusal:
    with pytest.raises(RefusedError) as raised:
        restore(root_fd, *args, **how)
    assert raised.value.why
    return raised.value.refusal


def put_away(root: Path, root_fd: int, path: str = "a.pth", companions: tuple[str, ...] = ()) -> str:
    if not (root / path).exists():
        write(root, path)
    for name in companions:
        write(root, name, name.encode())
    return put(root_fd, removal(root, path, companions)).entry


def test_it_comes_back_with_its_times_and_its_companions(root: Path, root_fd: int) -> None:
    before = write(root, "run/a.pth").stat()
    entry = put_away(root, root_fd, "run/a.pth", ("run/a_metadata.json", "exports/a.onnx"))
    done = restore(root_fd, entry)
    now = (root / "run/a.pth").stat()
    assert (now.st_ino, now.st_mtime_ns, now.st_mode) == (before.st_ino, before.st_mtime_ns, before.st_mode)
    assert tree(root) == {"run/a.pth": DATA, "run/a_metadata.json": b"run/a_metadata.json", "exports/a.onnx": b"exports/a.onnx"}
    assert (done.path, done.companions, done.left, done.damaged) == (
        "run/a.pth",
        ("run/a_metadata.json", "exports/a.onnx"),
        (),
        (),
    )
    assert done.is_gone
    assert os.listdir(trash_of(root)) == []


def test_missing_directories_are_made_like_the_one_that_they_are_in(root: Path, root_fd: int) -> None:
    """People who share the root can work there."""
    os.chown(root, 12345, 54321)
    root.chmod(0o2775)
    entry = put_away(root, root_fd, "x/y/a.pth")
    (root / "x/y").rmdir()
    (root / "x").rmdir()
    previous = os.umask(0o077)
    try:
        done = restore(root_fd, entry)
    finally:
        os.umask(previous)
    assert done.directories == ("x", "x/y")
    for place in (root / "x", root / "x/y"):
        assert stat.S_IMODE(place.stat().st_mode) == 0o2775
        assert (place.stat().st_uid, place.stat().st_gid) == (12345, 54321)


@pytest.mark.parametrize("kind", ["file", "directory", "link", "dangling"])
def test_it_never_goes_over_anything(root: Path, root_fd: int, kind: str) -> None:
    entry = put_away(root, root_fd, companions=("a_metadata.json",))
    place = root / "a.pth"
    match kind:
        case "file":
            place.write_bytes(b"new")
        case "directory":
            place.mkdir()
        case "link":
            place.symlink_to(write(root, "b.pth", b"other"))
        case _:
            place.symlink_to(root / "nowhere")
    before = tree(root)
    assert refused(root_fd, entry) is Refusal.TAKEN
    assert tree(root) == before
    assert len(trashed(root)) == 2
    assert list_entries(root_fd)[0].problem == ""
    assert restore(root_fd, entry, "dir/c.pth").is_gone
    assert tree(root) == {**before, "dir/c.pth": DATA, "dir/c_metadata.json": b"a_metadata.json"}


@pytest.mark.parametrize(
    "to", ["../a.pth", "/tmp/a.pth", "", "dir/../b.pth", "link/a.pth", ".ckptd/a.pth", ".ckptd/trash/x/a.pth"]
)
def test_it_never_leaves_the_root(root: Path, root_fd: int, to: str) -> None:
    entry = put_away(root, root_fd)
    (root.parent / "outside").mkdir()
    (root / "link").symlink_to(root.parent / "outside")
    before = sorted(root.parent.rglob("*"))
    assert refused(root_fd, entry, to) in (Refusal.NOT_A_FILE, Refusal.OWN_STATE)
    assert sorted(root.parent.rglob("*")) == before


def test_a_directory_on_the_way_that_is_a_link_now_is_refused(root: Path, root_fd: int) -> None:
    entry = put_away(root, root_fd, "dir/a.pth")
    (root.parent / "outside").mkdir()
    (root / "dir").rmdir()
    (root / "dir").symlink_to(root.parent / "outside")
    assert refused(root_fd, entry) is Refusal.NOT_A_FILE
    assert os.listdir(root.parent / "outside") == []
    assert len(trashed(root)) == 1


@pytest.mark.parametrize(
    ("companion", "comes_back_as"),
    [
        ("run/a_metadata.json", "other/b_metadata.json"),
        ("run/a.pth.ckptd.json", "other/b.pt.ckptd.json"),
        ("run/a.onnx", "other/b.onnx"),
        ("run/notes.txt", "other/notes.txt"),
        ("exports/a.onnx", "exports/a.onnx"),
    ],
)
def test_elsewhere_its_companions_go_with_it(root: Path, root_fd: int, companion: str, comes_back_as: str) -> None:
    entry = put_away(root, root_fd, "run/a.pth", (companion,))
    done = restore(root_fd, entry, "other/b.pt")
    assert (done.path, done.companions) == ("other/b.pt", (comes_back_as,))
    assert tree(root) == {"other/b.pt": DATA, comes_back_as: companion.encode()}


def test_a_companion_whose_place_is_taken_stays_and_is_named(root: Path, root_fd: int) -> None:
    """It comes back by a second restore when its place is free; a sweep does not decide that."""
    entry = put_away(root, root_fd, companions=("a_metadata.json", "a.onnx"))
    write(root, "a_metadata.json", b"written by a person")
    done = restore(root_fd, entry)
    assert [left.path for left in done.left] == ["a_metadata.json"]
    assert "overwritten" in done.left[0].why
    assert not done.is_gone
    assert tree(root) == {"a.pth": DATA, "a.onnx": b"a.onnx", "a_metadata.json": b"written by a person"}
    (found,) = list_entries(root_fd)
    assert not found.holds_checkpoint
    assert found.problem
    (root / "a_metadata.json").unlink()
    assert sweep(root_fd, NOW) == []
    done = restore(root_fd, entry)
    assert (done.path, done.companions, done.is_gone) == (None, ("a_metadata.json",), True)
    assert tree(root)["a_metadata.json"] == b"a_metadata.json"


def flip(root: Path, entry: str, name: str = "a.pth") -> None:
    """Let the disk lose a bit: the times stay."""
    place = trash_of(root) / entry / name
    before = place.stat()
    data = bytearray(place.read_bytes())
    data[len(data) // 2] ^= 1
    place.write_bytes(data)
    os.utime(place, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_rot_in_the_trash_is_told_before_anything_moves(root: Path, root_fd: int) -> None:
    entry = put_away(root, root_fd, companions=("a_metadata.json",))
    flip(root, entry)
    assert refused(root_fd, entry) is Refusal.DAMAGED
    assert (tree(root), len(trashed(root))) == ({}, 2)
    done = restore(root_fd, entry, even_if_damaged=True)
    assert done.damaged == ("a.pth",)
    assert tree(root).keys() == {"a.pth", "a_metadata.json"}


def test_a_damaged_companion_is_told_and_comes_back(root: Path, root_fd: int) -> None:
    entry = put_away(root, root_fd, companions=("a_metadata.json",))
    flip(root, entry, "a_metadata.json")
    assert restore(root_fd, entry).damaged == ("a_metadata.json",)
    assert tree(root)["a.pth"] == DATA


def test_directories_that_were_made_for_nothing_are_removed(root: Path, root_fd: int) -> None:
    entry = put_away(root, root_fd)
    write(root, "dir/taken.pth", b"x")
    for to in ("dir/new/" + "x" * 300 + "/a.pth", "dir/new/deep/" + "x" * 300, "dir/taken.pth/a.pth"):
        with pytest.raises(StorageError):
            restore(root_fd, entry, to)
    assert os.listdir(root / "dir") == ["taken.pth"]


NAME = "20261124T101500.000000Z-0123456789abcdef"


@pytest.mark.parametrize("name", [NAME, "", "..", "../..", "a\0b", "/", NAME + "/..", "\udcff"])
def test_an_entry_that_is_not_there_is_told(root: Path, root_fd: int, name: str) -> None:
    assert refused(root_fd, name) is Refusal.NO_ENTRY
    put_away(root, root_fd)
    assert refused(root_fd, name) is Refusal.NO_ENTRY


def test_an_entry_that_another_process_works_on_is_left_to_it(root: Path, root_fd: int) -> None:
    entry = put_away(root, root_fd)
    trash_fd = os.open(trash_of(root), os.O_RDONLY)
    with open_entry(trash_fd, entry):
        assert refused(root_fd, entry) is Refusal.BUSY
        assert sweep(root_fd, NOW) == []
    os.close(trash_fd)
    assert restore(root_fd, entry).is_gone


@pytest.mark.parametrize("what", ["no manifest", "broken", "interrupted", "empty"])
def test_an_entry_that_is_not_whole_is_told_with_the_cure(root: Path, root_fd: int, what: str) -> None:
    entry = put_away(root, root_fd)
    place = trash_of(root) / entry
    match what:
        case "no manifest":
            (place / "manifest.json").unlink()
        case "broken":
            (place / "manifest.json").write_text("{")
        case "interrupted":
            (place / "manifest.json").rename(place / "intent.json")
        case _:
            (place / "a.pth").unlink()
    expected = {"interrupted": Refusal.UNFINISHED, "empty": Refusal.GONE}.get(what, Refusal.BROKEN)
    assert refused(root_fd, entry) is expected
    assert tree(root) == {}


def test_what_was_put_into_an_entry_by_hand_stays_there(root: Path, root_fd: int) -> None:
    entry = put_away(root, root_fd)
    (trash_of(root) / entry / "notes").write_bytes(b"a person's")
    assert not restore(root_fd, entry).is_gone
    assert trashed(root) == {f"{entry}/notes": b"a person's"}
    assert "did not put there" in list_entries(root_fd)[0].problem


def test_when_the_disk_says_no_nothing_was_moved_or_made(root: Path, root_fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = put_away(root, root_fd, "x/a.pth")
    (root / "x").rmdir()

    def refuse(*_: object) -> None:
        raise OSError(5, os.strerror(5))

    monkeypatch.setattr(kernel, "rename_between", refuse)
    with pytest.raises(StorageError, match="Input/output error"):
        restore(root_fd, entry)
    assert os.listdir(root) == [".ckptd"]
    assert list_entries(root_fd)[0].problem == ""
