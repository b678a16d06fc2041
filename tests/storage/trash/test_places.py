"""Where the trash may lie, and what a full, read-only or foreign file system does to it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ckptd.errors import StorageError
from ckptd.storage.state import StateDirError
from ckptd.storage.trash import Refusal, RefusedError, list_entries, purge, put, restore, sweep, trash_bytes
from tests.storage.forks import NOBODY
from tests.storage.trash.making import DATA, NOW, exchange_for, removal, trash_of, tree, write

OPERATIONS = {
    "put": put,
    "exchange": lambda fd, order: exchange_for(fd, order, b"small"),
    "list": lambda fd, _: list_entries(fd),
    "restore": lambda fd, _: restore(fd, "20261124T101500.000000Z-0123456789abcdef"),
    "purge": lambda fd, _: purge(fd, "20261124T101500.000000Z-0123456789abcdef", NOW, grace_seconds=0),
    "sweep": lambda fd, _: sweep(fd, NOW),
    "bytes": lambda fd, _: trash_bytes(fd),
}


@pytest.mark.parametrize("what", ["list", "sweep", "bytes"])
def test_where_there_is_no_trash_none_is_made(root: Path, root_fd: int, what: str) -> None:
    assert not OPERATIONS[what](root_fd, None)
    assert os.listdir(root) == []


@pytest.mark.root
@pytest.mark.parametrize("which", [".ckptd", ".ckptd/trash"])
@pytest.mark.parametrize("how", ["open to others", "of another user", "a link", "a file", "dangling"])
@pytest.mark.parametrize("what", list(OPERATIONS))
def test_a_trash_that_is_not_ours_alone_is_refused(root: Path, root_fd: int, which: str, how: str, what: str) -> None:
    """Whoever can write there could steer what is purged, and what comes back as a checkpoint."""
    write(root, "a.pth")
    order = removal(root, "a.pth")
    (root / ".ckptd").mkdir(mode=0o700)
    trash_of(root).mkdir(mode=0o700)
    place, elsewhere = root / which, root.parent / "elsewhere"
    match how:
        case "open to others":
            place.chmod(0o770)
        case "of another user":
            os.chown(place, NOBODY, NOBODY)
        case _:
            place.rename(elsewhere)
            if how == "a link":
                place.symlink_to(elsewhere)
            elif how == "a file":
                place.write_bytes(b"")
            else:
                place.symlink_to(root / "nowhere")
    before = sorted(root.parent.rglob("*"))
    with pytest.raises(StateDirError):
        OPERATIONS[what](root_fd, order)
    assert sorted(root.parent.rglob("*")) == before
    assert (root / "a.pth").read_bytes() == DATA


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """Give a root on a file system of its own, of 64 pages, and 40 files or so."""
    place = tmp_path / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k,nr_inodes=40", "tmpfs", place], check=True)
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def fill(place: Path, *, leave_pages: int) -> None:
    with (place / "ballast").open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass
        file.truncate(max(0, file.tell() - 4096 * leave_pages))


def told_by(action: Callable[[], object]) -> str:
    """Do it and give what it says of a disk that is full; the writer of a replacement hears it from the kernel."""
    try:
        action()
    except StorageError as error:
        return str(error)
    except OSError as error:
        return os.strerror(error.errno)
    return ""


@pytest.mark.root
@pytest.mark.parametrize("what", ["put", "exchange"])
def test_on_a_full_disk_nothing_happens(small: Path, what: str) -> None:
    """At every write: for each number of pages that are left, it is done or nothing is."""
    outcomes = set()
    with open_dir(small) as fd:
        for pages in range(4):
            write(small, "a.pth", b"weights")
            fill(small, leave_pages=pages)
            order = removal(small, "a.pth")
            told = told_by(lambda: OPERATIONS[what](fd, order))  # noqa: B023 — called within the turn
            outcomes.add("full" if told else "done")
            if told:
                assert "free some space" in told or told == "No space left on device"
                assert tree(small)["a.pth"] == b"weights"
                assert list_entries(fd) == []
            (small / "ballast").unlink()
            for entry in list_entries(fd):
                assert entry.problem == ""
                assert purge(fd, entry.name, NOW, grace_seconds=0).outcome == "purged"
    assert outcomes == {"done", "full"}


@pytest.mark.root
def test_without_inodes_nothing_happens(small: Path) -> None:
    write(small, "a.pth", b"weights")
    order = removal(small, "a.pth")
    with open_dir(small) as fd:
        made = []
        try:
            for index in range(100):
                made.append(write(small, f"file{index}", b""))
        except OSError:
            pass
        while told := told_by(lambda: put(fd, order)):
            assert "free some space" in told
            assert tree(small)["a.pth"] == b"weights"
            assert list_entries(fd) == []
            made.pop().unlink()
        assert len(list_entries(fd)) == 1


@pytest.mark.root
def test_from_a_full_disk_a_checkpoint_comes_back(small: Path) -> None:
    """What is needed for it is not asked of the disk; and a purge makes room."""
    with open_dir(small) as fd:
        entries = []
        for name in ("a", "b"):
            write(small, f"{name}.pth", name.encode())
            write(small, f"{name}_metadata.json", b"{}")
            entries.append(put(fd, removal(small, f"{name}.pth", [f"{name}_metadata.json"])).entry)
        fill(small, leave_pages=0)
        assert restore(fd, entries[0]).is_gone
        assert purge(fd, entries[1], NOW, grace_seconds=0).outcome == "purged"
        (small / "ballast").unlink()
        assert tree(small) == {"a.pth": b"a", "a_metadata.json": b"{}"}
        assert list_entries(fd) == []


@pytest.mark.root
@pytest.mark.parametrize("has_trash", [True, False])
def test_a_read_only_root_is_told_and_left_alone(small: Path, has_trash: bool) -> None:
    with open_dir(small) as fd:
        write(small, "b.pth", b"other")
        entry = put(fd, removal(small, "b.pth")).entry if has_trash else "20261124T101500.000000Z-0123456789abcdef"
        write(small, "a.pth", b"weights")
        order = removal(small, "a.pth")
        before = sorted(small.rglob("*"))
        subprocess.run(["mount", "-o", "remount,ro", small], check=True)
        for what in (put, lambda fd, order: exchange_for(fd, order, b"small")):
            with pytest.raises(StorageError, match="Read-only file system"):
                what(fd, order)
        if has_trash:
            with pytest.raises(StorageError, match=r"Read-only file system .*mount it writable"):
                restore(fd, entry)
            with pytest.raises(StorageError, match="Read-only file system"):
                purge(fd, entry, NOW, grace_seconds=0)
        assert sweep(fd, NOW) == []
        assert len(list_entries(fd)) == has_trash
        assert sorted(small.rglob("*")) == before
        subprocess.run(["mount", "-o", "remount,rw", small], check=True)


@pytest.mark.root
@pytest.mark.parametrize("where", ["the file", "the trash", "bound"])
def test_on_another_file_system_than_the_trash_nothing_is_moved(root: Path, root_fd: int, where: str) -> None:
    """Something is mounted below the root; a bind mount has the same device number, and only the rename itself tells."""
    write(root, "dir/a.pth")
    (root / ".ckptd/trash").mkdir(parents=True, mode=0o700)
    (root / ".ckptd").chmod(0o700)
    place = root / ("dir" if where != "the trash" else ".ckptd/trash")
    if where == "bound":
        (root.parent / "elsewhere").mkdir()
        subprocess.run(["mount", "--bind", root.parent / "elsewhere", place], check=True)
    else:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=700", "tmpfs", place], check=True)
    try:
        write(root, "dir/a.pth")
        order = removal(root, "dir/a.pth")
        untouched = trash_of(root).stat().st_mtime_ns
        for what in (put, lambda fd, order: exchange_for(fd, order, b"small")):
            with pytest.raises(RefusedError, match="another file system than the trash") as raised:
                what(root_fd, order)
            assert raised.value.refusal is Refusal.OTHER_FILE_SYSTEM
        assert tree(root) == {"dir/a.pth": DATA}
        assert list_entries(root_fd) == []
        assert (trash_of(root).stat().st_mtime_ns == untouched) == (where != "bound"), "nothing is even tried"
        write(root, "b.pth")
        if where != "the trash":
            entry = put(root_fd, removal(root, "b.pth")).entry
            with pytest.raises(RefusedError, match="another file system") as raised:
                restore(root_fd, entry, "dir/deep/b.pth")
            assert raised.value.refusal is Refusal.OTHER_FILE_SYSTEM
            assert not (root / "dir/deep").exists()
            assert restore(root_fd, entry).path == "b.pth"
    finally:
        subprocess.run(["umount", "-l", place], check=True)


class open_dir:  # noqa: N801 — a context manager
    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> int:
        self.fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        return self.fd

    def __exit__(self, *_: object) -> None:
        os.close(self.fd)
