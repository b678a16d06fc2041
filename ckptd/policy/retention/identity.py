"""The number of a plan: what a person looked at is what the number stands for, and no other plan has it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import astuple
from hashlib import sha256
from typing import Any

from ckptd.policy.retention.draft import Draft
from ckptd.policy.retention.plan import Action
from ckptd.policy.retention.rules import Policy

#: Hex digits: long enough that nobody confirms another plan by accident, short enough to be typed.
DIGITS = 12


def find_plan_id(policy: Policy, drafts: Iterable[Draft]) -> str:
    """Give the number of what is to be done, and of the policy; the time and the free space are not part of it.

    Args:
        policy: the whole of it.
        drafts: in the order of the plan, with all holds, whether confirmed or not.
    """
    parts = [repr([_write(value) for value in astuple(policy)])]
    codes: dict[int, str] = {}  # the drafts of a group share their holds
    for draft in drafts:
        if draft.wanted is not Action.KEEP:
            fact, holds = draft.fact, draft.holds
            if id(holds) not in codes:
                codes[id(holds)] = ",".join([reason.code for reason in holds])
            parts += (fact.root, fact.path, str(fact.sha256), draft.wanted, codes[id(holds)])
    # A path holds no NUL, and the number of parts is fixed: no two plans have the same text.
    return sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:DIGITS]


def _write(value: Any) -> Any:
    """Make equal values look equal: tables in the order of their keys, whole numbers as numbers."""
    if isinstance(value, dict):
        return sorted((key, _write(inner)) for key, inner in value.items())
    if isinstance(value, tuple):
        return [_write(inner) for inner in value]
    return float(value) if isinstance(value, int) else str(value) if isinstance(value, str) else value
