"""A plan of the policy, with what the jobs that carry it out have to know beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ckptd.index.ledger import Grouping
from ckptd.policy.retention.plan import Plan


@dataclass(frozen=True, slots=True)
class Planned:
    """A plan, and what has to be known beside it.

    Attributes:
        mode: "off", "plan" or "apply", as the settings say.
        frozen: why nothing may be taken away at all until a person confirms: name → why; empty in good times.
        incidents: root → why nothing in it is believed just now.
        groupings: what was written down about each place when a plan was last applied.
        is_confirmed: True when a person named this very plan.
    """

    plan: Plan
    mode: str
    frozen: Mapping[str, str] = field(default_factory=dict)
    incidents: Mapping[str, str] = field(default_factory=dict)
    groupings: Mapping[tuple[str, str], Grouping] = field(default_factory=dict)
    is_confirmed: bool = False
