"""Exports of ours on the disk: passed over by events and by scans, and newcomers once somebody replaced them."""

from __future__ import annotations

import hashlib
import os
import shutil

import pytest

from ckptd.jobs import own_exports
from ckptd.jobs.own_exports import OwnExports
from ckptd.model import Identity, PlaceState
from ckptd.proof import Export, Verdict
from tests.jobs.stages import names, staged
from tests.jobs.test_ingest import save

SUFFIXES = (".pth", ".pt")


@pytest.fixture
def models(tmp_path):
    return tmp_path / "models"


def digest(file):
    return hashlib.sha256(file.read_bytes()).hexdigest()


def place_export(stages, checkpoint="a.pth", file="a_scripted.pt", seed=9, source=None):
    """Put an export in place as a job does: what is known is written down before the file has its name."""
    where = stages.path / checkpoint
    scratch = save(stages.path.parent / "scratch" / file, seed=seed)
    directory = checkpoint.rpartition("/")[0]
    path = f"{directory}/{file}" if directory else file
    remembering, seen = stages.ingest.remembering, Identity.of(scratch.stat())
    remembering.output(stages.root, path, digest(scratch), tuple(seen), now=1.0)
    scratch.rename(stages.path / path)
    placed = tuple(Identity.of((stages.path / path).stat()))
    export = Export(
        "torchscript",
        Verdict.VERIFIED,
        source or digest(where),
        "b" * 64,
        None,
        file,
        digest(stages.path / path),
        placed[2],
        placed,
        at=1.0,
        proof={"max_abs": 0.0},
    )
    remembering.exports(stages.root, checkpoint, [export], now=2.0)
    return export


def begin(stages):
    save(stages.path / "a.pth")
    stages.hint("a.pth")
    stages.settle()
    return place_export(stages)


def indexed(stages):
    return sorted(path for path, place in stages.store.load_places(stages.root.path).items() if not place.is_missing)


def test_events_and_scans_pass_ours_over(models):
    """The event of the placing, a scan, a scan of the directory, and both after a restart: nothing is read."""
    with staged(models, suffixes=SUFFIXES) as stages:
        begin(stages)
        stages.hint("a_scripted.pt")
        stages.ingest.expect_below((0, ""))
        stages.settle(5.0)
        done = stages.reconcile("schedule")
        assert (done.seen, done.new) == (1, 0)
    with staged(models, suffixes=SUFFIXES) as stages:
        assert stages.reconcile("start").new == 0
        stages.hint("a_scripted.pt")
        stages.settle(5.0)
        assert stages.reader.read == []
        assert indexed(stages) == ["a.pth"]
        assert stages.root.files == 1


def test_an_event_that_came_first_is_taken_back(models):
    """The file was waited for before anybody said that it is ours."""
    with staged(models, suffixes=SUFFIXES) as stages:
        save(models / "a.pth")
        save(models / "a_scripted.pt", seed=3)
        stages.ingest.expect((0, "a_scripted.pt"))
        place = models / "a_scripted.pt"
        stages.ingest.remembering.output(stages.root, "a_scripted.pt", digest(place), tuple(Identity.of(place.stat())), now=1.0)
        stages.settle(5.0)
        assert stages.reader.read == []


def test_what_a_command_places_beside_the_daemon_is_ours(models):
    """Two processes, one index: the second one placed the file and the first one sees it."""
    with staged(models, suffixes=SUFFIXES) as stages:
        save(models / "a.pth")
        stages.hint("a.pth")
        stages.settle()
        with staged(models, suffixes=SUFFIXES) as command:
            place_export(command)
        stages.hint("a_scripted.pt")
        stages.reconcile("schedule")
        stages.settle(5.0)
        assert stages.reader.read == ["a.pth"]
        assert indexed(stages) == ["a.pth"]


@pytest.mark.parametrize("how", ["chmod", "link"])
def test_what_changes_no_byte_changes_nothing(models, how):
    """Ours is known by inode, size and mtime."""
    with staged(models, suffixes=SUFFIXES) as stages:
        begin(stages)
        if how == "chmod":
            (models / "a_scripted.pt").chmod(0o600)
        else:
            os.link(models / "a_scripted.pt", models / "elsewhere.bin")
        stages.hint("a_scripted.pt")
        stages.reconcile("start")
        stages.settle(5.0)
        assert indexed(stages) == ["a.pth"]


@pytest.mark.parametrize("by", ["hint", "scan"])
def test_one_that_somebody_replaced_is_a_newcomer_like_any_other(models, by):
    """Under the same name, other bytes."""
    with staged(models, suffixes=SUFFIXES) as stages:
        begin(stages)
        (models / "a_scripted.pt").unlink()
        save(models / "a_scripted.pt", seed=77)
        if by == "hint":
            stages.hint("a_scripted.pt")
        else:
            stages.reconcile("schedule")
        stages.settle(5.0)
        assert indexed(stages) == ["a.pth", "a_scripted.pt"]
        assert stages.record("a_scripted.pt").sha256 == digest(models / "a_scripted.pt")


@pytest.mark.parametrize("where", ["a_scripted.pt", "copy.pt", "served/a_scripted.pt"])
def test_a_copy_of_ours_is_read_once_and_passed_over_from_then_on(models, where):
    """Restored in its place, or copied and moved elsewhere."""
    with staged(models, suffixes=SUFFIXES) as stages:
        begin(stages)
        (models / "served").mkdir()
        shutil.copyfile(models / "a_scripted.pt", models / "new")
        (models / "new").rename(models / where)
        read = len(stages.reader.read)
        for _ in range(3):
            stages.reconcile("schedule")
            stages.settle(5.0)
        assert stages.reader.read[read:] == [where]
        assert indexed(stages) == ["a.pth"]
    with staged(models, suffixes=SUFFIXES) as stages:
        assert stages.reconcile("start").new == 0


def test_a_checkpoint_that_was_there_first_stays_one(models):
    """Though an export turns out to have the same bytes."""
    with staged(models, suffixes=SUFFIXES) as stages:
        shutil.copyfile(save(models.parent / "other" / "a_scripted.pt", seed=9), models / "mine.pt")
        stages.hint("mine.pt")
        stages.settle()
        export = begin(stages)
        assert export.sha256 == digest(models / "mine.pt")
        os.utime(models / "mine.pt")
        stages.reconcile("schedule")
        stages.settle(5.0)
        assert stages.record("mine.pt").state is PlaceState.READY
        assert indexed(stages) == ["a.pth", "mine.pt"]


def test_only_ours_may_be_replaced(models):
    """By the identity as it was placed, or by the digest; never by the name."""
    with staged(models, suffixes=SUFFIXES) as stages:
        begin(stages)
        own, fd = stages.own_exports, stages.root.handle.fd

        def find():
            return own.find_own(stages.root, fd, "a_scripted.pt", "a_scripted.pt")

        ours = Identity.of((models / "a_scripted.pt").stat())
        assert find() == ours
        assert own.lies_there(stages.root, "a_scripted.pt")
        (models / "a_scripted.pt").chmod(0o600)
        assert find()[:4] == ours[:4]
        data = bytearray((models / "a_scripted.pt").read_bytes())
        data[300] ^= 1
        (models / "a_scripted.pt").write_bytes(data)
        os.utime(models / "a_scripted.pt", ns=(ours.mtime_ns, ours.mtime_ns))
        assert find() is None
        (models / "a_scripted.pt").unlink()
        assert find() is None
        assert not own.lies_there(stages.root, "a_scripted.pt")
        os.mkfifo(models / "a_scripted.pt")
        assert find() is None
        (models / "a_scripted.pt").unlink()
        (models / "a_scripted.pt").symlink_to("/etc/passwd")
        assert find() is None


def test_a_large_one_is_not_read_in_the_loops_own_time(models, monkeypatch):
    """Gigabytes to hash would hold up everything: inode, size and mtime have to do, and a newcomer of that size is not ours."""
    with staged(models, suffixes=SUFFIXES) as stages:
        begin(stages)
        own, fd, name = stages.own_exports, stages.root.handle.fd, "a_scripted.pt"
        monkeypatch.setattr(own_exports, "MOST_HASHED_BYTES", 10)
        monkeypatch.setattr(own_exports, "digest_of", lambda *_: pytest.fail("it was read"))
        (models / name).chmod(0o600)
        assert own.find_own(stages.root, fd, name, name)[:4] == Identity.of((models / name).stat())[:4]
        shutil.copyfile(models / name, models / "new")
        (models / "new").replace(models / name)
        assert own.find_own(stages.root, fd, name, name) is None


def test_what_another_process_placed_a_moment_ago_is_ours(models):
    """A command and the daemon export side by side: the index is asked before a file is taken for a person's."""
    with staged(models, suffixes=SUFFIXES) as stages:
        begin(stages)
        own = OwnExports([stages.root], stages.store)
        fd = stages.root.handle.fd
        assert own.find_own(stages.root, fd, "a_scripted.pt", "a_scripted.pt") == Identity.of((models / "a_scripted.pt").stat())


def test_what_is_gone_is_not_held_in_memory(models):
    """A year of exports that came and went; one that comes back is known again, and a copy of one too."""
    with staged(models, suffixes=SUFFIXES) as stages:
        begin(stages)
        stages.reconcile("schedule")
        assert set(stages.own_exports._files[0]) == {"a_scripted.pt"}
        away = models.parent / "away.pt"
        (models / "a_scripted.pt").rename(away)
        stages.reconcile("schedule")
        assert stages.own_exports._files[0] == {}
        shutil.copyfile(away, models / "copy.pt")
        away.rename(models / "a_scripted.pt")
        stages.hint("a_scripted.pt")
        stages.hint("copy.pt")
        stages.settle(5.0)
        stages.reconcile("schedule")
        stages.settle(5.0)
        assert indexed(stages) == ["a.pth"]
        assert set(stages.own_exports._files[0]) == {"a_scripted.pt", "copy.pt"}


def test_a_digest_that_is_none_stops_nobody(models):
    """Somebody wrote to the index by hand."""
    with staged(models, suffixes=SUFFIXES) as stages:
        begin(stages)
        with stages.store.batch() as batch:
            batch.record_output(stages.root.path, "b_scripted.pt", "no digest", "export", now=1.0, identity=(1, 2, 3, 4, 5))
    with staged(models, suffixes=SUFFIXES) as stages:
        stages.reconcile("start")
        assert not stages.own_exports.is_content("e" * 64)


def test_a_kill_between_the_note_and_the_placing_loses_nothing(models):
    """The note speaks of the new file, the old one still lies there: both are ours."""
    with staged(models, suffixes=SUFFIXES) as stages:
        begin(stages)
        stages.ingest.remembering.output(stages.root, "a_scripted.pt", "f" * 64, (1, 2, 3, 4, 5), now=3.0)
    with staged(models, suffixes=SUFFIXES) as stages:
        seen = Identity.of((models / "a_scripted.pt").stat())
        assert stages.own_exports.find_own(stages.root, stages.root.handle.fd, "a_scripted.pt", "a_scripted.pt") == seen
        stages.reconcile("start")
        stages.settle(5.0)
        assert indexed(stages) == ["a.pth"]


def test_trouble_with_the_index_is_waited_out(models):
    """Nothing of an export is forgotten, and the file is passed over meanwhile."""
    with staged(models, suffixes=SUFFIXES) as stages:
        save(models / "a.pth")
        stages.hint("a.pth")
        stages.settle()
        with stages.store.engine.connect() as other:
            other.exec_driver_sql("PRAGMA busy_timeout=10")
            stages.recording._retry_at = stages.clock.now + 1.0
            place_export(stages)
            stages.hint("a_scripted.pt")
        stages.settle(5.0)
        assert [one.target for one in stages.store.load_exports(stages.root.path, "a.pth")] == ["torchscript"]
        assert names(stages.log, "checkpoint.indexed") == [("checkpoint.indexed", "a.pth")]
