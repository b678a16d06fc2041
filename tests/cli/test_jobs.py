"""`ckptd jobs` and `ckptd jobs run`: what is shown, as a table and as JSON, and the status."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass, field, replace

import pytest

from ckptd.errors import AlreadyRunningError, UsageError
from ckptd.index.runs import JobRun, RunOutcome
from ckptd.jobs.overview import JobView
from tests.cli.fake import FakeApp

NOON = time.mktime((2026, 7, 1, 12, 0, 0, 0, 0, -1))
RUN = JobRun(3, "retention", "0a1b2c", NOON, NOON + 0.5, NOON + 185.5, RunOutcome.OK, "", {"done": 3, "plan": "\x1b[2J"})
WELL = JobView("retention", "slim and archive", "30 3 * * *", "03:30 every day (UTC)", RUN, NOON + 86400, None)


def view(**values):
    return replace(WELL, **values)


@dataclass
class JobsApp(FakeApp):
    views: list[JobView] = field(default_factory=lambda: [WELL, view(name="drill", last=None, next_at=None)])
    done: JobRun = RUN
    error: Exception | None = None
    stopped: list[bool] = field(default_factory=list)
    meanwhile: object = None

    def jobs(self):
        return self.views

    def run_job(self, name, stop):
        self.asked = name
        if self.error:
            raise self.error
        if self.meanwhile:
            self.meanwhile(stop)
        return replace(self.done, job=name)


@pytest.fixture
def app():
    return JobsApp()


def test_the_table_says_when_and_how(run):
    """Schedule in words, the last run with its outcome and how long it took, the next one; times in the local zone."""
    done = run("jobs")
    assert done.status == 0
    head, first, second = done.out.splitlines()
    assert head.split("  ")[0] == "JOB"
    assert first.split() == ("retention 03:30 every day (UTC) 2026-07-01 12:00 ok 3 min 05 s 2026-07-02 12:00".split())
    assert second.split()[:1] == ["drill"]
    assert second.split()[-4:] == ["-"] * 4


@pytest.mark.parametrize(
    ("views", "status", "word"),
    [
        ([view(last=replace(RUN, outcome=RunOutcome.FAILED, reason="no room \x1b[2J"))], 1, "retention: no room \\x1b[2J"),
        ([view(last=replace(RUN, outcome=RunOutcome.HELD, reason="3 held"))], 1, "retention: 3 held"),
        ([view(last=replace(RUN, outcome=RunOutcome.INTERRUPTED, reason="killed"))], 0, "retention: killed"),
        ([view(last=replace(RUN, outcome=RunOutcome.RUNNING, finished_at=None))], 0, "running"),
        ([view(overdue_since=NOON + 86400)], 1, "it did not run when its time came, 2026-07-02 12:00"),
    ],
)
def test_trouble_is_said_and_is_a_status(run, app, views, status, word):
    """A job that failed, waits for a person or is overdue; what repeats itself is none."""
    app.views = views
    done = run("jobs")
    assert done.status == status
    assert word in done.out
    assert "\x1b" not in done.out
    assert ("overdue" in done.out) is (views[0].overdue_since is not None)


def test_json_has_its_keys(run, app):
    """docs/json.md has them."""
    first, second = run("jobs", "--json").json
    assert list(first) == ["name", "description", "schedule", "words", "last", "next_at", "overdue_since"]
    assert list(first["last"]) == [
        "job", "run", "outcome", "scheduled_for", "started_at", "finished_at", "reason", "summary",
    ]  # fmt: skip
    assert (first["last"]["outcome"], first["last"]["started_at"]) == ("ok", NOON + 0.5)
    assert (second["last"], second["next_at"]) == (None, None)
    app.views = [view(overdue_since=1.0)]
    assert run("jobs", "--json").status == 1


def test_run_says_what_came_out(run, app):
    """In words, with its figures; and as JSON."""
    done = run("jobs", "run", "retention")
    assert (done.status, app.asked, app.closed) == (0, "retention", 1)
    assert done.out.splitlines()[0] == "retention: ok after 3 min 05 s"
    assert "\x1b" not in done.out
    assert run("jobs", "run", "retention", "--json").json["summary"]["done"] == 3


@pytest.mark.parametrize("outcome", [RunOutcome.FAILED, RunOutcome.HELD, RunOutcome.INTERRUPTED])
def test_what_is_not_well_is_status_1(run, app, outcome):
    """With the reason."""
    app.done = replace(RUN, outcome=outcome, reason="no room")
    done = run("jobs", "run", "scrub")
    assert done.status == 1
    assert done.out.startswith(f"scrub: {outcome.value} after 3 min 05 s: no room")


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (AlreadyRunningError("a job runs on these checkpoints", why="process 7 runs the job scrub"), 4),
        (UsageError("run a job", path="nope", why="there is no job of that name"), 2),
    ],
)
def test_what_cannot_run_has_its_status(run, app, error, status):
    """4 while another process runs a job, 2 for a job that there is not."""
    app.error = error
    done = run("jobs", "run", "nope")
    assert (done.status, done.out) == (status, "")
    assert error.why in done.err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_asks_and_the_second_ends(run, app, number):
    """The job sees the first; afterwards signals are what they were."""

    def work(stop):
        assert not stop()
        os.kill(os.getpid(), number)
        assert stop()
        if number == signal.SIGINT:
            os.kill(os.getpid(), number)
            time.sleep(1)

    before = signal.getsignal(number)
    app.meanwhile = work
    assert run("jobs", "run", "scrub").status == (130 if number == signal.SIGINT else 0)
    assert signal.getsignal(number) is before
