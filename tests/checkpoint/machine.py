"""Run pickle code on the closed machine, as the reader of a zip would, and give what came out as plain Python."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import pytest

from ckptd.checkpoint.budgets import BUDGETS, Budgets
from ckptd.checkpoint.opcodes import PickleError, run
from ckptd.checkpoint.tensors import Builder
from ckptd.checkpoint.values import OrderedDictValue
from tests.corpus import asm


def read(data: bytes, budgets: Budgets = BUDGETS) -> tuple[Any, Builder]:
    """Run a whole pickle; give its value and the host that made it."""
    host = Builder(budgets)
    value, end = run(data, 0, host, budgets)
    assert end == len(data)
    return value, host


def value_of(body: bytes, protocol: int = 2) -> Any:
    """Run the body of a pickle that nothing is wrong with."""
    value, host = read(asm.program(body, protocol))
    assert not host.problems
    return value


def codes_of(body: bytes, budgets: Budgets = BUDGETS, protocol: int = 2) -> list[str]:
    """Run a body that can be read to its end; give the codes of its problems."""
    return [problem.code for problem in read(asm.program(body, protocol), budgets)[1].problems]


def refusal(data: bytes, budgets: Budgets = BUDGETS) -> str:
    """Run a whole pickle that must be refused; give the code."""
    with pytest.raises(PickleError) as caught:
        read(data, budgets)
    assert caught.value.at is not None or " at byte " in str(caught.value) or caught.value.why
    return caught.value.code


def plain(value: Any) -> Any:
    """Turn OrderedDictValues into OrderedDicts, through all plain containers."""
    kind = type(value)
    if kind is OrderedDictValue:
        return OrderedDict((key, plain(part)) for key, part in value.items())
    if kind is dict:
        return {key: plain(part) for key, part in value.items()}
    if kind in (list, tuple):
        return kind(map(plain, value))
    return value


def same(ours: Any, theirs: Any) -> bool:
    """Compare by value and exact type, the order of dicts and the bits of floats included."""
    if type(ours) is not type(theirs):
        return False
    if isinstance(ours, dict):
        return len(ours) == len(theirs) and all(
            same(a, b) and same(x, y) for (a, x), (b, y) in zip(ours.items(), theirs.items(), strict=True)
        )
    if isinstance(ours, (list, tuple)):
        return len(ours) == len(theirs) and all(map(same, ours, theirs))
    if isinstance(ours, (set, frozenset)):
        return sorted(map(repr, ours)) == sorted(map(repr, theirs))
    return ours == theirs if not isinstance(ours, (float, complex)) else repr(ours) == repr(theirs)
