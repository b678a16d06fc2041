"""One daemon for one state directory, whatever way the last one ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import pytest

from ckptd.errors import AlreadyRunningError, StorageError
from ckptd.storage import lock
from ckptd.storage.lock import hold, is_held, read_holder

HOLDER = """
import sys, time
from ckptd.storage.lock import hold
held = hold(sys.argv[1])
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def other(tmp_path: Path):
    with subprocess.Popen([sys.executable, "-c", HOLDER, tmp_path], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_the_second_is_told_the_pid_of_the_first_and_the_cure(tmp_path: Path, other: subprocess.Popen) -> None:
    with pytest.raises(AlreadyRunningError) as raised:
        hold(tmp_path)
    message = str(raised.value)
    assert f"process {other.pid} holds the lock since 2" in message
    assert f"kill {other.pid}" in message
    assert "state_dir" in message


def test_a_kill_releases_the_lock(tmp_path: Path, other: subprocess.Popen) -> None:
    other.send_signal(signal.SIGKILL)
    other.wait()
    hold(tmp_path).close()


def test_pid_and_start_time_are_written(tmp_path: Path) -> None:
    with hold(tmp_path):
        holder = json.loads((tmp_path / "lock").read_text())
    assert holder["pid"] == os.getpid()
    assert abs(datetime.fromisoformat(holder["started_at"]).timestamp() - time.time()) < 86400
    assert datetime.fromisoformat(holder["started_at"]).utcoffset().total_seconds() == 0
    assert read_holder(tmp_path) == holder


def test_a_shorter_pid_leaves_nothing_of_a_longer_one(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text('{"pid": 1234567890123, "started_at": "long ago"}' + " " * 500)
    with hold(tmp_path):
        assert read_holder(tmp_path)["pid"] == os.getpid()


def test_after_close_it_can_be_held_again_in_the_same_process(tmp_path: Path) -> None:
    first = hold(tmp_path)
    with pytest.raises(AlreadyRunningError):
        hold(tmp_path)
    first.close()
    first.close()
    hold(tmp_path).close()


def test_a_program_that_is_started_does_not_keep_the_lock(tmp_path: Path) -> None:
    """A worker that outlives the daemon must not keep the next daemon out."""
    held = hold(tmp_path)
    with subprocess.Popen(["sleep", "60"], close_fds=False) as worker:
        held.close()
        hold(tmp_path).close()
        worker.kill()


@contextmanager
def forked_child() -> Iterator[None]:
    """Fork a child that goes on as long as the block does, with all that this process has open."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(writing, b"x")
        time.sleep(60)
        os._exit(0)
    os.read(reading, 1)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(reading)
        os.close(writing)


def test_a_forked_child_does_not_keep_the_lock(tmp_path: Path) -> None:
    held = hold(tmp_path)
    with forked_child():
        assert held.still_held()
        with pytest.raises(AlreadyRunningError):
            hold(tmp_path)
        held.close()
        hold(tmp_path).close()


def test_a_removed_lock_file_is_noticed(tmp_path: Path) -> None:
    with hold(tmp_path) as held:
        assert held.still_held()
        (tmp_path / "lock").unlink()
        assert not held.still_held()
        (tmp_path / "lock").write_text("")
        assert not held.still_held()


def test_a_lock_file_that_is_removed_while_it_is_locked_is_worth_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, turns = lock.fcntl.flock, []

    def flock(fd: int, how: int) -> None:
        real(fd, how)
        if not turns:
            (tmp_path / "lock").unlink()
        turns.append(fd)

    monkeypatch.setattr(lock.fcntl, "flock", flock)
    with hold(tmp_path) as held:
        assert held.still_held()
    assert len(turns) == 2


@pytest.mark.parametrize("content", [b"", b"\0\0", b"[" * 5000, b'{"pid": "\x1b[2J"}', b"[1]", b"\xff"])
def test_an_unreadable_holder_is_another_process(tmp_path: Path, content: bytes) -> None:
    with hold(tmp_path):
        (tmp_path / "lock").write_bytes(content)
        with pytest.raises(AlreadyRunningError, match="another process holds the lock") as raised:
            hold(tmp_path)
    assert "\x1b" not in str(raised.value)


def test_a_lock_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("kept")
    (tmp_path / "lock").symlink_to("victim")
    with pytest.raises(StorageError):
        hold(tmp_path)
    assert (tmp_path / "victim").read_text() == "kept"


def test_a_missing_directory_is_an_error_with_its_path(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="nowhere/lock: No such file"):
        hold(tmp_path / "nowhere")
    assert read_holder(tmp_path / "nowhere") is None


def test_whether_it_is_held_can_be_asked_without_taking_it(tmp_path: Path) -> None:
    assert not is_held(tmp_path)
    with hold(tmp_path):
        assert is_held(tmp_path)
        with pytest.raises(AlreadyRunningError):
            hold(tmp_path)
    assert not is_held(tmp_path)  # the file stays, and says nothing
    hold(tmp_path).close()


def test_a_lock_that_was_handed_over_is_released_by_its_new_holder(tmp_path: Path) -> None:
    first = hold(tmp_path)
    second = first.hand_over()
    first.close()
    with pytest.raises(AlreadyRunningError):
        hold(tmp_path)
    third = second.share()
    second.close()
    assert third.still_held()
    with pytest.raises(AlreadyRunningError):
        hold(tmp_path)
    third.close()
    hold(tmp_path).close()


def test_a_lock_is_found_by_whatever_path_its_directory_has(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "link").symlink_to("a")
    with hold(tmp_path / "a") as held:
        assert [held.lies_in(tmp_path / name) for name in ("a", "link", "b", "nowhere")] == [True, True, False, False]
    assert not held.lies_in(tmp_path / "a")


def test_a_forked_child_does_not_keep_a_lock_that_is_shared(tmp_path: Path) -> None:
    held = hold(tmp_path)
    shared = held.share()
    held.close()
    with forked_child():
        shared.close()
        hold(tmp_path).close()
