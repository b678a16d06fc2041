"""Whether somebody writes is asked of the kernel, and asking harms neither the writer nor us."""

from __future__ import annotations

import fcntl
import mmap
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ckptd.model import Openness
from ckptd.watch.openness import RecentWriters, find_writer, find_written_files
from tests.storage.leases import breaking
from tests.watch.watching import needs_root, wait_until


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "a.pth"
    made.write_bytes(b"weights")
    return made


@pytest.fixture
def fd(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY)
    yield descriptor
    os.close(descriptor)


def test_closed_file_and_readers(path, fd):
    """Readers do not count, however many."""
    with path.open("rb"), path.open("rb"):
        assert find_writer(fd) is Openness.CLOSED


@pytest.mark.parametrize("mode", ["ab", "r+b", "wb"])
def test_file_open_for_writing_in_this_process(path, fd, mode):
    """Any way of writing counts, until it is closed."""
    with path.open(mode):
        assert find_writer(fd) is Openness.OPEN
    assert find_writer(fd) is Openness.CLOSED


def test_file_open_for_writing_in_another_process(path, fd):
    """The usual case: a training script saves."""
    code = "import sys; f = open(sys.argv[1], 'ab'); print('open', flush=True); sys.stdin.read()"
    writer = subprocess.Popen([sys.executable, "-c", code, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert writer.stdout is not None
    assert writer.stdout.readline() == b"open\n"
    assert find_writer(fd) is Openness.OPEN
    writer.communicate()
    assert find_writer(fd) is Openness.CLOSED


def test_file_written_under_another_name(path, fd, tmp_path):
    """A hard link outside the root is the same file."""
    (tmp_path / "other").hardlink_to(path)
    with (tmp_path / "other").open("ab"):
        assert find_writer(fd) is Openness.OPEN


def test_shared_mapping_counts_after_its_descriptor_is_closed(path, fd):
    """Torch's UntypedStorage.from_file(shared=True) closes and goes on writing."""
    writer = os.open(path, os.O_RDWR)
    mapped = mmap.mmap(writer, 0)
    os.close(writer)
    assert find_writer(fd) is Openness.OPEN
    mapped.close()
    assert find_writer(fd) is Openness.CLOSED


def test_the_lease_is_given_back(fd):
    """A lease left behind would hold the next writer for 45 seconds."""
    find_writer(fd)
    assert fcntl.fcntl(fd, fcntl.F_GETLEASE) == fcntl.F_UNLCK


def test_signal_of_a_broken_lease_is_one_that_nobody_dies_of(path):
    """SIGIO ends a process; the kernel is told to send SIGURG.  A child holds the lease while a writer comes."""
    code = (
        "import fcntl, os, signal, sys\n"
        "from ckptd.watch import openness\n"
        "real = fcntl.fcntl\n"
        "def slow(fd, command, argument):\n"
        "    if command == fcntl.F_SETLEASE and argument == fcntl.F_UNLCK:\n"
        "        print('held', flush=True); sys.stdin.readline()\n"
        "    return real(fd, command, argument)\n"
        "fcntl.fcntl = slow\n"
        "print(openness.find_writer(os.open(sys.argv[1], os.O_RDONLY)).value, flush=True)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", code, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "held\n"
    opened = threading.Event()

    def write() -> None:
        with path.open("ab"):
            opened.set()

    writer = threading.Thread(target=write)
    writer.start()
    wait_until(lambda: breaking(child.pid), "the kernel to ask for the lease")
    assert not opened.is_set()
    out, _ = child.communicate("\n", timeout=10)
    writer.join(10)
    assert (child.returncode, out) == (0, "closed\n")
    assert opened.is_set()


def test_writers_are_not_held_up(path, fd):
    """A writer that opens and closes all the time beside 2,000 questions goes on, and no signal reaches us."""
    got: list[int] = []
    before = signal.signal(signal.SIGIO, lambda number, _: got.append(number))
    stop = threading.Event()
    rounds = 0

    def write() -> None:
        nonlocal rounds
        while not stop.is_set():
            with path.open("ab"):
                rounds += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        answers = {find_writer(fd) for _ in range(2000)}
        enough = rounds
        wait_until(lambda: rounds > enough + 10, "the writer to go on")
    finally:
        stop.set()
        writer.join()
        signal.signal(signal.SIGIO, before)
    assert answers <= {Openness.OPEN, Openness.CLOSED}
    assert got == []


@pytest.mark.root
@needs_root
def test_foreign_file_without_the_capability_is_unknown_unless_proc_shows_a_writer(tmp_path):
    """EACCES of the lease: not knowing is an answer of its own.  Asked as nobody, about root's file."""
    path = tmp_path / "a.pth"
    path.write_bytes(b"x")
    code = (
        "import ctypes, os, sys\n"
        "from ckptd.watch.openness import find_writer, find_written_files\n"
        "fd = os.open(sys.argv[1], os.O_RDONLY)\n"
        "own = os.open(sys.argv[1], os.O_RDWR) if sys.argv[2] == 'write' else None\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "ctypes.CDLL(None).prctl(4, 1)\n"  # PR_SET_DUMPABLE: else our own /proc/self/fd is root's
        "print(find_writer(fd).value, find_writer(fd, find_written_files).value)\n"
    )
    for mode, expected in (("read", "unknown unknown"), ("write", "unknown open")):
        done = subprocess.run([sys.executable, "-c", code, path, mode], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == expected


def test_what_has_no_lease_is_unknown(tmp_path):
    """A FIFO or a directory is refused with EINVAL, as a file system without leases would."""
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        assert find_writer(fd) is Openness.UNKNOWN
    finally:
        os.close(fd)


def test_proc_shows_writers_and_not_readers(path, tmp_path):
    """By inode, and only what is open for writing."""
    other = tmp_path / "b.pth"
    other.write_bytes(b"x")
    with path.open("ab"), other.open("rb"):
        found = find_written_files()
        assert path.stat().st_ino in found
        assert other.stat().st_ino not in found
    assert path.stat().st_ino not in find_written_files()


def test_walk_over_proc_is_bounded(path):
    """With no budget for a single descriptor nothing is found, and nothing fails."""
    with path.open("ab"):
        assert find_written_files(limit=0) == frozenset()


def test_recent_writers_walk_proc_once_a_moment(path):
    """A thousand foreign files cost one walk."""
    now = [100.0]
    writers = RecentWriters(lambda: now[0], seconds=1.0)
    inode = path.stat().st_ino
    assert inode not in writers()
    with path.open("ab"):
        assert inode not in writers()
        now[0] += 1.5
        assert inode in writers()
    assert inode in writers()
