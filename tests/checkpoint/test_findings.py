"""From findings to a status: every code by itself, and every pair in both orders."""

from __future__ import annotations

from itertools import permutations

import pytest

from ckptd.checkpoint.findings import FINDINGS, Problem, finding, judge
from ckptd.model import Severity, Status

#: Weight → status alone, with a CRC that vouches for the pickle and without one.
ALONE = {
    "danger": (Status.UNSAFE, Status.UNSAFE),
    "deceit": (Status.UNSAFE, Status.UNSAFE),
    "odd": (Status.UNSAFE, Status.DAMAGED),
    "damage": (Status.DAMAGED, Status.DAMAGED),
    "code": (Status.NEEDS_CODE, Status.NEEDS_CODE),
    "foreign": (Status.NOT_A_CHECKPOINT, Status.NOT_A_CHECKPOINT),
    "unreadable": (Status.UNREADABLE, Status.UNREADABLE),
    "failed": (Status.FAILED, Status.FAILED),
    "note": (Status.OK, Status.OK),
}
#: Strongest first: what a file is when several are true of it.
ORDER = ["unreadable", "failed", "foreign", "danger", "damage", "deceit", "odd", "code", "note"]


def _one(weight: str) -> str:
    return next(code for code, meaning in FINDINGS.items() if meaning.weight == weight)


def test_nothing_found_is_ok():
    """A file without findings is ok."""
    assert judge([], checked=True) is Status.OK
    assert judge([], checked=False) is Status.OK


@pytest.mark.parametrize("code", FINDINGS)
def test_a_code_alone_gives_its_status(code):
    """Each code has a weight of the table, a severity that fits it, and a sentence."""
    meaning = FINDINGS[code]
    found = finding(code, "why")
    assert (judge([found], checked=True), judge([found], checked=False)) == ALONE[meaning.weight]
    expected = {"note": {Severity.INFO, Severity.WARNING}, "code": {Severity.WARNING}}
    assert meaning.severity in expected.get(meaning.weight, {Severity.ERROR})
    assert found.severity is meaning.severity
    assert meaning.description.endswith(".")
    assert code == code.lower().replace("_", "-").replace(" ", "-")


@pytest.mark.parametrize(("first", "second"), list(permutations(ORDER, 2)))
def test_the_strongest_wins(first, second):
    """In whatever order they come, and whatever stands beside them."""
    strongest = min(first, second, key=ORDER.index)
    for checked in (True, False):
        both = [finding(_one(first), ""), finding(_one(second), "")]
        if not checked and {first, second} == {"odd", "deceit"}:
            strongest = "deceit"
        assert judge(both, checked=checked) is ALONE[strongest][0 if checked else 1]


def test_danger_is_unsafe_whatever_else():
    """Damage does not make a dangerous file harmless: torch ignores CRCs."""
    everything = [finding(_one(weight), "") for weight in ORDER[3:]]
    assert judge(everything, checked=False) is Status.UNSAFE
    assert judge(everything[1:], checked=True) is Status.DAMAGED


def test_the_table_names_what_the_design_names():
    """Codes that other parts and the documents rely on, with their weights."""
    weights = {code: meaning.weight for code, meaning in FINDINGS.items()}
    expected = {
        "dangerous-global": "danger",
        "dangerous-attribute": "danger",
        "forbidden-opcode": "odd",
        "code-opcode": "deceit",
        "pickle-bomb": "odd",
        "malformed-pickle": "damage",
        "tensor-out-of-bounds": "damage",
        "storage-missing": "damage",
        "storage-unreferenced": "deceit",
        "truncated": "damage",
        "crc-mismatch": "damage",
        "header-mismatch": "damage",
        "header-forged": "deceit",
        "duplicate-member": "deceit",
        "hidden-bytes": "deceit",
        "unused-bytes": "note",
        "crc-not-computed": "note",
        "no-crc": "note",
        "needs-code": "code",
        "torchscript": "code",
        "not-rebuilt": "code",
        "non-finite-weights": "note",
    }
    assert expected.items() <= weights.items()


def test_names_are_escaped_and_few():
    """Names of tensors are hostile, and a finding holds a hundred at most."""
    found = finding("crc-mismatch", "why", (f"w{i}\x1b" for i in range(500)))
    assert len(found.tensors) == 100
    assert found.tensors[0] == "w0\\x1b"


def test_an_unknown_code_is_a_mistake():
    """A code that stands in no table cannot be found."""
    with pytest.raises(KeyError):
        finding("no-such-code", "why")


def test_a_problem_without_a_subject():
    """A problem needs no subject."""
    assert Problem("crc-mismatch", "why").subject is None
