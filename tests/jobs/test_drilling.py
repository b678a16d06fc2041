"""A member out of an archive, as one would take it in need: right or not, and nothing left behind."""

from __future__ import annotations

import errno
import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest
import structlog

from ckptd.archive.formats import FORMATS, find_format
from ckptd.archive.interface import ArchiveError, Member
from ckptd.index.archived import load_members, note_drilled
from ckptd.jobs import drilling
from ckptd.jobs.archiving import verify_archive
from ckptd.jobs.drilling import recover
from tests.jobs.scrubbed import Bench, Wrapped, make

LARGE = 20_000


@pytest.fixture
def bench(tmp_path):
    made = Bench(tmp_path)
    yield made
    made.close()


def archive_of(bench, *names, format_name="tar.gz", rows=64):
    """Archive some checkpoints; each has a metadata file beside it."""
    paths = [bench.save(name, seed, rows=rows) for seed, name in enumerate(names)]
    for path in paths:
        path.with_name(f"{path.stem}_metadata.json").write_text("{}")
    return bench.archive(*paths, format_name=format_name)


def one(bench):
    (found,) = bench.archives()
    return found


@pytest.mark.parametrize("is_back", [True, False])
def test_an_archive_that_was_called_missing_is_drilled_once_it_is_back(bench, is_back):
    """Beside one that never was away; and not while it is."""
    first = archive_of(bench, "a.pth")
    second = archive_of(bench, "b.pth")
    away = first.rename(bench.paths[0] / "away")
    with structlog.testing.capture_logs():
        verify_archive(bench.context, bench.archives()[0])
    assert [archive.state for archive in bench.archives()] == ["missing", "verified"]
    if is_back:
        away.rename(first)
    drawn = {bench.drill(Random(seed)).summary["archive"] for seed in range(10)}
    assert drawn == ({first.name, second.name} if is_back else {second.name})


def test_nothing_to_drill_is_fine(bench):
    """No archives, no alert."""
    outcome = bench.drill(Random(0))
    assert (outcome.outcome, outcome.summary) == ("ok", {"archives": 0})
    assert "nothing to drill" in outcome.reason


@pytest.mark.parametrize("format_name", [place.name for place in FORMATS])
def test_a_drill_restores_compares_and_is_remembered(bench, format_name):
    """In the index, the audit and the log; nothing of it stays in scratch."""
    archive = archive_of(bench, "run/a.pth", format_name=format_name)
    outcome = bench.drill(Random(0))
    assert (outcome.outcome, outcome.reason) == ("ok", "")
    assert outcome.summary == {
        "archives": 1,
        "archive": archive.name,
        "directory": str(archive.parent),
        "member": "run/a.pth",
        "root": str(bench.paths[0]),
        "path": "run/a.pth",
        "bytes": (bench.paths[0] / "run/a.pth").stat().st_size,
    }
    assert one(bench).drilled_at == bench.now
    why = {"archive": archive.name, "directory": str(archive.parent), "member": "run/a.pth"}
    assert bench.audit("drill.finished") == [("run/a.pth", why)]
    assert [entry["log_level"] for entry in bench.events("drill.finished")] == ["info"]
    assert bench.scratch() == []


def test_the_original_is_not_needed(bench):
    """The drill is of the archive: where the checkpoint is gone, it is all there is."""
    archive_of(bench, "a.pth")
    (bench.paths[0] / "a.pth").unlink()
    assert bench.drill(Random(0)).outcome == "ok"


def test_every_archive_and_every_checkpoint_is_drawn_in_the_end(bench):
    """And no metadata file, which would make half of the drills worth nothing; the same seed draws the same."""
    archives = [archive_of(bench, f"{n}a.pth", f"{n}b.pth") for n in range(2)]
    drawn = []
    for seed in range(30):
        summary = bench.drill(Random(seed)).summary
        drawn.append((summary["archive"], summary["path"]))
    assert set(drawn) == {(archive.name, f"{n}{letter}.pth") for n, archive in enumerate(archives) for letter in "ab"}


def test_what_was_drilled_longest_ago_is_likelier(bench):
    """Ten years against a second."""
    archives = [archive_of(bench, f"{n}.pth") for n in range(2)]
    by_name = {archive.name: archive.id for archive in bench.archives()}
    drawn = []
    for seed in range(20):
        with bench.store.batch() as batch:
            batch.tell(note_drilled, by_name[archives[0].name], bench.now - 1)
            batch.tell(note_drilled, by_name[archives[1].name], bench.now - 3_650 * 86_400)
        drawn.append(bench.drill(Random(seed)).summary["archive"])
    assert drawn.count(archives[1].name) >= 18


def fail(bench, outcome, state):
    """Hold what every failed drill has in common."""
    assert outcome.outcome == "failed"
    assert one(bench).state == state
    assert one(bench).drilled_at is None
    (told,) = bench.events("drill.failed")
    assert (told["log_level"], told["archive"]) == ("error", one(bench).name)
    assert told["cure"]
    ((_, why),) = bench.audit("drill.failed")
    assert why["archive"] == one(bench).name
    assert bench.audit("drill.finished") == []
    assert bench.scratch() == []
    return told


def test_a_damaged_archive_fails_and_its_losses_are_noted(bench):
    """It is read from end to end then, so that the index knows which members are lost."""
    archive = archive_of(bench, "a.pth", rows=LARGE)
    size = archive.stat().st_size
    with archive.open("r+b") as file:
        file.seek(size // 3)
        file.write(bytes(size // 3))
    outcome = bench.drill(Random(0))
    told = fail(bench, outcome, "damaged")
    assert told["member"] == "a.pth"
    assert f"{archive.name}: a.pth: " in outcome.reason
    assert [member.name for member in bench.store.ask(load_members, one(bench).id) if member.is_lost] == ["a.pth"]
    assert outcome.summary["losses"] >= 1


def test_an_archive_of_other_bytes_under_the_same_name_fails(bench, tmp_path):
    """Its own manifest agrees with it; what the index knows does not."""
    archive = archive_of(bench, "a.pth")
    name = archive.name
    archive.unlink()
    other = tmp_path / "other.pth"
    other.write_bytes(make(99))
    digest = hashlib.sha256(other.read_bytes()).hexdigest()
    member = Member("a.pth", "checkpoint", lambda: os.open(other, os.O_RDONLY), other.stat().st_size, digest, 1)
    directory = os.open(archive.parent, os.O_RDONLY)
    find_format("tar.gz").write(directory, name, [member], now=1.0, free_bytes=0, progress=lambda _done: None)
    os.close(directory)
    outcome = bench.drill(Random(0))
    fail(bench, outcome, "damaged")
    assert "other bytes" in outcome.reason


@pytest.mark.parametrize("what", ["archive", "directory"])
def test_a_missing_archive_fails_and_is_noted(bench, what):
    """It was removed, or its disk is not mounted."""
    archive = archive_of(bench, "a.pth")
    if what == "archive":
        archive.unlink()
    else:
        archive.parent.rename(bench.paths[0] / "elsewhere")
    outcome = bench.drill(Random(0))
    told = fail(bench, outcome, "missing")
    assert "it is not there" in outcome.reason
    assert str(archive.parent) in told["cure"]


def test_a_missing_archive_is_drilled_only_where_there_is_no_other(bench):
    """It was told; the others are to be drilled."""
    missing, other = archive_of(bench, "a.pth"), archive_of(bench, "b.pth")
    missing.unlink()
    drawn = [bench.drill(Random(seed)).summary["archive"] for seed in range(10)]
    assert drawn.count(missing.name) == 1  # then it is noted
    assert {bench.drill(Random(seed)).summary["archive"] for seed in range(10)} == {other.name}
    other.unlink()
    assert bench.drill(Random(0)).outcome == "failed"
    assert bench.drill(Random(0)).outcome == "failed"


def test_without_room_nothing_is_written_and_nothing_is_wrong_with_the_archive(bench):
    """The floor of free space holds for scratch too; the message names the cure."""
    archive_of(bench, "a.pth")
    bench.fill_disks()
    outcome = bench.drill(Random(0))
    fail(bench, outcome, "verified")
    assert "free some space" in outcome.reason


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_fills_meanwhile_is_no_fault_of_the_archive(bench, monkeypatch, code):
    """Somebody's training wrote faster; nothing is read from end to end for that."""
    archive_of(bench, "a.pth")

    def restore(directory, name, member, target):
        os.write(target, b"half of it")
        raise ArchiveError("restore a file", path=name, why=os.strerror(code)) from OSError(code, os.strerror(code))

    monkeypatch.setattr(drilling, "find_format", lambda name: Wrapped(find_format(name), restore))
    outcome = bench.drill(Random(0))
    fail(bench, outcome, "verified")
    assert "the disk became full" in outcome.reason


def test_bytes_that_differ_only_in_the_scratch_file_are_found(bench, monkeypatch):
    """The digest is computed anew, of what was restored: a format that lies is caught."""
    archive_of(bench, "a.pth")
    content = (bench.paths[0] / "a.pth").read_bytes()

    def restore(directory, name, member, target):
        os.write(target, content[:-1] + b"!")

    monkeypatch.setattr(drilling, "find_format", lambda name: Wrapped(find_format(name), restore))
    outcome = bench.drill(Random(0))
    assert outcome.outcome == "failed"
    assert "other bytes" in outcome.reason
    assert one(bench).state == "verified"  # reading all of it showed that it is whole


def test_lost_members_are_not_drawn(bench):
    """They were told when they were lost; where nothing else is in it, that is told."""
    archive_of(bench, "a.pth", "b.pth")
    from ckptd.index.archived import note_verified

    with bench.store.batch() as batch:
        batch.tell(note_verified, one(bench).id, "damaged", ["a.pth"], 1.0)
    assert {bench.drill(Random(seed)).summary["path"] for seed in range(10)} == {"b.pth"}
    names = [member.name for member in bench.store.ask(load_members, one(bench).id)]
    with bench.store.batch() as batch:
        batch.tell(note_verified, one(bench).id, "damaged", names, 1.0)
    outcome = bench.drill(Random(0))
    assert outcome.outcome == "failed"
    assert "nothing in it can be restored" in outcome.reason


def test_a_stop_interrupts_and_leaves_nothing(bench):
    """It is drilled again later."""
    archive_of(bench, "a.pth")
    bench.stop.after = 0
    outcome = bench.drill(Random(0))
    assert outcome.outcome == "interrupted"
    assert one(bench).drilled_at is None
    assert bench.scratch() == []


def test_a_scratch_file_lies_in_the_root_or_else_in_the_state_directory(tmp_path):
    """A root where nothing can be written does not end the drill."""
    bench = Bench(tmp_path, "models", "others")
    archive_of(bench, "a.pth")
    with bench.store.batch() as batch:
        batch._connection.exec_driver_sql("UPDATE archive_members SET root = ?", (str(bench.paths[1]).encode(),))
    (bench.paths[1] / ".ckptd").rename(bench.paths[1] / "aside")
    (bench.paths[1] / ".ckptd").write_text("a file in its place")
    assert bench.drill(Random(0)).outcome == "ok"
    bench.close()


KILLED = """
import os, signal, sys
from pathlib import Path
from random import Random
from ckptd.archive.formats import find_format
from ckptd.jobs import drilling
from ckptd.jobs.archiving import verify_archive
from tests.jobs.scrubbed import Bench, Wrapped

def restore(directory, name, member, target):
    os.write(target, b"half of it")
    os.kill(os.getpid(), signal.SIGKILL)

bench = Bench(Path(sys.argv[1]))
drilling.find_format = lambda name: Wrapped(find_format(name), restore)
bench.drill(Random(0))
"""


def test_a_kill_leaves_an_empty_directory_that_the_next_run_removes(bench, tmp_path):
    """The half of a member is gone with the process, whatever ended it; nothing is written down."""
    archive_of(bench, "a.pth")
    done = subprocess.run([sys.executable, "-c", KILLED, tmp_path], cwd=Path(__file__).parents[2], capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    (left,) = bench.scratch()
    assert os.listdir(left) == []
    bench.now += 60
    recover(bench.context)
    assert bench.scratch() == []
    assert one(bench).drilled_at is None
    assert bench.drill(Random(0)).outcome == "ok"
