"""What a directory lies on decides whether events can be trusted."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from ckptd.watch import filesystems
from ckptd.watch.filesystems import FileSystem, classify, find_filesystem, find_mounts_below
from tests.watch.watching import needs_root, watching


@pytest.mark.parametrize(
    "name",
    "nfs nfs4 cifs smb2 smb3 9p virtiofs ceph lustre beegfs gpfs fuse fuse.sshfs fuse.rclone fuse.s3fs fuse.glusterfs".split(),
)
def test_network_file_systems(name):
    """Other hosts write there unseen; an unknown FUSE is taken for one."""
    assert classify(name) == FileSystem(name, is_network=True)


@pytest.mark.parametrize("name", "ext4 xfs btrfs zfs tmpfs overlay f2fs vfat exfat fuseblk fuse.ntfs-3g unknown".split())
def test_local_file_systems(name):
    """The kernel tells of every write."""
    assert classify(name) == FileSystem(name, is_network=False)


def test_mount_lines_of_the_manual():
    """Escaped blanks in the path, optional fields before the dash, a subtype behind it."""
    line = r"36 35 98:0 /mnt1 /mnt/my\040models\134x rw,noatime master:1 shared:2 - fuse.sshfs me@host:/x rw,errors=continue"
    assert filesystems._parse_mount(line) == filesystems.Mount(
        36, r"/mnt/my models\x", FileSystem("fuse.sshfs", is_network=True)
    )


def test_proc_is_known_by_path_and_by_descriptor():
    """A file system whose name is sure on every Linux."""
    assert find_filesystem("/proc").name == "proc"
    fd = os.open("/proc", os.O_RDONLY)
    try:
        assert find_filesystem(fd).name == "proc"
    finally:
        os.close(fd)


def test_missing_path_raises(tmp_path):
    """A root that is not there is no file system."""
    with pytest.raises(FileNotFoundError):
        find_filesystem(tmp_path / "gone")


@pytest.mark.root
@needs_root
def test_mounts_below_and_the_magic_number_agree(tmp_path):
    """A tmpfs with a blank and a letter beyond ASCII in its name, by the table and by statfs."""
    place = tmp_path / "my möunt"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "ckptd-test", place], check=True)
    try:
        tmpfs = FileSystem("tmpfs", is_network=False)
        assert find_mounts_below(tmp_path) == {"my möunt": tmpfs}
        assert find_mounts_below(place) == {}
        assert find_filesystem(place) == tmpfs
        fd = os.open(place, os.O_RDONLY)
        try:
            assert filesystems._find_by_magic(fd) == tmpfs
        finally:
            os.close(fd)
    finally:
        subprocess.run(["umount", "-l", place], check=True)


@pytest.mark.root
@needs_root
def test_network_root_and_network_mount_below_a_root_are_polled(tmp_path, monkeypatch):
    """A tmpfs plays the share, by a line in the table: the root alone is polled, or events and polling go side by side."""
    monkeypatch.setattr(filesystems, "_NETWORK", frozenset({"tmpfs"}))
    share = tmp_path / "share"
    share.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "ckptd-test", share], check=True)
    try:
        with watching(share, polling_seconds=0.02) as seen:
            assert seen.observer.is_polling
            assert [finding.code for finding in seen.observer.findings] == ["watch-polling"]
            seen.wait_doubt("polling", times=2)
            assert seen.hints == []
        with watching(tmp_path, polling_seconds=0.02) as seen:
            assert seen.observer.is_polling
            (tmp_path / "a.pth").write_bytes(b"x")
            seen.wait_hint("a.pth", closed=True)
            seen.wait_doubt("polling", times=2)
        with watching(share, backend="inotify") as seen:
            assert not seen.observer.is_polling
            Path(share / "a.pth").write_bytes(b"x")
            seen.wait_hint("a.pth", closed=True)
    finally:
        subprocess.run(["umount", "-l", share], check=True)
