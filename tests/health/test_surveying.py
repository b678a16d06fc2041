"""The thread that may wait: what it measures, what it tells, and that nobody waits for it."""

from __future__ import annotations

import os
import threading

from ckptd.health.disks import Directory, measure_disks, measure_own, measure_trash
from ckptd.health.surveying import Seldom, Surveyor
from tests.e2e.running import wait_for


def test_a_disk_is_measured_and_one_that_is_not_there_is_left_out(tmp_path):
    """As statvfs says, for a user who is not root."""
    (disk,) = measure_disks([Directory("root", str(tmp_path)), Directory("archive", str(tmp_path / "none"))])
    said = os.statvfs(tmp_path)
    assert (disk.use, disk.path, disk.size_bytes) == ("root", str(tmp_path), said.f_blocks * said.f_frsize)
    assert 0 < disk.free_bytes <= said.f_bfree * said.f_frsize


def test_the_trash_is_measured_where_it_is_ours(tmp_path):
    """A root without one has 0, one that is gone and one whose trash is another's have nothing to say."""
    ours, other = tmp_path / "ours", tmp_path / "other"
    for root in (ours, other):
        (root / ".ckptd" / "trash").mkdir(parents=True)
        (root / ".ckptd").chmod(0o700)
        (root / ".ckptd" / "trash").chmod(0o700)
    (ours / ".ckptd" / "trash" / "20260101T000000Z-00000000").mkdir()
    (ours / ".ckptd" / "trash" / "20260101T000000Z-00000000" / "a.pth").write_bytes(b"x" * 100_000)
    (other / ".ckptd").chmod(0o777)
    (tmp_path / "new").mkdir()
    sizes = measure_trash([str(ours), str(other), str(tmp_path / "new"), str(tmp_path / "gone")])
    assert sizes[str(ours)] >= 100_000
    assert sizes[str(tmp_path / "new")] == 0
    assert set(sizes) == {str(ours), str(tmp_path / "new")}


def test_what_ckptd_keeps_for_itself_is_measured(tmp_path):
    """The index with its log, and the journal; what is not there takes nothing."""
    (tmp_path / "index.sqlite").write_bytes(b"x" * 10)
    (tmp_path / "index.sqlite-wal").write_bytes(b"x" * 5)
    assert measure_own(tmp_path, tmp_path / "index.sqlite") == {"index": 15, "journal": 0}
    assert measure_own(tmp_path, None) == {"journal": 0}


def test_trouble_is_told_once_and_so_is_its_end():
    """However often it comes."""
    told, troubles, done = [], ["full", "full", "other", None, None], threading.Event()

    def work():
        trouble = troubles.pop(0) if troubles else None
        if not troubles:
            done.set()
        if trouble is not None:
            raise OSError(trouble)

    surveyor = Surveyor(work, 0.001, told.append)
    surveyor.start()
    wait_for(done.is_set, "five rounds")
    surveyor.close()
    assert told == ["full", "other", None]


def test_the_end_does_not_wait_for_a_dead_share():
    """The thread hangs in its work, and is left there."""
    hanging, release = threading.Event(), threading.Event()

    def work():
        hanging.set()
        release.wait(60)

    surveyor = Surveyor(work, 60, lambda _trouble: None)
    surveyor.start()
    assert hanging.wait(60)
    surveyor.close()
    assert surveyor._thread.is_alive()
    release.set()


def test_a_dear_answer_is_asked_for_seldom():
    """And again when it is old."""
    now, asked = [0.0], []

    def ask():
        asked.append(now[0])
        return {"a": len(asked)}

    seldom = Seldom(ask, 300.0, lambda: now[0])
    assert seldom.get() == seldom.get() == {"a": 1}
    now[0] = 300.0
    assert seldom.get() == {"a": 2}
