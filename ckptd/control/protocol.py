"""What goes over the socket: one request, its descriptors, one answer; both bounded and checked.

A request is one line of JSON.  The answer is one line too: an exit status, and perhaps a sentence or a value.  Where a command
is run, a line comes before it with the reading ends of two pipes: its output and its complaints.  The asker's own descriptors
stay his: nobody who only claims to be the daemon gets hold of his terminal.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from ckptd.errors import CkptdError
from ckptd.model import Json

#: The longest request, its newline included: some hundred names.
MOST_REQUEST_BYTES = 64 << 10
#: The longest answer.
MOST_ANSWER_BYTES = 1 << 20
MOST_ARGUMENTS = 1_000
#: Key in the value of the line that brings the pipes.
STREAMS = "streams"

#: What is answered at once, the first of them without the loop; and what runs a command line.
STATUS, PAUSE, RESUME, RELOAD, RUN = "status", "pause", "resume", "reload", "run"
_WHATS = frozenset({STATUS, PAUSE, RESUME, RELOAD, RUN})


class RequestError(CkptdError):
    """What came is no request."""

    exit_status = 2


class NotReachableError(CkptdError):
    """No daemon answers, or it does not answer this user."""

    exit_status = 4


class SilentError(CkptdError):
    """A daemon listens, and does not answer."""

    exit_status = 1


@dataclass(frozen=True, slots=True)
class Asked:
    """What somebody asks.

    Attributes:
        what: one of the words above; `RUN` runs a command line.
        arguments: of the command line, the program's name left out.
        roots: those that the asker means, absolute and with links resolved; empty when any daemon will do.
        config: absolute path of a settings file: the daemon that reads it is meant too, whatever its roots; "" for none.
        seconds: of a pause.
        zone: time zone of the asker as TZ has it; "" for the daemon's.
        columns: width of the asker's terminal; 0 when there is none.
        colors: whether it is to have colours.
    """

    what: str
    arguments: tuple[str, ...] = ()
    roots: tuple[str, ...] = ()
    config: str = ""
    seconds: float = 0.0
    zone: str = ""
    columns: int = 0
    colors: bool = False

    def to_line(self) -> bytes:
        """Write it as one line.

        Raises:
            RequestError: it is longer than may be.
        """
        value = {name: getattr(self, name) for name in self.__dataclass_fields__}
        line = json.dumps(value).encode("ascii") + b"\n"
        if len(line) > MOST_REQUEST_BYTES:
            why = f"the command line has {len(line)} bytes, {MOST_REQUEST_BYTES} at most"
            raise RequestError("ask the daemon", why=why, cure="name fewer at once")
        return line

    @classmethod
    def from_line(cls, line: bytes) -> Self:
        """Read a line that nobody vouches for.

        Raises:
            RequestError: it is something else.
        """
        value = _read(line)
        try:
            asked = cls(
                what=_check(value["what"], str),
                arguments=tuple(_check(one, str) for one in _check(value.get("arguments", []), list)),
                roots=tuple(_check(one, str) for one in _check(value.get("roots", []), list)),
                config=_check(value.get("config", ""), str),
                seconds=float(_check(value.get("seconds", 0.0), float | int)),
                zone=_check(value.get("zone", ""), str),
                columns=_check(value.get("columns", 0), int),
                colors=_check(value.get("colors", False), bool),
            )
        except (KeyError, TypeError, OverflowError) as error:
            raise RequestError("understand a request", why="it has not the form of one") from error
        if asked.what not in _WHATS or len(asked.arguments) > MOST_ARGUMENTS:
            raise RequestError("understand a request", why="it asks for nothing that there is")
        if any("\0" in text for text in (*asked.arguments, *asked.roots, asked.config, asked.zone)):
            raise RequestError("understand a request", why="a text in it has a zero byte")
        return asked


@dataclass(frozen=True, slots=True)
class Answer:
    """What the daemon says to it.

    Attributes:
        status: exit status of the command.
        problem: why it was not done, in a sentence; empty when it was.
        value: what was asked for.
    """

    status: int = 0
    problem: str = ""
    value: Mapping[str, Json] = field(default_factory=dict)

    def to_line(self) -> bytes:
        """Write it as one line."""
        return json.dumps({"status": self.status, "problem": self.problem, "value": dict(self.value)}).encode("ascii") + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> Self:
        """Read the daemon's line.

        Raises:
            RequestError: it is something else.
        """
        value = _read(line)
        try:
            status, problem = _check(value["status"], int), _check(value["problem"], str)
            return cls(status, problem, _check(value["value"], dict))
        except (KeyError, TypeError) as error:
            raise RequestError("understand the daemon", why="it speaks otherwise; is it of another version?") from error


def _read(line: bytes) -> dict[str, Any]:
    try:
        value = json.loads(line.decode("ascii"), parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise RequestError("understand a request", why="it is not JSON") from error
    if type(value) is not dict:
        raise RequestError("understand a request", why="it is not an object")
    return value


def _refuse(name: str) -> float:
    raise ValueError(name)


def _check(value: Any, kind: Any) -> Any:
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise TypeError(kind)
    return value
