"""Alerts after a start, a reload, an outage: what is not known yet is neither told nor told as over."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from ckptd.errors import IndexUnavailableError
from ckptd.index.alerting import load_alerts, load_outbox
from ckptd.index.following import load_cursor
from ckptd.index.runs import RunOutcome, add_run, end_run, note_schedule
from ckptd.jobs.alerting import FOLLOWER, open_side
from ckptd.jobs.standing import RootStanding
from ckptd.model import Source
from tests.index.making import identity, inspection
from tests.jobs.besides import loop
from tests.jobs.test_alerting import HOUR, notify, reject
from tests.jobs.test_hooking_starts import record_waits
from tests.notify.receivers import http_receiver

ROOT = RootStanding("/r", None, 0, 3, "kernel", 0, 0, 0, None)


def until_told(one, hook, kind, what="raised"):
    one.until(lambda: kind in hook.kinds(what), f"{kind} to be {what}")
    one.until(lambda: not one.store.ask(load_outbox), "an empty outbox")


def begin_again(one):
    """End, and begin with another lock, as a restart or a reload does."""
    one.stop()
    one.started_at = one.clock.wall()
    one.start()


def test_a_frozen_root_is_frozen_until_it_was_looked_at(tmp_path):
    """After a restart nobody has compared it yet: it is neither told again nor as over."""
    with http_receiver() as hook, loop(tmp_path, open_side, notify=notify(hook.url)) as one:
        one.stand(roots=(replace(ROOT, frozen=2, rescanned_at=one.clock.wall()),))
        until_told(one, hook, "root-frozen")
        begin_again(one)
        one.stand(roots=(ROOT,))
        one.go_on(60, turns=20)
        one.stand(roots=(replace(ROOT, frozen=2, rescanned_at=one.clock.wall()),))
        one.go_on(60, turns=20)
        assert hook.kinds("resolved") == []
        one.stand(roots=(replace(ROOT, rescanned_at=one.clock.wall()),))
        until_told(one, hook, "root-frozen", "resolved")
    assert [message["what"] for message in hook.got] == ["raised", "resolved"]


@pytest.mark.parametrize("has_run", [False, True])
def test_a_job_that_is_overdue_is_so_after_a_restart(tmp_path, has_run):
    """Nobody is late for the first hour, which is no end of what was; a run is one."""
    with http_receiver() as hook:
        values = {"schedule": {"scrub": "every 6h"}, "notify": notify(hook.url, off=[])}
        with loop(tmp_path, open_side, **values) as one:
            with one.store.batch() as batch:
                batch.tell(note_schedule, "scrub", "every 6h", one.clock.wall())
            one.go_on(10)
            one.go_on(8 * HOUR)
            until_told(one, hook, "job-overdue")
            begin_again(one)
            one.go_on(60, turns=20)
            assert hook.kinds("resolved") == []
            if has_run:
                with one.store.batch() as batch:
                    number = batch.tell(add_run, "scrub", "1", None, one.clock.wall())
                    batch.tell(end_run, number, RunOutcome.OK, "", {}, one.clock.wall())
                one.clock.pass_by(5)
                until_told(one, hook, "job-overdue", "resolved")
            else:
                one.go_on(2 * HOUR, turns=20)
                assert hook.kinds("resolved") == []
    assert hook.kinds() == ["job-overdue"]


def save(one, number):
    """Write down that a checkpoint of the group came."""
    sure = {"model_name": "BiLSTM", "sources": {"model_name": Source("name", 0.9)}}
    file = identity(number, mtime_ns=int(one.clock.wall() * 1e9))
    with one.store.batch() as batch:
        batch.record_ready("/r", f"{number}.pth", file, inspection(f"{number}", **sure), now=one.clock.wall())


@pytest.mark.parametrize("came", [False, True])
def test_no_group_waits_before_what_came_meanwhile_was_read(tmp_path, came):
    """The machine was off for a night, and the training went on elsewhere: the files are there, and read first."""
    with http_receiver() as hook, loop(tmp_path, open_side, notify=notify(hook.url, freshness={"BiLSTM": "1h"})) as one:
        save(one, 1)
        one.go_on(10)
        one.stop()
        one.clock.pass_by(9 * HOUR)
        one.started_at = one.clock.wall()
        one.start()
        one.stand(roots=(ROOT,))
        one.go_on(30, turns=20)
        looked = replace(ROOT, rescanned_at=one.clock.wall())
        one.stand(roots=(looked,), has_reconciled=True, waiting=1)
        one.go_on(30, turns=20)
        assert one.store.ask(load_alerts) == []
        if came:
            save(one, 2)
        one.stand(roots=(looked,), has_reconciled=True)
        one.go_on(30, turns=20)
        if not came:
            until_told(one, hook, "no-new-checkpoint")
    assert hook.kinds() == ([] if came else ["no-new-checkpoint"])


def test_a_night_of_sleep_makes_no_group_wait_before_what_came_was_read(tmp_path):
    """All was read before it: that says nothing of what came meanwhile."""
    with http_receiver() as hook, loop(tmp_path, open_side, notify=notify(hook.url, freshness={"BiLSTM": "1h"})) as one:
        save(one, 1)
        one.go_on(10)
        before = replace(ROOT, rescanned_at=one.clock.wall())
        one.stand(roots=(before,), has_reconciled=True)
        one.go_on(30, turns=20)
        one.clock.slept = 9 * HOUR
        one.go_on(30, turns=20)
        assert one.store.ask(load_alerts) == []
        one.stand(roots=(replace(before, rescanned_at=one.clock.wall()),), has_reconciled=True)
        one.go_on(30)
        until_told(one, hook, "no-new-checkpoint")


def test_a_group_that_is_never_caught_up_with_is_asked_about_after_ten_minutes(tmp_path):
    """Somebody may write one file for hours."""
    with http_receiver() as hook, loop(tmp_path, open_side, notify=notify(hook.url, freshness={"BiLSTM": "1h"})) as one:
        one.go_on(10)
        one.stop()
        one.clock.pass_by(9 * HOUR)
        one.started_at = one.clock.wall()
        one.start()
        one.stand(roots=(ROOT,), waiting=1)
        one.go_on(500, turns=20)
        assert hook.kinds() == []
        one.go_on(200)
        until_told(one, hook, "no-new-checkpoint")


def test_an_arrival_under_a_clock_that_was_ahead_silences_no_group(tmp_path):
    """It came no later than now, and the group waits from then on."""
    with http_receiver() as hook, loop(tmp_path, open_side, notify=notify(hook.url, freshness={"BiLSTM": "1h"})) as one:
        one.go_on(10)
        one.clock.pass_by(400 * 86_400)
        save(one, 1)
        one.clock.pass_by(-400 * 86_400)
        one.started_at = one.clock.wall()
        one.restart()
        one.go_on(700)
        one.go_on(700)
        assert hook.kinds() == []
        one.go_on(2 * HOUR)
        until_told(one, hook, "no-new-checkpoint")


def test_who_can_not_begin_rests_between_two_tries(tmp_path, monkeypatch):
    """Each may hold the loop up for seconds; what the daemon knows by itself is told meanwhile."""
    tries = []

    def refuse(**_):
        tries.append(1)
        raise IndexUnavailableError("write to the index", why="it is locked")

    with http_receiver() as hook, loop(tmp_path, open_side, notify=notify(hook.url)) as one:
        with monkeypatch.context() as patched:
            patched.setattr(one.store, "batch", refuse)
            one.stand(roots=(replace(ROOT, incident="not mounted"),))
            for _ in range(7):
                one.go_on(2)
            assert len(tries) == 1
            one.until(lambda: "root-lost" in hook.kinds(), "the alert")
        one.go_on(15)
        one.until(lambda: one.store.ask(load_cursor, FOLLOWER), "its beginning")


def test_the_end_waits_for_nobody_who_writes(tmp_path):
    """What could not be written down is found again."""
    with http_receiver() as hook, loop(tmp_path, open_side, notify=notify(hook.url)) as one:
        one.go_on(10)
        waits = record_waits(one)
        one.side._alerts = {("root-lost", "/r"): None}
        one.side._write = lambda *_: None
        one.stop()
        assert waits == [False]
        one.start()


def test_an_index_that_was_made_anew_has_no_news_until_all_was_read(tmp_path):
    """The old one is gone: what the first look finds was there before.  What comes then is told."""
    looked = replace(ROOT, rescanned_at=time.time())
    with http_receiver() as hook, loop(tmp_path, open_side, notify=notify(hook.url)) as one:
        one.lose_index()
        one.stand()
        one.go_on(10)
        reject(one.store, "history.pth")
        one.stand(roots=(looked,), has_reconciled=True, waiting=3)
        one.go_on(10)
        reject(one.store, "more history.pth")
        one.stand(roots=(looked,), has_reconciled=True)
        one.go_on(10)
        reject(one.store, "new.pth")
        one.until(lambda: "checkpoint-damaged" in hook.kinds(), "the alert")
    told = [message["examples"] for message in hook.got if message["kind"] == "checkpoint-damaged"]
    assert told == [["new.pth"]]


def test_an_index_that_was_made_anew_and_is_never_read_through_has_news_after_ten_minutes(tmp_path):
    """Somebody writes one file for hours: as long as nothing else comes to an end, all of the rest was read."""
    looked = replace(ROOT, rescanned_at=time.time())
    with http_receiver() as hook, loop(tmp_path, open_side, notify=notify(hook.url)) as one:
        one.lose_index()
        for read in range(3):
            one.stand(roots=(looked,), has_reconciled=True, waiting=1, counts={"read": read})
            one.go_on(500)
        assert one.store.ask(load_cursor, FOLLOWER) is None
        paused = {"paused_until": one.clock.wall() + HOUR}
        one.stand(roots=(looked,), has_reconciled=True, waiting=1, counts={"read": 2}, **paused)
        one.go_on(650)
        assert one.store.ask(load_cursor, FOLLOWER) is None
        one.stand(roots=(looked,), has_reconciled=True, waiting=1, counts={"read": 2})
        one.go_on(0)
        one.go_on(650)
        assert one.store.ask(load_cursor, FOLLOWER) is not None
