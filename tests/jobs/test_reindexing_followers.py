"""What a reindex takes over from the old index: what alerts and hooks were about is in no checkpoint and in no journal."""

from __future__ import annotations

from contextlib import closing

import pytest
import structlog

from ckptd.app import App
from ckptd.index.alerting import Waiting, load_alerts, load_outbox, put_alerts, put_waiting
from ckptd.index.following import Cursor, find_end, load_cursor, put_cursor, read_events
from ckptd.index.hooked import HookRun, add_hook_runs, load_hook_runs
from ckptd.index.store import Store
from ckptd.jobs.alerting import _make_row
from ckptd.jobs.hooking import open_side
from ckptd.notify.folding import Alert
from ckptd.settings import Settings
from tests.jobs.besides import loop
from tests.jobs.stages import staged
from tests.jobs.test_hooking import Commands, hook, ready
from tests.jobs.test_ingest import save

READY = ("checkpoint.ready",)
ALERT = Alert("bit-rot", "/r", 1.0, 2.0, text="a.pth: rotten", told=1, told_at=2.0, said="raised", untold=0)
MESSAGE = Waiting("webhook", "m1", '{"id": "m1"}', 2.0, failures=3, next_at=9.0, trouble="no")


@pytest.fixture
def models(tmp_path):
    """Two checkpoints that a daemon has read."""
    models = tmp_path / "models"
    with staged(models) as stages:
        for name in ("a.pth", "b.pth"):
            save(models / name)
            stages.hint(name)
        stages.settle()
    return models


@pytest.fixture
def index(models):
    return models.parent / "state" / "index.sqlite"


def reindex(models):
    app = App(Settings(roots=[models], state_dir=models.parent / "state", suffixes=[".pth"]))
    with closing(app):
        return app.reindex()


def rows(store, what="checkpoint.ready"):
    return store.ask(read_events, 0, (what,), 1_000)[0]


def test_what_waits_is_taken_over_and_the_reindex_is_no_news(models, index):
    """Alerts that are open, messages that nobody took, and cursors at the end of what was written now."""
    with closing(Store.open(index)) as store, store.batch() as batch:
        batch.tell(put_alerts, [_make_row(ALERT)], [])
        batch.tell(put_waiting, [MESSAGE], [])
        for name in ("alerts", "hooks", "hooks/1"):
            batch.tell(put_cursor, name, Cursor(store.ask(find_end), 7.0))
    assert reindex(models).new == 2
    with closing(Store.open(index)) as store:
        assert store.ask(load_alerts) == [_make_row(ALERT)]
        assert store.ask(load_outbox) == [MESSAGE]
        end = store.ask(find_end)
        assert len(rows(store)) >= 2
        for name in ("alerts", "hooks", "hooks/1"):
            assert store.ask(load_cursor, name) == Cursor(end, 7.0)


def test_the_numbers_of_the_audit_go_on(models, index):
    """No row of the new index is named like one of the old."""
    with closing(Store.open(index)) as store:
        before, end = {event.key for event in rows(store)}, store.ask(find_end)
    reindex(models)
    with closing(Store.open(index)) as store:
        after = [event for event in rows(store) if event.id > end]
        assert sorted(event.path for event in after) == ["a.pth", "b.pth"]
        assert not before & {event.key for event in after}


def test_a_command_that_waits_is_run_for_the_same_event(models, index):
    """Under the same id: it may have been broken off, and know it by that."""
    with closing(Store.open(index)) as store:
        first, second = rows(store)
        with store.batch() as batch:
            batch.tell(add_hook_runs, [HookRun(first.id, "1"), HookRun(second.id, "1")])
            batch.tell(put_cursor, "hooks", Cursor(second.id, 7.0))
    reindex(models)
    with closing(Store.open(index)) as store:
        pending = store.ask(load_hook_runs)
    assert [event for _, event in pending] == [first, second]


def test_what_a_follower_had_not_looked_at_is_its_news(models, index):
    """Each has its own: a command wrote it down while no daemon ran, and the two had come to different rows."""
    with closing(Store.open(index)) as store:
        first, second = rows(store)
        with store.batch() as batch:
            batch.tell(put_cursor, "alerts", Cursor(first.id - 1, 7.0))
            batch.tell(put_cursor, "hooks", Cursor(first.id, 7.0))
            batch.tell(put_cursor, "hooks/1", Cursor(0, 7.0))
            batch.tell(add_hook_runs, [HookRun(first.id, "1")])
    reindex(models)
    with closing(Store.open(index)) as store:
        for name, news in (("alerts", [first, second]), ("hooks", [second])):
            cursor = store.ask(load_cursor, name)
            found, _ = store.ask(read_events, cursor.audit, READY, 10)
            assert [one._replace(id=0) for one in found] == [one._replace(id=0) for one in news]
        assert [event for _, event in store.ask(load_hook_runs)] == [first]


def test_an_index_that_can_not_be_read_is_told_and_rebuilt(models, index):
    """That is what a reindex is for; what waited is lost."""
    for left in index.parent.glob("index.sqlite-*"):
        left.unlink()
    index.write_bytes(b"SQLite format 3\0" + b"x" * 5_000)
    with structlog.testing.capture_logs() as log:
        assert reindex(models).new == 2
    assert [line["event"] for line in log if line["log_level"] == "warning"] == ["index.unfollowed"]
    with closing(Store.open(index)) as store:
        assert store.ask(load_cursor, "hooks") is None


def test_hooks_go_on_after_a_reindex(tmp_path, models, index):
    """With a real loop: what waited is run, what came after it is, too, and nothing of the reindex."""
    commands = Commands(tmp_path)
    values = {"hook": [hook(commands.note)]}
    with loop(tmp_path, open_side, **values) as one:
        one.go_on(10)
        one.side._start_at = one.clock.monotonic() + 9e9  # nothing begins
        ready(one.store, "before.pth")
        one.go_on(10)
        assert len(one.store.ask(load_hook_runs)) == 1
        one.stop()
        one.store.close()
        reindex(models)
        one.store = Store.open(index)
        one.start()
        one.go_on(10)
        ready(one.store, "after.pth", number=2)
        one.until(lambda: len(commands.got) == 2, "both")
        one.until(lambda: not one.store.ask(load_hook_runs), "nothing to be left")
    assert sorted(paper["path"] for paper in commands.got) == ["after.pth", "before.pth"]
