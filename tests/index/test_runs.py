"""Runs of jobs as rows: what is the last that counts, what was broken off, and what is forgotten."""

from __future__ import annotations

import pytest

from ckptd.index import runs
from ckptd.index.runs import RunOutcome, add_run, end_run, load_past, load_running, load_runs, note_schedule
from ckptd.index.tables import job_runs
from ckptd.index.trouble import IndexBrokenError


def begin(store, job="scrub", *, at=100.0, scheduled_for=None, run="r1"):
    with store.batch() as batch:
        return batch.tell(add_run, job, run, scheduled_for, at)


def end(store, number, outcome=RunOutcome.OK, *, at=110.0, reason="", summary=None):
    with store.batch() as batch:
        batch.tell(end_run, number, outcome, reason, summary or {}, at)


def ran(store, outcome=RunOutcome.OK, **values):
    number = begin(store, **values)
    end(store, number, outcome)
    return number


def test_a_run_is_written_down_before_and_after(store):
    """With everything that was said of it."""
    number = begin(store, scheduled_for=99.0)
    (running,) = store.ask(load_running)
    assert (running.job, running.run, running.scheduled_for, running.started_at) == ("scrub", "r1", 99.0, 100.0)
    assert (running.finished_at, running.outcome) == (None, RunOutcome.RUNNING)
    end(store, number, RunOutcome.HELD, reason="3 held: \x1b[2J", summary={"held": 3, "names": ["a"]})
    (run,) = store.ask(load_runs, "scrub", 10)
    assert (run.finished_at, run.outcome, run.reason) == (110.0, RunOutcome.HELD, "3 held: \\x1b[2J")
    assert run.summary == {"held": 3, "names": ["a"]}
    assert store.ask(load_running) == []


def test_what_is_known_of_a_job(store):
    """The last that counts, what was broken off since, what goes on; by the order of the rows, whatever the clock said."""
    assert store.ask(load_past, "scrub") == runs.JobPast()
    ran(store, RunOutcome.INTERRUPTED, at=1.0)
    counting = ran(store, RunOutcome.FAILED, at=5000.0)
    ran(store, at=7000.0, job="retention")
    first, second = ran(store, RunOutcome.INTERRUPTED, at=200.0), ran(store, RunOutcome.INTERRUPTED, at=300.0)
    going_on = begin(store, at=400.0)
    past = store.ask(load_past, "scrub")
    assert past.counting.id == counting
    assert [one.id for one in past.broken] == [second, first]
    assert past.running.id == past.last.id == going_on
    end(store, going_on)
    past = store.ask(load_past, "scrub")
    assert (past.counting.id, past.broken, past.running) == (going_on, (), None)


def test_a_run_that_was_called_interrupted_stays_so(store):
    """Its process was slow to die, and wrote its end down after all."""
    number = begin(store)
    end(store, number, RunOutcome.INTERRUPTED, reason="its process ended before it did")
    end(store, number, RunOutcome.OK, at=120.0)
    (run,) = store.ask(load_runs, None, 10)
    assert (run.outcome, run.finished_at) == (RunOutcome.INTERRUPTED, 110.0)


def test_since_when_a_timetable_is_known(store):
    """Written down once, and again when it is another one; it is no run."""
    for at, text in ((10.0, "30 3 * * * (UTC)"), (20.0, "30 3 * * * (UTC)"), (30.0, ""), (40.0, "")):
        with store.batch() as batch:
            batch.tell(note_schedule, "scrub", text, at)
    past = store.ask(load_past, "scrub")
    assert (past.scheduled.started_at, past.scheduled.reason) == (30.0, "")
    assert past.last is None
    assert store.ask(load_runs, None, 10) == []
    with store.batch() as batch:
        batch.tell(note_schedule, "scrub", "30 3 * * * (UTC)", 50.0)
    assert store.ask(load_past, "scrub").scheduled.started_at == 50.0


def test_the_latest_come_first_and_others_are_other_jobs_or_hosts(store):
    """Of one job or of all; another machine that uses the index has jobs of its own."""
    numbers = [ran(store, job=job) for job in ("scrub", "drill", "scrub")]
    assert [run.id for run in store.ask(load_runs, None, 2)] == [numbers[2], numbers[1]]
    assert [run.id for run in store.ask(load_runs, "scrub", 9)] == [numbers[2], numbers[0]]
    begin(store)
    store.owner = "elsewhere"
    assert store.ask(load_runs, None, 9) == []
    assert store.ask(load_running) == []
    assert store.ask(load_past, "scrub") == runs.JobPast()


def test_old_rows_are_dropped_but_not_what_is_counted_from(store, monkeypatch):
    """A job of each second does not fill the index; the last run that counts stays, and since when the timetable is known."""
    monkeypatch.setattr(runs, "MOST_RUNS", 5)
    with store.batch() as batch:
        batch.tell(note_schedule, "scrub", "every 1s (UTC)", 1.0)
    other = ran(store, job="drill")
    for _ in range(12):
        ran(store)
    assert len(store.ask(load_runs, "scrub", 99)) == 5
    counting = ran(store)
    for _ in range(12):
        ran(store, RunOutcome.INTERRUPTED)
    past = store.ask(load_past, "scrub")
    assert past.counting.id == counting
    assert past.scheduled.started_at == 1.0
    assert [run.id for run in store.ask(load_runs, "drill", 9)] == [other]


def test_a_summary_has_its_bounds(store):
    """What is larger than any summary is left out, and says so."""
    number = begin(store)
    end(store, number, reason="x" * 9_000, summary={"names": ["a" * 100] * 1_000})
    (run,) = store.ask(load_runs, None, 1)
    assert list(run.summary) == ["left_out"]
    assert len(run.reason) < 4_100


@pytest.mark.parametrize(("column", "value"), [("outcome", "fine"), ("summary", "{"), ("started_at", "now")])
def test_what_was_never_written_is_told(sqlite_store, column, value):
    """Somebody wrote to the index by hand: one sentence and its cure, and no crash."""
    begin(sqlite_store)
    with sqlite_store.engine.begin() as connection:
        connection.exec_driver_sql(f"UPDATE {job_runs.name} SET {column} = ?", (value,))
    with pytest.raises(IndexBrokenError, match="reindex"):
        sqlite_store.ask(load_runs, None, 1)
