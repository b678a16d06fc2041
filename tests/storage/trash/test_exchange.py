"""A smaller file takes the place of a checkpoint; the name never lacks a file, and a save in between wins."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from ckptd.errors import StorageError
from ckptd.model import Identity
from ckptd.storage import kernel
from ckptd.storage.trash import (
    Refusal,
    RefusedError,
    Replacement,
    exchange,
    exchanging,
    list_entries,
    purge,
    replacement_file,
    restore,
    sweep,
)
from tests.storage.trash.making import DATA, NOW, digest, exchange_for, removal, trash_of, trashed, tree, write

SMALL = b"the weights alone " * 20
SAVED = b"what somebody saved meanwhile " * 10
LATER = b"and saved once more " * 10


def save(root: Path, data: bytes) -> None:
    (root / "editor~").write_bytes(data)
    (root / "editor~").rename(root / "a.pth")


@pytest.fixture
def at_exchange(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, Callable[[], None]], None]:
    """Let something happen just before the nth exchange of two names."""
    real, planned, count = kernel.rename_between, {}, [0]

    def rename(source_fd: int, source: str, target_fd: int, target: str, flags: int) -> None:
        if flags == kernel.RENAME_EXCHANGE:
            count[0] += 1
            planned.get(count[0], lambda: None)()
        real(source_fd, source, target_fd, target, flags)

    monkeypatch.setattr(kernel, "rename_between", rename)
    return planned.__setitem__


def test_they_change_places(root: Path, root_fd: int) -> None:
    """The new file has mode, group and mtime of the original; the original is in the trash, untouched."""
    file = write(root, "dir/a.pth")
    os.chown(file, 12345, 54321)
    file.chmod(0o664)
    before = file.stat()
    done = exchange_for(root_fd, removal(root, "dir/a.pth"), SMALL)
    now = file.stat()
    assert tree(root) == {"dir/a.pth": SMALL}
    assert trashed(root) == {f"{done.entry}/a.pth": DATA}
    assert (now.st_mtime_ns, now.st_gid, stat.S_IMODE(now.st_mode)) == (before.st_mtime_ns, before.st_gid, 0o664)
    assert done.identity == Identity.of(now)
    kept = (trash_of(root) / done.entry / "a.pth").stat()
    assert (kept.st_ino, kept.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    (entry,) = list_entries(root_fd)
    assert entry.problem == ""
    assert entry.manifest.replacement.sha256 == digest(SMALL)
    assert done.frees_bytes == before.st_blocks * 512


def test_the_original_comes_back_beside_it_or_when_it_is_gone(root: Path, root_fd: int) -> None:
    """Over the smaller file never."""
    write(root, "a.pth")
    entry = exchange_for(root_fd, removal(root, "a.pth"), SMALL).entry
    with pytest.raises(RefusedError) as raised:
        restore(root_fd, entry)
    assert raised.value.refusal is Refusal.TAKEN
    restore(root_fd, entry, "a_whole.pth")
    assert tree(root) == {"a.pth": SMALL, "a_whole.pth": DATA}
    assert list_entries(root_fd) == []


def test_there_is_no_moment_without_a_file(root: Path, root_fd: int) -> None:
    """A reader that opens the name all the time always finds the one or the other."""
    write(root, "a.pth")
    seen, stop = set(), threading.Event()

    def read() -> None:
        while not stop.is_set():
            seen.add(os.stat(root / "a.pth").st_size)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for _ in range(50):
            entry = exchange_for(root_fd, removal(root, "a.pth"), SMALL).entry
            save(root, DATA)
            assert purge(root_fd, entry, NOW, grace_seconds=0).outcome == "purged"
    finally:
        stop.set()
        reader.join()
    assert seen <= {len(DATA), len(SMALL)}


def test_what_changed_before_is_refused(root: Path, root_fd: int) -> None:
    order = removal(root, write(root, "a.pth").name)
    save(root, SAVED)
    with pytest.raises(RefusedError) as raised:
        exchange_for(root_fd, order, SMALL)
    assert raised.value.refusal is Refusal.CHANGED
    assert tree(root) == {"a.pth": SAVED}
    assert os.listdir(trash_of(root)) == []


def test_what_is_open_is_refused(root: Path, root_fd: int) -> None:
    order = removal(root, write(root, "a.pth").name)
    with (root / "a.pth").open("rb"), pytest.raises(RefusedError) as raised:
        exchange_for(root_fd, order, SMALL)
    assert raised.value.refusal is Refusal.OPEN
    assert tree(root) == {"a.pth": DATA}
    assert os.listdir(trash_of(root)) == []


def test_a_save_before_the_exchange_wins(root: Path, root_fd: int, at_exchange: Callable) -> None:
    order = removal(root, write(root, "a.pth").name)
    at_exchange(1, lambda: save(root, SAVED))
    with pytest.raises(RefusedError) as raised:
        exchange_for(root_fd, order, SMALL)
    assert raised.value.refusal is Refusal.CHANGED
    assert tree(root) == {"a.pth": SAVED}
    assert list_entries(root_fd) == []


def test_of_two_saves_the_newer_is_in_place_and_the_other_is_kept(root: Path, root_fd: int, at_exchange: Callable) -> None:
    """Saved before the exchange and again before the way back; nothing is unlinked, and a purge never takes it."""
    order = removal(root, write(root, "a.pth").name)
    at_exchange(1, lambda: save(root, SAVED))
    at_exchange(2, lambda: save(root, LATER))
    with pytest.raises(RefusedError, match="nothing is lost") as raised:
        exchange_for(root_fd, order, SMALL)
    assert raised.value.refusal is Refusal.KEPT_ASIDE
    assert tree(root) == {"a.pth": LATER}
    assert list(trashed(root).values()) == [SAVED]
    (entry,) = list_entries(root_fd)
    assert "somebody saved" in entry.problem
    assert sweep(root_fd, NOW) == []
    assert purge(root_fd, entry.name, NOW, grace_seconds=0).outcome == "broken"
    restore(root_fd, entry.name, "saved.pth")
    assert tree(root) == {"a.pth": LATER, "saved.pth": SAVED}


def test_a_new_file_that_is_removed_meanwhile_stays_removed(root: Path, root_fd: int, at_exchange: Callable) -> None:
    """What was to come back comes back all the same."""
    order = removal(root, write(root, "a.pth").name)
    at_exchange(1, lambda: save(root, SAVED))
    at_exchange(2, (root / "a.pth").unlink)
    with pytest.raises(RefusedError):
        exchange_for(root_fd, order, SMALL)
    assert tree(root) == {"a.pth": SAVED}
    assert list_entries(root_fd) == []


def test_a_file_that_vanished_is_not_made(root: Path, root_fd: int, at_exchange: Callable) -> None:
    order = removal(root, write(root, "a.pth").name)
    at_exchange(1, (root / "a.pth").unlink)
    with pytest.raises(RefusedError) as raised:
        exchange_for(root_fd, order, SMALL)
    assert raised.value.refusal is Refusal.GONE
    assert (tree(root), list_entries(root_fd)) == ({}, [])


def test_without_an_exchange_of_names_it_is_refused_in_a_sentence(
    root: Path, root_fd: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise kernel.Unsupported(22, os.strerror(22))

    order = removal(root, write(root, "a.pth").name)
    monkeypatch.setattr(kernel, "rename_between", refuse)
    with pytest.raises(RefusedError, match=r"can't exchange two names.*policy\.ladder") as raised:
        exchange_for(root_fd, order, SMALL)
    assert raised.value.refusal is Refusal.UNSUPPORTED
    assert (tree(root), list_entries(root_fd)) == ({"a.pth": DATA}, [])


class TestReplacementFile:
    def test_unused_nothing_is_left_of_it(self, root: Path, root_fd: int) -> None:
        with replacement_file(root_fd) as fd:
            os.write(fd, SMALL)
            assert os.listdir(trash_of(root)) == []
        assert os.listdir(trash_of(root)) == []

    @pytest.fixture
    def named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """As a file system that has no files without a name."""
        real = os.open

        def refuse(path, flags, *args, **where):
            if flags & os.O_TMPFILE == os.O_TMPFILE:
                raise OSError(95, os.strerror(95))
            return real(path, flags, *args, **where)

        monkeypatch.setattr(exchanging.os, "open", refuse)

    @pytest.mark.usefixtures("named")
    def test_where_it_needs_a_name_it_is_as_good(self, root: Path, root_fd: int) -> None:
        """While it is being written a sweep leaves it alone; what a kill leaves goes."""
        write(root, "a.pth")
        with replacement_file(root_fd) as fd:
            os.write(fd, SMALL)
            (name,) = os.listdir(trash_of(root))
            assert sweep(root_fd, NOW) == []
            assert list_entries(root_fd) == []
            assert os.listdir(trash_of(root)) == [name]
            exchange(root_fd, removal(root, "a.pth"), Replacement(fd, digest(SMALL)))
        assert tree(root) == {"a.pth": SMALL}
        assert (root / "a.pth").stat().st_nlink == 1
        assert len(os.listdir(trash_of(root))) == 1
        (trash_of(root) / name).write_bytes(b"left by a kill")
        sweep(root_fd, NOW)
        assert not (trash_of(root) / name).exists()

    def test_of_another_file_system_it_is_refused(self, root: Path, root_fd: int) -> None:
        order = removal(root, write(root, "a.pth").name)
        fd = os.memfd_create("small")
        with pytest.raises(StorageError):
            exchange(root_fd, order, Replacement(fd, digest(b"")))
        os.close(fd)
        assert (tree(root), list_entries(root_fd)) == ({"a.pth": DATA}, [])
