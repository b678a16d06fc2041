"""`save_file` leaves the old file or the new one, with its permission bits, and no litter."""

from __future__ import annotations

import os
import stat
import subprocess

import pytest
import torch

from ckptd.errors import StorageError
from ckptd.loading.save import save_file
from ckptd.model import Identity


def test_what_is_saved_is_loaded(tmp_path):
    """torch.load gives back what was saved, and the identity is that of the file."""
    path = tmp_path / "x.pth"
    identity = save_file({"w": torch.arange(3.0)}, path)
    assert torch.equal(torch.load(path)["w"], torch.arange(3.0))
    assert identity[:4] == Identity.of(path.stat())[:4]
    assert os.listdir(tmp_path) == ["x.pth"]


def test_the_identity_is_the_last(tmp_path):
    """What comes back equals a later stat, the change time included: a rename moves it on."""
    path = tmp_path / "x.pth"
    assert save_file({}, path) == Identity.of(path.stat())


def test_replaced_with_its_mode(tmp_path):
    """An old file is replaced as torch.save would replace it; who could read it still can."""
    path = tmp_path / "x.pth"
    path.write_bytes(b"old")
    path.chmod(0o640)
    save_file({"w": torch.ones(1)}, path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_new_files_follow_the_umask(tmp_path):
    """A new file gets the mode that open() would give it."""
    before = os.umask(0o027)
    try:
        save_file({}, tmp_path / "x.pth")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "x.pth").stat().st_mode) == 0o640


def test_a_link_stays_a_link(tmp_path):
    """Saving through a link writes its target, as torch.save does."""
    (tmp_path / "real.pth").write_bytes(b"old")
    (tmp_path / "link.pth").symlink_to("real.pth")
    save_file({"w": torch.ones(1)}, tmp_path / "link.pth")
    assert (tmp_path / "link.pth").is_symlink()
    assert torch.load(tmp_path / "real.pth")["w"].item() == 1


def test_the_old_file_survives_an_object_that_cannot_be_saved(tmp_path):
    """A failure in the middle leaves the old file alone and no temporary one behind."""
    path = tmp_path / "x.pth"
    path.write_bytes(b"old")
    with pytest.raises((AttributeError, TypeError, Exception)):
        save_file({"w": torch.ones(1), "bad": lambda: None}, path)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["x.pth"]


def test_a_missing_directory_is_named(tmp_path):
    """The error says which path, and it is worth another try."""
    with pytest.raises(StorageError, match="nowhere") as caught:
        save_file({}, tmp_path / "nowhere" / "x.pth")
    assert not caught.value.permanent


@pytest.mark.root
def test_a_full_disk(tmp_path):
    """On a full disk the old file stays, and the error is a StorageError."""
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", small], check=True)
    try:
        (small / "x.pth").write_bytes(b"old")
        with pytest.raises(StorageError):
            save_file({"w": torch.ones(1 << 20)}, small / "x.pth")
        assert (small / "x.pth").read_bytes() == b"old"
        assert os.listdir(small) == ["x.pth"]
    finally:
        subprocess.run(["umount", small], check=True)


def test_only_a_file_gives_way_to_a_file(tmp_path):
    """A pipe or a device under the name stays what it is: a rename over /dev/null would end more than this training."""
    path = tmp_path / "m.pth"
    os.mkfifo(path)
    with pytest.raises(StorageError, match="no regular file"):
        save_file({"w": torch.ones(1)}, path)
    assert stat.S_ISFIFO(path.stat().st_mode)


def test_a_name_of_many_bytes(tmp_path):
    """The temporary name beside it is not longer than a name may be, in bytes."""
    path = tmp_path / ("ä" * 125 + ".pth")
    save_file({"w": torch.ones(1)}, path)
    assert [path] == list(tmp_path.iterdir())
