"""Whatever others do to a file while it is moved: nothing of theirs is lost, and nothing of theirs goes into the trash."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from ckptd.model import Openness
from ckptd.storage import kernel
from ckptd.storage.trash import (
    Healing,
    Refusal,
    RefusedError,
    holding,
    list_entries,
    purge,
    put,
    restore,
    sweep,
)
from ckptd.storage.trash.holding import Hold, find_open_files
from tests.e2e.running import wait_for
from tests.storage.forks import run_as_nobody
from tests.storage.leases import breaking
from tests.storage.swapping import swapped
from tests.storage.trash.making import DATA, NOW, exchange_for, removal, trash_of, trashed, tree, write

SAVED = b"what somebody saved meanwhile " * 10
LATER = b"and saved once more " * 10


def save(root: Path, data: bytes, path: str = "a.pth") -> None:
    (root / "editor~").write_bytes(data)
    (root / "editor~").rename(root / path)


@pytest.fixture
def at_rename(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, Callable[[], object]], None]:
    """Let something happen just before the nth rename into or out of an entry."""
    real, planned, count = kernel.rename_between, {}, [0]

    def rename(*args) -> None:
        count[0] += 1
        planned.get(count[0], lambda: None)()
        real(*args)

    monkeypatch.setattr(kernel, "rename_between", rename)
    return planned.__setitem__


def refused(root_fd: int, order, **how) -> Refusal:
    with pytest.raises(RefusedError) as raised:
        put(root_fd, order, **how)
    return raised.value.refusal


def test_a_save_between_check_and_rename_goes_back(root: Path, root_fd: int, at_rename: Callable) -> None:
    order = removal(root, write(root, "a.pth").name)
    at_rename(1, lambda: save(root, SAVED))
    assert refused(root_fd, order) is Refusal.CHANGED
    assert tree(root) == {"a.pth": SAVED}
    assert os.listdir(trash_of(root)) == []


@pytest.mark.parametrize("kind", ["directory", "link", "fifo", "unreadable"])
def test_whatever_came_in_between_goes_back(root: Path, root_fd: int, at_rename: Callable, kind: str) -> None:
    place = write(root, "a.pth")
    order = removal(root, "a.pth")

    def swap() -> None:
        place.unlink()
        match kind:
            case "directory":
                place.mkdir()
                (place / "inside").write_text("kept")
            case "link":
                place.symlink_to("elsewhere")
            case "fifo":
                os.mkfifo(place)
            case _:
                place.write_bytes(b"secret")
                place.chmod(0)

    at_rename(1, swap)
    assert refused(root_fd, order) is Refusal.CHANGED
    assert sorted(os.listdir(root)) == [".ckptd", "a.pth"]
    assert os.listdir(trash_of(root)) == []
    if kind == "directory":
        assert (place / "inside").read_text() == "kept"


def test_of_two_saves_both_are_kept_and_told(root: Path, root_fd: int, at_rename: Callable) -> None:
    """The first was moved in the stead of the checkpoint, and its place was taken by the second."""
    order = removal(root, write(root, "a.pth").name)
    at_rename(1, lambda: save(root, SAVED))
    at_rename(2, lambda: save(root, LATER))
    with pytest.raises(RefusedError, match=r"once more since \(nothing is lost: .* kept in the trash as \d{8}T") as raised:
        put(root_fd, order)
    assert raised.value.refusal is Refusal.KEPT_ASIDE
    assert tree(root) == {"a.pth": LATER}
    (entry,) = list_entries(root_fd)
    assert trashed(root) == {f"{entry.name}/a.pth": SAVED}
    assert "somebody saved" in entry.problem
    assert sweep(root_fd, NOW) == []
    assert purge(root_fd, entry.name, NOW + 1e9, grace_seconds=0).outcome == "broken"
    with pytest.raises(RefusedError):
        restore(root_fd, entry.name)
    assert not entry.holds_checkpoint
    assert restore(root_fd, entry.name, "first.pth").damaged == ("a.pth",), "not what was to be removed"
    assert tree(root) == {"a.pth": LATER, "first.pth": SAVED}
    assert list_entries(root_fd) == []


def test_a_save_whose_directory_vanished_is_kept(root: Path, root_fd: int, at_rename: Callable) -> None:
    write(root, "dir/a.pth")
    order = removal(root, "dir/a.pth")
    at_rename(1, lambda: save(root, SAVED, "dir/a.pth"))
    at_rename(2, (root / "dir").rmdir)
    assert refused(root_fd, order) is Refusal.KEPT_ASIDE
    assert list(trashed(root).values()) == [SAVED]


@pytest.mark.parametrize("mode", ["rb", "r+b"])
def test_who_opens_it_while_it_is_moved_keeps_it(root: Path, root_fd: int, at_rename: Callable, mode: str) -> None:
    """He waits for a moment, has the file, and the file has its name; we are not ended by the kernel's signal."""
    order = removal(root, write(root, "a.pth").name)
    got = []

    def open_it() -> None:
        with (root / "a.pth").open(mode) as file:
            got.append(file.read())

    other = threading.Thread(target=open_it)
    at_rename(1, lambda: (other.start(), wait_for(lambda: breaking(os.getpid()), "the kernel to hold him up")))
    assert refused(root_fd, order) is Refusal.OPEN
    other.join()
    assert got == [DATA]
    assert tree(root) == {"a.pth": DATA}
    assert os.listdir(trash_of(root)) == []


def test_a_companion_that_is_saved_meanwhile_stays(root: Path, root_fd: int, at_rename: Callable) -> None:
    write(root, "a.pth")
    write(root, "a_metadata.json", b"{}")
    order = removal(root, "a.pth", ["a_metadata.json"])
    at_rename(2, lambda: save(root, SAVED, "a_metadata.json"))
    done = put(root_fd, order)
    assert [left.path for left in done.left] == ["a_metadata.json"]
    assert tree(root) == {"a_metadata.json": SAVED}
    assert list(trashed(root).values()) == [DATA]


def test_of_two_saves_of_a_companion_both_are_kept(root: Path, root_fd: int, at_rename: Callable) -> None:
    write(root, "a.pth")
    write(root, "a_metadata.json", b"{}")
    order = removal(root, "a.pth", ["a_metadata.json"])
    at_rename(2, lambda: save(root, SAVED, "a_metadata.json"))
    at_rename(3, lambda: save(root, LATER, "a_metadata.json"))
    done = put(root_fd, order)
    assert done.entry in done.left[0].why
    assert tree(root) == {"a_metadata.json": LATER}
    assert set(trashed(root).values()) == {DATA, SAVED}
    assert purge(root_fd, done.entry, NOW, grace_seconds=0).outcome == "gone-back", "a purge never unlinks it"
    assert set(trashed(root).values()) == {SAVED}


@pytest.mark.parametrize("way", ["put", "exchange"])
def test_many_rounds_against_a_thread_that_saves(root: Path, root_fd: int, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    """Wherever the save falls, it is what lies there afterwards; the trash has the original, or nothing."""
    monkeypatch.setattr(os, "fsync", lambda _: None)  # no time for anything but the race
    chance, outcomes = random.Random(7), Counter()
    for number in range(150):
        original, saved = b"original %d " % number * 99, b"saved %d " % number * 99
        write(root, "a.pth", original)
        (root / "editor~").write_bytes(saved)
        order = removal(root, "a.pth")
        pause = chance.uniform(0, 0.0015)
        start = threading.Barrier(2)

        def save_soon() -> None:
            start.wait()  # noqa: B023 — joined within the turn
            time.sleep(pause)  # noqa: B023 — called before the next pause
            os.rename(root / "editor~", root / "a.pth")

        other = threading.Thread(target=save_soon)
        other.start()
        start.wait()
        try:
            put(root_fd, order) if way == "put" else exchange_for(root_fd, order, b"small %d" % number)
            outcomes["moved"] += 1
        except RefusedError as error:
            outcomes[error.refusal] += 1
        other.join()
        kept = list(trashed(root).values())
        assert tree(root) == {"a.pth": saved}, number
        assert kept in ([], [original]), number
        for entry in list_entries(root_fd):
            assert entry.problem == ""
            assert purge(root_fd, entry.name, NOW, grace_seconds=0).outcome == "purged"
    assert set(outcomes) <= {"moved", Refusal.CHANGED}


def test_a_neighbour_who_swaps_directories_for_links_gains_nothing(root: Path, root_fd: int) -> None:
    """Neither a file outside is taken away nor is one put there."""
    outside = root.parent / "outside"
    outside.mkdir()
    write(root, "dir/a.pth")
    write(root.parent, "outside/a.pth", b"secret")
    (root / "trap").symlink_to(outside)
    order = removal(root, "dir/a.pth")
    moved = 0
    with swapped(root_fd, "dir", "trap"):
        for _ in range(300):
            try:
                entry = put(root_fd, order).entry
            except RefusedError:
                continue
            moved += 1
            while True:
                try:
                    restore(root_fd, entry)
                    break
                except RefusedError:
                    continue
            order = order.__class__(order.path, order.identity, order.sha256, NOW)
    assert moved > 0
    assert os.listdir(outside) == ["a.pth"]
    assert (outside / "a.pth").read_bytes() == b"secret"
    assert len([data for data in {**tree(root), **trashed(root)}.values() if data == DATA]) <= 1


class TestOpenness:
    HOLDER = "import mmap,sys;f=open(sys.argv[1],'r+b');{};print(flush=True);sys.stdin.read()"

    @pytest.mark.parametrize("how", ["pass", "m=mmap.mmap(f.fileno(),0);import os;os.closerange(3,64)"], ids=["open", "mapped"])
    @pytest.mark.parametrize("has_leases", [True, False])
    def test_another_process_that_has_it_open_or_mapped_is_seen(
        self, root: Path, root_fd: int, monkeypatch: pytest.MonkeyPatch, how: str, has_leases: bool
    ) -> None:
        """By a lease; and where there is none, in /proc."""
        order = removal(root, write(root, "a.pth").name)
        if not has_leases:
            monkeypatch.setattr(holding.fcntl, "fcntl", no_leases)
        code = self.HOLDER.format(how)
        with subprocess.Popen(
            [sys.executable, "-c", code, root / "a.pth"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as holder:
            holder.stdout.readline()
            assert refused(root_fd, order, accept=(Openness.CLOSED, Openness.UNKNOWN)) is Refusal.OPEN
            holder.stdin.close()
        assert tree(root) == {"a.pth": DATA}
        expected = Refusal.OPENNESS_UNKNOWN if not has_leases else None
        assert (None if has_leases else refused(root_fd, order)) is expected
        assert put(root_fd, order, accept=(Openness.CLOSED, Openness.UNKNOWN)).entry

    def test_a_table_of_mappings(self) -> None:
        """Names with blanks and newlines do no harm, and memory without a file counts as none."""
        table = b"7f00-7f01 r 0 fe:00 4711   /a b/c\\012d\n7f01-7f02 rw 0 00:00 0 \n7f02-7f03 r 0 0:0 0 [stack]\nx"
        assert holding._mapped(table) == {4711}

    def test_a_machine_of_many_descriptors_is_not_walked_for_ever(self) -> None:
        assert find_open_files(limit=0) == frozenset()

    @pytest.mark.root
    def test_of_a_strangers_file_nothing_is_known(self, root: Path) -> None:
        """The directory may be written to, the file is another's, and there is no lease for us: the caller decides."""
        write(root, "a.pth")
        order = removal(root, "a.pth")
        root.chmod(0o777)
        for parent in [*root.parents][:4]:
            if not parent.stat().st_mode & 0o001:
                parent.chmod(0o755)

        def inside() -> None:
            fd = os.open(root, os.O_RDONLY)
            assert refused(fd, order) is Refusal.OPENNESS_UNKNOWN
            assert tree(root) == {"a.pth": DATA}
            entry = put(fd, order, accept=(Openness.CLOSED, Openness.UNKNOWN)).entry
            assert restore(fd, entry).path == "a.pth"

        run_as_nobody(inside)

    def test_nothing_is_held_longer_than_asked(self, root: Path) -> None:
        fd = os.open(write(root, "a.pth"), os.O_RDONLY)
        with Hold(fd) as hold:
            assert hold.openness is Openness.CLOSED
            with pytest.raises(BlockingIOError):
                os.open(root / "a.pth", os.O_RDONLY | os.O_NONBLOCK)
            assert hold.is_wanted()
        os.close(os.open(root / "a.pth", os.O_WRONLY | os.O_NONBLOCK))
        os.close(fd)


def no_leases(fd: int, command: int, *_: object) -> int:
    raise PermissionError(13, os.strerror(13))


class TestSweep:
    """What a kill can't be made to leave by killing, because the moment is too short or the cause another one."""

    def test_what_is_not_locked_and_young_is_left_alone(
        self, root: Path, root_fd: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """On a file system without locks a living process may be at it."""
        from ckptd.storage.trash import entries

        entry = put(root_fd, removal(root, write(root, "a.pth").name)).entry
        place = trash_of(root) / entry
        (place / "manifest.json").rename(place / "intent.json")

        def refuse(*_: object) -> None:
            raise OSError(37, os.strerror(37))

        monkeypatch.setattr(entries.fcntl, "flock", refuse)
        assert sweep(root_fd, time.time()) == []
        assert [one.healing for one in sweep(root_fd, time.time() + 3600)] == [Healing.FINISHED]

    def test_a_save_that_can_not_go_back_is_kept_until_it_is_restored(self, root: Path, root_fd: int) -> None:
        entry = put(root_fd, removal(root, write(root, "a.pth").name)).entry
        place = trash_of(root) / entry
        (place / "manifest.json").rename(place / "intent.json")
        (place / "a.pth").unlink()
        (place / "a.pth").write_bytes(SAVED)
        write(root, "a.pth", LATER)
        (healed,) = sweep(root_fd, NOW)
        assert healed.healing is Healing.KEPT_ASIDE
        assert entry in healed.why or "once more" in healed.why
        assert sweep(root_fd, NOW) == []
        assert (tree(root), trashed(root)) == ({"a.pth": LATER}, {f"{entry}/a.pth": SAVED})

    def test_a_save_whose_directory_is_gone_is_kept(self, root: Path, root_fd: int) -> None:
        write(root, "dir/a.pth")
        entry = put(root_fd, removal(root, "dir/a.pth")).entry
        place = trash_of(root) / entry
        (place / "manifest.json").rename(place / "intent.json")
        os.truncate(place / "a.pth", 5)
        (root / "dir").rmdir()
        assert [one.healing for one in sweep(root_fd, NOW)] == [Healing.KEPT_ASIDE]
        assert list(trashed(root).values()) == [DATA[:5]]

    def test_a_companion_that_changed_since_the_kill_stays(self, root: Path, root_fd: int) -> None:
        write(root, "a.pth")
        write(root, "a_metadata.json", b"{}")
        entry = put(root_fd, removal(root, "a.pth", ["a_metadata.json"])).entry
        place = trash_of(root) / entry
        (place / "manifest.json").rename(place / "intent.json")
        (place / "a_metadata.json").rename(root / "a_metadata.json")
        write(root, "a_metadata.json", b"edited")
        (healed,) = sweep(root_fd, NOW)
        assert healed.healing is Healing.FINISHED
        assert "a_metadata.json" in healed.why
        assert tree(root) == {"a_metadata.json": b"edited"}

    @pytest.mark.parametrize(
        "note", [b"", b"{", b"[]", b'{"targets": 7}', b'{"targets": {"a_metadata.json": "../x"}}', b"\xff"]
    )
    def test_a_note_of_a_restore_that_is_none(self, root: Path, root_fd: int, note: bytes) -> None:
        """What is in the entry stays there."""
        write(root, "a.pth")
        write(root, "a_metadata.json", b"{}")
        entry = put(root_fd, removal(root, "a.pth", ["a_metadata.json"])).entry
        place = trash_of(root) / entry
        (place / "a.pth").rename(root / "a.pth")
        (place / "restoring.json").write_bytes(note)
        sweep(root_fd, NOW)
        assert sweep(root_fd, NOW) == []
        assert trashed(root) == {f"{entry}/a_metadata.json": b"{}"}
        assert sorted(os.listdir(root.parent)) == ["models"]

    def test_a_purge_that_was_interrupted_never_unlinks_what_changed(self, root: Path, root_fd: int) -> None:
        write(root, "a.pth")
        write(root, "a_metadata.json", b"{}")
        entry = put(root_fd, removal(root, "a.pth", ["a_metadata.json"])).entry
        place = trash_of(root) / entry
        (place / "manifest.json").rename(place / "purging.json")
        (place / "a.pth").unlink()
        (place / "a_metadata.json").write_bytes(b"[]")
        (healed,) = sweep(root_fd, NOW)
        assert healed.healing is Healing.PURGED
        assert "a_metadata.json" in healed.why
        assert sweep(root_fd, NOW) == []
        assert trashed(root) == {f"{entry}/a_metadata.json": b"[]"}

    def test_what_was_emptied_by_hand_is_gone_from_the_list(self, root: Path, root_fd: int) -> None:
        entry = put(root_fd, removal(root, write(root, "a.pth").name)).entry
        (trash_of(root) / entry / "a.pth").unlink()
        assert list_entries(root_fd)[0].problem
        (healed,) = sweep(root_fd, NOW)
        assert (healed.healing, healed.path) == (Healing.EMPTY, "a.pth")
        assert list_entries(root_fd) == []

    def test_a_trash_that_was_copied_elsewhere_and_back_is_as_good(self, root: Path, root_fd: int) -> None:
        """Other inodes, the same bytes: restored and purged by digest."""
        write(root, "a.pth")
        write(root, "b.pth", b"b")
        entries = [put(root_fd, removal(root, f"{name}.pth", at=NOW + index)).entry for index, name in enumerate("ab")]
        shutil.copytree(trash_of(root), root.parent / "backup")
        shutil.rmtree(trash_of(root))
        shutil.copytree(root.parent / "backup", trash_of(root))
        trash_of(root).chmod(0o700)
        assert sweep(root_fd, NOW) == []
        assert restore(root_fd, entries[0]).damaged == ()
        assert purge(root_fd, entries[1], NOW + 9, grace_seconds=0).outcome == "purged"
