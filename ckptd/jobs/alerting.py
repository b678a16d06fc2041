"""Alerts beside the loop: follow the audit, ask now and then what is so, fold, write down, and have it sent.

Nothing is lost by a kill: what happened is a row of the audit, and how far it was followed is written down together with the
alerts and messages that came of it.  What was sent and not yet written down as sent is sent again, under the same id.  While
the index can't be written, all of it stays in memory, and is sent all the same; while it can't even be read, what the daemon
knows by itself is told, and joined with what is written down as soon as that is known.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import structlog

from ckptd.errors import IndexUnavailableError
from ckptd.index.alerting import AlertRow, Waiting, load_alerts, load_outbox, put_alerts, put_waiting
from ckptd.index.batch import Batch
from ckptd.index.following import Cursor, Event, Pulse, begin_following, load_cursor, put_cursor, read_events
from ckptd.jobs.sides import Beside
from ckptd.jobs.telling.asking import Asking
from ckptd.jobs.telling.catching_up import CATCH_UP_SECONDS, Beginning, has_caught_up
from ckptd.jobs.telling.events import WANTED, read_event
from ckptd.jobs.telling.freshness import Freshness
from ckptd.jobs.telling.sending import Channel, Sending
from ckptd.jobs.telling.states import States, find_stale_states, find_standing_states
from ckptd.notify.folding import Alert, Key, Rules, Seen, find_next, fold, join
from ckptd.notify.kinds import KINDS
from ckptd.notify.message import Happening, Message
from ckptd.settings import Settings

_log = structlog.get_logger()

#: The follower's name in the index.
FOLLOWER = "alerts"
#: Rows of the audit in one look, so that a flood takes the loop a moment at a time.
MOST_EVENTS = 256
#: How often the audit is looked at: at once again while there is more, else so often; other processes write to it too.
_BUSY_SECONDS, _IDLE_SECONDS = 0.2, 2.0
#: How often at least it is written down how far it was followed, where nothing came of it.
_SAVE_SECONDS = 60.0
#: How long nothing is written when the index would not take it.
_PAUSE_SECONDS = 15.0


def open_side(beside: Beside) -> Alerting:
    """Begin to tell."""
    return Alerting(beside)


class Alerting:
    """Tell who is to be told.

    Threading: belongs to the loop.
    """

    def __init__(self, beside: Beside) -> None:
        settings = beside.settings
        self._beside = beside
        self._store = beside.engine.store
        self._notify = settings.notify
        self._rules = make_rules(settings, self._store.host)
        clocks: Any = {"wall": beside.wall, "monotonic": beside.monotonic}
        self._asking = Asking(settings, beside.engine, **clocks)
        self._freshness = Freshness(settings.notify.freshness, settings.policy)
        self._sending = Sending(find_channels(settings), beside.selector, **clocks)
        self._pulse = Pulse(self._store.file)
        self._is_behind = True
        self._is_loaded = False
        self._beginning = Beginning(FOLLOWER, beside.monotonic)
        self._cursor: Cursor | None = None
        self._alerts: Mapping[Key, Alert] = {}
        self._saved: tuple[Cursor, Mapping[Key, Alert], Mapping[Key, Waiting]] = (Cursor(0, 0.0), {}, {})
        self._look_at = self._ask_at = self._save_at = self._begin_at = beside.monotonic()

    def step(self) -> None:
        """Look when it is time, and see to what is being sent."""
        if self._beside.monotonic() >= self._look_at:
            self._look()
            self._save()  # before anything is sent, so that a kill repeats no message under another id
        self._sending.step()
        self._save()

    def next_due(self) -> float | None:
        """Say when `step` has something to do, monotonic seconds."""
        sending = self._sending.next_due()
        return self._look_at if sending is None else min(self._look_at, sending)

    def close(self) -> None:
        """End in good order; what is not sent is sent after the next start."""
        self._sending.close()
        self._asking.close()
        self._save(waits=False)

    # — look, fold —

    def _look(self) -> None:
        cursor = None
        try:
            self._load()
            cursor = self._begin() if self._cursor is None else self._cursor
            if cursor is not None:
                self._plan_next_look(is_more=self._follow(cursor))
                return
        except IndexUnavailableError:  # who writes to it tells that
            if cursor is None:
                self._begin_at = self._beside.monotonic() + _PAUSE_SECONDS  # each try may hold the loop up for seconds
        self._fold((), self._find_standing_states())  # what the daemon knows by itself is told all the same
        self._look_at = self._beside.monotonic() + _IDLE_SECONDS

    def _follow(self, cursor: Cursor) -> bool:
        """Take in what happened since the last look; True when there is more."""
        events: list[Event] = []
        upto = cursor.audit
        if self._pulse.has_beaten() or self._is_behind:
            self._is_behind = True
            events, upto = self._store.ask(read_events, cursor.audit, WANTED, MOST_EVENTS)
            self._freshness.learn(self._store, events)
        is_more = len(events) == MOST_EVENTS
        states = self._find_standing_states() | self._ask(cursor, is_behind=is_more)
        self._fold([seen for event in events if (seen := read_event(event)) is not None], states)
        self._cursor = cursor._replace(audit=upto)
        self._is_behind = is_more
        return is_more

    def _load(self) -> None:
        """Read what is written down, once; it can be read while another process holds it for writing."""
        if self._is_loaded:
            return
        rows, waiting = self._store.ask(load_alerts), self._store.ask(load_outbox)
        self._cursor = self._store.ask(load_cursor, FOLLOWER)
        written: Mapping[Key, Alert] = {(row.kind, row.subject): _read_row(row) for row in rows}
        self._alerts = join(written, self._alerts)
        self._sending.load(waiting)
        self._saved = self._cursor or self._saved[0], written, {(one.channel, one.message): one for one in waiting}
        self._is_loaded = True

    def _begin(self) -> Cursor | None:
        """Begin to follow the audit; None while it is not time for that."""
        if self._beside.monotonic() < self._begin_at or not self._beginning.may_begin(self._store, self._beside.board.latest):
            return None
        with self._store.batch() as batch:
            self._cursor = batch.tell(begin_following, FOLLOWER, self._beside.wall())
        return self._cursor

    def _find_standing_states(self) -> States:
        standing = self._beside.board.latest
        return {} if standing is None else find_standing_states(standing, self._find_open("root-frozen"))

    def _find_open(self, kind: str) -> set[str]:
        """Give what is open of a kind, by the names in its alerts."""
        return {alert.subject for alert in self._alerts.values() if alert.kind == kind and alert.ended_at is None}

    def _ask(self, cursor: Cursor, *, is_behind: bool) -> States:
        """Ask the index and what measures the disks, now and then.

        Args:
            cursor: how far the audit was followed.
            is_behind: there is more of it; then nobody knows what came last.
        """
        now, standing = self._beside.monotonic(), self._beside.board.latest
        if now < self._ask_at:
            return {}
        is_paused = standing is not None and standing.paused_until is not None
        job = None if standing is None else standing.job
        states = self._asking.ask(job, self._find_open("disk-low"), is_paused=is_paused)
        wall, since = self._beside.wall(), self._asking.since
        if not is_paused and not is_behind and (wall - since >= CATCH_UP_SECONDS or has_caught_up(standing, since)):
            self._freshness.believe(wall)
            states |= find_stale_states(self._freshness.newest, self._notify.freshness, cursor.since, wall)
        self._ask_at = now + self._notify.look_seconds
        return states

    def _fold(self, seen: Iterable[Seen], states: States) -> None:
        folded = fold(self._alerts, seen, states, self._rules, self._beside.wall())
        self._alerts = folded.alerts
        for message in folded.messages:
            _tell(message)
            self._sending.put(message)

    def _plan_next_look(self, *, is_more: bool) -> None:
        now = self._beside.monotonic()
        due = find_next(self._alerts.values(), self._rules)
        waits = [_BUSY_SECONDS if is_more else _IDLE_SECONDS]
        if due is not None:
            waits.append(max(_BUSY_SECONDS, due - self._beside.wall()))
        self._look_at = min(now + min(waits), self._ask_at)

    # — write down —

    def _save(self, *, waits: bool = True) -> None:
        """Write down what is new, in one transaction; while that can't be done it stays in memory and is tried again.

        Args:
            waits: for another process that writes; at the end nobody has the time.
        """
        cursor, alerts, waiting = self._saved
        now = self._beside.monotonic()
        if self._cursor is None or now < self._save_at or self._is_index_in_trouble():
            return
        is_moved = self._cursor != cursor
        if (
            alerts == self._alerts
            and waiting == self._sending.waiting
            and not (is_moved and now >= self._save_at + _SAVE_SECONDS)
        ):
            return
        try:
            with self._store.batch(waits=waits) as batch:
                self._write(batch, alerts, waiting)
        except IndexUnavailableError:
            self._save_at = self._beside.monotonic() + _PAUSE_SECONDS
            return
        self._save_at = now
        self._saved = self._cursor, self._alerts, dict(self._sending.waiting)

    def _is_index_in_trouble(self) -> bool:
        """Say whether others wait for the index already: each try may hold the loop up for seconds, and one of us is enough."""
        standing = self._beside.board.latest
        return standing is not None and standing.unwritten > 0

    def _write(self, batch: Batch, alerts: Mapping[Key, Alert], waiting: Mapping[Key, Waiting]) -> None:
        new = [_make_row(alert) for key, alert in self._alerts.items() if alerts.get(key) != alert]
        batch.tell(put_alerts, new, [key for key in alerts if key not in self._alerts])
        late = [one for key, one in self._sending.waiting.items() if waiting.get(key) != one]
        batch.tell(put_waiting, late, [key for key in waiting if key not in self._sending.waiting])
        batch.tell(put_cursor, FOLLOWER, self._cursor)


def make_rules(settings: Settings, host: str) -> Rules:
    """Give the rules of folding as the settings have them."""
    notify = settings.notify
    return Rules(host, notify.gather_seconds, notify.fold_seconds, notify.off, notify.severities)


def find_channels(settings: Settings) -> list[Channel]:
    """Give the channels that are set."""
    return [
        Channel(name, channel.model_dump(mode="json"), channel.min_severity)
        for name, channel in settings.notify.channels.items()
    ]


def _tell(message: Message) -> None:
    values = {"kind": message.kind, "subject": message.subject, "message": message.id, "count": message.count}
    if message.what is Happening.RESOLVED:
        _log.info("alert.resolved", **values)
        return
    tell = getattr(_log, message.severity)
    tell("alert.raised", **values, severity=message.severity, reason=message.text, cure=message.cure)


def _make_row(alert: Alert) -> AlertRow:
    return AlertRow(
        kind=alert.kind,
        subject=alert.subject,
        first_at=alert.first_at,
        last_at=alert.last_at,
        times=alert.count,
        untold=alert.untold,
        text=alert.text,
        examples=json.dumps(alert.examples),
        mark=alert.mark,
        told=alert.told,
        told_at=alert.told_at,
        said=alert.said,
        ended_at=alert.ended_at,
    )


def read_alerts(rows: Iterable[AlertRow]) -> list[Alert]:
    """Give the alerts that are written down; those that end a moment ago are among them."""
    return [_read_row(row) for row in rows if row.kind in KINDS]


def _read_row(row: AlertRow) -> Alert:
    try:
        examples = tuple(map(str, json.loads(row.examples)))
    except (ValueError, TypeError, RecursionError):
        examples = ()
    values = row._asdict() | {"examples": examples}
    values["count"] = values.pop("times")
    return Alert(**values)
