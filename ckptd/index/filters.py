"""What a query means: each comparison becomes a condition of SQL with its values as parameters.

Start at `parse_filter`.  Every condition is true or false and never unknown: what has no value fits no comparison, so
that `not` gives exactly the rest.  docs/queries.md is the page for people.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from sqlalchemy import ColumnElement, and_, exists, func, not_, or_

from ckptd.index.fields import FIELDS, Field, find_near, read_number
from ckptd.index.grammar import Comparison, Joined, Node, Not, parse, refuse
from ckptd.index.tables import contents, hyperparameters, metrics, places
from ckptd.text import escape

#: A condition on places joined with their contents.
Filter = ColumnElement[bool]

_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_METRIC, _HYPERPARAMETER = "metric.", "hp."
#: Hides the wildcards of LIKE in what a person typed.
_HIDE = "!"
#: As much of a text as a column holds.
_MOST_TEXT = 4_096
_MOST_NS = 2**63 - 1


def parse_filter(text: str, *, canonical: Callable[[str], str], now: float) -> Filter:
    """Turn a query into a condition.

    Args:
        text: as a person typed it.
        canonical: turns the spelling of a metric into its canonical name.
        now: seconds since the epoch, from which ages count.

    Raises:
        UsageError: it does not parse, or compares what can't be compared; the message has a caret under the place.
    """
    return _Translator(text, canonical, now).translate(parse(text))


class _Translator:
    """One query on its way to SQL."""

    def __init__(self, text: str, canonical: Callable[[str], str], now: float) -> None:
        self._text = text
        self._canonical = canonical
        self._now = now

    def translate(self, node: Node) -> Filter:
        match node:
            case Not(inner):
                return not_(self.translate(inner))
            case Joined(word, parts):
                return (and_ if word == "and" else or_)(*[self.translate(part) for part in parts])
            case _:
                return self._compare(node)

    def _compare(self, node: Comparison) -> Filter:
        name = node.field.text
        low = name.lower()
        if low in FIELDS:
            return self._compare_field(node, FIELDS[low])
        if low.startswith(_HYPERPARAMETER) and len(low) > len(_HYPERPARAMETER):
            return self._compare_hyperparameter(node, name[len(_HYPERPARAMETER) :])
        if low.startswith(_METRIC) and len(low) > len(_METRIC):
            return self._compare_metric(node, name[len(_METRIC) :])
        near = find_near(low)
        if near is not None:
            why = f'there is no field of this name; did you mean "{near}"?'
            refuse(self._text, node.field, why, f"a metric that is really called so is {_METRIC}{escape(name)}")
        return self._compare_metric(node, name)

    def _compare_field(self, node: Comparison, field: Field) -> Filter:
        self._check_operator(node, field.operators)
        if node.operator == "~":
            return and_(field.column.is_not(None), _contains(field.column, node.value.text))
        value = self._read(node, field.read)
        match field.kind:
            case "text":
                fits = _compare_text(node.operator, field.column, value)
            case "dtype":
                fits = _has_dtype(node.operator, value)
            case "digest":
                starts = field.column.startswith(value, autoescape=True)
                fits = starts if node.operator == "=" else not_(starts)
            case "date":  # as precise as the query: 2025-01 is every day of January
                fits = _OPERATORS[node.operator](func.substr(field.column, 1, len(value)), value)
            case "age":
                return _compare_age(node.operator, self._now - value)
            case _:
                fits = _OPERATORS[node.operator](field.column, value)
        return and_(field.column.is_not(None), fits)

    def _compare_metric(self, node: Comparison, spelling: str) -> Filter:
        self._check_operator(node, tuple(_OPERATORS))
        name = self._canonical(spelling)
        value = self._read(node, read_number, 'a metric is compared with a number or, as in "80%", a percentage')
        fits = _OPERATORS[node.operator](metrics.c.value, value)
        return exists().where(metrics.c.content == contents.c.key, metrics.c.name == escape(name), fits)

    def _compare_hyperparameter(self, node: Comparison, name: str) -> Filter:
        c, text = hyperparameters.c, node.value.text
        if node.operator == "~":
            fits = _contains(c.text, text)
        elif node.operator in ("=", "!="):
            fits = _equals_hyperparameter(text) if node.operator == "=" else not_(_equals_hyperparameter(text))
        else:
            value = self._read(node, read_number, "texts are compared by = != ~")
            fits = and_(c.number.is_not(None), _OPERATORS[node.operator](c.number, value))
        return exists().where(c.content == contents.c.key, func.lower(c.name) == func.lower(escape(name)), fits)

    def _check_operator(self, node: Comparison, allowed: tuple[str, ...]) -> None:
        if node.operator not in allowed:
            why = f"{escape(node.field.text)} is not compared by {node.operator}"
            refuse(self._text, node.sign, why, f"one of {' '.join(allowed)}")

    def _read(self, node: Comparison, read: Callable[[str], Any], cure: str = "") -> Any:
        try:
            return read(node.value.text)
        except ValueError as error:
            refuse(self._text, node.value, str(error), cure)


def _compare_text(sign: str, column: ColumnElement[str], text: str) -> Filter:
    low, wanted = func.lower(column), func.lower(escape(text, _MOST_TEXT))
    return low == wanted if sign == "=" else low != wanted


def _contains(column: ColumnElement[str], text: str) -> Filter:
    """Find `text` anywhere; with `*` or `?` in it, the whole value has to look like it."""
    shown = escape(text, _MOST_TEXT)
    hidden = "".join(_HIDE + char if char in f"%_{_HIDE}" else char for char in shown)
    if "*" in shown or "?" in shown:
        return column.ilike(hidden.replace("*", "%").replace("?", "_"), escape=_HIDE)
    return column.ilike(f"%{hidden}%", escape=_HIDE)


def _has_dtype(sign: str, name: str) -> Filter:
    column = contents.c.dtypes
    has = column.contains(f" {escape(name)} ", autoescape=True)
    return has if sign == "=" else not_(has)


def _compare_age(sign: str, since: float) -> Filter:
    """Compare the youngest of both times: last changed, and first seen here."""
    changed, seen = places.c.mtime_ns, places.c.first_seen_at
    since_ns = int(max(-_MOST_NS, min(since * 1e9, _MOST_NS)))
    match sign:
        case "<":
            return or_(changed > since_ns, seen > since)
        case "<=":
            return or_(changed >= since_ns, seen >= since)
        case ">":
            return and_(changed < since_ns, seen < since)
        case _:
            return and_(changed <= since_ns, seen <= since)


def _equals_hyperparameter(text: str) -> Filter:
    """Compare as a number where both are one, and else as text: "32" is 32, and 1e-3 is 0.001."""
    c = hyperparameters.c
    same = func.lower(c.text) == func.lower(escape(text, _MOST_TEXT))
    try:
        return or_(same, and_(c.number.is_not(None), c.number == read_number(text)))
    except ValueError:
        return same
