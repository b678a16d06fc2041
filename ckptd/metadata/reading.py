"""Read a JSON document that a person may have written, and know where in the text each value stands.

What a person wrote is never written again from its parsed form: 1.0 and 1e0, a number of 40 digits, the order of keys and
the spaces between them would not survive.  So a document is kept as text, and a change replaces the text of one value.
Documents of which two readers may have two opinions (duplicate keys, NaN) or that are no documents are refused.
"""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple, NoReturn

#: A sidecar of ours has a few kilobytes; no person writes a megabyte of JSON by hand.
MOST_BYTES = 1 << 20
#: Deeper nesting than this is nobody's metadata, and a danger to whoever walks it.
MOST_DEPTH = 64

_SPACE = re.compile(r"[ \t\n\r]*")
# A string without an end matches too: to try again from each quote in it would take quadratic time.
_BRACKETS = re.compile(r'"(?:[^"\\]|\\.)*+"?|[\[{]|[\]}]', re.DOTALL)
#: Longer integers would cost quadratic time; Python itself refuses them from 4,300 digits on.
_MOST_DIGITS = 400


class BrokenError(Exception):
    """Text that is no document we can work with; the message says why, for a person."""


class Member(NamedTuple):
    """A value and the part of the text in which it stands."""

    value: Any
    start: int
    end: int


class Document(NamedTuple):
    """A JSON object as its text and its members, in their order; `start` and `end` are those of its braces."""

    text: str
    members: dict[str, Member]
    start: int
    end: int

    def raw(self, key: str) -> str:
        """Give a value in its own spelling."""
        member = self.members[key]
        return self.text[member.start : member.end]

    def inner(self, key: str) -> Document:
        """Give the object that is the value of a key, in the same text."""
        return _read_object(self.text, self.members[key].start)

    def replaced(self, key: str, text: str) -> str:
        """Give the whole text with another value for one key."""
        member = self.members[key]
        return self.text[: member.start] + text + self.text[member.end :]


def read_document(data: bytes) -> Document:
    """Read a JSON object in UTF-8; a byte order mark at its start stays where it is.

    Raises:
        BrokenError: it is none, or one that two readers may understand in two ways.
    """
    if len(data) > MOST_BYTES:
        raise BrokenError(f"it is larger than {MOST_BYTES >> 20} MiB")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise BrokenError(f"it is not UTF-8 at byte {error.start}") from error
    _check_depth(text)
    try:
        document = _read_object(text, 1 if text.startswith("\ufeff") else 0)
    except json.JSONDecodeError as error:
        raise BrokenError(f"it is not JSON: {error.msg.lower()} at line {error.lineno}, column {error.colno}") from error
    except RecursionError as error:
        raise BrokenError("it is nested too deeply") from error
    if _skip(text, document.end) != len(text):
        raise BrokenError("something follows its closing brace")
    return document


def _check_depth(text: str) -> None:
    if text.count("[") + text.count("{") <= MOST_DEPTH:
        return
    depth = 0
    for match in _BRACKETS.finditer(text):
        if match[0] in "[{":
            depth += 1
            if depth > MOST_DEPTH:
                raise BrokenError(f"it is nested deeper than {MOST_DEPTH}")
        elif match[0] in "]}":
            depth -= 1


def _read_object(text: str, at: int) -> Document:
    start = at = _skip(text, at)
    if text[at : at + 1] != "{":
        raise BrokenError("it is not a JSON object")
    members: dict[str, Member] = {}
    at = _skip(text, at + 1)
    if text[at : at + 1] == "}":
        return Document(text, members, start, at + 1)
    while True:
        key, at = _read_key(text, at)
        value, end = _DECODER.raw_decode(text, at)
        if key in members:
            raise BrokenError("a key stands in it twice")
        members[key] = Member(value, at, end)
        at = _skip(text, end)
        if text[at : at + 1] == "}":
            return Document(text, members, start, at + 1)
        if text[at : at + 1] != ",":
            raise json.JSONDecodeError("Expecting ',' delimiter", text, at)
        at = _skip(text, at + 1)


def _read_key(text: str, at: int) -> tuple[str, int]:
    if text[at : at + 1] != '"':
        raise json.JSONDecodeError("Expecting property name enclosed in double quotes", text, at)
    key, at = _DECODER.raw_decode(text, at)
    at = _skip(text, at)
    if text[at : at + 1] != ":":
        raise json.JSONDecodeError("Expecting ':' delimiter", text, at)
    return key, _skip(text, at + 1)


def _skip(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise BrokenError("a key stands in it twice")
    return members


def _no_number(text: str) -> NoReturn:
    raise BrokenError(f"{text} is not JSON")


def _integer(text: str) -> int | float:
    return int(text) if len(text) <= _MOST_DIGITS else float(text)


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_number, parse_int=_integer)
