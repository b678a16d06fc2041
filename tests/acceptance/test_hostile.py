"""Hostile files: never ok, named for what they are, quick, and nothing of them is ever run."""

from __future__ import annotations

import pickle
import tempfile
from pathlib import Path

import pytest

from ckptd.model import Status
from tests.acceptance.verdicts import Verdicts, inspect_all
from tests.corpus import gadgets, hostile, oddities

#: The gadgets name this file; it lies where a gadget could really make it.
_CANARY = Path(tempfile.gettempdir()) / "ckptd-canary"
_CASES = [*hostile.cases(str(_CANARY)), *oddities.cases()]


@pytest.fixture(scope="module")
def verdicts() -> Verdicts:
    _CANARY.unlink(missing_ok=True)
    return inspect_all(_CASES, _CANARY)


@pytest.mark.parametrize("case", _CASES, ids=lambda case: case.name)
def test_the_answer_is_right(case, verdicts):
    """Each file gets a status that fits the rule it breaks, and some finding says why."""
    line = verdicts.of(case)
    assert Status(line["status"]) in case.expected.statuses, f"{case.rule}: {line['findings']}"
    assert line["status"] == Status.OK or any(finding[1] != "info" for finding in line["findings"])


def test_nothing_is_run(verdicts):
    """No import, no process, no other file, no code object: the reader does nothing but read."""
    noisy = {name: line["events"] for name, line in verdicts.lines.items() if line["events"]}
    assert not noisy
    assert not verdicts.canary.exists()


def test_nothing_costs_much(verdicts):
    """Bombs stay bombs only for others: they cost a second or two where a naive reader takes hours, and 500 MB at most."""
    slow = {name: line["cpu_seconds"] for name, line in verdicts.lines.items() if line["cpu_seconds"] > 15}
    assert not slow
    assert max(line["peak_bytes"] for line in verdicts.lines.values()) < 500e6


def test_messages_are_harmless(verdicts):
    """Whatever a file is called inside, what is said about it can be printed on a terminal."""
    for line in verdicts.lines.values():
        for _, _, message, tensors in line["findings"]:
            assert all(text.isprintable() for text in (message, *tensors))


def test_the_canary_sings(tmp_path):
    """The gadgets are real: an unpickler that runs them makes the canary."""
    canary = tmp_path / "canary"
    pickle.loads(pickle.dumps(gadgets.Payload(str(canary))))
    assert canary.exists()
