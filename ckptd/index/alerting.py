"""Alerts and what is to be sent of them, as rows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from sqlalchemy import Connection, delete, select

from ckptd.index.statements import put_rows
from ckptd.index.tables import alerts, outbox

_a, _o = alerts.c, outbox.c


class AlertRow(NamedTuple):
    """One alert as it is written down; `notify.folding.Alert` says what each column means."""

    kind: str
    subject: str
    first_at: float
    last_at: float
    times: int
    untold: int
    text: str
    examples: str
    mark: str
    told: int
    told_at: float | None
    said: str
    ended_at: float | None


class Waiting(NamedTuple):
    """A message that a channel has not taken yet.

    Attributes:
        message: its id, by which a receiver drops doubles.
        body: the message as JSON.
        failures: how often the channel did not take it.
        next_at: when it is tried (again), seconds since the epoch.
        trouble: why it was not taken the last time, escaped.
    """

    channel: str
    message: str
    body: str
    made_at: float
    failures: int = 0
    next_at: float = 0.0
    trouble: str = ""


def load_alerts(connection: Connection, host: str) -> list[AlertRow]:
    """Give every alert, the oldest first."""
    columns = [alerts.c[name] for name in AlertRow._fields]
    query = select(*columns).where(_a.host == host).order_by(_a.first_at, _a.kind, _a.subject)
    return [AlertRow(*row) for row in connection.execute(query)]


def put_alerts(connection: Connection, host: str, rows: Iterable[AlertRow], gone: Iterable[tuple[str, str]]) -> None:
    """Write alerts down, and forget those that are over: (kind, subject)."""
    put_rows(connection, alerts, [row._asdict() | {"host": host} for row in rows])
    for kind, subject in gone:
        connection.execute(delete(alerts).where(_a.host == host, _a.kind == kind, _a.subject == subject))


def drop_alerts(connection: Connection, host: str) -> None:
    """Forget every alert, and every message that waits: nobody is told any more."""
    for table in (alerts, outbox):
        connection.execute(delete(table).where(table.c.host == host))


def load_outbox(connection: Connection, host: str) -> list[Waiting]:
    """Give what waits to be sent, the oldest first."""
    columns = [outbox.c[name] for name in Waiting._fields]
    return [Waiting(*row) for row in connection.execute(select(*columns).where(_o.host == host).order_by(_o.made_at))]


def put_waiting(connection: Connection, host: str, rows: Iterable[Waiting], gone: Iterable[tuple[str, str]]) -> None:
    """Write down what waits, and forget what was taken or given up: (channel, message)."""
    put_rows(connection, outbox, [row._asdict() | {"host": host} for row in rows])
    for channel, message in gone:
        connection.execute(delete(outbox).where(_o.host == host, _o.channel == channel, _o.message == message))
