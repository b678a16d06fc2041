"""What people ask about alerts: which are open, what waits to be sent, and whether a channel works."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from ckptd.errors import UsageError
from ckptd.index.alerting import Waiting, load_alerts, load_outbox
from ckptd.index.store import Store
from ckptd.jobs.alerting import find_channels, make_rules, read_alerts
from ckptd.jobs.telling.sending import Channel
from ckptd.notify.delivering import deliver_all
from ckptd.notify.folding import Alert
from ckptd.notify.message import Happening, Message, bounded
from ckptd.settings import Settings


@dataclass(frozen=True, slots=True)
class OpenAlert:
    """An alert that is open; `severity` as the settings have it."""

    alert: Alert
    severity: str


@dataclass(frozen=True, slots=True)
class ChannelView:
    """How one channel stands.

    Attributes:
        waiting: messages that it has not taken yet.
        trouble: why it did not take one of them the last time; empty when all is well.
    """

    name: str
    min_severity: str
    waiting: int
    trouble: str


@dataclass(frozen=True, slots=True)
class Tried:
    """What became of a test; `trouble` is empty when it was taken, and `remark` is what there is to say even so."""

    channel: str
    message: str
    trouble: str
    remark: str = ""


def list_alerts(settings: Settings, store: Store) -> list[OpenAlert]:
    """Give the alerts that are open, the oldest first."""
    rules = make_rules(settings, store.host)
    alerts = [alert for alert in read_alerts(store.ask(load_alerts)) if alert.ended_at is None and alert.kind not in rules.off]
    return [OpenAlert(alert, rules.severity_of(alert.kind)) for alert in alerts]


def list_channels(settings: Settings, store: Store) -> list[ChannelView]:
    """Give the channels that are set, and what waits for each."""
    waiting = store.ask(load_outbox)
    return [_view(channel, [one for one in waiting if one.channel == channel.name]) for channel in find_channels(settings)]


def try_channels(settings: Settings, name: str | None, host: str, now: float) -> list[Tried]:
    """Send a message that says that it is a test, in this process, and say what became of it.

    Args:
        settings: the channels.
        name: of one of them; None for all.
        host: who sends.
        now: seconds since the epoch.

    Raises:
        UsageError: there is none, or none of that name.
    """
    channels = [channel for channel in find_channels(settings) if name in (None, channel.name)]
    if not channels:
        why = "no channel is set" if name is None else "no such channel is set"
        raise UsageError("test the channels", path=name, why=why, cure="docs/alerts.md says how to set one")
    return [_test(channel, host, now) for channel in channels]


def _test(channel: Channel, host: str, now: float) -> Tried:
    message = Message(
        id=uuid.uuid4().hex,
        what=Happening.TEST,
        kind="test",
        severity="info",
        subject=channel.name,
        title="this is only a test",
        text="somebody asked ckptd to send this; nothing is wrong",
        cure="",
        host=bounded(host),
        count=1,
        new=1,
        first_at=now,
        last_at=now,
        at=now,
    )
    (answer,) = deliver_all(channel.name, channel.options, [message])
    return Tried(channel.name, message.id, answer.trouble, answer.remark)


def _view(channel: Channel, waiting: list[Waiting]) -> ChannelView:
    trouble = next((one.trouble for one in waiting if one.trouble), "")
    return ChannelView(channel.name, channel.min_severity, len(waiting), trouble)
