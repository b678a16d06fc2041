"""The last look before a checkpoint goes: what was not compared with the index is nobody's to take."""

from __future__ import annotations

import os

import pytest

from ckptd.jobs import archiving_by_hand, removing
from ckptd.jobs.removing import ObjectionError, Removing
from tests.jobs.keeping import index_roots, make_series, open_app, save_checkpoint, states


def rewrite_in_place(path, number):
    """Write other bytes of the same size into a file, and set its mtime back; only the ctime tells."""
    before, old = path.stat(), path.read_bytes()
    other = save_checkpoint(path.with_name("other.tmp"), number)
    new = other.read_bytes()
    other.unlink()
    assert len(new) == len(old)
    with path.open("r+b") as file:
        file.write(new)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    return new


def replace_by_name(path, number):
    """Save a checkpoint anew as training does: written aside, and renamed over the old one."""
    before = path.stat()
    other = save_checkpoint(path.with_name("other.tmp"), number)
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    new = other.read_bytes()
    other.replace(path)
    return new


CHANGES = pytest.mark.parametrize("change", [rewrite_in_place, replace_by_name])


@CHANGES
def test_a_save_behind_the_last_look_is_not_taken_in_place_of_the_old_one(root, monkeypatch, change):
    """It comes after everything about the file was asked, and before it is moved; it has as many bytes, and the same mtime."""
    make_series(root)
    app = open_app(root, policy={"ladder": ["trash"]})
    index_roots(app)
    saved = {}
    real = removing.find_writer

    def find_writer(fd, writers):
        answer = real(fd, writers)
        if not saved:
            path = next(path for path in root.glob("*.pth") if path.stat().st_ino == os.fstat(fd).st_ino)
            saved[path] = change(path, 99)
        return answer

    monkeypatch.setattr(removing, "find_writer", find_writer)
    applied = app.apply()
    ((path, new),) = saved.items()
    assert path.read_bytes() == new
    assert [one.path for one in applied.skipped] == [path.name]
    assert len(applied.done) == 4
    assert path.name not in {one.path for one in app.trash()}
    assert states(app)[path.name] == "ready"


def test_what_was_rewritten_before_the_plan_stays(root):
    """Size, mtime and inode are those that the index has; the bytes are not."""
    series = make_series(root, count=8)
    app = open_app(root, policy={"ladder": ["trash"], "keep_last": 1, "keep_best": 0})
    index_roots(app)
    new = rewrite_in_place(series[0], 99)
    applied = app.apply()
    assert series[0].read_bytes() == new
    assert [one.path for one in applied.skipped] == [series[0].name]
    assert len(applied.done) == 6


def test_what_was_saved_anew_since_it_was_read_is_told_as_that(root):
    """Whoever reads why it stayed need not guess; its bytes are not read for it."""
    path = save_checkpoint(root / "a.pth", 1)
    app = open_app(root)
    index_roots(app)
    sha256 = app.show("a.pth").sha256
    save_checkpoint(path, 99, days=1)  # another mtime
    with app.working("retention") as context, pytest.raises(ObjectionError, match="it changed since it was read"):
        Removing(context).compare(context.roots[0], "a.pth", sha256)


def test_another_ctime_alone_keeps_nothing(root):
    """Somebody changed its mode: the bytes are read, and are those that were decided on."""
    series = make_series(root, count=8)
    app = open_app(root, policy={"ladder": ["trash"], "keep_last": 1, "keep_best": 0})
    index_roots(app)
    series[0].chmod(0o600)
    assert series[0].name in {one.path for one in app.apply().done}


@CHANGES
def test_a_save_while_an_archive_is_written_by_hand_is_in_no_archive_and_stays(root, monkeypatch, change):
    """The archive has the old one; the new one has only this place."""
    series = make_series(root, count=3)
    app = open_app(root)
    index_roots(app)
    new = b""
    real = archiving_by_hand.write_archive

    def write_archive(*arguments, **options):
        nonlocal new
        stored = real(*arguments, **options)
        new = change(series[0], 99)
        return stored

    monkeypatch.setattr(archiving_by_hand, "write_archive", write_archive)
    done = app.archive("size>=0", remove=True)
    assert series[0].read_bytes() == new
    assert sorted(done.removed) == [path.name for path in series[1:]]
    (problem,) = done.problems
    assert series[0].name in problem
    assert series[0].name not in {one.path for one in app.trash()}


def test_what_the_index_knows_better_by_then_is_not_removed_by_hand(root, monkeypatch):
    """A daemon took the new save in while the archive was written: the archive has another content."""
    series = make_series(root, count=3)
    app = open_app(root)
    index_roots(app)
    real = archiving_by_hand.write_archive

    def write_archive(*arguments, **options):
        stored = real(*arguments, **options)
        save_checkpoint(series[0], 99)
        index_roots(app)
        return stored

    monkeypatch.setattr(archiving_by_hand, "write_archive", write_archive)
    done = app.archive("size>=0", remove=True)
    assert series[0].exists()
    (problem,) = done.problems
    assert "the index knows something else by this name now" in problem
