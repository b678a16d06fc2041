"""What stands beside the loop: opened when the settings want it, and forgotten once they are sure not to."""

from __future__ import annotations

import selectors
from types import SimpleNamespace

import pytest

from ckptd.errors import CkptdError
from ckptd.index.alerting import AlertRow, Waiting, load_alerts, load_outbox, put_alerts, put_waiting
from ckptd.index.following import Cursor, load_cursor, put_cursor
from ckptd.index.hooked import HookRun, add_hook_runs
from ckptd.index.store import Store
from ckptd.index.tables import hook_runs
from ckptd.jobs import sides
from ckptd.jobs.sides import Beside, forget_followers, open_sides
from ckptd.jobs.standing import Board
from ckptd.settings import load_settings

HOOK = {"on": "checkpoint.ready", "command": ["/bin/true"]}
ALERT = AlertRow("root-lost", "/srv", 1.0, 1.0, 1, 0, "gone", "[]", "", 1, 1.0, "open", None)


@pytest.fixture
def store(tmp_path):
    """An index in which both kinds of followers left something."""
    made = Store.open(tmp_path / "index.sqlite")
    with made.batch() as batch:
        for name in ("alerts", "hooks"):
            batch.tell(put_cursor, name, Cursor(1, 7.0))
        batch.tell(put_alerts, [ALERT], [])
        batch.tell(put_waiting, [Waiting("webhook", "m1", "{}", 1.0)], [])
        batch.tell(add_hook_runs, [HookRun(1, "a" * 64)])
    yield made
    made.close()


def make_beside(store, tmp_path, **values):
    settings = load_settings(None, {"roots": [str(tmp_path)], **values}, {})
    return Beside(settings, SimpleNamespace(store=store), selectors.DefaultSelector(), Board(), None)


def left(store):
    """Say what the index still has of those who follow."""

    def count(connection, _host):
        return len(connection.execute(hook_runs.select()).all())

    cursors = {name for name in ("alerts", "hooks") if store.ask(load_cursor, name) is not None}
    return cursors, len(store.ask(load_alerts)), len(store.ask(load_outbox)), store.ask(count)


def test_what_waited_for_who_is_switched_off_is_no_news_when_he_is_back(store, tmp_path):
    """A month later nobody wants to hear of an alert of now, nor to have its command run; whoever is left keeps what is his."""
    forget_followers(make_beside(store, tmp_path, hook=[HOOK]))
    assert left(store) == ({"hooks"}, 0, 0, 1)
    forget_followers(make_beside(store, tmp_path))
    assert left(store) == (set(), 0, 0, 0)


def test_who_is_wanted_keeps_all(store, tmp_path):
    """Nothing is lost by a restart."""
    (tmp_path / "secret").write_text("x" * 32)
    (tmp_path / "secret").chmod(0o600)
    notify = {"webhook": {"url": "https://alerts.example.org", "secret_file": str(tmp_path / "secret")}}
    forget_followers(make_beside(store, tmp_path, notify=notify))
    assert left(store) == ({"alerts"}, 1, 1, 0)


def test_sides_that_can_not_be_had_change_nothing(store, tmp_path, monkeypatch):
    """The settings of before may be gone back to."""

    def refuse(_name):
        raise CkptdError("listen", why="the address is taken")

    before = left(store)
    monkeypatch.setattr(sides, "import_module", refuse)
    with pytest.raises(CkptdError):
        open_sides(make_beside(store, tmp_path, health={"listen": "127.0.0.1:9"}))
    assert left(store) == before
