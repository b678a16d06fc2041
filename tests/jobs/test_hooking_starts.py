"""Where a hook begins: nothing that was before it is news to it, however far the audit was followed; and how its loop ends."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing

import pytest

from ckptd.errors import IndexUnavailableError, WorkerError
from ckptd.index.following import find_end, load_cursor
from ckptd.index.hooked import load_hook_runs
from ckptd.jobs import hooking
from ckptd.jobs.hooking import FOLLOWER, MOST_LEFT, open_side
from ckptd.jobs.standing import RootStanding
from tests.jobs.besides import loop
from tests.jobs.test_hooking import Commands, hook, ready
from tests.notify.receivers import until


@pytest.fixture
def commands(tmp_path):
    return Commands(tmp_path)


def paths(commands):
    return sorted(paper["path"] for paper in commands.got)


@pytest.mark.parametrize("end", ["stop", "forget"])
def test_a_hook_that_is_new_is_run_for_nothing_that_was_before_it(tmp_path, commands, end):
    """Another one has been there for months, and nothing of what it waits for has come in all that time."""
    old, new = hook(commands.note, "archive.verified"), hook(commands.note)
    with loop(tmp_path, open_side, hook=[old]) as one:
        one.go_on(10)
        ready(one.store, "june.pth")
        one.go_on(10)
        getattr(one, end)()
        one.values = {"hook": [old, new]}
        ready(one.store, "july.pth")
        one.start()
        one.go_on(10)
        ready(one.store, "august.pth")
        one.until(lambda: "august.pth" in paths(commands), "the command")
        one.until(lambda: not one.store.ask(load_hook_runs), "nothing to be left")
    assert paths(commands) == ["august.pth"]


def test_what_happened_while_nobody_looked_is_run_for_those_that_were_there(tmp_path, commands):
    """One whose settings were changed is new."""
    stays, changes = hook(commands.note), hook(commands.note, timeout_seconds=70)
    with loop(tmp_path, open_side, hook=[stays, changes]) as one:
        one.go_on(10)
        one.stop()
        ready(one.store, "meanwhile.pth")
        one.values = {"hook": [stays, {**changes, "timeout_seconds": 80}]}
        one.start()
        one.until(lambda: commands.got, "the command")
        ready(one.store, "after.pth")
        one.until(lambda: len(commands.got) == 3, "both")
        one.until(lambda: not one.store.ask(load_hook_runs), "nothing to be left")
    assert paths(commands) == ["after.pth", "after.pth", "meanwhile.pth"]


def test_an_index_of_an_older_ckptd_has_missed_nothing(tmp_path, commands):
    """It wrote down no beginnings: its hooks were there by then."""
    with loop(tmp_path, open_side, hook=[hook(commands.note)]) as one:
        one.go_on(10)
        one.stop()
        with one.store.batch() as batch:
            batch.tell(lambda connection, _: connection.exec_driver_sql("DELETE FROM cursors WHERE name LIKE 'hooks/%'"))
        ready(one.store, "meanwhile.pth")
        one.start()
        one.until(lambda: commands.got, "the command")
    assert paths(commands) == ["meanwhile.pth"]


@pytest.mark.parametrize("how", ["stop", "a minute"])
def test_how_far_it_came_is_written_down_though_nothing_came_of_it(tmp_path, commands, how):
    """A month of the audit would be followed again at the next start."""
    with loop(tmp_path, open_side, hook=[hook(commands.note, "checkpoint.rejected")]) as one:
        one.go_on(10)
        ready(one.store, "a.pth")
        one.go_on(61)
        if how == "stop":
            ready(one.store, "b.pth")
            one.go_on(10)
            one.stop()
        end = one.store.ask(find_end)
        assert one.store.ask(load_cursor, FOLLOWER).audit == end
        if how == "stop":
            one.start()


def test_what_was_written_down_and_could_not_be_read_just_then_is_run(tmp_path, commands, monkeypatch):
    """It does not wait for the next event, or the next start."""
    with loop(tmp_path, open_side, hook=[hook(commands.note)]) as one:
        one.go_on(10)
        ask, failed = one.store.ask, []

        def refuse_once(question, *arguments):
            if question is load_hook_runs and not failed:
                failed.append(1)
                raise IndexUnavailableError("read the index", why="the disk is busy")
            return ask(question, *arguments)

        monkeypatch.setattr(one.store, "ask", refuse_once)
        ready(one.store, "a.pth")
        one.until(lambda: failed or one.clock.pass_by(1), "a read that fails")
        one.go_on(20)
        one.until(lambda: commands.got, "the command")


@pytest.mark.parametrize("error", [WorkerError("a program could not be started", why="no memory"), OSError(24, "too many")])
def test_when_no_process_can_be_started_one_try_is_enough(tmp_path, commands, monkeypatch, error):
    """A thousand wait: not one paper more is written, and each is run when there is room again."""
    tries = []

    def refuse(*_):
        tries.append(1)
        raise error

    with loop(tmp_path, open_side, hook=[hook(commands.note)], hook_processes=8) as one:
        one.go_on(10)
        with monkeypatch.context() as patched:
            patched.setattr(hooking, "start_command", refuse)
            ready(one.store, *(f"{number}.pth" for number in range(2 * MOST_LEFT)))
            one.until(lambda: tries or one.clock.pass_by(1), "a try")
            for _ in range(20):
                one.turn()
            assert len(tries) == 1
        one.go_on(6)
        one.until(lambda: len(commands.got) == 2 * MOST_LEFT, "all of them")


def test_the_end_waits_for_nobody_who_writes(tmp_path, commands):
    """Another process holds the index: what ended is run again, and the daemon ends in time."""
    with loop(tmp_path, open_side, hook=[hook(commands.wait)]) as one:
        one.go_on(10)
        ready(one.store, "a.pth")
        one.until(lambda: commands.words == ["began"], "it to begin")
        waits = record_waits(one)
        commands.go.touch()
        until(lambda: "ended" in commands.words, "it to end")  # and the loop has not seen it yet
        with closing(sqlite3.connect(one.state / "index.sqlite", isolation_level=None)) as holder:
            holder.execute("BEGIN IMMEDIATE")
            one.stop()
            holder.execute("ROLLBACK")
        assert set(waits) == {False}
        one.start()
        one.until(lambda: commands.words.count("ended") == 2, "it to be run again")


def record_waits(one):
    """Let the index say which of its transactions would wait for others."""
    waits, batch = [], one.store.batch

    def noted(*, waits_=waits, **options):
        waits_.append(options.get("waits", True))
        return batch(**options)

    one.store.batch = noted
    return waits


def test_an_index_that_was_made_anew_has_no_news_until_all_was_read(tmp_path, commands):
    """The old one is gone: what the first look finds was there before.  What comes then is run."""
    root = RootStanding("/r", None, 0, 3, "kernel", 0, 0, 1, time.time())
    with loop(tmp_path, open_side, hook=[hook(commands.note)]) as one:
        one.lose_index()
        one.stand()
        one.go_on(10)
        ready(one.store, "history.pth", number=1)
        one.stand(roots=(root,), has_reconciled=True, waiting=3)
        one.go_on(10)
        ready(one.store, "more history.pth", number=2)
        one.stand(roots=(root,), has_reconciled=True)
        one.go_on(10)
        ready(one.store, "new.pth", number=3)
        one.until(lambda: commands.got, "the command")
        one.until(lambda: not one.store.ask(load_hook_runs), "nothing to be left")
        one.restart()
        one.stand()
        ready(one.store, "newer.pth", number=4)
        one.until(lambda: len(commands.got) == 2, "the next one")
    assert paths(commands) == ["new.pth", "newer.pth"]
