"""`ckptd notify` and `ckptd notify test`: what is shown, as a table and as JSON, and the status."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from ckptd.errors import UsageError
from ckptd.index.alerting import AlertRow, Waiting, put_alerts, put_waiting
from ckptd.index.store import Store
from ckptd.jobs.notifying import ChannelView, OpenAlert, Tried, list_alerts, list_channels, try_channels
from ckptd.notify.folding import Alert
from ckptd.settings import load_settings
from tests.cli.fake import FakeApp
from tests.notify.receivers import http_receiver

EVIL = "evil\x1b[2J"
ALERT = OpenAlert(Alert("root-lost", "/srv/models", 1_700_000_000.0, 1_700_000_100.0, 3, text="not mounted"), "error")
WELL = ChannelView("webhook", "info", 0, "")


@dataclass
class NotifyApp(FakeApp):
    found: list[OpenAlert] = field(default_factory=list)
    views: list[ChannelView] = field(default_factory=lambda: [WELL])
    tried: list[Tried] = field(default_factory=lambda: [Tried("webhook", "0a", "")])

    def alerts(self):
        return self.found

    def channels(self):
        return self.views

    def test_channels(self, name):
        if name == "pigeon":
            raise UsageError("test the channels", path=name, why="no such channel is set")
        return self.tried


@pytest.fixture
def app():
    return NotifyApp()


def test_all_is_well(run):
    """Nothing open, nothing waits."""
    done = run("notify")
    assert (done.status, done.out.splitlines()) == (0, ["no alert is open", "webhook: info and above, nothing waits"])


def test_an_open_alert_is_shown(run, app):
    """With its severity, how often it was seen and since when; status 1."""
    app.found = [ALERT]
    done = run("notify")
    assert done.status == 1
    assert done.out.splitlines()[1].split()[:4] == ["error", "root-lost", "/srv/models", "3"]
    assert "root-lost: not mounted" in done.out


def test_a_channel_that_takes_nothing_is_shown(run, app):
    """With why, escaped; status 1."""
    app.views = [ChannelView("email", "warning", 2, EVIL)]
    done = run("notify")
    assert done.status == 1
    assert r"email: warning and above, 2 wait: evil\x1b[2J" in done.out


def test_nobody_is_told_when_no_channel_is_set(run, app):
    """It says so, and is fine."""
    app.views = []
    done = run("notify")
    assert done.status == 0
    assert "nobody is told" in done.err


def test_json_has_the_keys_of_the_page(run, app):
    """A contract."""
    app.found = [ALERT]
    value = run("notify", "--json").json
    assert value["alerts"] == [
        {
            "kind": "root-lost",
            "severity": "error",
            "subject": "/srv/models",
            "text": "not mounted",
            "count": 3,
            "first_at": 1_700_000_000.0,
            "last_at": 1_700_000_100.0,
            "told_at": None,
        }
    ]
    assert value["channels"] == [{"name": "webhook", "min_severity": "info", "waiting": 0, "trouble": ""}]


def test_a_test_says_what_became_of_it(run, app):
    """Status 0 when every channel took it, 1 when one did not or not for all, 2 when there is none of that name."""
    done = run("notify", "test")
    assert (done.status, done.out) == (0, "webhook: taken\n")
    app.tried = [Tried("webhook", "0a", EVIL)]
    done = run("notify", "test")
    assert (done.status, done.out) == (1, "webhook: not taken: evil\\x1b[2J\n")
    assert run("notify", "test", "--json").json == [{"channel": "webhook", "message": "0a", "trouble": EVIL, "remark": ""}]
    app.tried = [Tried("email", "0b", "", f"it refuses {EVIL}")]
    done = run("notify", "test")
    assert (done.status, done.out) == (1, "email: taken, but it refuses evil\\x1b[2J\n")
    assert run("notify", "test", "--json").json[0]["remark"] == f"it refuses {EVIL}"
    assert run("notify", "test", "--channel", "pigeon").status == 2


def test_a_real_test_reaches_a_real_server():
    """It says that it is one."""
    with http_receiver() as hook:
        settings = load_settings(None, {"notify": {"webhook": {"url": hook.url}}}, {})
        (tried,) = try_channels(settings, None, "gpu1", 1_700_000_000.0)
    assert tried.trouble == ""
    assert [(one["id"], one["what"]) for one in hook.got] == [(tried.message, "test")]
    (failed,) = try_channels(settings, "webhook", "gpu1", 1_700_000_000.0)
    assert "refused" in failed.trouble
    with pytest.raises(UsageError, match="no channel is set"):
        try_channels(load_settings(None, None, {}), None, "gpu1", 0.0)


def test_what_is_shown_comes_out_of_the_index(tmp_path):
    """Open alerts only; of a channel the first trouble."""
    settings = load_settings(None, {"notify": {"webhook": {"url": "http://localhost/"}, "off": ["disk-low"]}}, {})
    row = AlertRow("root-lost", "/r", 1.0, 2.0, 1, 0, "gone", '["a"]', "", 1, 1.0, "raised", None)
    store = Store.open(tmp_path / "index.sqlite")
    with store.batch() as batch:
        ended = row._replace(subject="/s", ended_at=3.0)
        batch.tell(put_alerts, [row, ended, row._replace(kind="disk-low"), row._replace(kind="of-a-newer-ckptd")], [])
        waiting = [Waiting("webhook", "1", "{}", 1.0), Waiting("webhook", "2", "{}", 2.0, 3, 4.0, "refused")]
        batch.tell(put_waiting, waiting, [])
    assert [(one.alert.kind, one.alert.subject, one.severity) for one in list_alerts(settings, store)] == [
        ("root-lost", "/r", "error")
    ]
    assert list_channels(settings, store) == [ChannelView("webhook", "info", 2, "refused")]
    with store.batch() as batch:
        batch.tell(put_alerts, [], [("root-lost", "/r")])
        batch.tell(put_waiting, [], [("webhook", "2")])
    assert list_alerts(settings, store) == []
    assert list_channels(settings, store) == [ChannelView("webhook", "info", 1, "")]
    store.close()
