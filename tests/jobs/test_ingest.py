"""The way of a file through the stages: what is read, what is recalled, what is told."""

from __future__ import annotations

import errno
import json
import os
import shutil

import pytest

from ckptd.errors import WorkerError
from ckptd.model import PlaceState, Status
from ckptd.watch import scanner
from tests.jobs.stages import names, staged


def save(path, seed=0, size=16):
    import torch

    torch.manual_seed(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"conv1.weight": torch.randn(size, 3), "conv1.bias": torch.randn(size)}, path)
    return path


@pytest.fixture
def models(tmp_path):
    return tmp_path / "models"


def test_a_new_file_is_read_once_described_and_recorded(models):
    """One read, one sidecar, one record, and the log says so after the commit."""
    with staged(models) as stages:
        save(models / "BiLSTM_ECG_acc87.pth")
        stages.hint("BiLSTM_ECG_acc87.pth")
        stages.settle()
        record = stages.record("BiLSTM_ECG_acc87.pth")
        assert record.state is PlaceState.READY
        assert record.inspection.metadata.metrics == {"accuracy": 0.87}
        sidecar = json.loads((models / "BiLSTM_ECG_acc87_metadata.json").read_text())
        assert sidecar["ckptd"]["sha256"] == record.sha256
        assert stages.reader.read == ["BiLSTM_ECG_acc87.pth"]
        told = names(stages.log, "sidecar.written", "checkpoint.indexed")
        assert told == [("sidecar.written", "BiLSTM_ECG_acc87.pth"), ("checkpoint.indexed", "BiLSTM_ECG_acc87.pth")]


def test_our_own_sidecar_is_no_news(models):
    """The event of our own writing makes no second description."""
    with staged(models) as stages:
        save(models / "a.pth")
        stages.hint("a.pth")
        stages.settle()
        stages.hint("a_metadata.json")
        assert stages.ingest.next_due() is None


def test_a_renamed_file_is_not_read_again_and_keeps_its_number(models):
    """The old place is empty and the file the same: one record moves, and the new name speaks for it."""
    with staged(models) as stages:
        save(models / "net_ECG_acc81.pth")
        stages.hint("net_ECG_acc81.pth")
        stages.settle()
        before = stages.record("net_ECG_acc81.pth")
        (models / "net_ECG_acc81.pth").rename(models / "net_ECG_acc92.pth")
        stages.hint("net_ECG_acc81.pth", closed=False)
        stages.hint("net_ECG_acc92.pth")
        stages.settle()
        stages.settle(1.0)
        after = stages.record("net_ECG_acc92.pth")
        assert stages.reader.read == ["net_ECG_acc81.pth"]
        assert (after.id, after.sha256, after.first_seen_at) == (before.id, before.sha256, before.first_seen_at)
        assert after.inspection.metadata.metrics == {"accuracy": 0.92}
        assert stages.record("net_ECG_acc81.pth") is None
        assert names(stages.log, "checkpoint.moved", "checkpoint.vanished") == [("checkpoint.moved", "net_ECG_acc92.pth")]


def test_a_rename_whose_halves_come_late_is_still_a_move(models):
    """The loss was written down already when the file turns up elsewhere."""
    with staged(models) as stages:
        save(models / "a.pth")
        stages.hint("a.pth")
        stages.settle()
        number = stages.record("a.pth").id
        (models / "a.pth").rename(models / "b.pth")
        stages.hint("a.pth", closed=False)
        stages.settle(1.0)
        assert stages.record("a.pth").state is PlaceState.MISSING
        stages.hint("b.pth")
        stages.settle()
        assert stages.record("b.pth").id == number
        assert stages.reader.read == ["a.pth"]


@pytest.mark.parametrize("what", ["copy", "link", "chmod", "forged"])
def test_what_is_not_surely_the_same_is_read(models, what):
    """A copy, a hard link under another name, a chmod, and above all other bytes under the old size and times."""
    with staged(models) as stages:
        save(models / "a.pth")
        stages.hint("a.pth")
        stages.settle()
        before = stages.record("a.pth").sha256
        place = "b.pth"
        match what:
            case "copy":
                shutil.copy2(models / "a.pth", models / "b.pth")
            case "link":
                os.link(models / "a.pth", models / "b.pth")
            case "chmod":
                (models / "a.pth").chmod(0o640)
                place = "a.pth"
            case "forged":
                times = (models / "a.pth").stat()
                content = bytearray((models / "a.pth").read_bytes())
                content[300] ^= 1
                with (models / "a.pth").open("r+b") as file:
                    file.write(content)
                os.utime(models / "a.pth", ns=(times.st_atime_ns, times.st_mtime_ns))
                place = "a.pth"
        stages.hint(place)
        stages.settle(5.0)
        assert stages.reader.read == ["a.pth", place]
        assert (stages.record(place).sha256 == before) == (what != "forged")


def test_a_file_that_changes_while_it_is_read_is_read_again(models):
    """What was read of the old bytes is thrown away."""
    with staged(models) as stages:
        save(models / "a.pth", seed=1)

        def save_over(place):
            stages.reader.meanwhile = lambda _place: None
            save(models / "a.pth", seed=2)
            stages.hint("a.pth")

        stages.reader.meanwhile = save_over
        stages.hint("a.pth")
        stages.settle()
        stages.settle(5.0)
        assert stages.reader.read == ["a.pth", "a.pth"]
        assert stages.record("a.pth").identity.mtime_ns == (models / "a.pth").stat().st_mtime_ns
        assert len(names(stages.log, "checkpoint.indexed")) == 1


def test_a_failed_inspection_is_tried_three_times_more_and_then_left(models):
    """Waits of 5, 60 and 600 seconds; the record says failed meanwhile, and one line of the log says that it is for good."""
    with staged(models) as stages:
        save(models / "a.pth")
        stages.reader.errors["a.pth"] = WorkerError("a worker was killed")
        stages.hint("a.pth")
        stages.settle()
        assert stages.record("a.pth").inspection.status is Status.FAILED
        for wait in (5.0, 60.0, 600.0):
            stages.settle(wait / 2)
            before = len(stages.reader.read)
            stages.settle(wait / 2)
            assert len(stages.reader.read) == before + 1
        stages.settle(100_000.0)
        assert len(stages.reader.read) == 4
        assert len(names(stages.log, "checkpoint.rejected")) == 1
        assert len(names(stages.log, "inspection.retried")) == 3
        del stages.reader.errors["a.pth"]
        stages.reconcile("start")
        assert stages.record("a.pth").inspection.status is Status.OK


def test_a_vanished_file_is_missing_after_a_moment_and_returned_when_it_is_back(models, tmp_path):
    """Its record keeps what was known; nothing is read when it comes back as it was."""
    with staged(models) as stages:
        save(models / "a.pth")
        stages.hint("a.pth")
        stages.settle()
        digest = stages.record("a.pth").sha256
        os.link(models / "a.pth", tmp_path / "kept")
        stages.hint("a.pth")
        stages.settle(5.0)
        (models / "a.pth").unlink()
        stages.hint("a.pth", closed=False)
        stages.settle()
        assert stages.record("a.pth").state is PlaceState.READY
        stages.settle(1.0)
        gone = stages.record("a.pth")
        assert (gone.state, gone.sha256) == (PlaceState.MISSING, digest)
        assert (models / "a_metadata.json").exists()
        (tmp_path / "kept").rename(models / "a.pth")
        stages.hint("a.pth")
        stages.settle(5.0)
        assert stages.record("a.pth").state is PlaceState.READY
        assert ("checkpoint.vanished", "a.pth") in names(stages.log)


def lose_handles(monkeypatch):
    """Have the server of a share know nothing of what lies in it, until that is taken back."""

    def fail(root_fd, path):
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    monkeypatch.setattr(scanner, "_open_below", fail)


def test_files_that_the_server_has_no_handle_of_are_not_missing(models, monkeypatch):
    """Whatever is hinted at: they can't be looked at, and nobody said that they are gone."""
    with staged(models) as stages:
        paths = [f"run/m{number}.pth" for number in range(3)]
        for number, path in enumerate(paths):
            save(models / path, seed=number)
        stages.reconcile()
        lose_handles(monkeypatch)
        for path in paths:
            stages.hint(path, closed=False)
        stages.settle(5.0)
        assert {stages.record(path).state for path in paths} == {PlaceState.READY}
        assert names(stages.log, "checkpoint.vanished") == []


def test_a_loss_that_can_not_be_looked_at_again_is_not_believed(models, monkeypatch):
    """It was gone a moment ago; the share went in between, and it is gone when the share is back."""
    with staged(models) as stages:
        save(models / "a.pth")
        stages.reconcile()
        (models / "a.pth").unlink()
        stages.hint("a.pth", closed=False)
        with monkeypatch.context() as patched:
            lose_handles(patched)
            stages.settle(5.0)
        assert stages.record("a.pth").state is PlaceState.READY
        stages.reconcile("schedule")
        assert stages.record("a.pth").state is PlaceState.MISSING


def test_a_pipe_in_the_place_of_a_lost_file_does_not_keep_it(models):
    """It can be looked at, and it is no file."""
    with staged(models) as stages:
        save(models / "a.pth")
        stages.reconcile()
        (models / "a.pth").unlink()
        stages.hint("a.pth", closed=False)
        os.mkfifo(models / "a.pth")
        stages.settle(5.0)
        assert stages.record("a.pth").state is PlaceState.MISSING


def test_many_losses_at_once_are_left_to_the_full_picture(models):
    """Nine files that go in one moment may be a share that was unmounted: a rescan with its brakes decides."""
    with staged(models) as stages:
        for number in range(12):
            save(models / f"m{number}.pth", seed=number)
            stages.hint(f"m{number}.pth")
        stages.settle()
        for number in range(9):
            (models / f"m{number}.pth").unlink()
            stages.hint(f"m{number}.pth", closed=False)
        stages.settle(1.0)
        assert stages.rescans == [(0, "losses")]
        assert not names(stages.log, "checkpoint.vanished")


def test_other_files_of_the_directory_cost_nothing(models):
    """Logs, temporary files and pictures that come and go are no losses and ask for no rescan."""
    with staged(models) as stages:
        save(models / "a.pth")
        stages.hint("a.pth")
        stages.settle()
        for number in range(50):
            (models / f"log{number}.txt").write_text("x")
            stages.hint(f"log{number}.txt")
        assert stages.ingest.next_due() is None
        for number in range(50):
            (models / f"log{number}.txt").unlink()
            stages.hint(f"log{number}.txt", closed=False)
        stages.settle(1.0)
        assert stages.rescans == []


def test_a_directory_that_went_away_is_looked_for(models, tmp_path):
    """Files below it are left to the full picture; a directory without known files is nobody's business."""
    with staged(models) as stages:
        save(models / "run1" / "a.pth")
        (models / "empty").mkdir()
        stages.hint("run1")
        stages.settle(3.0)
        (models / "run1").rename(tmp_path / "elsewhere")
        (models / "empty").rmdir()
        stages.hint("run1", closed=False)
        stages.hint("empty", closed=False)
        stages.settle(1.0)
        assert stages.rescans == [(0, "directory gone")]
        stages.reconcile("directory gone")
        assert stages.record("run1/a.pth").state is PlaceState.MISSING


def test_a_moved_directory_is_read_once(models):
    """Its files are the same under new paths."""
    with staged(models) as stages:
        for number in range(3):
            save(models / "run1" / f"m{number}.pth", seed=number)
        stages.hint("run1")
        stages.settle(3.0)
        assert len(stages.reader.read) == 3
        (models / "run1").rename(models / "run2")
        stages.hint("run1", closed=False)
        stages.hint("run2")
        stages.settle(3.0)
        assert len(stages.reader.read) == 3
        assert len(names(stages.log, "checkpoint.moved")) == 3
        assert stages.store.load_places(stages.root.path).keys() == {f"run2/m{number}.pth" for number in range(3)}


def test_the_index_that_cannot_be_written_loses_nothing(models):
    """While it is locked entries wait and the log says so once; afterwards everything is there."""
    with staged(models) as stages:
        save(models / "a.pth")
        stages.store.engine.dispose()
        import sqlite3

        locker = sqlite3.connect(stages.store.file, isolation_level=None)
        locker.execute("PRAGMA busy_timeout=0")
        stages.store.engine.dispose()
        locker.execute("BEGIN IMMEDIATE")
        original = stages.store.engine
        with original.connect() as connection:
            connection.exec_driver_sql("PRAGMA busy_timeout=1")
        stages.hint("a.pth")
        stages.settle()
        assert names(stages.log, "index.unavailable", "checkpoint.indexed") == [("index.unavailable", None)]
        locker.execute("ROLLBACK")
        locker.close()
        stages.settle(5.0)
        assert ("index.available", None) in names(stages.log)
        assert stages.record("a.pth").state is PlaceState.READY


def test_a_mistake_of_ours_that_one_file_brings_to_light_ends_nothing(models):
    """The file is a row with status failed and is tried again; its neighbours are indexed."""
    with staged(models) as stages:
        describe = stages.describing.describe

        def stumble(root, path, inspection, **options):
            if path == "bad.pth":
                raise KeyError("a field that nobody thought of")
            return describe(root, path, inspection, **options)

        stages.describing.describe = stumble
        for name in ("bad.pth", "good.pth"):
            save(models / name, seed=len(name))
            stages.hint(name)
        stages.settle()
        assert stages.record("bad.pth").inspection.status is Status.FAILED
        assert stages.record("good.pth").inspection.status is Status.OK
        stages.describing.describe = describe
        stages.settle(5.0)
        assert stages.record("bad.pth").inspection.status is Status.OK
        stages.describing.describe = stumble
        (models / "bad_metadata.json").unlink()
        stages.hint("bad_metadata.json", closed=False)
        stages.settle(1.0)
        assert ("sidecar.failed", "bad.pth") in names(stages.log)


def test_a_file_that_can_never_be_recorded_is_given_up(models):
    """Four tries, as for any failure; then the next start or a change of the file."""
    with staged(models) as stages:

        def stumble(root, path, inspection, **options):
            raise KeyError(path)

        stages.describing.describe = stumble
        save(models / "bad.pth")
        stages.hint("bad.pth")
        stages.settle()
        for wait in (5.0, 60.0, 600.0, 100_000.0):
            stages.settle(wait)
        assert len(stages.reader.read) == 4
        assert len(names(stages.log, "checkpoint.rejected")) == 1
