"""Alerts beside a loop: nothing lost by a kill or an outage, nothing told twice, and the loop never waits."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from contextlib import closing, contextmanager

import pytest

from ckptd.errors import IndexUnavailableError, WorkerError
from ckptd.index.alerting import load_alerts, load_outbox
from ckptd.index.runs import RunOutcome, add_run, end_run, note_schedule
from ckptd.jobs.alerting import open_side
from ckptd.jobs.standing import RootStanding
from ckptd.model import Identity, Inspection, Status
from ckptd.notify.retrying import GIVE_UP_SECONDS
from ckptd.settings import load_settings
from ckptd.settings.handover import settings_to_json
from tests.jobs.besides import loop
from tests.notify.receivers import http_receiver, mail_receiver, make_certificate

DEAD = "http://127.0.0.1:9/"
HOUR = 3600.0


def notify(url, **values):
    """Give settings with one channel; nobody runs jobs beside these loops, so that one that is overdue is no news."""
    common = {"gather_seconds": 0, "look_seconds": 1, "free_bytes": 0, "off": ["job-overdue"]}
    return {**common, "webhook": {"url": url, "timeout_seconds": 30}, **values}


def reject(store, *paths, status=Status.DAMAGED, how="", at=None):
    """Write down that files were rejected, as the daemon does."""
    with store.batch() as batch:
        for number, path in enumerate(paths):
            identity = Identity(1, number, 3, 4, 5)
            one = Inspection(path, status, identity=identity)
            batch.record_ready("/r", path, identity, one, now=time.time() if at is None else at, how=how)


def test_history_raises_no_alarm(tmp_path):
    """What was in the audit before anybody asked is nobody's news; what comes then is."""
    with http_receiver() as hook, loop(tmp_path, open_side, notify=notify(hook.url)) as one:
        one.stop()
        reject(one.store, "old.pth")
        with one.store.batch() as batch:
            batch.tell(lambda connection, _host: connection.exec_driver_sql("DELETE FROM cursors"))
        one.start()
        one.go_on(10)
        reject(one.store, "new.pth")
        one.until(lambda: hook.got, "the alert")
        one.go_on(10)
    assert [message["examples"] for message in hook.got] == [["new.pth"]]


def test_what_happened_while_nobody_looked_is_told_after_the_start(tmp_path):
    """A job, or a command, wrote it down while no daemon ran."""
    with http_receiver() as hook, loop(tmp_path, open_side, notify=notify(hook.url)) as one:
        one.go_on(10)
        one.stop()
        reject(one.store, "a.pth")
        one.start()
        one.until(lambda: hook.got, "the alert")
    assert hook.got[0]["examples"] == ["a.pth"]


def test_a_message_that_nobody_took_is_sent_after_a_restart(tmp_path):
    """Under the same id; it waits in the index, and its failures with it."""
    with loop(tmp_path, open_side, notify=notify(DEAD)) as one:
        one.go_on(10)
        reject(one.store, "a.pth")
        one.until(lambda: [row for row in one.store.ask(load_outbox) if row.failures], "a failure")
        (waiting,) = one.store.ask(load_outbox)
        assert "Connection refused" in waiting.trouble
        with http_receiver() as hook:
            one.values = {"notify": notify(hook.url)}
            one.restart()
            one.go_on(2 * HOUR)
            one.until(lambda: hook.got, "the message")
            one.until(lambda: not one.store.ask(load_outbox), "an empty outbox")
        assert hook.ids == [waiting.message]


@pytest.mark.parametrize("when", ["before it looked", "after it looked"])
def test_a_kill_loses_nothing_and_repeats_nothing_under_another_id(tmp_path, when):
    """Whether the row of the audit was looked at already or not."""
    with http_receiver() as hook, loop(tmp_path, open_side, notify=notify(hook.url)) as one:
        one.go_on(10)
        reject(one.store, "a.pth")
        if when == "after it looked":
            one.clock.pass_by(10)
            one.side.step()  # it is looked at, written down and on its way
        one.forget()
        one.start()
        one.go_on(10)
        one.until(lambda: hook.got, "the alert")
        one.until(lambda: not one.store.ask(load_outbox), "an empty outbox")
    assert len(set(hook.ids)) == 1
    assert hook.got[-1]["examples"] == ["a.pth"]


class KilledError(BaseException):
    """What a kill looks like from inside."""


def test_a_kill_while_it_is_sent_repeats_it_under_the_same_id(tmp_path):
    """A state has no row of the audit: what is to be told of it is written down before it is sent."""
    root, sent = RootStanding("/r", "not mounted", 0, 3, "kernel", 0, 0, 0, None), []

    def die(_channel, _options, bodies):
        sent.extend(json.loads(body)["id"] for body in bodies)
        raise KilledError

    with http_receiver() as hook, loop(tmp_path, open_side, notify=notify(hook.url)) as one:
        one.go_on(10)
        one.side._sending._start = die
        one.stand(roots=(root,))
        one.clock.pass_by(10)
        with pytest.raises(KilledError):
            one.side.step()
        one.forget()
        one.clock.pass_by(5)
        one.start()
        one.until(lambda: hook.got, "the alert")
    assert hook.ids == sent


def test_a_message_that_nobody_takes_for_days_is_given_up(tmp_path):
    """And one that is for a channel that there is no more."""
    with loop(tmp_path, open_side, notify=notify(DEAD)) as one:
        one.go_on(10)
        reject(one.store, "a.pth")
        one.until(lambda: [row for row in one.store.ask(load_outbox) if row.failures], "a message that nobody took")

        def refuse(*_):  # as the receiver does, in no time
            raise WorkerError("nobody is there")

        start, one.side._sending._start = one.side._sending._start, refuse
        one.until(lambda: not one.store.ask(load_outbox) or one.clock.pass_by(HOUR), "it to be given up")
        assert one.clock.ahead > GIVE_UP_SECONDS
        one.side._sending._start = start
        reject(one.store, "b.pth")
        one.clock.pass_by(2 * HOUR)
        one.until(lambda: one.store.ask(load_outbox), "another one")
        one.values = {"notify": {**notify(""), "command": {"command": ["/bin/true"]}}}
        one.restart()
        one.go_on(10)
        one.until(lambda: all(row.channel == "command" for row in one.store.ask(load_outbox)), "it to be forgotten")


def test_a_receiver_that_is_slow_makes_nobody_wait(tmp_path):
    """The loop goes round while a server holds a request; the other channel is not held up either."""
    script, got = tmp_path / "take", tmp_path / "got"
    script.write_text(f"#!/bin/sh\ncat > {got}\n")
    script.chmod(0o755)
    hold = threading.Event()
    with http_receiver(hold=hold) as hook:
        values = {**notify(hook.url), "command": {"command": [str(script)]}}
        values["webhook"]["timeout_seconds"] = 60
        with loop(tmp_path, open_side, notify=values) as one:
            one.go_on(10)
            reject(one.store, "a.pth")
            one.until(got.exists, "the other channel")
            one.go_on(1, turns=100)  # the server holds the request until the test says so: a loop that waited would hang here
            assert hook.got == []
            hold.set()
            one.until(lambda: hook.got, "the slow one")


def test_a_flood_is_a_handful_of_messages(tmp_path):
    """Ten thousand damaged files: two messages, with the right count, a bounded bite of the audit at a time."""
    with http_receiver() as hook, loop(tmp_path, open_side, notify=notify(hook.url)) as one:
        one.go_on(10)
        reject(one.store, *(f"{number}.pth" for number in range(10_000)))
        one.until(lambda: hook.got, "the first message")
        one.until(lambda: not one.store.ask(load_outbox), "its sender to end")  # below, minutes pass in no time
        cursor = "SELECT audit FROM cursors WHERE name = 'alerts'"
        end = "SELECT max(id) FROM audit"

        def is_through():
            one.clock.pass_by(1)
            return one.side._cursor.audit == one.store.ask(lambda c, _h: c.exec_driver_sql(end).scalar())

        one.until(is_through, "all of them to be looked at")
        assert one.store.ask(lambda c, _h: c.exec_driver_sql(cursor).scalar()) > 0
        one.go_on(2 * HOUR)
        one.until(lambda: len(hook.got) == 2, "the second message")
        one.go_on(2 * HOUR)
    assert [message["what"] for message in hook.got] == ["raised", "repeated"]
    assert sum(message["new"] for message in hook.got) == 10_000


def test_what_is_no_news_is_not_told(tmp_path):
    """A damaged file that was known already, and an inspection that is tried again."""
    with http_receiver() as hook, loop(tmp_path, open_side, notify=notify(hook.url)) as one:
        one.go_on(10)
        reject(one.store, "a.pth", how="recalled")
        reject(one.store, "b.pth", status=Status.FAILED, how="retried")
        reject(one.store, "c.pth", status=Status.NOT_A_CHECKPOINT)
        one.go_on(10, turns=20)
        reject(one.store, "d.pth")
        one.until(lambda: hook.got, "the alert")
    assert hook.got[0]["examples"] == ["d.pth"]


def test_an_index_that_can_not_be_written_does_not_silence_anybody(tmp_path):
    """It is told from memory; what was told is written down when that is possible again, and not told once more."""
    root = RootStanding("/r", "not mounted", 0, 3, "kernel", 0, 0, 0, None)
    with http_receiver() as hook, loop(tmp_path, open_side, notify=notify(hook.url)) as one:
        one.go_on(10)
        with closing(sqlite3.connect(one.state / "index.sqlite", isolation_level=None)) as holder:
            holder.execute("BEGIN IMMEDIATE")
            one.stand(roots=(root,), unwritten=3)
            one.until(lambda: {"root-lost", "index-unavailable"} <= set(hook.kinds()), "both alerts")
            assert one.store.ask(load_alerts) == []
            holder.execute("ROLLBACK")
        one.stand(roots=(root,))
        one.until(lambda: [row for row in one.store.ask(load_alerts) if row.kind == "root-lost"], "it to be written down")
        one.until(lambda: not one.store.ask(load_outbox), "that it was sent, too")  # it may be here before its sender ends
        one.restart()
        one.go_on(10)
    assert hook.kinds().count("root-lost") == 1


def test_a_job_that_is_overdue_is_told_until_it_ran(tmp_path):
    """An hour after its time; after a jump of the clock nobody is late."""
    values = {"schedule": {"scrub": "every 6h"}, "notify": notify("http://localhost/", off=[])}
    with http_receiver() as hook:
        values["notify"]["webhook"] = {"url": hook.url}
        with loop(tmp_path, open_side, **values) as one:
            with one.store.batch() as batch:
                batch.tell(note_schedule, "scrub", "every 6h", one.clock.wall())
            one.go_on(10)
            one.clock.pass_by(8 * HOUR)  # wall and monotonic: time went by, and nobody set a clock
            one.until(lambda: "job-overdue" in hook.kinds(), "the alert")
            assert next(one for one in hook.got if one["kind"] == "job-overdue")["subject"] == "scrub"
            with one.store.batch() as batch:
                number = batch.tell(add_run, "scrub", "1", None, one.clock.wall())
                batch.tell(end_run, number, RunOutcome.OK, "", {}, one.clock.wall())
            one.clock.pass_by(5)
            one.until(lambda: "job-overdue" in hook.kinds("resolved"), "its end")


def test_nobody_is_late_during_a_pause(tmp_path):
    """Neither a job nor a group: a job is late an hour after its end, and groups are looked at when what came was read."""
    values = {"schedule": {"scrub": "every 6h"}}
    with http_receiver() as hook:
        values["notify"] = notify(hook.url, off=[], freshness={"BiLSTM · ECG": "1h"})
        with loop(tmp_path, open_side, **values) as one:
            with one.store.batch() as batch:
                batch.tell(note_schedule, "scrub", "every 6h", one.clock.wall())
            one.go_on(10)
            one.stand(paused_until=one.clock.wall() + 8 * HOUR)
            one.go_on(8 * HOUR)
            one.go_on(10, turns=20)
            assert "job-overdue" not in [kind for kind, _ in one.side._alerts]
            one.stand()
            for _ in range(9):
                one.go_on(60)
            assert [kind for kind, _ in one.side._alerts] == []
            one.go_on(2 * HOUR)
            one.until(lambda: {"job-overdue", "no-new-checkpoint"} <= set(hook.kinds()), "both, an hour later")


def test_what_was_told_before_a_pause_is_not_told_as_over_by_it(tmp_path):
    """Nobody asks about it; what groups wait for is asked when it is over."""
    with http_receiver() as hook:
        values = {"schedule": {"scrub": "every 6h"}, "notify": notify(hook.url, off=[], freshness={"A": "1h"})}
        with loop(tmp_path, open_side, **values) as one:
            with one.store.batch() as batch:
                batch.tell(note_schedule, "scrub", "every 6h", one.clock.wall())
            one.go_on(10)
            one.go_on(8 * HOUR)
            one.until(lambda: {"job-overdue", "no-new-checkpoint"} <= set(hook.kinds()), "both")
            one.stand(paused_until=one.clock.wall() + 8 * HOUR)
            one.go_on(2 * HOUR, turns=20)
            assert {alert.ended_at for alert in one.side._alerts.values()} == {None}
            one.stand()
            one.go_on(60, turns=20)
            assert one.side._alerts["no-new-checkpoint", "A"].ended_at is None


LOST = RootStanding("/r", "not mounted", 0, 3, "kernel", 0, 0, 0, None)


@contextmanager
def locked(one):
    """Hold the index for writing, as a long migration or somebody's shell does."""
    with closing(sqlite3.connect(one.state / "index.sqlite", isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        yield
        holder.execute("ROLLBACK")


def test_what_is_told_at_a_first_start_before_the_index_can_be_written_is_told_once(tmp_path):
    """And is resolved when it ends; how far the audit was followed is not even known then."""
    with http_receiver() as hook, loop(tmp_path, open_side, notify=notify(hook.url)) as one:
        with locked(one):
            one.stand(roots=(LOST,))
            one.until(lambda: "root-lost" in hook.kinds(), "the alert")
        one.until(lambda: one.store.ask(load_alerts) or one.clock.pass_by(1), "it to be written down")
        one.go_on(5, turns=20)
        one.until(lambda: not one.store.ask(load_outbox), "an empty outbox")
        one.stand()
        one.until(lambda: "root-lost" in hook.kinds("resolved"), "its end")
        one.go_on(2 * HOUR, turns=20)
    assert [message["what"] for message in hook.got] == ["raised", "resolved"]


def test_what_is_told_while_the_index_can_not_even_be_read_is_told_once(tmp_path, monkeypatch):
    """It stays told when what is written down is known, and is resolved when it ends."""

    def refuse(*_):
        raise IndexUnavailableError("read the index", why="the disk is gone")

    with http_receiver() as hook, loop(tmp_path, open_side, notify=notify(hook.url)) as one:
        with monkeypatch.context() as patched:
            patched.setattr(one.store, "ask", refuse)
            one.stand(roots=(LOST,))
            one.until(lambda: "root-lost" in hook.kinds(), "the alert")
        one.until(lambda: one.store.ask(load_alerts) or one.clock.pass_by(1), "it to be written down")
        one.go_on(5, turns=20)
        one.until(lambda: not one.store.ask(load_outbox), "an empty outbox")
        one.stand()
        one.until(lambda: "root-lost" in hook.kinds("resolved"), "its end")
    assert len({message["id"] for message in hook.got}) == 2


@pytest.mark.parametrize("roots", [(LOST,), ()])
def test_a_start_while_the_index_is_locked_knows_what_was_told_before(tmp_path, roots):
    """It can be read: what lasts is not told anew, and what ended meanwhile is told as over at once."""
    with http_receiver() as hook, loop(tmp_path, open_side, notify=notify(hook.url)) as one:
        one.stand(roots=(LOST,))
        one.until(lambda: "root-lost" in hook.kinds(), "the alert")
        one.until(lambda: not one.store.ask(load_outbox), "an empty outbox")
        one.stop()
        with locked(one):
            one.start()
            one.stand(roots=roots, unwritten=1)
            one.until(lambda: "index-unavailable" in hook.kinds(), "another alert")
            one.until(lambda: roots or "root-lost" in hook.kinds("resolved"), "its end")
        one.stand(roots=roots)
        one.until(lambda: "index-unavailable" in hook.kinds("resolved"), "the end of the other")
        one.go_on(60, turns=20)
    told = [message["what"] for message in hook.got if message["kind"] == "root-lost"]
    assert told == ["raised"] + ([] if roots else ["resolved"])


def test_who_is_refused_by_a_mail_server_is_in_the_log(tmp_path, capsys):
    """The others have it, so that it is not sent again."""
    certificate = make_certificate(tmp_path)
    with mail_receiver(certificate.context) as box:
        box.refuses = "b@example.org"
        recipients = ["a@example.org", "b@example.org"]
        email = {"host": "localhost", "port": box.port, "ca_file": str(certificate.file), "sender": "c@example.org"}
        values = {"gather_seconds": 0, "free_bytes": 0, "off": ["job-overdue"], "email": {**email, "recipients": recipients}}
        with loop(tmp_path, open_side, notify=values) as one:
            one.go_on(10)
            reject(one.store, "a.pth")
            one.until(lambda: box.mails, "the mail")
            one.until(lambda: not one.store.ask(load_outbox), "an empty outbox")
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "alert.delivered" in line]
    assert "it refuses b@example.org (550 no such user" in line
    assert "warning" in line


def test_each_channel_gets_what_is_severe_enough_for_it(tmp_path):
    """A warning does not go where only errors go."""
    script, got = tmp_path / "take", tmp_path / "got"
    script.write_text(f"#!/bin/sh\n(cat; echo) >> {got}\n")
    script.chmod(0o755)
    with http_receiver() as hook:
        values = {**notify(hook.url), "command": {"command": [str(script)], "min_severity": "error"}}
        with loop(tmp_path, open_side, notify=values) as one:
            one.go_on(10)
            reject(one.store, "warning.pth", status=Status.UNREADABLE)
            reject(one.store, "error.pth", status=Status.UNSAFE)
            one.until(lambda: len(hook.got) == 2 and got.exists(), "both channels")
            one.until(lambda: not one.store.ask(load_outbox), "an empty outbox")
    assert [line.count("error.pth") > 0 for line in got.read_text().splitlines()] == [True]


def test_no_secret_is_in_what_is_written_down(tmp_path):
    """Neither in the index nor in the errand of a job."""
    secret = tmp_path / "token"
    secret.write_text("hush-hush")
    secret.chmod(0o600)
    with http_receiver() as hook:
        values = notify(hook.url)
        values["webhook"]["secret_file"] = str(secret)
        with loop(tmp_path, open_side, notify=values) as one:
            one.go_on(10)
            reject(one.store, "a.pth")
            one.until(lambda: hook.got, "the alert")
            settings = load_settings(None, {"notify": values}, {})
            assert "hush-hush" not in str(settings_to_json(settings))
            one.store.finish()
            assert b"hush-hush" not in (one.state / "index.sqlite").read_bytes()
