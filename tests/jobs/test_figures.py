"""Figures for metrics: counted from the start, asked for seldom, whoever changed the index."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from ckptd.index.runs import RunOutcome, add_run, end_run, note_schedule
from ckptd.index.store import Store
from ckptd.jobs.figures import EVENTS, STALE_SECONDS, FigureReader
from ckptd.model import Finding, Metadata, Severity, Status
from ckptd.proof import Verdict
from ckptd.settings import Settings
from ckptd.storage.lock import hold_job
from tests.index.making import NOW, ROOT, export, identity, inspection
from tests.jobs.stages import Clock


class Asked(Store):
    """An index that counts what it is asked."""

    questions = 0

    def ask(self, question, *arguments):
        self.questions += 1
        return super().ask(question, *arguments)


@pytest.fixture
def store(tmp_path):
    opened = Asked.open(tmp_path / "index.sqlite")
    yield opened
    opened.close()


@pytest.fixture
def clock():
    made = Clock()
    made.now = NOW
    return made


@pytest.fixture
def reader(store, tmp_path, clock):
    settings = Settings(roots=(tmp_path,), _env_file=None)
    return FigureReader(settings, store, tmp_path, wall=clock, monotonic=clock)


def record(store, name, status=Status.OK, how="", **changes):
    with store.batch() as batch:
        batch.record_ready(ROOT, f"{name}.pth", identity(1), replace(inspection(name, status), **changes), now=NOW, how=how)


def run(store, job, seconds, outcome=RunOutcome.OK):
    with store.batch() as batch:
        number = batch.tell(add_run, job, "r", None, NOW)
        batch.tell(end_run, number, outcome, "", {}, NOW + seconds)


def test_what_was_before_the_start_is_no_event_and_is_there_all_the_same(store, reader):
    """Counters begin at 0, each of them; what lies there is counted as lying there."""
    record(store, "a", Status.UNSAFE)
    run(store, "scrub", 5)
    figures = reader.read()
    assert set(figures.events) == set(EVENTS)
    assert set(figures.events.values()) == set(figures.rejections.values()) == set(figures.verdicts.values()) == {0}
    assert figures.rejected == {(ROOT, "unsafe"): 1}
    assert [(one.root, one.state, one.files) for one in figures.places] == [(ROOT, "rejected", 1)]
    assert sum(figures.durations["scrub"].counts) == 0
    (scrub,) = [one for one in figures.jobs if one.job == "scrub"]
    assert (scrub.outcome, scrub.seconds, scrub.succeeded_at, scrub.interval_seconds) == ("ok", 5, NOW + 5, 86_400)


def test_what_happens_is_counted_whoever_wrote_it(store, reader, tmp_path):
    """The daemon, or another process: rejections by status, exports by target and verdict, findings by code."""
    reader.read()
    other = Store.open(tmp_path / "index.sqlite")
    record(other, "a", Status.UNSAFE)
    record(other, "b", Status.DAMAGED)
    record(other, "c", findings=(Finding("non-finite-weights", Severity.WARNING, "NaN", ()),))
    record(other, "d", metadata=Metadata(hyperparameters={"findings": [{"code": "non-finite-weights"}]}))
    with other.batch() as batch:
        batch.record_export(ROOT, "c.pth", export("onnx", verdict=Verdict.ERROR), now=NOW)
        batch.record_missing(ROOT, "a.pth", now=NOW)
    other.close()
    figures = reader.read()
    assert (figures.events["checkpoint.rejected"], figures.events["checkpoint.missing"]) == (2, 1)
    assert (figures.rejections["unsafe"], figures.rejections["damaged"], figures.rejections["failed"]) == (1, 1, 0)
    assert (figures.verdicts["onnx", "error"], figures.verdicts["onnx", "verified"]) == (1, 0)
    assert figures.findings == {"non-finite-weights": 1}
    assert reader.read().events == figures.events


def test_what_is_described_anew_is_neither_rejected_nor_found_once_more(store, reader):
    """Somebody wrote something beside it."""
    reader.read()
    found = Finding("non-finite-weights", Severity.WARNING, "NaN", ())
    for how in ("", "described"):
        record(store, "a", Status.DAMAGED, how=how)
        record(store, "b", findings=(found,), how=how)
        figures = reader.read()
    assert figures.rejections["damaged"] == 1
    assert figures.findings == {"non-finite-weights": 1}


def test_what_nobody_knows_makes_no_label(store, reader):
    """Somebody wrote to the index by hand: no series grows out of it."""
    before = reader.read()
    with store.batch() as batch:
        for number in range(50):
            batch.audit("checkpoint.rejected", ROOT, "x", None, now=NOW, why={"status": f"s{number}"})
            batch.audit(f"made.up{number}", ROOT, "x", None, now=NOW, why={})
            batch.audit("export.verified", ROOT, "x", None, now=NOW, why={"target": f"t{number}"})
    after = reader.read()
    assert set(after.rejections) == set(before.rejections)
    assert set(after.events) == set(before.events)
    assert set(after.verdicts) == set(before.verdicts)
    assert after.events["checkpoint.rejected"] == 50


def test_a_burst_is_counted_over_several_rounds(store, reader, monkeypatch):
    """None is lost, and the loop does not stand still for it."""
    monkeypatch.setattr("ckptd.jobs.figures.MOST_EVENTS", 10)
    reader.read()
    for number in range(25):
        record(store, f"m{number}", Status.DAMAGED)
    seen = [reader.read().rejections["damaged"] for _ in range(3)]
    assert seen == [10, 20, 25]


def test_an_index_that_did_not_change_is_not_asked(store, reader, clock):
    """But every five minutes, since a job may have become overdue."""
    first = reader.read()
    asked = store.questions
    assert reader.read() is first
    assert store.questions == asked
    clock.now += STALE_SECONDS
    assert reader.read().at == clock.now
    record(store, "a")
    assert reader.read().events["checkpoint.ready"] == 1


def test_the_durations_of_jobs_are_counted_once_each(store, reader):
    """Runs that end, in whatever order; one that goes on counts when it has ended."""
    with store.batch() as batch:
        long = batch.tell(add_run, "retention", "r", None, NOW)
    reader.read()
    run(store, "scrub", 0.5)
    run(store, "scrub", 100, RunOutcome.FAILED)
    run(store, "unknown", 1)
    reader.read()
    assert sum(reader.read().durations["retention"].counts) == 0
    with store.batch() as batch:
        batch.tell(end_run, long, RunOutcome.OK, "", {}, NOW + 30)
    figures = reader.read()
    assert (sum(figures.durations["scrub"].counts), figures.durations["scrub"].seconds) == (2, 100.5)
    assert (sum(figures.durations["retention"].counts), figures.durations["retention"].seconds) == (1, 30)
    run(store, "purge", 2)
    figures = reader.read()
    assert sum(sum(one.counts) for one in figures.durations.values()) == 4
    assert "unknown" not in figures.durations


def test_a_run_that_goes_on_hides_nothing_of_the_one_before(store, reader):
    """Else an alert about a failed run would end with the beginning of the next one, and come back when that fails, too."""
    run(store, "scrub", 5, RunOutcome.FAILED)
    with store.batch() as batch:
        number = batch.tell(add_run, "scrub", "r", None, NOW + 100)
    (scrub,) = list_scrub(reader, store)
    assert (scrub.outcome, scrub.seconds, scrub.is_running, scrub.started_at) == ("failed", 5, True, NOW + 100)
    with store.batch() as batch:
        batch.tell(end_run, number, RunOutcome.OK, "", {}, NOW + 107)
    (scrub,) = [one for one in reader.read().jobs if one.job == "scrub"]
    assert (scrub.outcome, scrub.seconds, scrub.is_running, scrub.started_at) == ("ok", 7, False, NOW + 100)


def list_scrub(reader, store):
    """Give how the scrub stands while its process holds the lock of jobs."""
    with hold_job(store.file.parent, "scrub"):
        return [one for one in reader.read().jobs if one.job == "scrub"]


def test_a_write_in_the_same_tick_of_the_clock_is_noticed(store, reader, clock, tmp_path):
    """What was written just now is looked at once more."""
    for number in range(20):
        record(store, f"m{number}")
    with store.engine.execution_options(begin="").connect() as connection:  # the log is written from its beginning again
        connection.exec_driver_sql("PRAGMA wal_checkpoint(RESTART)")
    log = tmp_path / "index.sqlite-wal"
    record(store, "a")
    before = log.stat()
    clock.now = before.st_mtime
    reader.read()
    record(store, "b")
    os.utime(log, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert log.stat().st_size == before.st_size
    assert reader.read().events["checkpoint.ready"] == 1
    clock.now += 1
    again = reader.read()
    assert reader.read() is again


def test_a_job_that_is_overdue_is_seen(store, reader, clock):
    """Its time came after its timetable was known, and nothing ran."""
    with store.batch() as batch:
        batch.tell(note_schedule, "scrub", "x", NOW)
    assert not any(one.is_overdue for one in reader.read().jobs)
    clock.now += 2 * 86_400
    overdue = {one.job for one in reader.read().jobs if one.is_overdue}
    assert overdue == {"scrub"}
