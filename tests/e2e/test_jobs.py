"""Jobs of a real daemon: run at their times, killed and stopped in the middle, and kept apart from others."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import psutil
import pytest

from ckptd.index.store import Store
from ckptd.jobs.overview import list_jobs
from ckptd.settings import load_settings
from tests.e2e.running import NO_SCHEDULE, Daemon, ckptd, has_ended, run_ckptd, running, wait_for

PROJECT = Path(__file__).parents[2]
#: Only the job of a test has a schedule.
SCRUB = {**NO_SCHEDULE, "CKPTD_SCHEDULE__SCRUB": "every 1s"}


class SlowDaemon(Daemon):
    """A daemon whose scrub goes on until a test puts a file "go" into its state directory."""

    module = "tests.e2e.slow_jobs"

    @property
    def story(self):
        """What the jobs said: (word, process)."""
        path = self.roots[0] / ".ckptd" / "story"
        return [tuple(line.split()) for line in path.read_text().splitlines()] if path.exists() else []

    def wait_story(self, *words):
        wait_for(lambda: [word for word, _ in self.story] == list(words), f"the story {words} and not {self.story}")
        return int(self.story[-1][1])

    def let_go(self):
        (self.roots[0] / ".ckptd" / "go").touch()

    def last(self):
        """Give how the last scrub ended, as `ckptd jobs` shows it."""
        state = self.roots[0] / ".ckptd"
        store = Store.open(state / "index.sqlite")
        try:
            views = list_jobs(load_settings(None, {"roots": [str(self.roots[0])]}, SCRUB), store, state, time.time())
        finally:
            store.close()
        return next(view.last.outcome.value for view in views if view.name == "scrub")


@pytest.fixture
def slow(tmp_path):
    root = tmp_path / "models"
    root.mkdir()
    daemon = SlowDaemon(root, env=SCRUB, cwd=PROJECT).start()
    yield daemon
    if daemon.process.poll() is None:
        daemon.stop()


def test_a_real_job_runs_when_its_time_comes(tmp_path):
    """Of a schedule of seconds; its process writes into the log of the daemon, its run is known to `ckptd jobs`."""
    with running(tmp_path / "models", env={"CKPTD_SCHEDULE__RETENTION": "every 1s"}) as daemon:
        started = daemon.wait_event("job.started", job="retention")
        finished = daemon.wait_event("job.finished", job="retention", run=started["run"])
        assert finished["summary"]["mode"] == "plan"
    shown = {job["name"]: job for job in ckptd("--root", tmp_path / "models", "jobs")}
    assert shown["retention"]["last"]["outcome"] in ("ok", "interrupted")
    assert shown["scrub"]["last"] is None


def test_a_kill_of_the_job_is_put_in_order_and_repeated(slow):
    """The daemon says what happened, the job's own recovery is called, and the job runs again."""
    pid = slow.wait_story("started")
    assert psutil.Process(pid).ppid() == slow.pid
    os.kill(pid, signal.SIGKILL)
    again = slow.wait_story("started", "recovered", "started")
    assert again != pid
    assert slow.has("job.ended", job="scrub")
    assert slow.has("job.interrupted", job="scrub")
    slow.let_go()
    slow.wait_event("job.finished", job="scrub")
    assert slow.process.poll() is None


def test_a_kill_of_the_daemon_ends_the_job_and_the_next_start_repeats_it(slow):
    """Nothing outlives its daemon; what was broken off is put in order and caught up."""
    pid = slow.wait_story("started")
    job = psutil.Process(pid)
    slow.kill()
    wait_for(lambda: has_ended(job), "the job to end with its daemon")
    assert slow.last() == "interrupted"
    slow.start()
    slow.wait_story("started", "recovered", "started")
    slow.let_go()
    slow.wait_event("job.finished", job="scrub")
    wait_for(lambda: slow.last() != "interrupted", "a run that is well")


def test_a_stop_of_the_daemon_stops_the_job_in_good_order(slow):
    """SIGTERM: the job sees it and ends by itself, the daemon after it with status 0."""
    slow.wait_story("started")
    assert slow.stop() == 0
    assert [word for word, _ in slow.story] == ["started", "stopped"]
    assert slow.has("job.interrupted", job="scrub")
    assert slow.has("job.stopped", job="scrub")
    slow.start()
    slow.wait_story("started", "stopped", "started")


def test_a_run_by_hand_is_refused_while_a_job_runs(slow):
    """Status 4, with the process and the job that has the lock; afterwards it runs, and the daemon waits for it."""
    pid = slow.wait_story("started")
    refused = run_ckptd("--root", slow.roots[0], "jobs", "run", "retention", env=SCRUB)
    assert refused.returncode == 4
    assert f"process {pid} runs the job scrub" in refused.stderr
    assert slow.last() == "running"
    slow.let_go()
    slow.wait_event("job.finished", job="scrub")
    assert slow.stop() == 0
    done = ckptd("--root", slow.roots[0], "jobs", "run", "retention", env=SCRUB)
    assert (done["outcome"], done["scheduled_for"]) == ("ok", None)


def test_a_time_that_comes_while_the_job_runs_is_left_out(slow):
    """With one word for all of them."""
    slow.wait_story("started")
    slow.wait_event("job.skipped", job="scrub")
    slow.let_go()
    slow.wait_event("job.finished", job="scrub")
    assert [word for word, _ in slow.story][:2] == ["started", "finished"]
    assert sum(event["event"] == "job.skipped" for event in slow.events()) == 1


def test_two_daemons_on_one_root_are_refused(tmp_path):
    """Though each has a state directory of its own; the second names the first, and ends with 4."""
    root = tmp_path / "models"
    one, two = ({"CKPTD_STATE_DIR": str(tmp_path / name)} for name in ("one", "two"))
    with running(root, env=one) as daemon:
        for refused in (
            run_ckptd("--root", root, "run", env=two),
            run_ckptd("--root", root, "scan"),  # its state lies in the root
        ):
            assert refused.returncode == 4
            assert f"process {daemon.pid} holds the lock" in refused.stderr
    assert run_ckptd("--root", root, "scan", env=two).returncode == 0
