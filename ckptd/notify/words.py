"""A message in words, for people."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from ckptd.notify.message import Happening, Message
from ckptd.text import escape

_MOST_LINE = 2_000


def describe(message: Message) -> str:
    """Write a message as a few lines; what is in it is escaped already, but for what somebody wrote into the outbox by hand."""
    return "".join(f"{escape(line, _MOST_LINE)}\n" for line in _lines(message))


def _lines(message: Message) -> Iterator[str]:
    yield message.headline.removeprefix("[ckptd] ")
    yield ""
    if message.text:
        yield message.text
    if message.new > 1:
        yield from ("", *(f"  {example}" for example in message.examples))
        if message.new > len(message.examples):
            yield f"  and {message.new - len(message.examples):,} more"
    if message.cure:
        yield from ("", f"What to do: {message.cure}.")
    yield ""
    if message.what is not Happening.TEST:
        times = "once" if message.count == 1 else f"{message.count:,} times"
        yield f"Seen {times}, first at {_time(message.first_at)}, last at {_time(message.last_at)}."
    yield f"{message.kind} ({message.severity}), message {message.id}, from ckptd on {message.host}"


def _time(seconds: float) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (OverflowError, OSError, ValueError):
        return "-"
