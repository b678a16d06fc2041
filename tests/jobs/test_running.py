"""One run of a job in this process: locked, written down before and after, and never left half open."""

from __future__ import annotations

import io
import json
import os

import pytest

from ckptd.errors import AlreadyRunningError, IndexUnavailableError, RootLostError, StorageError, UsageError
from ckptd.index.runs import RunOutcome, add_run, load_past, load_runs
from ckptd.index.store import Store
from ckptd.jobs.holding import hold_jobs
from ckptd.jobs.registry import JOBS, JobOutcome, find_job
from ckptd.jobs.running import run as running
from ckptd.jobs.running.run import JobPlace, open_context, recover_jobs, run_job
from ckptd.jobs.schedule import find_timetables
from ckptd.logs import configure_logs
from ckptd.settings import load_settings
from ckptd.storage.state import ensure_state_dir
from tests.jobs import jobs_of_tests


@pytest.fixture
def log():
    """What is logged, JSON lines."""
    stream = io.StringIO()
    configure_logs(load_settings(None, {"log": {"format": "json"}}, {}).log, stream=stream)
    return stream


@pytest.fixture
def place(tmp_path, log):
    root = tmp_path / "models"
    root.mkdir()
    jobs_of_tests.planned.clear()
    jobs_of_tests.called.clear()
    jobs_of_tests.recovering.clear()
    settings = load_settings(None, {"roots": [str(root)]}, {})
    return JobPlace(settings, root / ".ckptd", "index.sqlite", jobs_of_tests.JOBS, now=lambda: 1_000.0)


def go_on():
    return False


def stop():
    return True


@pytest.fixture
def ask(place):
    def ask(question, *arguments):
        store = Store.open(place.state_dir / place.index)
        try:
            return store.ask(question, *arguments)
        finally:
            store.close()

    return ask


def events(log):
    return [json.loads(line) for line in log.getvalue().splitlines()]


def break_off(place, job="scrub"):
    """Leave a row behind as a kill does."""
    store = Store.open(place.state_dir / place.index)
    with store.batch() as batch:
        batch.tell(add_run, job, "killed", 900.0, 950.0)
    store.close()


def test_a_run_that_is_well(place, ask, log):
    """The row, the log and the answer say the same."""
    run = run_job(place, "scrub", go_on, scheduled_for=900.0)
    assert ask(load_runs, None, 9) == [run]
    assert (run.job, run.outcome, run.scheduled_for, run.summary) == ("scrub", RunOutcome.OK, 900.0, {"files": 3})
    assert (run.started_at, run.finished_at) == (1_000.0, 1_000.0)
    ((name, context),) = jobs_of_tests.called
    assert name == "run"
    assert context.run_id == run.run == context.store.run
    assert [root.path for root in context.roots] == [str(place.settings.roots[0])]
    started, finished = events(log)
    assert (started["event"], started["job"], started["scheduled_for"]) == ("job.started", "scrub", 900.0)
    assert (finished["event"], finished["level"], finished["summary"]) == ("job.finished", "info", {"files": 3})
    assert finished["run"] == run.run


@pytest.mark.parametrize(
    ("act", "outcome", "event", "level", "reason"),
    [
        (lambda _: JobOutcome("held", {"held": 2}, "2 held"), "held", "job.held", "warning", "2 held"),
        (lambda _: JobOutcome("failed", {}, "no room"), "failed", "job.failed", "error", "no room"),
        (lambda _: JobOutcome("interrupted", {}, "told to stop"), "interrupted", "job.interrupted", "warning", "told to stop"),
        (jobs_of_tests.fail, "failed", "job.failed", "error", "archive: /srv/a.pth: no room (make room)"),
        (jobs_of_tests.break_down, "failed", "job.failed", "error", "LookupError: \\x1b[2J"),
    ],
)
def test_every_end_is_an_outcome(place, ask, log, act, outcome, event, level, reason):
    """A fault of ours too: the row does not stay open, and its traceback is in the log."""
    jobs_of_tests.planned.append(act)
    run = run_job(place, "scrub", go_on)
    (row,) = ask(load_runs, None, 9)
    assert (row.outcome, row.reason, row.finished_at) == (outcome, reason, 1_000.0)
    assert row == run
    last = events(log)[-1]
    assert (last["event"], last["level"], last["reason"]) == (event, level, reason)
    assert ("Traceback" in last.get("exception", "")) is (act is jobs_of_tests.break_down)


def test_who_is_told_to_stop_is_interrupted(place, ask):
    """Before it began, or by an error of ckptd that it raised because of that; a fault of ours stays a fault."""
    assert run_job(place, "scrub", stop).outcome is RunOutcome.INTERRUPTED
    assert jobs_of_tests.called == []
    asked = []

    def work(context):
        asked.append(True)
        return jobs_of_tests.fail(context)

    jobs_of_tests.planned.append(work)
    run = run_job(place, "scrub", lambda: bool(asked))
    assert (run.outcome, run.reason) == (RunOutcome.INTERRUPTED, "archive: /srv/a.pth: no room (make room)")
    asked.clear()
    jobs_of_tests.planned.append(lambda context: asked.append(True) or jobs_of_tests.break_down(context))
    assert run_job(place, "scrub", lambda: bool(asked)).outcome is RunOutcome.FAILED


def test_what_was_broken_off_is_put_in_order_first(place, ask, log):
    """Whatever job runs next: `recover` of the broken one's module, under the lock, then its row, then the job."""
    run_job(place, "report", go_on)
    break_off(place)
    break_off(place)
    jobs_of_tests.called.clear()
    log.truncate(0)
    log.seek(0)
    run_job(place, "report", go_on)
    assert [name for name, _ in jobs_of_tests.called] == ["recover", "run"]
    past = ask(load_past, "scrub")
    assert [run.outcome for run in past.broken] == [RunOutcome.INTERRUPTED] * 2
    assert past.last.reason == "its process ended before it did"
    first = events(log)[0]
    assert (first["event"], first["job"], first["run"]) == ("job.interrupted", "scrub", "killed")
    run_job(place, "report", go_on)
    assert [name for name, _ in jobs_of_tests.called] == ["recover", "run", "run"]


def test_putting_in_order_alone(place, ask):
    """As the daemon does after a start."""
    run_job(place, "report", go_on)
    break_off(place, "retention")
    break_off(place, "a job of a newer ckptd")
    jobs_of_tests.called.clear()
    assert [run.job for run in recover_jobs(place, go_on)] == ["retention", "a job of a newer ckptd"]
    assert [name for name, _ in jobs_of_tests.called] == ["recover"]
    assert recover_jobs(place, go_on) == []


def test_trouble_with_putting_in_order_keeps_no_job_from_running(place, ask, log):
    """It is told, stands in the row, and is not tried for ever."""
    run_job(place, "report", go_on)
    break_off(place)
    jobs_of_tests.recovering.append(jobs_of_tests.fail)
    assert run_job(place, "scrub", go_on).outcome is RunOutcome.OK
    broken = ask(load_runs, "scrub", 9)[-1]
    assert "putting it in order failed: archive: /srv/a.pth: no room" in broken.reason
    assert [event["event"] for event in events(log)][2:4] == ["job.failed", "job.interrupted"]


def test_one_at_a_time(place, ask):
    """Whoever comes second is refused before anything is written down."""
    with open_context(place, "scrub", go_on) as context:
        with pytest.raises(AlreadyRunningError, match=f"process {os.getpid()} runs the job scrub"):
            run_job(place, "report", go_on)
        with pytest.raises(AlreadyRunningError), hold_jobs(place.state_dir, context.roots, "by hand"):
            pass
    assert ask(load_runs, None, 9) == []
    run_job(place, "report", go_on)


def test_there_is_no_such_job(place):
    """With those that there are."""
    with pytest.raises(UsageError, match=r"scrub, retention, report"):
        run_job(place, "scrap", go_on)


def test_a_root_that_is_not_there_runs_nothing_where_the_state_lies_in_it(place, ask):
    """The error says which; no row is written."""
    place.settings.roots[0].rename(place.settings.roots[0].with_name("away"))
    with pytest.raises(StorageError, match="models"):
        run_job(place, "scrub", go_on)


def test_a_root_that_is_not_there_is_left_out_by_name(tmp_path, log):
    """One that the index knows; one that nobody ever saw is a slip in the settings."""
    here, away = tmp_path / "here", tmp_path / "away"
    here.mkdir()
    away.mkdir()
    settings = load_settings(None, {"roots": [str(here), str(away)]}, {})
    place = JobPlace(settings, here / ".ckptd", "index.sqlite", jobs_of_tests.JOBS, now=lambda: 1_000.0)
    jobs_of_tests.called.clear()
    store = Store.open(ensure_state_dir(place.state_dir) / place.index)
    away.rmdir()
    with pytest.raises(RootLostError, match="away"):
        run_job(place, "scrub", go_on)
    store.save_root(str(away), "a" * 32)
    store.close()
    run_job(place, "scrub", go_on)
    ((_, context),) = jobs_of_tests.called
    assert [root.incident for root in context.roots] == [None, "No such file or directory"]
    left_out = [event for event in events(log) if event["event"] == "root.left_out"]
    assert [(event["root"], event["reason"]) for event in left_out] == [(str(away), "No such file or directory")]


def test_the_end_is_written_down_when_the_index_can_be_written_again(place, ask, monkeypatch):
    """Another process may write just then; a run whose end is lost would be repeated."""
    pauses = []
    monkeypatch.setattr(running.time, "sleep", pauses.append)
    real, refusals = Store.batch, [1, 1]

    def batch(store):
        if pauses is not None and jobs_of_tests.called and refusals:
            refusals.pop()
            raise IndexUnavailableError("use the index", why="database is locked")
        return real(store)

    monkeypatch.setattr(Store, "batch", batch)
    run_job(place, "scrub", go_on)
    assert pauses == [1.0, 2.0]
    assert ask(load_past, "scrub").counting.outcome is RunOutcome.OK


def test_every_job_has_a_schedule_and_can_be_found():
    """The registry, the settings and the modules of the jobs agree."""
    settings = load_settings(None, None, {})
    assert list(find_timetables(settings)) == [entry.name for entry in JOBS]
    names = set(type(settings.schedule).model_fields) - {"time_zone", "catch_up"}
    assert names == {entry.name for entry in JOBS}
    assert find_job("report") is JOBS[-1]
