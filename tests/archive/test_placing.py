"""A file that has its name only when it is whole."""

from __future__ import annotations

import ctypes
import errno
import hashlib
import mmap
import os
import resource
import stat
import subprocess
import sys

import pytest

from ckptd.archive.interface import ArchiveError
from ckptd.archive.placing import NewFile, forget_cached, open_to_read, remove_archive
from ckptd.storage.temporary import TEMPORARY_NAME
from tests.archive.making import lists, noise


def test_it_has_its_name_at_the_end(place, directory):
    """Until then there is no entry at all; afterwards the bytes, the size and the digest."""
    data = noise(10_000_000)
    with NewFile(directory, "a", free_bytes=1) as file:
        for at in range(0, len(data), 3_000_000):
            file.append(data[at : at + 3_000_000])
        assert os.listdir(place) == []
        file.place([])
    assert (place / "a").read_bytes() == data
    assert file.size_bytes == len(data)
    assert file.sha256 == hashlib.sha256(data).hexdigest()
    assert os.listdir(place) == ["a"]


def test_without_a_place_nothing_is_left(place, directory):
    """Whatever ended the block."""
    with pytest.raises(ZeroDivisionError), NewFile(directory, "a") as file:
        file.append(bytes(1 // 0))
    assert os.listdir(place) == []


@pytest.fixture
def no_nameless(monkeypatch):
    """A file system that knows no files without a name."""
    really = os.open

    def refuse(path, flags, *args, **kwargs):
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
        return really(path, flags, *args, **kwargs)

    monkeypatch.setattr(os, "open", refuse)


def test_without_nameless_files_it_is_hidden(place, directory, no_nameless):
    """Under a name that the sweep of leftovers knows; it is gone after a failure, and a name that is taken stays."""
    with NewFile(directory, "a") as file:
        file.append(b"data")
        (hidden,) = os.listdir(place)
        assert TEMPORARY_NAME.fullmatch(hidden)
        file.place([])
    assert lists(place) == {"a": 4}
    with NewFile(directory, "b") as file:
        (place / "b").write_bytes(b"somebody's")
        with pytest.raises(ArchiveError, match="exists"):
            file.place([])
    assert lists(place) == {"a": 4, "b": 10}


def test_a_name_that_is_taken_is_told_at_once(place, directory):
    """Not after hours of work."""
    (place / "a").write_bytes(b"somebody's")
    with pytest.raises(ArchiveError, match="exists"):
        NewFile(directory, "a")


def test_it_is_synced_before_it_has_its_name(place, directory, monkeypatch):
    """File, name, directory, in this order: after a power cut a name never stands for half a file."""
    really, order = os.fsync, []

    def watch(fd):
        order.append((os.fstat(fd).st_ino, os.listdir(place)))
        really(fd)

    monkeypatch.setattr(os, "fsync", watch)
    with NewFile(directory, "a") as file:
        file.append(b"x")
        file.place([])
    assert order == [((place / "a").stat().st_ino, []), (place.stat().st_ino, ["a"])]


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "x" * 256, "nul\0"])
def test_a_name_is_one_entry(directory, name):
    """Nothing leads out of the directory."""
    with pytest.raises(ArchiveError):
        NewFile(directory, name)


def test_a_limit_of_the_file_system_leaves_nothing(place):
    """EFBIG, in a process of its own, with its cure."""
    script = f"""
import os, signal
from ckptd.archive.placing import NewFile
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
with NewFile(os.open({str(place)!r}, os.O_RDONLY), "a") as file:
    for _ in range(10):
        file.append(bytes(300_000))
"""
    limit = resource.RLIMIT_FSIZE
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(limit, (1_000_000, 1_000_000)),
    )
    assert "archive.max_bytes" in done.stderr.splitlines()[-1]
    assert os.listdir(place) == []


def test_a_directory_that_cannot_be_synced_gets_no_file(place, directory, monkeypatch):
    """After a power cut the name might be gone; the caller must not take it for written."""
    really = os.fsync

    def refuse(fd):
        if fd == directory:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        really(fd)

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(ArchiveError, match="kernel's log"), NewFile(directory, "a") as file:
        file.place([])
    assert os.listdir(place) == []


@pytest.mark.parametrize(
    ("modes", "expected"),
    [((0o644,), 0o644), ((0o666, 0o640), 0o640), ((0o640, 0o604), 0o600), ((0o4755,), 0o644), ((0o000,), 0o600), ((), 0o644)],
)
def test_who_may_not_read_a_member_may_not_read_the_archive(place, directory, tmp_path, modes, expected):
    """Bits that all members have; nobody else may write."""
    like = []
    for mode in modes:
        (tmp_path / "m").touch()
        (tmp_path / "m").chmod(mode)
        like.append((tmp_path / "m").stat())
    with NewFile(directory, "a") as file:
        file.place(like)
    assert stat.S_IMODE((place / "a").stat().st_mode) == expected


@pytest.mark.root
def test_the_group_is_that_of_all_members(place, directory, tmp_path):
    """With several groups none of them may read it; a single owner may."""
    paths = [tmp_path / "m", tmp_path / "n"]
    for path, owner, group in zip(paths, (1001, 1001), (2001, 2002), strict=True):
        path.touch()
        path.chmod(0o640)
        os.chown(path, owner, group)
    for name, like in (("one", paths[:1]), ("both", paths)):
        with NewFile(directory, name) as file:
            file.place([path.stat() for path in like])
    one, both = (place / "one").stat(), (place / "both").stat()
    assert (one.st_uid, one.st_gid, stat.S_IMODE(one.st_mode)) == (1001, 2001, 0o640)
    assert (both.st_gid in (2001, 2002), stat.S_IMODE(both.st_mode)) == (False, 0o600)


def resident_pages(path):
    """Count the pages of a file that are in memory."""
    size = path.stat().st_size
    with path.open("r+b") as file, mmap.mmap(file.fileno(), size) as mapped:
        pages = -(-size // mmap.PAGESIZE)
        seen = (ctypes.c_ubyte * pages)()
        start = ctypes.addressof(ctypes.c_char.from_buffer(mapped))
        assert ctypes.CDLL(None).mincore(ctypes.c_void_p(start), ctypes.c_size_t(size), seen) == 0
        return sum(flag & 1 for flag in seen)


def test_a_file_is_dropped_from_memory(place, directory):
    """So that a read that follows reads the disk; a tmpfs has nothing else than memory."""
    (place / "a").write_bytes(noise(4_000_000))
    assert resident_pages(place / "a") > 900
    fd = open_to_read(directory, "a")
    forget_cached(fd)
    os.close(fd)
    kind = subprocess.run(["stat", "-f", "-c", "%T", place], capture_output=True, text=True, check=True).stdout.strip()
    assert resident_pages(place / "a") == 0 or kind == "tmpfs"


def test_only_plain_files_are_opened(place, directory):
    """And a FIFO that nobody writes does not block."""
    (place / "directory").mkdir()
    os.mkfifo(place / "fifo")
    (place / "link").symlink_to("file")
    (place / "file").write_bytes(b"x")
    for name in ("directory", "fifo"):
        with pytest.raises(ArchiveError, match="no plain file"):
            open_to_read(directory, name)
    with pytest.raises(ArchiveError, match="links are not followed"):
        open_to_read(directory, "link")
    os.close(open_to_read(directory, "file"))


def test_removing_tells_what_came_back(place, directory):
    """Blocks, and none while another name leads to them."""
    (place / "a").write_bytes(noise(100_000))
    os.sync()
    os.link(place / "a", place / "b")
    assert remove_archive(directory, "a") == 0
    assert remove_archive(directory, "b") >= 100_000
    (place / "d").mkdir()
    (place / "l").symlink_to("d")
    for name in ("a", "d", "l", "../archives/b"):
        with pytest.raises(ArchiveError):
            remove_archive(directory, name)
    assert sorted(os.listdir(place)) == ["d", "l"]
