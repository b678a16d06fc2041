"""What the daemon makes of the clock: jobs are started once, one at a time, and made up for, whatever happened meanwhile."""

from __future__ import annotations

import io
import json
import selectors

import pytest

from ckptd.errors import IndexUnavailableError, WorkerError
from ckptd.index.runs import RunOutcome, add_run, end_run, load_past, load_running, load_runs
from ckptd.index.store import Store
from ckptd.jobs.clockwork import HELD_PAUSE_SECONDS, INDEX_PAUSE_SECONDS, Clockwork
from ckptd.jobs.schedule import find_timetables
from ckptd.logs import configure_logs
from ckptd.settings import load_settings
from ckptd.storage.lock import hold_job

HOUR, DAY = 3600.0, 86_400.0
#: A Monday at midnight, UTC.
START = 1_795_996_800.0


class Child:
    """A job's process that ends when a test says so."""

    exit_fd = -1

    def __init__(self, world, errand):
        self.world, self.errand, self.job, self.status = world, errand, errand.job, None
        self.number = None
        if errand.job is not None:
            with world.store.batch() as batch:
                self.number = batch.tell(add_run, errand.job, "r", errand.scheduled_for, world.now)

    def finish(self, outcome="ok", status=0):
        with self.world.store.batch() as batch:
            if self.job is None:
                for run in batch.tell(load_running):
                    batch.tell(end_run, run.id, RunOutcome.INTERRUPTED, "killed", {}, self.world.now)
            else:
                batch.tell(end_run, self.number, RunOutcome(outcome), "", {}, self.world.now)
        self.status = status

    def kill(self):
        self.status = -9

    def poll(self):
        return self.status

    def end(self, _seconds):
        self.finish("interrupted", 75)
        return self.status

    def close(self):
        pass


class World:
    """A daemon's index and clocks; it can be started again."""

    def __init__(self, directory, **schedule):
        self.directory = directory
        off = {"scrub": "", "retention": "", "drill": "", "purge": "", "report": ""}
        values = {"roots": [str(directory)], "schedule": off | schedule}
        self.settings = load_settings(None, values, {})
        self.store = Store.open(directory / "index.sqlite")
        self.now, self.steady = START, 100.0
        self.children, self.set_again = [], 0
        self.refuse_start = False
        self.log = io.StringIO()
        configure_logs(load_settings(None, {"log": {"format": "json", "level": "debug"}}, {}).log, stream=self.log)
        self.start()

    def start(self):
        def noted():
            self.set_again += 1

        self.clockwork = Clockwork(
            self.settings,
            self.store,
            self.directory,
            "index.sqlite",
            find_timetables(self.settings),
            selectors.DefaultSelector(),
            set_again=noted,
            wall=lambda: self.now,
            monotonic=lambda: self.steady,
            launch=self.launch,
        )
        self.clockwork.step()

    def launch(self, errand):
        if self.refuse_start:
            raise WorkerError("a job could not be started", why="Cannot allocate memory")
        self.children.append(Child(self, errand))
        return self.children[-1]

    def down(self, seconds):
        """Be away, and start again."""
        self.now += seconds
        self.steady += seconds
        self.start()

    def go(self, seconds, *, pause=30.0, finish=None):
        """Let time pass; the loop looks at least each `pause` seconds.  With `finish` every child ends so at once."""
        end = self.now + seconds
        while True:
            self.clockwork.step()
            if finish is not None and self.child is not None and self.child.status is None:
                self.child.finish(finish)
                self.clockwork.step()
                continue
            if self.now >= end:
                return
            step = min(pause, end - self.now)
            due = self.clockwork.next_due()
            if due is not None:
                step = min(step, max(due - self.steady, 0.001))
            self.now += step
            self.steady += step

    @property
    def child(self):
        return self.children[-1] if self.children else None

    def forget_running(self):
        """Take away the row of a run, as if it had never begun."""
        with self.store.engine.begin() as connection:
            connection.exec_driver_sql("DELETE FROM job_runs WHERE outcome = 'running'")

    def started(self):
        """Give (job, hours since the beginning of the time that it was for) of every start."""
        return [(one.job, None if one.job is None else (one.errand.scheduled_for - START) / HOUR) for one in self.children]

    def events(self, name):
        return [event for line in self.log.getvalue().splitlines() if (event := json.loads(line))["event"] == name]


@pytest.fixture
def world(tmp_path):
    made = []

    def make(**schedule):
        made.append(World(tmp_path, **schedule))
        return made[-1]

    yield make
    for one in made:
        one.store.close()


def test_at_the_first_start_ever_nothing_runs(world):
    """The first run is at its next time; with a stop in between too."""
    one = world(scrub="0 2 * * *", retention="30 3 * * *")
    one.go(HOUR, finish="ok")
    assert one.children == []
    one.go(3 * HOUR, finish="ok")
    assert one.started() == [("scrub", 2.0), ("retention", 3.5)]


def test_a_time_missed_before_the_first_run_is_missed(world):
    """A machine that is switched off at night: it is known that the job has a schedule, and so that it did not run."""
    one = world(scrub="0 2 * * *")
    one.down(5 * HOUR)
    assert one.started() == [("scrub", 2.0)]


def test_fifty_hours_down_are_one_run(world):
    """And none twice: after it, its next time is waited for; the log says what was made up for."""
    one = world(scrub="0 * * * *")
    one.go(1.5 * HOUR, finish="ok")
    assert one.started() == [("scrub", 1.0)]
    one.down(50 * HOUR)
    one.go(60.0, finish="ok")
    assert one.started()[1:] == [("scrub", 51.0)]
    (event,) = one.events("job.caught_up")
    assert (event["missed_since"] - START, event["scheduled_for"] - START) == (2 * HOUR, 51 * HOUR)
    one.down(60.0)
    one.go(HOUR, finish="ok")
    assert one.started()[2:] == [("scrub", 52.0)]


def test_what_was_missed_may_be_left_out(world):
    """catch_up = "skip"."""
    one = world(scrub="0 * * * *", catch_up="skip")
    one.go(1.5 * HOUR, finish="ok")
    one.down(50 * HOUR)
    one.go(HOUR, finish="ok")
    assert one.started() == [("scrub", 1.0), ("scrub", 52.0)]


def test_one_at_a_time_and_in_order(world):
    """What became due at once runs one after the other: what looks before what removes."""
    one = world(report="0 1 * * *", purge="0 1 * * *", retention="0 1 * * *", scrub="0 1 * * *", drill="0 1 * * *")
    one.go(HOUR)
    assert one.started() == [("scrub", 1.0)]
    one.go(HOUR, finish="ok")
    assert [job for job, _ in one.started()] == ["scrub", "retention", "drill", "purge", "report"]


def test_a_time_that_comes_while_it_runs_is_left_out(world):
    """With one word in the log, however many there are; and nothing is made up for."""
    one = world(scrub="0 * * * *")
    one.go(3.5 * HOUR)
    assert one.started() == [("scrub", 1.0)]
    (event,) = one.events("job.skipped")
    assert event["scheduled_for"] == START + 2 * HOUR
    one.child.finish()
    one.go(0.4 * HOUR)
    assert len(one.children) == 1
    one.go(0.2 * HOUR)
    assert one.started()[1:] == [("scrub", 4.0)]


def test_a_run_that_does_not_end_is_an_alert(world):
    """An hour after the first time that it missed by that, once; others that wait for it too."""
    one = world(scrub="0 1 * * *", retention="30 1 * * *")
    one.go(25.9 * HOUR)
    assert [(event["job"], event["scheduled_for"]) for event in one.events("job.overdue")] == [
        ("retention", START + 1.5 * HOUR)
    ]
    one.go(2 * HOUR)
    late = one.events("job.overdue")
    assert [(event["job"], event["scheduled_for"]) for event in late[1:]] == [("scrub", START + 25 * HOUR)]
    assert "older run" in late[1]["reason"]


def test_a_kill_of_the_job_is_put_in_order_and_repeated(world):
    """At once what was broken off is put in order, after five seconds the job runs again for the same time."""
    one = world(scrub="0 1 * * *")
    one.go(HOUR)
    one.child.kill()
    one.go(1.0)
    assert one.started() == [("scrub", 1.0), (None, None)]
    assert "SIGKILL" in one.events("job.ended")[0]["reason"] or "killed" in one.events("job.ended")[0]["reason"]
    one.child.finish()
    one.go(2.0)
    assert len(one.children) == 2
    one.go(10.0, finish="ok")
    assert one.started()[2:] == [("scrub", 1.0)]
    one.go(20 * HOUR)
    assert len(one.children) == 3


def test_a_job_that_is_killed_each_time_is_not_repeated_for_ever(world):
    """Four tries within a quarter of an hour, and one more at its next time."""
    one = world(scrub="0 1 * * *")
    tries = []
    while one.now < START + 26 * HOUR:
        one.go(30.0)
        child = one.child
        if child is not None and child.status is None:
            if child.job is None:
                child.finish()
            else:
                tries.append(one.now - START - HOUR)
                child.kill()
    assert [round(at / HOUR) for at in tries] == [0, 0, 0, 0, 24]
    assert 600 < tries[3] < 900


def test_a_kill_of_the_daemon_in_the_middle_of_a_job(world):
    """After the start what was broken off is put in order, and the job is caught up."""
    one = world(scrub="0 1 * * *")
    one.go(HOUR)
    one.down(60.0)
    assert one.started()[1:] == [(None, None)]
    one.child.finish()
    one.go(1.0, finish="ok")
    assert one.started()[2:] == [("scrub", 1.0)]
    outcomes = [run.outcome for run in one.store.ask(load_runs, "scrub", 9)]
    assert outcomes == [RunOutcome.OK, RunOutcome.INTERRUPTED]


def test_a_stop_of_the_daemon_stops_the_job(world):
    """It is interrupted, and repeated after the next start."""
    one = world(scrub="0 1 * * *")
    one.go(HOUR)
    one.clockwork.stop()
    assert one.store.ask(load_past, "scrub").last.outcome is RunOutcome.INTERRUPTED
    assert one.clockwork.next_due() is None or one.clockwork.next_due() > one.steady
    one.down(60.0)
    one.go(10.0)
    assert one.started()[1:] == [("scrub", 1.0)]


def test_trouble_with_putting_in_order_keeps_nothing_from_running(world):
    """It is tried again later and later; jobs run meanwhile, and put it in order themselves."""
    one = world(scrub="0 1 * * *", report="30 1 * * *")
    one.go(HOUR)
    one.child.kill()
    tries = []
    while one.now < START + 1.4 * HOUR:
        one.go(5.0, pause=5.0)
        if one.child.job is None and one.child.status is None:
            tries.append(one.now - START - HOUR)
            one.child.status = 1
        elif one.child.status is None:
            one.child.kill()  # the job itself comes no further
    assert 3 <= len(tries) <= 6
    assert tries[-1] > 600
    one.go(0.2 * HOUR, finish="ok")
    assert ("report", 1.5) in one.started()


def test_a_process_that_never_begins_is_an_alert_and_no_storm(world):
    """It ended with a status and wrote nothing: that is how the run ended, and its next time is waited for."""
    one = world(scrub="0 1 * * *")
    one.go(HOUR - 1)
    real, one.launch = one.launch, None

    def stillborn(errand):
        child = real(errand)
        one.forget_running()
        child.status = 1
        return child

    one.clockwork._launch = stillborn
    one.go(20 * HOUR)
    assert len(one.children) == 1
    run = one.store.ask(load_past, "scrub").last
    assert (run.outcome, run.scheduled_for) == (RunOutcome.FAILED, START + HOUR)
    assert "exit status 1" in run.reason
    assert one.events("job.failed")[0]["reason"] == run.reason


def test_no_process_can_be_started(world):
    """Memory is short: three more tries, and what is said is the system's own word."""
    one = world(scrub="0 1 * * *")
    one.refuse_start = True
    one.go(2 * HOUR)
    assert 2 <= len(one.events("job.failed")) <= 4
    assert "Cannot allocate memory" in one.store.ask(load_past, "scrub").last.reason
    one.refuse_start = False
    one.go(24 * HOUR, finish="ok")
    assert one.started() == [("scrub", 25.0)]


def test_a_run_by_hand_is_waited_for(world):
    """Nothing is started meanwhile; the log says once who has the lock; afterwards the run by hand counts, or the job runs."""
    one = world(scrub="0 1 * * *")
    one.go(HOUR - 60)
    with hold_job(one.directory, "apply"):
        one.go(300.0)
        assert one.children == []
        (event,) = one.events("job.delayed")
        assert "holds the lock" in event["reason"]
    one.go(HELD_PAUSE_SECONDS + 1)
    assert one.started() == [("scrub", 1.0)]


def test_a_row_is_believed_while_somebody_holds_the_lock_for_it(world):
    """A person's own run of the job goes on: it is not put in order, and its time passes."""
    one = world(scrub="0 2 * * *")
    one.go(1.99 * HOUR)
    with hold_job(one.directory, "scrub"):
        with one.store.batch() as batch:
            batch.tell(add_run, "scrub", "by hand", None, one.now)
        one.go(300.0)
        assert one.children == []
        assert len(one.events("job.skipped")) == 1
    one.go(60.0)
    assert one.started() == [(None, None)]


def test_a_lock_that_is_taken_in_the_last_moment(world):
    """The process found it held and ended with 4: tried again soon, and no failure."""
    one = world(scrub="0 1 * * *")
    one.go(HOUR)
    one.forget_running()
    one.child.status = 4
    one.go(5.0)
    assert len(one.children) == 1
    one.go(HELD_PAUSE_SECONDS)
    assert one.started() == [("scrub", 1.0)] * 2
    assert one.events("job.failed") == []


@pytest.mark.parametrize(("jump", "at_once"), [(-5 * HOUR, 0), (5 * HOUR, 1), (400 * DAY, 1), (-400 * DAY, 0)])
def test_a_clock_that_is_set(world, jump, at_once):
    """Set forward, what was passed over is one run; set back, hourly runs go on hourly.  The schedule is set anew."""
    one = world(scrub="0 * * * *")
    one.go(1.5 * HOUR, finish="ok")
    one.now += jump
    one.go(60.0, finish="ok")
    assert one.set_again == 1
    assert one.events("daemon.clock_moved")[0]["seconds"] == jump
    assert len(one.children) == 1 + at_once
    one.go(2 * HOUR, finish="ok")
    assert len(one.children) == 1 + at_once + 2
    assert one.events("job.overdue") == []


def test_an_index_that_can_t_be_asked_is_asked_again(world, monkeypatch):
    """Not in each turn of the loop, and the loop does not hear of it."""
    one = world(scrub="0 1 * * *")
    asked = []

    def ask(*_):
        asked.append(one.steady)
        raise IndexUnavailableError("use the index", why="database is locked")

    with monkeypatch.context() as patch:
        patch.setattr(one.store, "ask", ask)
        one.go(HOUR + 20, pause=1.0)
    assert 2 <= len(asked) <= 6
    assert one.events("job.delayed")
    one.go(INDEX_PAUSE_SECONDS + 1)
    assert one.started() == [("scrub", 1.0)]


def test_doing_nothing_costs_nothing(world, monkeypatch):
    """Between two times of a job the index is not asked at all."""
    one = world(scrub="0 2 * * *")
    one.go(60.0)
    monkeypatch.setattr(one.store, "ask", None)
    one.go(1.9 * HOUR)
    assert one.clockwork.next_due() is None
