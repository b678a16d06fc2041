"""Scratch directories: private, swept, gone with everything in them and nothing outside of them."""

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
    """What is younger may be another process's."""
    state = tmp_path / ".ckptd"
    old = Scratch.make(state)
    (old.path / "half").write_text("x")
    os.utime(old.path, (1, 1))
    young = Scratch.make(state)
    (state / "scratch" / "other").mkdir()
    assert sweep_scratch(state, time.time() - 60) == 1
    assert sorted(os.listdir(state / "scratch")) == sorted([young.path.name, "other"])
    assert sweep_scratch(tmp_path / "nothing", time.time()) == 0
    young.close()


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
