"""A file is replaced only while it is the one that was read; a save in between wins, at every moment."""

from __future__ import annotations

import fcntl
import hashlib
import os
import stat
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ckptd.errors import StorageError
from ckptd.model import Identity
from ckptd.storage import compare, kernel, temporary
from ckptd.storage.atomic import Outcome, exchange_if_same
from ckptd.storage.leftovers import sweep_leftovers
from tests.storage.forks import NOBODY, killed_at_every_call, run_as_nobody, run_in_child

OLD = b"what was read " * 100
NEW = b"what we write " * 200
SAVED = b"what a person saved meanwhile " * 50
LATER = b"and saved once more " * 50


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def names(directory: Path) -> list[str]:
    return sorted(os.listdir(directory))


def save_by_rename(place: Path, data: bytes) -> None:
    (place.parent / "editor~").write_bytes(data)
    (place.parent / "editor~").rename(place)


def save_in_place(place: Path, data: bytes) -> None:
    place.write_bytes(data)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "a.json").write_bytes(OLD)
    return tmp_path / "a.json"


@pytest.fixture
def at_exchange(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, Callable[[], None]], None]:
    """Let something happen just before the nth exchange of two names."""
    real, planned, count = kernel.rename, {}, [0]

    def rename(dir_fd: int, source: str, target: str, flags: int) -> None:
        if flags == kernel.RENAME_EXCHANGE:
            count[0] += 1
            planned.get(count[0], lambda: None)()
        real(dir_fd, source, target, flags)

    monkeypatch.setattr(kernel, "rename", rename)
    return planned.__setitem__


@pytest.mark.parametrize("durable", [True, False])
def test_the_file_that_was_read_is_replaced(place: Path, dir_fd: int, durable: bool) -> None:
    done = exchange_if_same(dir_fd, "a.json", digest(OLD), NEW, durable=durable)
    assert done.outcome is Outcome.EXCHANGED
    assert done.written is not None
    assert done.written.identity == Identity.of(place.stat())
    assert place.read_bytes() == NEW
    assert names(place.parent) == ["a.json"]


def test_an_identity_will_do_for_a_digest(place: Path, dir_fd: int) -> None:
    assert exchange_if_same(dir_fd, "a.json", Identity.of(place.stat()), NEW).outcome is Outcome.EXCHANGED
    assert exchange_if_same(dir_fd, "a.json", Identity.of(place.stat())._replace(mtime_ns=1), OLD).outcome is Outcome.CHANGED
    assert place.read_bytes() == NEW


def test_another_content_stays_and_nothing_of_ours_is_left(place: Path, dir_fd: int) -> None:
    before = place.stat()
    assert exchange_if_same(dir_fd, "a.json", digest(b"else"), NEW).outcome is Outcome.CHANGED
    assert os.path.samestat(place.stat(), before)
    assert place.read_bytes() == OLD
    assert names(place.parent) == ["a.json"]


def test_a_file_that_is_gone_is_not_made(place: Path, dir_fd: int) -> None:
    place.unlink()
    assert exchange_if_same(dir_fd, "a.json", digest(OLD), NEW).outcome is Outcome.GONE
    assert names(place.parent) == []


@pytest.mark.parametrize("kind", ["directory", "link", "fifo", "unreadable"])
def test_what_is_no_file_goes_back_to_its_place(place: Path, dir_fd: int, kind: str) -> None:
    place.unlink()
    match kind:
        case "directory":
            place.mkdir()
            (place / "inside").write_text("kept")
        case "link":
            place.symlink_to("elsewhere")
        case "fifo":
            os.mkfifo(place)
        case "unreadable":
            place.write_bytes(b"secret")
            place.chmod(0)
    before = place.lstat()
    assert exchange_if_same(dir_fd, "a.json", digest(OLD), NEW).outcome is Outcome.CHANGED
    assert os.path.samestat(place.lstat(), before)
    assert names(place.parent) == ["a.json"]


@pytest.mark.parametrize("save", [save_by_rename, save_in_place])
def test_a_save_between_the_read_and_the_exchange_wins(place: Path, dir_fd: int, at_exchange: Callable, save: Callable) -> None:
    at_exchange(1, lambda: save(place, SAVED))
    assert exchange_if_same(dir_fd, "a.json", digest(OLD), NEW).outcome is Outcome.CHANGED
    assert place.read_bytes() == SAVED
    assert names(place.parent) == ["a.json"]


@pytest.mark.parametrize("save", [save_by_rename, save_in_place])
def test_a_second_save_before_the_first_is_back_wins_over_it(
    place: Path, dir_fd: int, at_exchange: Callable, save: Callable
) -> None:
    """The first save came out, ours is in place for a moment, and is saved over (or written into) just then."""
    at_exchange(1, lambda: save_by_rename(place, SAVED))
    at_exchange(2, lambda: save(place, LATER))
    assert exchange_if_same(dir_fd, "a.json", digest(OLD), NEW).outcome is Outcome.CHANGED
    assert place.read_bytes() == LATER
    assert names(place.parent) == ["a.json"]


@pytest.mark.parametrize("writes", [True, False])
def test_a_writer_that_opened_ours_just_then_costs_no_save(
    place: Path, dir_fd: int, at_exchange: Callable, writes: bool
) -> None:
    """A save came out, and before it is back somebody opens what we had put in place: will they write?"""
    writers = []
    at_exchange(1, lambda: save_by_rename(place, SAVED))
    at_exchange(2, lambda: writers.append(place.open("r+b")))
    with pytest.raises(StorageError, match=r"kept as \.ckptd-"):
        exchange_if_same(dir_fd, "a.json", digest(OLD), NEW)
    with writers[0] as writer:
        writer.write(LATER if writes else b"")
    swept = sweep_leftovers(dir_fd, time.time() + 60)
    if writes:
        assert place.read_bytes().startswith(LATER)
        assert [finding.code for finding in swept.findings] == ["save-kept-aside"]
        assert len(names(place.parent)) == 2
    else:
        assert place.read_bytes() == SAVED
        assert names(place.parent) == ["a.json"]


def test_a_third_save_wins_over_the_second(place: Path, dir_fd: int, at_exchange: Callable) -> None:
    at_exchange(1, lambda: save_by_rename(place, SAVED))
    at_exchange(2, lambda: save_by_rename(place, LATER))
    at_exchange(3, lambda: save_by_rename(place, b"last"))
    assert exchange_if_same(dir_fd, "a.json", digest(OLD), NEW).outcome is Outcome.CHANGED
    assert place.read_bytes() == b"last"
    assert names(place.parent) == ["a.json"]


def test_a_removal_while_a_save_is_on_its_way_back_keeps_the_save(place: Path, dir_fd: int, at_exchange: Callable) -> None:
    at_exchange(1, lambda: save_by_rename(place, SAVED))
    at_exchange(2, place.unlink)
    assert exchange_if_same(dir_fd, "a.json", digest(OLD), NEW).outcome is Outcome.CHANGED
    assert place.read_bytes() == SAVED
    assert names(place.parent) == ["a.json"]


def test_who_saves_without_end_keeps_the_last_save_and_one_more(place: Path, dir_fd: int, at_exchange: Callable) -> None:
    for number in range(1, 40):
        at_exchange(number, lambda number=number: save_by_rename(place, b"%d" % number))
    with pytest.raises(StorageError, match=r"kept as \.ckptd-"):
        exchange_if_same(dir_fd, "a.json", digest(OLD), NEW)
    assert len(names(place.parent)) == 2
    assert all((place.parent / name).read_bytes() != NEW for name in names(place.parent))


def test_a_writer_that_has_the_file_open_wins(place: Path, dir_fd: int) -> None:
    """It opened the file before our exchange and writes after it: the bytes must land under the name."""
    with place.open("r+b") as writer:
        assert exchange_if_same(dir_fd, "a.json", digest(OLD), NEW).outcome is Outcome.CHANGED
        writer.write(SAVED)
    assert place.read_bytes().startswith(SAVED)
    assert exchange_if_same(dir_fd, "a.json", digest(place.read_bytes()), NEW).outcome is Outcome.EXCHANGED


def test_a_reader_that_has_the_file_open_is_no_obstacle(place: Path, dir_fd: int) -> None:
    with place.open("rb") as reader:
        assert exchange_if_same(dir_fd, "a.json", digest(OLD), NEW).outcome is Outcome.EXCHANGED
        assert reader.read() == OLD


def test_without_exchange_the_file_is_kept(place: Path, dir_fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """To replace without an exchange could lose a save: such a file system gets no updates."""

    def refuse(*_: object) -> None:
        raise kernel.Unsupported(22, "Invalid argument")

    monkeypatch.setattr(kernel, "rename", refuse)
    assert exchange_if_same(dir_fd, "a.json", digest(OLD), NEW).outcome is Outcome.UNSUPPORTED
    assert place.read_bytes() == OLD
    assert names(place.parent) == ["a.json"]


def test_bits_and_group_of_the_example_are_taken(place: Path, dir_fd: int) -> None:
    place.chmod(0o664)
    exchange_if_same(dir_fd, "a.json", digest(OLD), NEW, like=place.stat())
    assert stat.S_IMODE(place.stat().st_mode) == 0o664


@pytest.mark.root
def test_in_a_sticky_directory_the_error_names_the_cure(place: Path) -> None:
    place.parent.chmod(0o1777)
    fd = os.open(place.parent, os.O_RDONLY)

    def inside() -> None:
        with pytest.raises(StorageError, match=r"sticky.*chmod -t"):
            exchange_if_same(fd, "a.json", digest(OLD), NEW)

    run_as_nobody(inside)
    os.close(fd)
    assert place.read_bytes() == OLD
    assert names(place.parent) == ["a.json"]


@pytest.mark.parametrize("name", ["open", "write", "fsync", "rename"])
def test_any_call_may_fail_and_the_old_file_is_there(
    place: Path, dir_fd: int, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    real = getattr(os, name)

    def fail(*args: object, **kwargs: object) -> object:
        if name == "fsync" and args[0] == dir_fd:
            return real(*args, **kwargs)
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, name, fail)
    with pytest.raises(StorageError, match="No space left"):
        exchange_if_same(dir_fd, "a.json", digest(OLD), NEW)
    monkeypatch.undo()
    assert place.read_bytes() == OLD
    assert names(place.parent) == ["a.json"]


@pytest.mark.parametrize("durable", [True, False])
def test_a_kill_at_any_call_leaves_the_old_or_the_new_file(place: Path, dir_fd: int, durable: bool) -> None:
    seen = set()

    def prepare() -> None:
        for name in names(place.parent):
            (place.parent / name).unlink()
        place.write_bytes(OLD)

    def check(number: int) -> None:
        seen.add(place.read_bytes())
        assert place.read_bytes() in (OLD, NEW)
        swept = sweep_leftovers(dir_fd, time.time() + 60)
        assert not swept.findings
        assert place.read_bytes() in (OLD, NEW)
        assert names(place.parent) == ["a.json"]

    kills = killed_at_every_call(lambda: exchange_if_same(dir_fd, "a.json", digest(OLD), NEW, durable=durable), prepare, check)
    assert kills >= 6
    assert seen == {OLD, NEW}


def test_a_kill_at_any_call_never_costs_a_save_that_came_between(place: Path, dir_fd: int) -> None:
    """The exchange falls together with a save, and the kill with both: after the sweep the save is in its place."""
    real = kernel.rename
    saw_a_restore = []

    def with_a_save() -> None:
        inner = kernel.rename

        def rename(fd: int, source: str, target: str, flags: int) -> None:
            if flags == kernel.RENAME_EXCHANGE and not saved:
                saved.append(True)
                assert real is not None
                os.replace(place.parent / "prepared", place)
            inner(fd, source, target, flags)

        saved: list[bool] = []
        kernel.rename = rename
        exchange_if_same(dir_fd, "a.json", digest(OLD), NEW)

    def prepare() -> None:
        for name in names(place.parent):
            (place.parent / name).unlink()
        place.write_bytes(OLD)
        (place.parent / "prepared").write_bytes(SAVED)

    def check(number: int) -> None:
        was_saved = not (place.parent / "prepared").exists()
        swept = sweep_leftovers(dir_fd, time.time() + 60)
        saw_a_restore.extend(swept.restored)
        assert not swept.findings
        assert place.read_bytes() == (SAVED if was_saved else OLD)
        assert set(names(place.parent)) <= {"a.json", "prepared"}

    killed_at_every_call(with_a_save, prepare, check)
    assert "a.json" in saw_a_restore


class TestSweep:
    SOON = 60

    def test_only_old_files_of_ours_go(self, place: Path, dir_fd: int) -> None:
        (place.parent / temporary.new_temporary_name()).write_bytes(b"half")
        kept = [".ckptd-notes.tmp", ".ckptd-0123456789abcdef.tmp~", ".hidden", "a.tmp"]
        for name in kept:
            (place.parent / name).write_bytes(b"kept")
        assert sweep_leftovers(dir_fd, time.time() - self.SOON).removed == ()
        assert len(sweep_leftovers(dir_fd, time.time() + self.SOON).removed) == 1
        assert names(place.parent) == sorted([*kept, "a.json"])

    def test_a_directory_or_a_link_under_such_a_name_stays(self, place: Path, dir_fd: int) -> None:
        (place.parent / temporary.new_temporary_name()).mkdir()
        (place.parent / temporary.new_temporary_name()).symlink_to("a.json")
        assert sweep_leftovers(dir_fd, time.time() + self.SOON).removed == ()
        assert len(names(place.parent)) == 3

    @pytest.mark.root
    def test_another_users_file_under_such_a_name_stays(self, place: Path) -> None:
        place.parent.chmod(0o777)
        (place.parent / temporary.new_temporary_name()).write_bytes(b"root's")
        fd = os.open(place.parent, os.O_RDONLY)
        run_as_nobody(lambda: sweep_leftovers(fd, time.time() + self.SOON).removed == () or pytest.fail("removed"))
        os.close(fd)
        assert len(names(place.parent)) == 2

    def test_a_save_whose_place_is_not_found_is_kept_and_told(self, place: Path, dir_fd: int) -> None:
        swap = temporary.swap_name_for(temporary.new_temporary_name(), len(NEW), digest(NEW), digest(OLD))
        (place.parent / swap).write_bytes(SAVED)
        swept = sweep_leftovers(dir_fd, time.time() + self.SOON)
        assert [finding.code for finding in swept.findings] == ["save-kept-aside"]
        assert swap in swept.findings[0].message
        assert (place.parent / swap).read_bytes() == SAVED


@given(st.lists(st.tuples(st.integers(1, 6), st.booleans(), st.binary(min_size=1, max_size=40)), max_size=5))
@settings(max_examples=60, deadline=None)
def test_law_the_last_save_is_what_lies_there(tmp_path_factory: pytest.TempPathFactory, saves: list) -> None:
    """However saves fall between our exchanges, the newest one is in place afterwards and no hidden file is left."""
    directory = tmp_path_factory.mktemp("law")
    place = directory / "a.json"
    place.write_bytes(OLD)
    real, count, last = kernel.rename, [0], [OLD]

    def rename(dir_fd: int, source: str, target: str, flags: int) -> None:
        count[0] += 1
        for when, in_place, data in saves:
            if when == count[0] and target == "a.json":
                last[0] = b"saved " + data + b"%d" % count[0]
                (save_in_place if in_place else save_by_rename)(place, last[0])
        real(dir_fd, source, target, flags)

    fd = os.open(directory, os.O_RDONLY)
    kernel.rename = rename
    try:
        done = exchange_if_same(fd, "a.json", digest(OLD), NEW, durable=False)
    finally:
        kernel.rename = real
        os.close(fd)
    expected = NEW if done.outcome is Outcome.EXCHANGED else last[0]
    assert place.read_bytes() == expected
    assert (done.outcome is Outcome.EXCHANGED) == (last[0] == OLD)
    assert names(directory) == ["a.json"]


@pytest.mark.root
def test_the_file_of_another_user_is_replaced_where_the_directory_allows_it(place: Path) -> None:
    os.chown(place, NOBODY, NOBODY)
    fd = os.open(place.parent, os.O_RDONLY)
    assert exchange_if_same(fd, "a.json", digest(OLD), NEW, like=place.stat()).outcome is Outcome.EXCHANGED
    os.close(fd)
    assert (place.stat().st_uid, place.stat().st_gid) == (NOBODY, NOBODY)


def test_the_newest_wins_even_when_the_exchange_back_fails(place: Path, dir_fd: int, at_exchange: Callable) -> None:
    """The disk refuses the way back: the save is kept under the name that the error tells."""

    def refuse() -> None:
        raise OSError(5, os.strerror(5))

    at_exchange(1, lambda: save_by_rename(place, SAVED))
    at_exchange(2, refuse)
    with pytest.raises(StorageError, match=r"kept as \.ckptd-"):
        exchange_if_same(dir_fd, "a.json", digest(OLD), NEW)
    kept = [name for name in names(place.parent) if name.startswith(".ckptd-")]
    assert (place.parent / kept[0]).read_bytes() == SAVED


def test_who_opens_the_file_while_we_ask_for_writers_does_not_end_us(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel signals the holder of a lease when somebody wants to write; SIGIO would end the process."""
    real = fcntl.fcntl

    def opened_meanwhile(fd: int, command: int, argument: int) -> object:
        result = real(fd, command, argument)
        if (command, argument) == (fcntl.F_SETLEASE, fcntl.F_RDLCK):
            with pytest.raises(BlockingIOError):
                os.open(place, os.O_WRONLY | os.O_NONBLOCK)
        return result

    def ask() -> None:
        fd = os.open(place, os.O_RDONLY)
        assert compare.has_writer(fd) is False

    monkeypatch.setattr(fcntl, "fcntl", opened_meanwhile)
    assert run_in_child(ask) == 0
