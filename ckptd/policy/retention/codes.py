"""Every code that a plan can hold, and what each means: one table, so that docs/policy.md can't drift from the source."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class ReasonCode(StrEnum):
    """Why a checkpoint stays, goes or waits; stable words that programs may compare with."""

    PIN = "pin"
    TAG = "tag"
    ALIAS = "alias"
    UNKNOWN_GROUP = "unknown-group"
    NOT_GOOD = "not-good"
    OPEN = "open"
    MAYBE_OPEN = "maybe-open"
    BUSY = "busy"
    YOUNG = "young"
    LAST = "last"
    BEST = "best"
    LAST_GOOD = "last-good"
    WITHIN = "within"
    HOURLY = "hourly"
    DAILY = "daily"
    WEEKLY = "weekly"
    MONTHLY = "monthly"
    YEARLY = "yearly"
    EVERY_EPOCHS = "every-epochs"
    EVERY_STEPS = "every-steps"
    LADDER_ENDS = "ladder-ends"
    UNKEPT = "unkept"
    BELOW = "below"
    OVER_BUDGET = "over-budget"
    BELOW_FLOOR = "below-floor"
    CAN_SLIM = "can-slim"
    ARCHIVED_ALREADY = "archived-already"
    CORRUPT_NEWCOMER = "corrupt-newcomer"
    REGROUPED = "regrouped"
    BRAKE_GROUP = "brake-group"
    BRAKE_ROOT = "brake-root"
    FROZEN = "frozen"
    CONFIRMED = "confirmed"


class AlertCode(StrEnum):
    """What a person should know about a plan as a whole; stable words."""

    CORRUPT_NEWCOMER = "corrupt-newcomer"
    REGROUPED = "regrouped"
    BRAKE_GROUP = "brake-group"
    BRAKE_ROOT = "brake-root"
    BUDGET_NOT_MET = "budget-not-met"
    FLOOR_NOT_MET = "floor-not-met"
    FLOOR_UNKNOWN = "floor-unknown"
    CLOCK_BEHIND = "clock-behind"


class Force(StrEnum):
    """What a reason does.

    `STRONG` keeps, whatever the disk needs; `WEAK` keeps until the disk needs the room; `GOES` says why a step is taken;
    `HOLDS` stops it until a person confirms the plan; `NOTES` only tells.
    """

    STRONG = "keeps"
    WEAK = "keeps, but gives way to pressure"
    GOES = "goes"
    HOLDS = "holds"
    NOTES = "notes"


class Meaning(NamedTuple):
    """What one reason stands for."""

    force: Force
    description: str


REASONS: dict[ReasonCode, Meaning] = {
    ReasonCode.PIN: Meaning(Force.STRONG, "a person pinned it, a .keep file lies beside it, or a link points to it"),
    ReasonCode.TAG: Meaning(Force.STRONG, "it bears a tag that keeps"),
    ReasonCode.ALIAS: Meaning(Force.STRONG, "it bears an alias"),
    ReasonCode.UNKNOWN_GROUP: Meaning(Force.STRONG, "what it is a checkpoint of is not known surely enough"),
    ReasonCode.NOT_GOOD: Meaning(Force.STRONG, "it can't be loaded as it is; a person decides about it"),
    ReasonCode.OPEN: Meaning(Force.STRONG, "a process has it open"),
    ReasonCode.MAYBE_OPEN: Meaning(Force.STRONG, "it is younger than a day, and nobody can say whether a process has it open"),
    ReasonCode.BUSY: Meaning(Force.STRONG, "nothing may be done to it just now; the message says why"),
    ReasonCode.YOUNG: Meaning(Force.STRONG, "it is younger than the minimum age, or was slimmed since"),
    ReasonCode.LAST: Meaning(Force.STRONG, "it is one of the last of its group"),
    ReasonCode.BEST: Meaning(Force.STRONG, "it is one of the best of its group"),
    ReasonCode.LAST_GOOD: Meaning(Force.STRONG, "it is the very last good one of its group, which always stays"),
    ReasonCode.WITHIN: Meaning(Force.WEAK, "it is younger than `keep_within_seconds`"),
    ReasonCode.HOURLY: Meaning(Force.WEAK, "it is the last one of its hour"),
    ReasonCode.DAILY: Meaning(Force.WEAK, "it is the last one of its day"),
    ReasonCode.WEEKLY: Meaning(Force.WEAK, "it is the last one of its week"),
    ReasonCode.MONTHLY: Meaning(Force.WEAK, "it is the last one of its month"),
    ReasonCode.YEARLY: Meaning(Force.WEAK, "it is the last one of its year"),
    ReasonCode.EVERY_EPOCHS: Meaning(Force.WEAK, "its epoch is a multiple of `keep_every_epochs`"),
    ReasonCode.EVERY_STEPS: Meaning(Force.WEAK, "its step is a multiple of `keep_every_steps`"),
    ReasonCode.LADDER_ENDS: Meaning(Force.STRONG, "no rule keeps it, and no step of the ladder is left for it"),
    ReasonCode.UNKEPT: Meaning(Force.GOES, "no rule keeps it"),
    ReasonCode.BELOW: Meaning(Force.GOES, "only age would keep it, and it is worse than a limit that others of its group meet"),
    ReasonCode.OVER_BUDGET: Meaning(Force.GOES, "it gives way to `total_bytes`; the message names the rules that kept it"),
    ReasonCode.BELOW_FLOOR: Meaning(Force.GOES, "it gives way to `free_bytes`; the message names the rules that kept it"),
    ReasonCode.CAN_SLIM: Meaning(Force.GOES, "it holds optimizer state that slimming takes away"),
    ReasonCode.ARCHIVED_ALREADY: Meaning(Force.GOES, "a verified archive holds it already, so it goes straight into the trash"),
    ReasonCode.CORRUPT_NEWCOMER: Meaning(Force.HOLDS, "the newest of its group can't be loaded; no confirmation lifts this"),
    ReasonCode.REGROUPED: Meaning(Force.HOLDS, "it, or others of its group, belonged to another group before"),
    ReasonCode.BRAKE_GROUP: Meaning(Force.HOLDS, "more than `max_fraction` of its group would go"),
    ReasonCode.BRAKE_ROOT: Meaning(Force.HOLDS, "more than `max_fraction` of its root would go"),
    ReasonCode.FROZEN: Meaning(Force.HOLDS, "nothing at all goes for the moment, as after a reindex; the message says why"),
    ReasonCode.CONFIRMED: Meaning(Force.NOTES, "a brake held it, and a person confirmed the plan"),
}

ALERTS: dict[AlertCode, str] = {
    AlertCode.CORRUPT_NEWCOMER: "the newest checkpoint of a group can't be loaded, and nothing of the group goes",
    AlertCode.REGROUPED: "checkpoints of a group belonged to another group before",
    AlertCode.BRAKE_GROUP: "too large a share of a group would go",
    AlertCode.BRAKE_ROOT: "too large a share of a root would go",
    AlertCode.BUDGET_NOT_MET: "the root takes more than `total_bytes` even after this plan",
    AlertCode.FLOOR_NOT_MET: "less than `free_bytes` is free even after this plan and a purge of the trash",
    AlertCode.FLOOR_UNKNOWN: "`free_bytes` is set, and nobody could say how much is free",
    AlertCode.CLOCK_BEHIND: "checkpoints were first seen after the time of the plan: the clock was set back",
}
