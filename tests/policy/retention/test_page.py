"""docs/policy.md says what the source does: every code with its meaning, and every rule and setting."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from ckptd.policy.retention.codes import ALERTS, REASONS, AlertCode, ReasonCode
from ckptd.policy.retention.rules import Policy

PROJECT = Path(__file__).parents[3]
PAGE = (PROJECT / "docs" / "policy.md").read_text()
SOURCES = sorted((PROJECT / "ckptd" / "policy" / "retention").glob("*.py"))
#: Of the policy as a value: settings of other tables have these names, or none.
ELSEWHERE = {"time_zone": "schedule.time_zone", "window_seconds": "seven days"}


def rows(heading):
    """Give the rows of the table below a heading as tuples of cells."""
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| `")]
    return [tuple(cell.strip() for cell in line.strip("|").split(" | ")) for line in lines]


def test_reasons():
    """Every code, what it does and when, in the order of the source."""
    assert rows("Reasons") == [(f"`{code}`", meaning.force.value, meaning.description) for code, meaning in REASONS.items()]
    assert set(REASONS) == set(ReasonCode)


def test_alerts():
    """Every code and when."""
    assert rows("Alerts") == [(f"`{code}`", description) for code, description in ALERTS.items()]
    assert set(ALERTS) == set(AlertCode)


@pytest.mark.parametrize("field", [field.name for field in fields(Policy)])
def test_every_part_of_the_policy_is_explained(field):
    """By the name of its setting."""
    assert ELSEWHERE.get(field, f"`{field}") in PAGE or f"{field} = " in PAGE


def test_codes_stand_in_the_table_and_nowhere_else():
    """No module makes up a code of its own."""
    for path in SOURCES:
        assert not re.findall(r"(?:Reason|Alert)\(\s*\"", path.read_text()), path
        if path.name != "codes.py":
            used = set(re.findall(r"(?:ReasonCode|AlertCode)\.([A-Z_]+)", path.read_text()))
            assert used <= set(ReasonCode.__members__) | set(AlertCode.__members__)


@pytest.mark.parametrize("code", [*(code for code in ReasonCode if code is not ReasonCode.FROZEN), *AlertCode])
def test_every_code_is_used(code):
    """A code that nothing gives is a promise that nothing keeps; "frozen" is given where plans are made for real."""
    name = f"{type(code).__name__}.{code.name}"
    assert any(name in path.read_text() for path in SOURCES if path.name != "codes.py")
