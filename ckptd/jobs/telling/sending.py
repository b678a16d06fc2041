"""The outbox: what waits for each channel, and the processes that send it, at most one for each channel.

In order for each alert: a message is sent when those before it about the same thing were taken or given up, so that no
"resolved" overtakes its "raised", which would stay open at the receiver for ever.
"""

from __future__ import annotations

import json
import selectors
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import structlog

from ckptd.errors import WorkerError
from ckptd.index.alerting import Waiting
from ckptd.jobs.programs import Programs
from ckptd.model import Severity
from ckptd.notify.delivering import MOST_AT_ONCE, Answer, find_limit, read_answers, start_delivery
from ckptd.notify.interface import Options
from ckptd.notify.message import Message
from ckptd.notify.retrying import MOST_WAITING, find_next_delivery, is_due
from ckptd.notify.running import Ended, Running

_log = structlog.get_logger()

_WEIGHTS = [severity.value for severity in Severity]
#: Starts a process that sends; a test brings one that sends nothing.
Start = Callable[[str, Options, list[str]], Running]
#: Channel and message.
Key = tuple[str, str]
#: Channel, kind and subject: what is sent in order.
_Line = tuple[str, str, str]
#: By so much a message is later than the one before it of the same alert, whatever the clock says: they are read back by time.
_STEP_SECONDS = 0.001


@dataclass(frozen=True, slots=True)
class Channel:
    """One channel as the settings have it.

    Attributes:
        options: plain JSON, for the process that sends.
        min_severity: what is less severe is not sent this way.
    """

    name: str
    options: Options
    min_severity: str

    def wants(self, message: Message) -> bool:
        """Say whether a message is sent this way."""
        return _WEIGHTS.index(message.severity) >= _WEIGHTS.index(self.min_severity)


class Sending:
    """Keep messages until their channels took them.

    Threading: belongs to the loop.

    Attributes:
        waiting: what waits or is on its way; written down by the caller.

    Args:
        channels: that are set.
        selector: of the loop.
        wall: seconds since the epoch, for what is written down.
        monotonic: for the time limits.
        start: starts a process that sends.
    """

    def __init__(
        self,
        channels: Iterable[Channel],
        selector: selectors.BaseSelector,
        *,
        wall: Callable[[], float],
        monotonic: Callable[[], float],
        start: Start = start_delivery,
    ) -> None:
        self.waiting: dict[Key, Waiting] = {}
        self._lines: dict[Key, _Line] = {}
        self._channels: Mapping[str, Channel] = {channel.name: channel for channel in channels}
        self._programs: Programs[str] = Programs(selector, monotonic)
        self._sent: dict[str, list[Key]] = {}
        self._wall = wall
        self._monotonic = monotonic
        self._start = start

    def load(self, waiting: Iterable[Waiting]) -> None:
        """Take over what waited when the daemon ended; what is for a channel that there is no more is forgotten."""
        written = {(one.channel, one.message): one for one in waiting if one.channel in self._channels}
        self.waiting = written | self.waiting  # what was told before these could be read came after them

    def put(self, message: Message) -> None:
        """Send a message by every channel that wants it."""
        for name, channel in self._channels.items():
            if channel.wants(message):
                line = name, message.kind, message.subject
                before = [one.made_at for key, one in self.waiting.items() if self._line_of(key) == line]
                made_at = max((message.at, *(at + _STEP_SECONDS for at in before)))
                self.waiting[name, message.id] = Waiting(name, message.id, message.to_json(), made_at)
                self._drop_oldest(name)

    def step(self) -> None:
        """Take what the processes answered, and start those that have something to send; never waits."""
        for name, ended in self._programs.collect():
            self._take(name, ended)
        for name, channel in self._channels.items():
            if name not in self._programs:
                self._send(channel)

    def next_due(self) -> float | None:
        """Say when `step` has something to do that no descriptor tells, monotonic seconds."""
        now = self._wall()
        idle = [self.waiting[key].next_at for key in self._find_heads() if key[0] not in self._programs]
        times = [self._monotonic() + max(0.0, 0.0 if is_due(at, now) else at - now) for at in idle]
        limit = self._programs.next_due()
        return min((*times, *([] if limit is None else [limit])), default=None)

    def close(self) -> None:
        """End what is on its way; what no channel has taken by then is sent again, under the same id."""
        for name, ended in self._programs.close():
            answers = _read(ended)
            for key in self._sent.pop(name, []):
                self._note_taken(key, answers)

    def _send(self, channel: Channel) -> None:
        now = self._wall()
        due = [key for key in self._find_heads() if key[0] == channel.name and is_due(self.waiting[key].next_at, now)]
        if not due:
            return
        keys = due[:MOST_AT_ONCE]
        self._sent[channel.name] = keys
        try:
            running = self._start(channel.name, channel.options, [self.waiting[key].body for key in keys])
            self._programs.watch(channel.name, running, find_limit(channel.options, len(keys)))
        except WorkerError as error:
            self._note(channel.name, {}, str(error))

    def _take(self, name: str, ended: Ended) -> None:
        self._note(name, _read(ended), ended.trouble or "the process that sends said nothing of it")

    def _note(self, name: str, answers: Mapping[str, Answer], otherwise: str) -> None:
        sent = self._sent.pop(name, [])
        is_well = False
        for key in sent:
            if self._note_taken(key, answers):
                is_well = True
            elif key in self.waiting:
                answer = answers.get(key[1])
                self._note_failed(key, self.waiting[key], otherwise if answer is None else answer.trouble)
        if is_well:
            self._hurry(name, but=sent)

    def _note_taken(self, key: Key, answers: Mapping[str, Answer]) -> bool:
        """Say whether a message was taken; it waits no more then."""
        one, answer = self.waiting.get(key), answers.get(key[1])
        if one is None or answer is None or answer.trouble:
            return False
        self._drop(key)
        _tell_delivered(one, answer.remark)
        return True

    def _hurry(self, name: str, *, but: Collection[Key]) -> None:
        """Send all that waits for a channel at once: it took something.  What it refused just now keeps its time."""
        for key, one in self.waiting.items():
            if key[0] == name and key not in but:
                self.waiting[key] = one._replace(next_at=0.0)

    def _find_heads(self) -> list[Key]:
        """Give the first message of each alert for each channel: those behind it wait for it."""
        heads: dict[_Line, Key] = {}
        for key in self.waiting:
            heads.setdefault(self._line_of(key), key)
        return list(heads.values())

    def _line_of(self, key: Key) -> _Line:
        """Say which alert a message is about; what somebody wrote into the outbox by hand is about itself."""
        if key not in self._lines:
            try:
                value = json.loads(self.waiting[key].body)
                self._lines[key] = key[0], str(value["kind"]), str(value["subject"])
            except (ValueError, TypeError, LookupError, RecursionError):
                self._lines[key] = key[0], "", key[1]
        return self._lines[key]

    def _drop(self, key: Key) -> None:
        del self.waiting[key]
        self._lines.pop(key, None)

    def _note_failed(self, key: Key, one: Waiting, trouble: str) -> None:
        now, failures = self._wall(), one.failures + 1
        one = one._replace(made_at=min(one.made_at, now))  # under a clock that was ahead it would wait for days more
        again = find_next_delivery(failures, one.made_at, now)
        for other, behind in self.waiting.items():  # they were not taken either, and are given up in their turn
            if other != key and self._line_of(other) == self._line_of(key):
                self.waiting[other] = behind._replace(failures=behind.failures + 1)
        values: dict[str, Any] = {"channel": one.channel, "message": one.message, "failures": failures, "reason": trouble}
        _log.warning("alert.undelivered", **values, again=again is not None)
        if again is None:
            self._drop(key)
        else:
            self.waiting[key] = one._replace(failures=failures, next_at=again, trouble=trouble)

    def _drop_oldest(self, name: str) -> None:
        mine = [key for key in self.waiting if key[0] == name]
        for key in mine[: max(0, len(mine) - MOST_WAITING)]:
            values = {"channel": name, "message": key[1], "failures": self.waiting[key].failures}
            _log.warning("alert.undelivered", **values, reason="too many wait for this channel", again=False)
            self._drop(key)


def _read(ended: Ended) -> dict[str, Answer]:
    """Read what a delivery answered, by message."""
    return {answer.message: answer for answer in read_answers(ended.output)}


def _tell_delivered(one: Waiting, remark: str) -> None:
    values: dict[str, Any] = {"channel": one.channel, "message": one.message, "failures": one.failures}
    if remark:
        _log.warning("alert.delivered", **values, reason=remark)
    else:
        _log.info("alert.delivered", **values)
