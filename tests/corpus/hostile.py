"""One file for each rule of the reader: each breaks just that rule, and none may be called ok.

`cases(canary)` gives them all; whatever runs leaves the canary.  The parts: `hostile_code` (names that must not be called),
`hostile_pickles` (opcodes, budgets, bombs), `hostile_tensors` (descriptions that lie), `hostile_zips` (containers built to
deceive), `hostile_twofold` (two containers in one), `strangers` (files that are no checkpoints), `oddities` (strange and
honest: these must stay ok).
"""

from __future__ import annotations

from tests.corpus import hostile_code, hostile_pickles, hostile_tensors, hostile_twofold, hostile_zips, strangers
from tests.corpus.case import Case


def cases(canary: str) -> list[Case]:
    """Give every file that must not pass, names unique."""
    found = [
        *hostile_code.cases(canary),
        *hostile_pickles.cases(),
        *hostile_tensors.cases(),
        *hostile_zips.cases(),
        *hostile_twofold.cases(canary),
        *strangers.cases(),
    ]
    assert len({case.name for case in found}) == len(found), "names must be unique"
    return found
