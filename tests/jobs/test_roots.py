"""A root while it is watched: away and back, with real directories."""

from __future__ import annotations

import errno
import os
import shutil

import pytest

from ckptd.errors import IndexUnavailableError, RootLostError, StorageError
from ckptd.jobs import roots as rooms
from ckptd.jobs.roots import WatchedRoot
from ckptd.watch.guard import Missing, MountChanged, Ok, Unmarked
from ckptd.watch.wanted import compile_wanted

WANTED = compile_wanted((".pth",), ())


class Memory:
    """An index with one root; None of files: it can't be read."""

    def __init__(self, root_id, files):
        self.root_id = root_id
        self.files = files

    def load_root(self, _root):
        if self.files is None:
            raise IndexUnavailableError("read the index", why="database is locked")
        return self.root_id, self.files


@pytest.fixture
def models(tmp_path):
    made = tmp_path / "models"
    made.mkdir()
    return made


@pytest.fixture
def read_only(monkeypatch):
    """No root takes a mark."""

    def refuse(_fd):
        raise StorageError("mark the root", why="Read-only file system")

    monkeypatch.setattr(rooms, "mark_root", refuse)


def mark(models):
    """Let a root be seen once, and give the mark that it has from then on."""
    with WatchedRoot.open(0, models, WANTED) as root:
        root.look_again()
        return root.root_id


def fill(models, count=5):
    for number in range(count):
        (models / f"{number}.pth").write_bytes(b"x")


def test_a_root_without_a_mark_that_was_away_at_the_start_comes_back(models, tmp_path, read_only):
    """A read-only share: nothing but its place could be known of it, and a root that is away has none."""
    fill(models)
    models.rename(tmp_path / "elsewhere")
    with WatchedRoot.open_or_wait(0, models, WANTED) as root:
        root.learn(Memory(None, 5))
        root.look_again()
        assert root.incident == "No such file or directory"
        models.mkdir()  # where it is mounted later
        root.look_again()
        assert "unmounted" in root.incident
        models.rmdir()
        (tmp_path / "elsewhere").rename(models)
        assert isinstance(root.look_again(), MountChanged)
        assert root.incident is None
        assert "4.pth" in os.listdir(root.handle.fd)
        assert isinstance(root.look_again(), Unmarked)
        assert root.incident is None
        root.memory = Memory(None, None)  # who is at its place is not asked for
        assert isinstance(root.look_again(), Unmarked)


def test_a_root_with_a_mark_that_was_away_at_the_start_comes_back(models, tmp_path):
    """By its mark, and not before."""
    root_id = mark(models)
    fill(models)
    models.rename(tmp_path / "elsewhere")
    with WatchedRoot.open_or_wait(0, models, WANTED) as root:
        root.learn(Memory(root_id, 5))
        models.mkdir()
        fill(models)
        root.look_again()
        assert root.incident is not None
        models.rename(tmp_path / "another")
        (tmp_path / "elsewhere").rename(models)
        assert isinstance(root.look_again(), MountChanged)
        assert isinstance(root.look_again(), Ok)


def test_a_root_that_nobody_ever_saw_is_not_waited_for(models):
    """It is a slip in the settings."""
    models.rmdir()
    with WatchedRoot.open_or_wait(0, models, WANTED) as root, pytest.raises(RootLostError, match="models"):
        root.learn(Memory(None, 0))


def test_an_empty_root_that_is_made_anew_is_the_one_that_is_held(models, tmp_path):
    """Nothing was known in it, so that whatever lies there now is it: at once, and with a mark of its own."""
    with WatchedRoot.open(0, models, WANTED) as root:
        root.look_again()
        before = root.root_id
        models.rename(tmp_path / "old")
        models.mkdir()
        fill(models)
        assert isinstance(root.look_again(), MountChanged)
        assert "0.pth" in os.listdir(root.handle.fd)
        assert root.root_id not in (None, before)
        assert isinstance(root.look_again(), Ok)


@pytest.mark.parametrize("files", [5, None])
def test_files_that_came_since_the_last_full_look_keep_an_empty_directory_from_being_marked(models, tmp_path, files):
    """The count that a look at the whole root left behind may be an hour old; the index is asked, and silence means no."""
    memory = Memory(None, 0)
    with WatchedRoot.open(0, models, WANTED) as root:
        root.learn(memory)
        root.look_again()
        memory.root_id, memory.files = root.root_id, files
        models.rename(tmp_path / "elsewhere")
        models.mkdir()
        root.look_again()
        assert root.incident is not None
        assert os.listdir(models) == []
        models.rmdir()
        (tmp_path / "elsewhere").rename(models)
        assert isinstance(root.look_again(), Ok)
        assert root.incident is None


@pytest.mark.parametrize("files", [0, 5, None])
def test_a_share_whose_mount_point_was_marked_is_taken_while_nothing_is_known_of_what_was_there(models, tmp_path, files):
    """On the first evening nothing is written down yet; once files are known, or the index keeps silent, it is another root."""
    memory = Memory(None, 0)
    with WatchedRoot.open(0, models, WANTED) as root:
        root.learn(memory)
        root.look_again()
        first = root.root_id
        models.rename(tmp_path / "share")
        models.mkdir()
        root.look_again()
        second = memory.root_id = root.root_id
        assert (root.incident, second == first) == (None, False)
        memory.files = files
        models.rename(tmp_path / "mount point")
        (tmp_path / "share").rename(models)
        fill(models)
        verdict = root.look_again()
        is_taken = files == 0
        assert (root.incident is None) is is_taken
        assert isinstance(verdict, MountChanged) is is_taken
        assert root.root_id == (first if is_taken else second)
        assert ("0.pth" in os.listdir(root.handle.fd)) is is_taken


@pytest.mark.parametrize("has_mark", [True, False])
def test_no_files_are_no_answer_while_some_wait_to_be_written(models, tmp_path, has_mark):
    """Another process holds the index for writing: what is known of the root is known to this process alone."""
    memory, waiting = Memory(None, 0), [3]
    with WatchedRoot.open(0, models, WANTED) as root:
        root.learn(memory)
        root.look_again()
        root.unwritten = lambda: waiting[0]
        models.rename(tmp_path / "share")
        models.mkdir()
        if has_mark:
            mark(models)
        before = os.listdir(models)
        root.look_again()
        assert "can't say" in root.incident
        assert os.listdir(models) == before
        memory.files = 5  # enough to know, whatever waits
        root.look_again()
        assert "can't say" not in root.incident
        memory.files = waiting[0] = 0
        assert isinstance(root.look_again(), MountChanged)
        assert root.incident is None


def test_a_root_whose_files_all_left_may_be_made_anew(models, tmp_path):
    """Five were known at the last full look; they were removed one by one since, so that nothing is lost with the directory."""
    memory = Memory(mark(models), 5)
    with WatchedRoot.open(0, models, WANTED) as root:
        root.learn(memory)
        memory.files = 0
        models.rename(tmp_path / "elsewhere")
        models.mkdir()
        assert isinstance(root.look_again(), MountChanged)
        assert root.incident is None


def test_a_root_that_goes_away_while_it_is_opened_anew_is_an_incident(models, tmp_path, monkeypatch):
    """What was held is held on: a closed descriptor may be another file's a moment later."""
    fill(models)
    with WatchedRoot.open(0, models, WANTED) as root:
        root.look_again()
        root.files = 5
        held = root.handle.fd
        os.rename(models, tmp_path / "old")
        os.mkdir(models)
        os.rename(tmp_path / "old" / ".ckptd", models / ".ckptd")  # the same mark in another directory: mounted anew

        def refuse(_path):
            raise OSError(5, os.strerror(5))

        monkeypatch.setattr(rooms, "RootHandle", refuse)
        root.look_again()
        assert root.incident == "Input/output error"
        assert root.handle.fd == held
        os.fstat(held)
        with pytest.raises(RootLostError, match="Input/output error"):
            root.adopt()
        os.fstat(held)
        monkeypatch.undo()
        assert isinstance(root.look_again(), MountChanged)
        assert root.incident is None


@pytest.mark.parametrize("files", [5, 0])
def test_a_mount_that_goes_between_the_look_and_the_opening_is_an_incident(models, tmp_path, monkeypatch, files):
    """The empty directory below it would be held and believed, and everything missing in it."""
    memory = Memory(mark(models), files)
    with WatchedRoot.open(0, models, WANTED) as root:
        root.learn(memory)
        held = root.handle.fd
        models.rename(tmp_path / "share")
        shutil.copytree(tmp_path / "share", models)  # the same mark in another directory: mounted anew
        real = rooms.look

        def look_and_lose(path):
            seen = real(path)
            models.rename(tmp_path / "away")
            models.mkdir()
            return seen

        monkeypatch.setattr(rooms, "look", look_and_lose)
        descriptors = os.listdir("/proc/self/fd")
        assert isinstance(root.look_again(), Missing)
        assert len(os.listdir("/proc/self/fd")) == len(descriptors)
        assert root.incident == "another directory came in its place while it was opened"
        assert os.listdir(models) == []
        assert root.handle.fd == held
        os.fstat(held)
        monkeypatch.undo()
        models.rmdir()
        (tmp_path / "away").rename(models)
        assert isinstance(root.look_again(), MountChanged)
        assert root.incident is None


def test_a_mark_that_is_older_than_the_index_is_learnt(models, tmp_path):
    """Else the root would be known by its place alone for ever, and what lies below its mount would be taken for it."""
    root_id = mark(models)
    fill(models)
    with WatchedRoot.open(0, models, WANTED) as root:
        root.learn(Memory(None, 5))
        assert isinstance(root.look_again(), Ok)
        assert root.root_id == root_id
    models.rename(tmp_path / "elsewhere")
    models.mkdir()
    with WatchedRoot.open(0, models, WANTED) as root:
        root.learn(Memory(root_id, 5))
        root.look_again()
        assert root.incident is not None


def test_a_root_without_a_mark_whose_server_was_gone_comes_back(models, tmp_path, read_only, monkeypatch):
    """What was held can't even be looked at any more, so that its place says nothing about what is mounted anew."""
    fill(models)
    with WatchedRoot.open(0, models, WANTED) as root:
        root.learn(Memory(None, 5))
        root.look_again()
        held, real = root.handle.fd, os.fstat

        def fstat(fd):
            if fd == held:
                raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
            return real(fd)

        monkeypatch.setattr(os, "fstat", fstat)
        models.rename(tmp_path / "elsewhere")
        root.look_again()
        assert root.incident is not None
        (tmp_path / "elsewhere").rename(models)
        assert isinstance(root.look_again(), MountChanged)
        assert root.incident is None
