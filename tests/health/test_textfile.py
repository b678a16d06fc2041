"""The file for node_exporter: whole or not at all, and nobody else's."""

from __future__ import annotations

import os
import stat
import threading

import pytest

from ckptd.errors import StorageError
from ckptd.health.page import Page
from ckptd.health.textfile import remove_leftovers, write_textfile
from tests.health.moments import view

GOOD = b"# HELP ckptd_x x\n"


def test_the_file_is_readable_by_everybody_and_alone(tmp_path):
    """Whatever the umask; nothing temporary is left beside it."""
    before = os.umask(0o077)
    try:
        write_textfile(tmp_path / "ckptd.prom", GOOD)
        write_textfile(tmp_path / "ckptd.prom", GOOD * 2)
    finally:
        os.umask(before)
    assert os.listdir(tmp_path) == ["ckptd.prom"]
    assert (tmp_path / "ckptd.prom").read_bytes() == GOOD * 2
    assert stat.S_IMODE((tmp_path / "ckptd.prom").stat().st_mode) == 0o644


def test_a_reader_never_sees_half_a_file(tmp_path):
    """Two versions of different lengths, written and read in a race: each reading is one of them."""
    path, versions, torn = tmp_path / "ckptd.prom", [GOOD * 1000, GOOD * 4000], []
    write_textfile(path, versions[0])
    done = threading.Event()

    def read():
        while not done.is_set():
            said = path.read_bytes()
            if said not in versions:
                torn.append(len(said))

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(200):
        write_textfile(path, versions[number % 2])
    done.set()
    reader.join()
    assert torn == []


def test_what_a_killed_daemon_left_is_removed_and_nothing_else(tmp_path):
    """By its name and its age: another daemon may write just now, and others' files are others'."""
    left, others = ".ckptd.prom.0a1b2c3d.tmp", [".ckptd.prom.new.tmp", ".other.prom.0a1b2c3d.tmp", "ckptd.prom.0a1b2c3d.tmp"]
    for name in (left, *others):
        (tmp_path / name).write_bytes(GOOD)
        os.utime(tmp_path / name, (1, 1))
    (tmp_path / ".ckptd.prom.11111111.tmp").write_bytes(GOOD)
    (tmp_path / ".ckptd.prom.22222222.tmp").mkdir()
    os.utime(tmp_path / ".ckptd.prom.22222222.tmp", (1, 1))
    remove_leftovers(tmp_path / "ckptd.prom")
    assert set(os.listdir(tmp_path)) == {*others, ".ckptd.prom.11111111.tmp", ".ckptd.prom.22222222.tmp"}
    remove_leftovers(tmp_path / "none" / "ckptd.prom")


@pytest.mark.parametrize("make", ["write_text", "symlink", "mkdir", "mkfifo"])
def test_what_somebody_else_put_there_stays(tmp_path, make):
    """A file of another program, a link to one, a directory, a FIFO: told, and left as it is."""
    path, other = tmp_path / "ckptd.prom", tmp_path / "other"
    other.write_bytes(GOOD)
    match make:
        case "write_text":
            path.write_text("# HELP other_metric\n")
        case "symlink":
            path.symlink_to(other)
        case "mkdir":
            path.mkdir()
        case "mkfifo":
            os.mkfifo(path)
    before = path.lstat()
    with pytest.raises(StorageError, match=r"health\.textfile"):
        write_textfile(path, GOOD * 2)
    assert path.lstat() == before
    assert other.read_bytes() == GOOD
    assert len(os.listdir(tmp_path)) == 2


def test_a_directory_that_is_not_there_is_told(tmp_path):
    """With the cure."""
    with pytest.raises(StorageError, match=r"No such file.*correct health\.textfile"):
        write_textfile(tmp_path / "none" / "ckptd.prom", GOOD)


def test_the_page_is_known_as_ours_when_it_is_written_again(tmp_path):
    """What the page begins with is what the file is known by."""
    for _ in range(2):
        write_textfile(tmp_path / "ckptd.prom", Page(view, with_process=False).render())
