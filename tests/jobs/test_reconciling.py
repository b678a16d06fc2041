"""The full picture against the index: differences, brakes, and what only a start looks at."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing, contextmanager

import pytest

from ckptd.errors import WorkerError
from ckptd.jobs import recording
from ckptd.model import PlaceState
from tests.jobs.stages import names, staged
from tests.jobs.test_ingest import save


@pytest.fixture
def models(tmp_path):
    return tmp_path / "models"


def fill(stages, count):
    """Save and index some checkpoints."""
    for number in range(count):
        save(stages.path / f"m{number}.pth", seed=number)
    stages.reconcile("start")


def states(stages):
    return {path: place.state for path, place in stages.store.load_places(stages.root.path).items()}


def test_a_second_look_reads_nothing(models):
    """New files are read at the first, and a second start finds all of them unchanged."""
    with staged(models) as stages:
        fill(stages, 3)
        assert sorted(stages.reader.read) == ["m0.pth", "m1.pth", "m2.pth"]
        again = stages.reconcile("start")
        assert (again.seen, again.unchanged, again.new) == (3, 3, 0)
        assert len(stages.reader.read) == 3


def test_moved_changed_new_and_gone_files_are_told_apart(models):
    """After an hour in which nobody looked."""
    with staged(models) as stages:
        fill(stages, 4)
        number = stages.record("m0.pth").id
        (models / "m0.pth").rename(models / "there.pth")
        save(models / "m1.pth", seed=99)
        (models / "m2.pth").unlink()
        save(models / "new.pth", seed=100)
        done = stages.reconcile("start")
        assert (done.moved, done.changed, done.missing, done.new, done.unchanged) == (1, 1, 1, 1, 1)
        assert sorted(stages.reader.read[4:]) == ["m1.pth", "new.pth"]
        assert stages.record("there.pth").id == number
        assert states(stages) == {
            "there.pth": "ready",
            "m1.pth": "ready",
            "m2.pth": "missing",
            "m3.pth": "ready",
            "new.pth": "ready",
        }


def test_what_comes_back_is_told_from_what_is_new(models, tmp_path):
    """As it was, and with other bytes; of what is gone the index is asked about those alone."""
    with staged(models) as stages:
        fill(stages, 4)
        for name in ("m0.pth", "m1.pth", "m2.pth"):
            (models / name).rename(tmp_path / name)
        assert stages.reconcile("schedule").missing == 3
        assert (stages.reconcile("schedule").missing, stages.root.files) == (0, 1)
        (tmp_path / "m0.pth").rename(models / "m0.pth")
        save(models / "m1.pth", seed=99)
        save(models / "new.pth", seed=100)
        done = stages.reconcile("schedule")
        assert (done.changed, done.new, done.unchanged, done.missing) == (2, 1, 1, 0)  # a move changes the ctime
        assert stages.root.files == 1  # as the index had it when it was asked
        assert sorted(stages.reader.read[4:]) == ["m0.pth", "m1.pth", "new.pth"]
        assert {path for path, state in states(stages).items() if state == "missing"} == {"m2.pth"}


def test_a_move_that_has_to_settle_is_a_move_all_the_same(models):
    """The old place is not given up while the new one is waited for; no lease can be had on a file that is open."""
    with staged(models) as stages:
        fill(stages, 2)
        number = stages.record("m0.pth").id
        (models / "m0.pth").rename(models / "there.pth")
        with (models / "there.pth").open("r+b"):
            stages.reconcile("start")
            stages.settle(1.0)
            assert states(stages) == {"m0.pth": "ready", "m1.pth": "ready"}
        stages.hint("there.pth")
        stages.settle(5.0)
        assert stages.record("there.pth").id == number
        assert len(stages.reader.read) == 2


def test_losing_most_files_freezes_and_a_person_can_believe_it(models):
    """Nothing is marked missing, the log says so once, and `--believe-losses` ends it."""
    with staged(models) as stages:
        fill(stages, 20)
        for number in range(15):
            (models / f"m{number}.pth").unlink()
        for _ in range(2):
            done = stages.reconcile("schedule")
            assert (done.missing, done.frozen) == (15, 15)
            assert set(states(stages).values()) == {"ready"}
        assert len(names(stages.log, "root.frozen")) == 1
        stages.hint("m0.pth", closed=False)
        stages.settle(1.0)
        assert states(stages)["m0.pth"] == "ready"
        done = stages.reconcile("scan", believe_losses=True)
        assert (done.missing, done.frozen) == (15, 0)
        assert list(states(stages).values()).count("missing") == 15
        assert stages.root.freezes == ()


def test_a_freeze_lasts_while_new_files_come(models, tmp_path):
    """12 of 50 are gone; with each file that is saved they are a smaller share, and nobody said that they are gone."""
    with staged(models) as stages:
        for number in range(50):
            save(models / ("a" if number < 12 else "b") / f"m{number}.pth", seed=number)
        stages.reconcile("start")
        (models / "a").rename(tmp_path / "elsewhere")
        assert stages.reconcile("schedule").frozen == 12
        for number in range(50, 65):
            save(models / "b" / f"m{number}.pth", seed=number)
        for _ in range(3):
            assert stages.reconcile("schedule").frozen == 12
            stages.settle(5.0)
        stages.hint("a/m0.pth", closed=False)
        stages.settle(5.0)
        assert set(states(stages).values()) == {"ready"}
        assert len(states(stages)) == 65
        assert len(names(stages.log, "root.frozen")) == 2  # as 12 of 50, and then as 12 that are not back
        (tmp_path / "elsewhere").rename(models / "a")
        assert stages.reconcile("schedule").frozen == 0
        assert stages.root.freezes == ()


def test_frozen_files_that_come_back_are_as_they_were(models, tmp_path):
    """The freeze ends, nothing is read again."""
    with staged(models) as stages:
        fill(stages, 20)
        (tmp_path / "away").mkdir()
        for number in range(15):
            (models / f"m{number}.pth").rename(tmp_path / "away" / f"m{number}.pth")
        stages.reconcile("schedule")
        assert stages.root.freezes
        for number in range(15):
            (tmp_path / "away" / f"m{number}.pth").rename(models / f"m{number}.pth")
        stages.reconcile("schedule")
        stages.settle(5.0)
        assert stages.root.freezes == ()
        assert set(states(stages).values()) == {"ready"}


def test_a_trouble_that_lasts_is_told_once(models):
    """A link to elsewhere is no row and one line in the log; gone and back again it is news."""
    with staged(models) as stages:
        (models / "out.pth").symlink_to("/etc/passwd")
        for _ in range(3):
            stages.reconcile("schedule")
        assert names(stages.log, "watch.degraded") == [("watch.degraded", "out.pth")]
        (models / "out.pth").unlink()
        stages.reconcile("schedule")
        (models / "out.pth").symlink_to("/etc/passwd")
        stages.reconcile("schedule")
        assert len(names(stages.log, "watch.degraded")) == 2


def test_odd_things_with_a_checkpoint_s_name_are_rows(models):
    """A FIFO is neither opened nor forgotten."""
    with staged(models) as stages:
        os.mkfifo(models / "pipe.pth")
        stages.reconcile("start")
        stages.reconcile("schedule")
        record = stages.record("pipe.pth")
        assert (record.state, record.inspection.status.value) == (PlaceState.REJECTED, "not_a_checkpoint")
        assert len(names(stages.log, "checkpoint.rejected")) == 1


def test_polling_that_finds_nothing_is_no_news(models):
    """Twice a minute and root; a look that found something is told."""
    with staged(models) as stages:
        fill(stages, 1)
        stages.reconcile("polling")
        save(models / "new.pth", seed=7)
        stages.reconcile("polling")
        levels = [entry["log_level"] for entry in stages.log if entry["event"] == "scan.finished"]
        assert levels == ["info", "debug", "info"]


@contextmanager
def locked(stages):
    """Hold the index for writing, as another process may for long."""
    with closing(sqlite3.connect(stages.store.file, isolation_level=None)) as other:
        with stages.store.engine.connect() as connection:  # the one that is used again
            connection.exec_driver_sql("PRAGMA busy_timeout=1")
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


def test_what_can_not_be_written_is_noted_once_however_often_it_is_seen(models):
    """A root on a share is looked at twice a minute, and a full disk may last a day."""
    with staged(models) as stages:
        fill(stages, 50)
        with locked(stages):
            for number in range(5):
                (models / f"m{number}.pth").unlink()
            os.mkfifo(models / "odd.pth")
            for _ in range(20):
                stages.reconcile("polling")
                assert stages.ingest.unwritten == 6
            assert set(states(stages).values()) == {"ready"}
            assert stages.rescans == []
        stages.settle(5.0)
        assert stages.ingest.unwritten == 0
        assert list(states(stages).values()).count("missing") == 5
        assert stages.rescans == [(0, "index")]  # for what came in the meantime
        assert len(names(stages.log, "checkpoint.vanished")) == 5


def test_events_note_no_more_than_there_is_room_for_while_the_index_can_not_be_written(models, monkeypatch):
    """What is told of then is found by the full picture that is asked for afterwards, once."""
    monkeypatch.setattr(recording, "MOST_WAITING", 8)
    with staged(models) as stages:
        fill(stages, 3)
        with locked(stages):
            os.mkfifo(models / "odd.pth")
            for _ in range(20):
                stages.hint("odd.pth")
                stages.settle(2.0)
            assert stages.ingest.unwritten == 8
            (models / "m0.pth").unlink()
            stages.hint("m0.pth")
            stages.settle(2.0)
            assert stages.ingest.unwritten == 8
            (models / "m1_metadata.json").unlink()
            stages.ingest.upkeep.expect((0, "m1.pth"))
            stages.settle(2.0)
            assert stages.ingest.unwritten == 8
            assert not (models / "m1_metadata.json").exists()
        stages.settle(5.0)
        assert (models / "m1_metadata.json").exists()
        assert stages.rescans == [(0, "index")]
        assert states(stages)["m0.pth"] == "ready"
        stages.reconcile("index")
        assert states(stages)["m0.pth"] == "missing"


def test_of_what_is_gone_nothing_is_held(models, monkeypatch):
    """A training run may leave and lose thousands of names in a year; each stage forgets them with the next full picture."""
    with staged(models) as stages:
        fill(stages, 2)
        for number in range(50):
            save(models / "deep" / f"{number}.pth", seed=number)
            stages.reader.errors[f"deep/{number}.pth"] = WorkerError("a worker was killed")
            stages.ingest.upkeep.expect((0, f"deep/{number}.pth"), delay=1e9)
            stages.ingest.read_again((0, f"deep/{number}.pth"))
            stages.ingest.upkeep._troubled.add((0, "deep"))
        stages.settle(0.0)
        ingest = stages.ingest
        assert len(ingest._failures) == 50
        shutil.rmtree(models / "deep")
        ingest.read_again((0, "deep/7.pth"))
        ingest.losses.expect_move(0, "m0.pth", "deep/8.pth")
        stages.reconcile("schedule")
        held = (ingest._failures, ingest._recalling._unbelieved, ingest._recalling._words, ingest.losses._moves)
        assert [len(one) for one in (*held, ingest.upkeep._due, ingest.upkeep._troubled)] == [0] * 6


def test_of_what_can_not_be_looked_at_all_is_held(models):
    """A directory that is closed for a while hides its files, and is no reason to forget how often they failed."""
    places = {(0, "shut/a.pth"), (0, "gone/a.pth"), (1, "gone/a.pth")}
    with staged(models) as stages:
        stages.ingest._recalling._unbelieved |= places
        stages.ingest.keep_only(0, {}, {"shut"})
        assert stages.ingest._recalling._unbelieved == places - {(0, "gone/a.pth")}
