"""A root that is not what it was is an incident: judged by tables, looked at with real directories and mounts."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ckptd.errors import StorageError
from ckptd.watch.guard import (
    Emptied,
    KnownRoot,
    Missing,
    MountChanged,
    Ok,
    Replaced,
    RootSight,
    Unmarked,
    is_incident,
    judge,
    look,
    mark_root,
    read_root_id,
)
from tests.watch.watching import needs_root, watching

ID, OTHER = "a" * 32, "b" * 32


def open_root(path: Path) -> int:
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY)


def mark(path: Path) -> str:
    fd = open_root(path)
    try:
        return mark_root(fd)
    finally:
        os.close(fd)


def known_of(path: Path, files: int = 0) -> KnownRoot:
    sight = look(path)
    assert sight.dev is not None
    assert sight.ino is not None
    return KnownRoot(sight.dev, sight.ino, sight.root_id, files)


@pytest.mark.parametrize(
    ("known", "sight", "files_seen", "verdict"),
    [
        (KnownRoot(1, 2, ID, 300), RootSight(1, 2, ID), None, Ok),
        (KnownRoot(1, 2, ID, 300), RootSight(1, 2, ID), 250, Ok),
        (KnownRoot(1, 2, ID, 300), RootSight(1, 2, ID), 0, Emptied),
        (KnownRoot(1, 2, ID, 99), RootSight(1, 2, ID), 0, Ok),
        (KnownRoot(1, 2, ID, 300), RootSight(9, 2, ID), None, MountChanged),
        (KnownRoot(1, 2, ID, 300), RootSight(1, 9, ID), None, MountChanged),
        (KnownRoot(1, 2, ID, 300), RootSight(1, 2, OTHER), None, Replaced),
        # nothing is known in it that could be lost: a mount point that was marked while its share was away, or the share
        (KnownRoot(1, 2, ID, 0), RootSight(1, 2, OTHER), None, MountChanged),
        (KnownRoot(1, 2, ID, 0), RootSight(9, 9, OTHER), None, MountChanged),
        (KnownRoot(None, None, ID, 0), RootSight(1, 2, OTHER), None, MountChanged),
        (KnownRoot(1, 2, ID, 1), RootSight(1, 2, None), None, Emptied),
        (KnownRoot(1, 2, ID, 1), RootSight(9, 9, None), None, Emptied),
        (KnownRoot(1, 2, ID, 0), RootSight(1, 2, None), None, Unmarked),
        (KnownRoot(1, 2, None, 0), RootSight(1, 2, None), None, Unmarked),
        (KnownRoot(1, 2, None, 0), RootSight(9, 9, None), None, Unmarked),
        # never marked: a share that we cannot write to is known by its place alone
        (KnownRoot(1, 2, None, 300), RootSight(1, 2, None), None, Unmarked),
        (KnownRoot(1, 2, None, 300), RootSight(9, 2, None), None, Emptied),
        (KnownRoot(1, 2, None, 300), RootSight(1, 2, ID), None, Ok),
        # away since the start: the id says whether it is back; without one, that something lies there again
        (KnownRoot(None, None, ID, 300), RootSight(1, 2, ID), None, MountChanged),
        (KnownRoot(None, None, ID, 300), RootSight(1, 2, None), None, Emptied),
        (KnownRoot(None, None, None, 300), RootSight(1, 2, None), None, MountChanged),
        (KnownRoot(None, None, None, 300), RootSight(1, 2, None, is_empty=True), None, Emptied),
        (KnownRoot(None, None, None, 300), RootSight(None, None, None, "gone"), None, Missing),
        (KnownRoot(1, 2, ID, 300), RootSight(None, None, None, "gone"), None, Missing),
        (KnownRoot(1, 2, ID, 0), RootSight(None, None, None), None, Missing),
    ],
)
def test_verdicts(known, sight, files_seen, verdict):
    """Every row of what was known against what is seen."""
    assert type(judge(known, sight, files_seen)) is verdict


def test_incidents_are_the_three_that_freeze():
    """A changed mount of the same root is no incident."""
    assert [is_incident(each) for each in (Ok(), Unmarked(), MountChanged())] == [False] * 3
    assert [is_incident(each) for each in (Missing(""), Replaced(""), Emptied(""))] == [True] * 3


def test_marking_is_private_lasting_and_done_once(tmp_path):
    """0600 in 0700; the second time it is the same id."""
    root_id = mark(tmp_path)
    assert len(root_id) == 32
    assert mark(tmp_path) == root_id == look(tmp_path).root_id
    assert stat.S_IMODE((tmp_path / ".ckptd").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / ".ckptd" / "root-id").stat().st_mode) == 0o600
    assert os.listdir(tmp_path / ".ckptd") == ["root-id"]


def test_two_roots_have_two_ids(tmp_path):
    """The id is random, not made of the path or the device."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    assert mark(tmp_path / "a") != mark(tmp_path / "b")


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o707, 0o701])
def test_state_directory_that_others_may_enter_is_refused_and_its_id_not_believed(tmp_path, mode):
    """Whoever can write the id could make an empty directory pass for the root."""
    mark(tmp_path)
    (tmp_path / ".ckptd").chmod(mode)
    with pytest.raises(StorageError, match="chmod 700"):
        mark(tmp_path)
    assert look(tmp_path).root_id is None


@pytest.mark.root
@needs_root
def test_state_directory_of_another_user_is_refused(tmp_path):
    """Another user's `.ckptd/` is another user's index."""
    mark(tmp_path)
    os.chown(tmp_path / ".ckptd", 12345, 12345)
    with pytest.raises(StorageError, match="uid 12345"):
        mark(tmp_path)
    assert look(tmp_path).root_id is None


def test_state_directory_that_is_a_link_or_a_file_is_refused(tmp_path):
    """A link could lead to the state of another root."""
    for name in ("link", "file", "other"):
        (tmp_path / name).mkdir()
    mark(tmp_path / "other")
    (tmp_path / "link" / ".ckptd").symlink_to(tmp_path / "other" / ".ckptd")
    (tmp_path / "file" / ".ckptd").write_text("")
    for name in ("link", "file"):
        assert look(tmp_path / name).root_id is None
        with pytest.raises(StorageError, match="not a directory"):
            mark(tmp_path / name)


@pytest.mark.parametrize("text", [b"", b"abc", b"z" * 32, b"A" * 32, b"a" * 33, b"a" * 32 + b"\n\n", b"\xff" * 32])
def test_id_that_is_torn_or_forged_is_none(tmp_path, text):
    """Only what we write counts, and a FIFO or a link in its place does not hang or lead away."""
    mark(tmp_path)
    (tmp_path / ".ckptd" / "root-id").write_bytes(text)
    assert look(tmp_path).root_id is None


def test_id_that_is_no_file_is_none(tmp_path):
    """A FIFO there must not hang the guard, a link not lead it away."""
    mark(tmp_path)
    place = tmp_path / ".ckptd" / "root-id"
    place.rename(tmp_path / "id")
    place.symlink_to(tmp_path / "id")
    assert look(tmp_path).root_id is None
    place.unlink()
    os.mkfifo(place)
    assert look(tmp_path).root_id is None
    place.unlink()
    place.mkdir()
    assert look(tmp_path).root_id is None


def test_missing_and_wrong_kinds_of_root(tmp_path):
    """Nothing there, a file there, a link to nothing: missing, with the reason."""
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "nothing")
    for name, why in (("gone", "No such file"), ("file", "Not a directory"), ("link", "No such file")):
        verdict = judge(KnownRoot(1, 2, ID, 5), look(tmp_path / name))
        assert isinstance(verdict, Missing)
        assert why in verdict.why


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "root"
    path.mkdir()
    mark(path)
    (path / "a.pth").write_bytes(b"x")
    return path


def test_root_deleted_and_made_again(root):
    """First missing, then an empty directory that is not it: frozen both times."""
    known = known_of(root, files=1)
    shutil.rmtree(root)
    assert isinstance(judge(known, look(root)), Missing)
    root.mkdir()
    assert isinstance(judge(known, look(root)), Emptied)
    mark(root)
    assert isinstance(judge(known, look(root)), Replaced)


def test_root_renamed_and_another_made(root, tmp_path):
    """The path is what is configured; the tree that moved away keeps its id and is known again when it is back."""
    known = known_of(root, files=1)
    root.rename(tmp_path / "old")
    root.mkdir()
    assert isinstance(judge(known, look(root)), Emptied)
    root.rmdir()
    (tmp_path / "old").rename(root)
    assert judge(known, look(root)) == Ok()


def test_root_behind_a_link_that_is_turned(root, tmp_path):
    """`trained_models -> v1` becomes `-> v2`: another root, though no directory changed."""
    (tmp_path / "v2").mkdir()
    mark(tmp_path / "v2")
    link = tmp_path / "link"
    link.symlink_to(root)
    known = known_of(link, files=1)
    assert judge(known, look(link)) == Ok()
    link.unlink()
    link.symlink_to(tmp_path / "v2")
    assert isinstance(judge(known, look(link)), Replaced)


def test_copy_of_a_root_is_the_same_root_elsewhere(root, tmp_path):
    """A share that was copied to a new disk and mounted in its place lost nothing."""
    known = known_of(root, files=1)
    subprocess.run(["cp", "-a", root, tmp_path / "copy"], check=True)
    shutil.rmtree(root)
    (tmp_path / "copy").rename(root)
    assert judge(known, look(root)) == MountChanged()


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Path]:
    """A root that is a tmpfs, unmounted at the end however often it was mounted."""
    path = tmp_path / "mount"
    path.mkdir()
    mount_tmpfs(path)
    yield path
    while subprocess.run(["umount", "-l", path], capture_output=True).returncode == 0:
        pass


def mount_tmpfs(path: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "ckptd-test", path], check=True)


@pytest.mark.root
@needs_root
def test_unmounted_root_is_an_incident_and_the_remounted_one_is_not(mount):
    """The directory below is empty and has no id; no event tells of it, and a new tmpfs may have the old number."""
    mark(mount)
    (mount / "a.pth").write_bytes(b"x")
    known = known_of(mount, files=1)
    with watching(mount) as seen:
        subprocess.run(["umount", "-l", mount], check=True)
        assert isinstance(judge(known, look(mount)), Emptied)
        mount_tmpfs(mount)
        assert isinstance(judge(known, look(mount)), Emptied)
        seen.observer.restart()
        (mount / "b.pth").write_bytes(b"x")
        seen.wait_hint("b.pth", closed=True)


@pytest.mark.root
@needs_root
def test_mounted_over_root_is_an_incident_and_the_old_one_comes_back(mount):
    """Another file system on top hides the root; below it nothing changed."""
    mark(mount)
    known = known_of(mount, files=1)
    mount_tmpfs(mount)
    assert isinstance(judge(known, look(mount)), Emptied)
    mark(mount)
    assert isinstance(judge(known, look(mount)), Replaced)
    subprocess.run(["umount", mount], check=True)
    assert judge(known, look(mount)) == Ok()


@pytest.mark.root
@needs_root
def test_read_only_root_cannot_be_marked_and_says_so(mount):
    """Reported with a cure; the guard then goes by the place alone."""
    subprocess.run(["mount", "-o", "remount,ro", mount], check=True)
    with pytest.raises(StorageError, match="Read-only"):
        mark(mount)
    known = known_of(mount, files=3)
    assert judge(known, look(mount)) == Unmarked()


@pytest.mark.root
@needs_root
def test_full_disk_leaves_no_torn_id(mount):
    """ENOSPC while the id is written: no id, and later a whole one."""
    subprocess.run(["mount", "-o", "remount,size=16k", mount], check=True)
    with (mount / "fill").open("wb", buffering=0) as fill:
        try:
            while True:
                fill.write(b"\0" * 4096)
        except OSError:
            pass
    with pytest.raises(StorageError, match="No space"):
        mark(mount)
    assert look(mount).root_id is None
    assert not (mount / ".ckptd").exists() or os.listdir(mount / ".ckptd") == []
    (mount / "fill").unlink()
    assert mark(mount) == look(mount).root_id


def test_read_root_id_of_a_deleted_root_is_none(root):
    """The descriptor outlives the directory."""
    fd = open_root(root)
    try:
        shutil.rmtree(root)
        assert read_root_id(fd) is None
    finally:
        os.close(fd)
