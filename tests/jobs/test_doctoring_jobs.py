"""What `ckptd doctor` says of jobs: each with what to do about it."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime

import pytest

from ckptd.index.runs import RunOutcome, add_run, end_run, note_schedule
from ckptd.index.store import Store
from ckptd.jobs.checks import Patient
from ckptd.jobs.doctoring_jobs import check_jobs
from ckptd.model import Severity
from ckptd.settings import load_settings
from ckptd.storage.lock import hold, hold_job
from ckptd.storage.state import ensure_state_dir

DAY = 86_400.0


@pytest.fixture
def state(tmp_path):
    return ensure_state_dir(tmp_path / "state")


@pytest.fixture
def write(state):
    """Give a function that writes into the index, which is made by it."""

    def write(what, *arguments):
        store = Store.open(state / "index.sqlite")
        with store.batch() as batch:
            answer = batch.tell(what, *arguments)
        store.close()
        return answer

    return write


def check(state, tmp_path, **schedule):
    off = {"scrub": "", "retention": "", "drill": "", "purge": "", "report": ""}
    values = {"roots": [str(tmp_path / "models")], "schedule": off | schedule}
    settings = load_settings(None, values, {})
    return {one.name: one for one in check_jobs(Patient(settings, state, "index.sqlite", time.time()))}


def ran(write, outcome, *, at=None, reason="", job="scrub"):
    at = time.time() - 10 if at is None else at
    number = write(add_run, job, "r", None, at)
    if outcome is not RunOutcome.RUNNING:
        write(end_run, number, outcome, reason, {}, at + 5)


def test_without_an_index_there_is_nothing_to_say(state, tmp_path):
    """Another check says that there is none."""
    assert check(state, tmp_path) == {}


def test_all_is_well(state, tmp_path, write):
    """Each job says when it ran, and when it runs next."""
    ran(write, RunOutcome.OK)
    found = check(state, tmp_path, report="0 7 * * *")
    assert list(found) == ["job scrub", "job retention", "job drill", "job purge", "job report"]
    assert all(one.ok for one in found.values())
    assert "was well; it has no schedule" in found["job scrub"].message
    assert "it never ran; next 20" in found["job report"].message


@pytest.mark.parametrize(
    ("outcome", "severity", "word", "cure"),
    [
        (RunOutcome.FAILED, Severity.ERROR, "failed: no room", "ckptd jobs run scrub"),
        (RunOutcome.HELD, Severity.WARNING, "waits for a person: no room", "see the reason"),
        (RunOutcome.INTERRUPTED, Severity.WARNING, "was interrupted: no room", "repeats it by itself"),
        (RunOutcome.RUNNING, Severity.WARNING, "was interrupted: its process ended", "repeats it by itself"),
    ],
)
def test_a_run_that_was_not_well(state, tmp_path, write, outcome, severity, word, cure):
    """A row that says that it runs, while nobody holds the lock, was broken off."""
    ran(write, outcome, reason="no room")
    found = check(state, tmp_path)["job scrub"]
    assert (found.ok, found.severity) == (False, severity)
    assert word in found.message
    assert cure in found.cure


def test_one_that_runs_is_well(state, tmp_path, write):
    """Who holds the lock says so."""
    ran(write, RunOutcome.RUNNING)
    with hold_job(state, "scrub"):
        assert "it runs since" in check(state, tmp_path)["job scrub"].message


def test_one_that_did_not_run_when_its_time_came(state, tmp_path, write):
    """More than an hour ago; what helps depends on whether a daemon runs."""
    write(note_schedule, "scrub", "every 4h (UTC)", time.time() - DAY)
    found = check(state, tmp_path, scrub="every 4h")["job scrub"]
    assert (found.ok, found.severity) == (False, Severity.ERROR)
    assert "did not run when its time came, 20" in found.message
    assert "start `ckptd run`" in found.cure
    with hold(state):  # one that was started just now makes up for it, and has not failed to
        assert check(state, tmp_path, scrub="every 4h")["job scrub"].ok
        began = datetime.fromtimestamp(time.time() - DAY, UTC).isoformat()
        (state / "lock").write_text(json.dumps({"pid": 1, "started_at": began}))
        assert "log of `ckptd run`" in check(state, tmp_path, scrub="every 4h")["job scrub"].cure


def test_what_is_left_out_is_not_overdue_while_a_daemon_runs(state, tmp_path, write):
    """catch_up = "skip": it waits for the next time; without a daemon there will be none."""
    write(note_schedule, "scrub", "every 4h (UTC)", time.time() - DAY)
    assert not check(state, tmp_path, scrub="every 4h", catch_up="skip")["job scrub"].ok
    with hold(state):
        assert check(state, tmp_path, scrub="every 4h", catch_up="skip")["job scrub"].ok


def test_a_job_that_nobody_knows_yet_is_not_overdue(state, tmp_path, write):
    """It was installed just now: its first time is the next one."""
    ran(write, RunOutcome.OK, job="drill")
    assert check(state, tmp_path, scrub="every 2d")["job scrub"].ok
