"""The fields of a query: which column each one is, how its values are written, and what it may be compared by."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement

from ckptd.index.tables import contents, places
from ckptd.model import Container, Kind, PlaceState, Status
from ckptd.settings.units import parse_duration, parse_size

_ORDER = ("=", "!=", "<", "<=", ">", ">=")
_TEXT = ("=", "!=", "~")
_MOST = 2**63 - 1

_NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?")
_COUNT = re.compile(r"(\d+(?:\.\d+)?)\s*([kmbgt]?)", re.IGNORECASE)
_SCALES = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9, "g": 10**9, "t": 10**12}
#: A date as precise as one likes: what is stored is compared by as many characters.
_DATE = re.compile(r"\d{4}(?:-\d{2}(?:-\d{2}(?:[T ]\d{2}(?::\d{2}(?::\d{2})?)?)?)?)?")
_DTYPES = {
    "fp64": "float64", "double": "float64", "fp32": "float32", "float": "float32", "fp16": "float16", "half": "float16",
    "bf16": "bfloat16", "long": "int64", "int": "int32", "short": "int16", "fp8": "float8",
}  # fmt: skip


def read_number(text: str) -> float:
    """Read a finite number; with "%" behind it a hundredth of it."""
    if _NUMBER.fullmatch(text.removesuffix("%")) is None:
        raise ValueError("this is no number")
    value = float(text.removesuffix("%"))
    if not math.isfinite(value):
        raise ValueError("this number is too large")
    return value / 100 if text.endswith("%") else value


def _read_count(text: str) -> float:
    """Read a count: "1000", "1.5M" (million), "2B" (billion)."""
    match = _COUNT.fullmatch(text)
    if match is None:
        raise ValueError('this is no count; write 1000, or "25M" for 25 million')
    return _whole(float(match[1]) * _SCALES[match[2].lower()]) if match[2] or "." in match[1] else _whole(int(match[1]))


def _read_size(text: str) -> float:
    try:
        return _whole(parse_size(text))  # type: ignore[arg-type]  # it is a text, so this is a number
    except ValueError:
        raise ValueError("this is no size; write bytes, or 10MB (millions), 10MiB (binary)") from None


def _read_duration(text: str) -> float:
    try:
        value = parse_duration(text)
    except ValueError:
        raise ValueError("this is no duration; write 30d, 12h, 2w or 1h30m") from None
    if not isinstance(value, int | float) or re.fullmatch(r"[\d.\s]+", text):
        raise ValueError("an age needs a unit: s, m, h, d or w, as in 30d")
    return float(value)


def _read_date(text: str) -> str:
    if _DATE.fullmatch(text) is None:
        raise ValueError("this is no date; write 2025-01-31, 2025-01 or 2025")
    return text.replace(" ", "T")


def _read_digest(text: str) -> str:
    if re.fullmatch(r"[0-9a-fA-F]{1,64}", text) is None:
        raise ValueError("this is no beginning of a digest; it is made of 0-9 and a-f")
    return text.lower()


def _read_dtype(text: str) -> str:
    name = text.lower().removeprefix("torch.")
    return _DTYPES.get(name, name)


def _whole(value: float) -> float:
    """Keep within what a column holds; what is larger compares like the largest."""
    return min(value, _MOST)


def _one_of(what: str, words: Iterable[str]) -> Callable[[str], str]:
    known = tuple(words)

    def read(text: str) -> str:
        if text.lower() in known:
            return text.lower()
        near = difflib.get_close_matches(text.lower(), known, n=1, cutoff=0.6)
        hint = f' (did you mean "{near[0]}"?)' if near else ""
        raise ValueError(f"this is no {what}{hint}; one of {', '.join(known)}")

    return read


def _as_text(text: str) -> str:
    return text


class Field(NamedTuple):
    """One field.

    Attributes:
        kind: how a comparison becomes SQL; see `filters`.
        column: that holds it.
        read: turns what was typed into a value; ValueError says what is wrong with it.
        operators: that make sense.
    """

    kind: str
    column: ColumnElement[Any]
    read: Callable[[str], Any] = _as_text
    operators: tuple[str, ...] = _TEXT


_c, _p = contents.c, places.c
_MODEL = Field("text", _c.model_name)
_ARCHITECTURE = Field("text", _c.architecture)

#: Everything that can be asked for by name; any other name is a metric.
FIELDS: dict[str, Field] = {
    "name": _MODEL,
    "model": _MODEL,
    "dataset": Field("text", _c.dataset),
    "arch": _ARCHITECTURE,
    "architecture": _ARCHITECTURE,
    "quantization": Field("text", _c.quantization),
    "stage": Field("text", _c.stage),
    "path": Field("text", _p.shown),
    "status": Field("word", _c.status, _one_of("status", Status)),
    "state": Field("word", _p.state, _one_of("state", PlaceState)),
    "kind": Field("word", _c.kind, _one_of("kind", Kind)),
    "container": Field("word", _c.container, _one_of("container", Container)),
    "epoch": Field("number", _c.epoch, _read_count, _ORDER),
    "step": Field("number", _c.step, _read_count, _ORDER),
    "parameters": Field("number", _c.parameters, _read_count, _ORDER),
    "size": Field("number", _p.size, _read_size, _ORDER),
    "date": Field("date", _c.date, _read_date, _ORDER),
    "age": Field("age", _p.mtime_ns, _read_duration, ("<", "<=", ">", ">=")),
    "dtype": Field("dtype", _c.dtypes, _read_dtype),
    "sha256": Field("digest", _p.sha256, _read_digest, ("=", "!=")),
}


def find_near(name: str, known: Iterable[str] = FIELDS) -> str | None:
    """Find the field that a name was probably meant to be; None when it may well be a metric.

    Short names are left alone unless letters only changed places: `mae` is a metric and no misspelt `name`.
    """
    for field in known:
        if sorted(field) == sorted(name) and field != name:
            return field
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.8) if len(name) >= 5 else []
    return near[0] if near else None
