"""A checked file gets its name, and never in place of somebody's."""

import hashlib
import os
import subprocess

import pytest

from ckptd.errors import StorageError
from ckptd.model import Identity
from ckptd.storage.faults import NameTakenError
from ckptd.storage.placing import place_file, remove_if_same


@pytest.fixture
def places(tmp_path):
    """Give a scratch directory and a target directory, open."""
    paths = tmp_path / "scratch", tmp_path / "models"
    fds = []
    for path in paths:
        path.mkdir()
        fds.append(os.open(path, os.O_RDONLY | os.O_DIRECTORY))
    yield (*paths, *fds)
    for fd in fds:
        os.close(fd)


def make(path, data=b"export"):
    path.write_bytes(data)
    return Identity.of(path.stat()), hashlib.sha256(data).hexdigest()


def test_it_is_put_in_place_without_a_copy(places):
    """The same inode, and gone from the scratch only with the scratch."""
    scratch, models, source, target = places
    seen, digest = make(scratch / "x")
    written = place_file(source, "x", seen, target, "m.onnx", sha256=digest)
    assert (models / "m.onnx").read_bytes() == b"export"
    assert written.identity.ino == seen.ino == (models / "m.onnx").stat().st_ino
    assert os.listdir(models) == ["m.onnx"]


def test_a_persons_file_is_never_replaced(places):
    """Their model.onnx stays, whatever lies there; nothing hidden is left."""
    scratch, models, source, target = places
    seen, digest = make(scratch / "x")
    (models / "m.onnx").write_bytes(b"mine")
    with pytest.raises(NameTakenError, match="not one that ckptd made"):
        place_file(source, "x", seen, target, "m.onnx", sha256=digest)
    (models / "dir.onnx").mkdir()
    seen, digest = make(scratch / "x")
    with pytest.raises(NameTakenError):
        place_file(source, "x", seen, target, "dir.onnx", sha256=digest)
    assert (models / "m.onnx").read_bytes() == b"mine"
    assert sorted(os.listdir(models)) == ["dir.onnx", "m.onnx"]


def test_our_own_older_one_is_replaced(places):
    """By exchange: a reader sees the old one or the new one."""
    scratch, models, source, target = places
    ours, _ = make(models / "m.onnx", b"old")
    seen, digest = make(scratch / "x")
    place_file(source, "x", seen, target, "m.onnx", sha256=digest, ours=ours)
    assert (models / "m.onnx").read_bytes() == b"export"
    assert os.listdir(models) == ["m.onnx"]


def test_what_somebody_saved_over_ours_stays(places):
    """It was ours when we looked; it is not any more."""
    scratch, models, source, target = places
    ours, _ = make(models / "m.onnx", b"old")
    seen, digest = make(scratch / "x")
    (models / "m.onnx").unlink()
    (models / "m.onnx").write_bytes(b"saved by a person")
    with pytest.raises(NameTakenError):
        place_file(source, "x", seen, target, "m.onnx", sha256=digest, ours=ours)
    assert (models / "m.onnx").read_bytes() == b"saved by a person"
    assert os.listdir(models) == ["m.onnx"]


def test_only_our_own_is_removed(places):
    """What somebody saved in its place goes back, and so does one that somebody writes to; nothing hidden is left."""
    _, models, _, target = places
    ours, _ = make(models / "m.onnx", b"old")
    with (models / "m.onnx").open("ab"):
        assert not remove_if_same(target, "m.onnx", ours)
    assert os.listdir(models) == ["m.onnx"]
    assert remove_if_same(target, "m.onnx", ours)
    assert os.listdir(models) == []
    (models / "m.onnx").write_bytes(b"saved by a person")
    assert not remove_if_same(target, "m.onnx", ours)
    assert (models / "m.onnx").read_bytes() == b"saved by a person"
    assert os.listdir(models) == ["m.onnx"]


def _link(path):
    path.unlink()
    path.symlink_to("/etc/hostname")


def _pipe(path):
    path.unlink()
    os.mkfifo(path)


def _second_name(path):
    os.link(path, path.with_name("other"))


def _rewrite(path):
    path.write_bytes(b"forged")


def _swap(path):
    path.unlink()
    path.write_bytes(b"export")


@pytest.mark.parametrize("change", [_link, _pipe, _second_name, _rewrite, _swap], ids=lambda change: change.__name__)
def test_only_the_very_file_that_was_checked_is_placed(places, change):
    """A link, a pipe, a second name, other bytes, another inode: refused, and nothing lies there."""
    scratch, models, source, target = places
    seen, digest = make(scratch / "x")
    change(scratch / "x")
    with pytest.raises(StorageError):
        place_file(source, "x", seen, target, "m.onnx", sha256=digest)
    assert os.listdir(models) == []


def test_group_and_bits_are_those_of_the_checkpoint(places):
    """People of the directory can work with it."""
    scratch, models, source, target = places
    seen, digest = make(scratch / "x")
    (models / "m.pth").touch()
    (models / "m.pth").chmod(0o664)
    os.chown(models / "m.pth", 12345, 54321)
    place_file(source, "x", seen, target, "m.onnx", sha256=digest, like=(models / "m.pth").stat())
    now = (models / "m.onnx").stat()
    assert (now.st_gid, now.st_mode & 0o777) == (54321, 0o664)


@pytest.mark.root
def test_on_another_file_system_it_is_copied(tmp_path, places):
    """Whole and synced, or not at all."""
    scratch, _, source, _ = places
    seen, digest = make(scratch / "x", b"0123456789" * 1000)
    mount = tmp_path / "mount"
    mount.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", mount], check=True)
    try:
        target = os.open(mount, os.O_RDONLY | os.O_DIRECTORY)
        place_file(source, "x", seen, target, "m.onnx", sha256=digest)
        assert (mount / "m.onnx").read_bytes() == b"0123456789" * 1000
        large, digest = make(scratch / "y", b"x" * 200_000)
        with pytest.raises(StorageError, match="No space"):
            place_file(source, "y", large, target, "n.onnx", sha256=digest)
        assert os.listdir(mount) == ["m.onnx"]
        os.close(target)
    finally:
        subprocess.run(["umount", "-l", mount], check=True)
