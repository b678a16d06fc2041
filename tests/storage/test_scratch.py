"""Scratch directories: private, swept, gone with everything in them and nothing outside of them."""

import contextlib
import os
import stat
import time

import pytest

from ckptd.errors import StorageError
from ckptd.storage.scratch import Scratch, sweep_scratch, used_bytes


def test_it_is_private_and_empty(tmp_path):
    """Nobody but us may enter."""
    with Scratch.make(tmp_path / ".ckptd") as scratch:
        assert stat.S_IMODE(scratch.path.stat().st_mode) == 0o700
        assert os.listdir(scratch.fd) == []


def test_it_goes_with_all_that_is_in_it(tmp_path):
    """Files, directories without rights, links and pipes; what a link leads to stays."""
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "file").write_text("kept")
    with Scratch.make(tmp_path / ".ckptd") as scratch:
        (scratch.path / "a").write_text("x")
        (scratch.path / "deep" / "er").mkdir(parents=True)
        (scratch.path / "deep" / "er" / "file").write_text("x")
        (scratch.path / "deep").chmod(0o000)
        (scratch.path / "link").symlink_to(victim)
        os.mkfifo(scratch.path / "pipe")
    assert not scratch.path.exists()
    assert (victim / "file").read_text() == "kept"
    scratch.close()


def test_a_state_directory_of_somebody_else_is_refused(tmp_path):
    """What is open to others could be steered by them."""
    (tmp_path / ".ckptd").mkdir(mode=0o700)
    (tmp_path / ".ckptd").chmod(0o755)
    with pytest.raises(StorageError, match="open to others"):
        Scratch.make(tmp_path / ".ckptd")


def test_a_sweep_takes_what_a_kill_left_and_nothing_else(tmp_path):
    """What is younger may be another process's, and so may what is old and still held by the one who made it."""
    state = tmp_path / ".ckptd"
    used = Scratch.make(state)
    os.utime(used.path, (1, 1))
    for name in ("export-old", "export-young", "other"):
        (state / "scratch" / name).mkdir()
    (state / "scratch" / "export-old" / "half").write_text("x")
    os.utime(state / "scratch" / "export-old", (1, 1))
    assert sweep_scratch(state, time.time() - 60) == 1
    assert sorted(os.listdir(state / "scratch")) == sorted([used.path.name, "export-young", "other"])
    assert sweep_scratch(tmp_path / "nothing", time.time()) == 0
    used.close()
    assert not used.path.exists()


def test_directories_nested_beyond_any_stack_go_too(tmp_path):
    """A job that is hostile can nest them deeper than a recursion, and take its rights to each."""
    before = len(os.listdir("/proc/self/fd"))
    scratch = Scratch.make(tmp_path / ".ckptd")
    here = os.dup(scratch.fd)
    for _ in range(3_000):
        os.mkdir("d", 0o700, dir_fd=here)
        os.mkdir("e", 0o300, dir_fd=here)
        inner = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(here)
    scratch.close()
    assert not scratch.path.exists()
    assert len(os.listdir("/proc/self/fd")) == before


def test_what_lies_in_directories_without_rights_is_counted(tmp_path):
    """A directory that can't be listed hides nothing, and many directories count as endless."""
    with Scratch.make(tmp_path / ".ckptd") as scratch:
        (scratch.path / "hidden").mkdir(mode=0o300)
        (scratch.path / "hidden" / "file").write_bytes(b"x" * 100_000)
        assert 100_000 <= used_bytes(scratch.fd) < 200_000
        for number in range(200):
            (scratch.path / f"d{number}").mkdir()
        assert used_bytes(scratch.fd) > 1 << 60


def test_an_offset_that_is_shared_hides_nothing(tmp_path):
    """A job has a duplicate of the descriptor, and may leave it at the end of the directory."""
    with Scratch.make(tmp_path / ".ckptd") as scratch:
        (scratch.path / "file").write_bytes(b"x" * 100_000)
        for offset in (1 << 20, (1 << 31) - 1, 1 << 62):  # how far one may go, each file system says itself
            with contextlib.suppress(OSError):
                os.lseek(scratch.fd, offset, os.SEEK_SET)
        assert 100_000 <= used_bytes(scratch.fd) < 200_000


def test_what_is_written_is_counted_with_directories(tmp_path):
    """Blocks, not lengths; an endless directory counts as endless."""
    with Scratch.make(tmp_path / ".ckptd") as scratch:
        assert used_bytes(scratch.fd) == 0
        (scratch.path / "deep").mkdir()
        (scratch.path / "deep" / "file").write_bytes(b"x" * 100_000)
        assert 100_000 <= used_bytes(scratch.fd) < 200_000
        for number in range(30):
            (scratch.path / f"f{number}").touch()
        assert used_bytes(scratch.fd, most=20) > 1 << 60
    before = len(os.listdir("/proc/self/fd"))
    with Scratch.make(tmp_path / ".ckptd") as scratch:
        (scratch.path / "a" / "b").mkdir(parents=True)
        used_bytes(scratch.fd, most=1)
    assert len(os.listdir("/proc/self/fd")) == before
