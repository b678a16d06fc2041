"""What is told: one message, as JSON for programs and as a few lines for people.  Bounded, and every text in it is escaped."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from ckptd.errors import FormatError
from ckptd.text import escape

#: Examples in a message, and characters of each and of any other text.
MOST_EXAMPLES = 10
MOST_TEXT = 500
#: Bytes of a message as JSON: ten times more than those bounds let it be.
MOST_BYTES = 256 << 10


class Happening(StrEnum):
    """What a message says of its alert."""

    RAISED = "raised"
    REPEATED = "repeated"
    RESOLVED = "resolved"
    TEST = "test"


@dataclass(frozen=True, slots=True)
class Message:
    """One message.

    Attributes:
        id: the same for every try to deliver it, so that a receiver drops doubles.
        what: raised, repeated, resolved or test.
        kind: of the alert.
        severity: info, warning or error.
        subject: what it is about: a root, a job, a group, a directory; escaped.
        title: what it is, in a few words.
        text: what is so, in one sentence; escaped.
        cure: what to do.
        host: of the daemon.
        count: how often it was seen since the alert was opened.
        new: how often since the message before.
        first_at, last_at, at: seconds since the epoch: first and last time it was seen, and when this message was made.
        examples: some of what was seen since the message before, escaped.
    """

    id: str
    what: Happening
    kind: str
    severity: str
    subject: str
    title: str
    text: str
    cure: str
    host: str
    count: int
    new: int
    first_at: float
    last_at: float
    at: float
    examples: tuple[str, ...] = ()

    @property
    def headline(self) -> str:
        """Say it in one line, without a line break whatever is in it."""
        number = f"{self.new:,} × " if self.new > 1 else ""
        state = {Happening.RESOLVED: "resolved", Happening.TEST: "test"}.get(self.what, self.severity)
        return escape(f"[ckptd] {state}: {number}{self.title}: {self.subject} ({self.host})", MOST_TEXT)

    def to_json(self) -> str:
        """Write it as one line of ASCII."""
        return json.dumps({"version": 1, **asdict(self)}, allow_nan=False)

    @classmethod
    def from_json(cls, text: str | bytes) -> Message:
        """Read what `to_json` wrote.

        Raises:
            FormatError: somebody else wrote it.
        """
        try:
            value: dict[str, Any] = json.loads(text)
            del value["version"]
            return cls(**{**value, "what": Happening(value["what"]), "examples": tuple(map(str, value["examples"]))})
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise FormatError("read a message", why=f"it is none: {error}") from error


def make_id(*parts: object) -> str:
    """Make an id out of what makes a message this one and no other; the same parts give the same id after a kill."""
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=16).hexdigest()


def bounded(text: str, limit: int = MOST_TEXT) -> str:
    """Escape a text that may come out of a file, and cut it."""
    return escape(text, limit)
