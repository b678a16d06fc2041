"""The words of a query and how they are joined: text → a tree of comparisons, and a caret under what is wrong.

What a field means and what it may be compared with is in `filters`; docs/queries.md is the page for people.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import NamedTuple, NoReturn

from ckptd.errors import UsageError
from ckptd.text import escape

#: Bounds of one query; a person's has three comparisons.  The database takes expressions of a depth of 1,000.
MOST_CHARACTERS = 4_000
MOST_COMPARISONS = 100
MOST_DEPTH = 50

_TOKEN = re.compile(
    r"""(?P<space>\s+)
      | (?P<quoted>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
      | (?P<operator>!=|<=|>=|==|=|<|>|~)
      | (?P<bracket>[()])
      | (?P<word>[^\s()"'=<>~!]+)""",
    re.VERBOSE | re.DOTALL,
)
_KEYWORDS = frozenset(("and", "or", "not"))
_SYMBOLS = {"&&": "and", "&": "and", "||": "or", "|": "or", ",": "and"}


class Token(NamedTuple):
    """One word of a query.

    Attributes:
        kind: "quoted", "operator", "bracket", "word", or "end".
        text: without its quotes.
        start, end: characters of the query that it takes.
    """

    kind: str
    text: str
    start: int
    end: int

    @property
    def is_operand(self) -> bool:
        """Say whether it can be a field or a value."""
        return self.kind == "quoted" or (self.kind == "word" and self.text.lower() not in _KEYWORDS)

    def is_word(self, word: str) -> bool:
        """Say whether it is a keyword."""
        return self.kind == "word" and self.text.lower() == word


@dataclass(frozen=True, slots=True)
class Comparison:
    """`field sign value`."""

    field: Token
    sign: Token
    value: Token

    @property
    def operator(self) -> str:
        """One of = != < <= > >= ~."""
        return "=" if self.sign.text == "==" else self.sign.text


@dataclass(frozen=True, slots=True)
class Not:
    """What does not fit."""

    inner: Node


@dataclass(frozen=True, slots=True)
class Joined:
    """What fits all of its parts ("and") or any of them ("or")."""

    word: str
    parts: tuple[Node, ...]


Node = Comparison | Not | Joined


def parse(text: str) -> Node:
    """Read a query.

    Raises:
        UsageError: it is none; the message has a caret under the place.
    """
    if len(text) > MOST_CHARACTERS:
        raise UsageError("read the query", why=f"it has more than {MOST_CHARACTERS:,} characters")
    parser = _Parser(text)
    node = parser.read_any(0)
    token = parser.token
    if token.kind == "bracket":
        refuse(text, token, "this bracket was never opened")
    if token.kind != "end":
        word = _SYMBOLS.get(token.text)
        cure = f'write "{word}"' if word else 'join comparisons by "and" or "or"; a value with spaces needs quotes'
        refuse(text, token, "the query should end here or go on with and, or", cure)
    return node


def refuse(text: str, token: Token, why: str, cure: str = "") -> NoReturn:
    """Raise the error that shows the query with a caret under `token`."""
    start = max(0, token.start - 60)
    shown = _show(text[start : token.end + 40])
    before, under = _show(text[start : token.start]), _show(text[token.start : token.end])
    caret = " " * _width(before) + "^" * max(1, min(_width(under), 60))
    raise UsageError("read the query", why=f"{why}\n  {shown}\n  {caret}", cure=cure)


def _show(text: str) -> str:
    """Escape text in a way that a part of it looks the same as it does in the whole."""
    return "".join(" " if unicodedata.category(char) == "Zs" else escape(char) for char in text)


def _width(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 0 if unicodedata.combining(char) else 1 for char in text)


def _read_tokens(text: str) -> list[Token]:
    tokens, at = [], 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            _refuse_character(text, at)
        kind = match.lastgroup or ""
        if kind == "quoted":
            tokens.append(Token(kind, re.sub(r"\\(.)", r"\1", match[0][1:-1], flags=re.DOTALL), at, match.end()))
        elif kind != "space":
            tokens.append(Token(kind, match[0], at, match.end()))
        at = match.end()
    tokens.append(Token("end", "", len(text), len(text)))
    return tokens


def _refuse_character(text: str, at: int) -> NoReturn:
    if text[at] in "\"'":
        refuse(text, Token("", "", at, len(text)), "this quote has no end")
    refuse(text, Token("", "", at, at + 1), "this is no operator", 'write "!=", or "not" before a comparison')


class _Parser:
    """A reader of one query, one word ahead."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = _read_tokens(text)
        self._at = 0
        self._comparisons = 0

    @property
    def token(self) -> Token:
        return self._tokens[self._at]

    def _next(self) -> Token:
        self._at += 1
        return self._tokens[self._at - 1]

    def read_any(self, depth: int) -> Node:
        parts = [self._read_all(depth)]
        while self.token.is_word("or"):
            self._next()
            parts.append(self._read_all(depth))
        return parts[0] if len(parts) == 1 else Joined("or", tuple(parts))

    def _read_all(self, depth: int) -> Node:
        parts = [self._read_one(depth)]
        while self.token.is_word("and"):
            self._next()
            parts.append(self._read_one(depth))
        return parts[0] if len(parts) == 1 else Joined("and", tuple(parts))

    def _read_one(self, depth: int) -> Node:
        token = self.token
        if depth > MOST_DEPTH:
            refuse(self._text, token, f"brackets and nots are nested deeper than {MOST_DEPTH}")
        if token.is_word("not"):
            self._next()
            return Not(self._read_one(depth + 1))
        if token.kind == "bracket" and token.text == "(":
            self._next()
            inner = self.read_any(depth + 1)
            if self.token.text != ")" or self.token.kind != "bracket":
                refuse(self._text, self.token, "a closing bracket is missing here")
            self._next()
            return inner
        return self._read_comparison()

    def _read_comparison(self) -> Comparison:
        field = self.token
        if not field.is_operand:
            refuse(self._text, field, "a field should stand here", "as in accuracy>0.8 and dataset=ECG")
        self._next()
        sign = self.token
        if sign.kind != "operator":
            refuse(self._text, sign, "an operator should stand here", "one of = != < <= > >= ~")
        self._next()
        value = self.token
        if not value.is_operand:
            quotes = f'put it in quotes: "{value.text}"' if value.kind == "word" else "as in accuracy>0.8"
            refuse(self._text, value, "a value should stand here", quotes)
        self._next()
        self._comparisons += 1
        if self._comparisons > MOST_COMPARISONS:
            refuse(self._text, field, f"there are more than {MOST_COMPARISONS} comparisons")
        return Comparison(field, sign, value)
