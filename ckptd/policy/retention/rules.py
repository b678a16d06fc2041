"""The policy as a value: which rules keep a checkpoint, what happens to the rest, and where it stops."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from ckptd.policy.retention.plan import Action

Direction = Literal["min", "max"]


@dataclass(frozen=True, slots=True)
class Policy:
    """Everything that decides; docs/policy.md says it for people.

    Attributes:
        keep_last: so many of each group by order (run, step or epoch, then age); 0 switches a rule off, here and below.
        keep_best: so many of each group by metric; see `best_by`.
        best_by: metrics, the most telling first; each checkpoint is ranked by the first of them that it has.
        directions: metric → what is better; a metric without one ranks nothing.
        keep_within_seconds: everything younger.
        keep_hourly, keep_daily, keep_weekly, keep_monthly, keep_yearly: the last one of so many hours, days … that have one.
        keep_every_epochs, keep_every_steps: those whose epoch or step is a multiple.
        keep_tags: tags that keep; "*" is any.
        min_age_seconds: nothing younger is ever touched, and after slimming as long is waited for the next step.
        below: metric → limit: worse ones lose what age and windows (within, hourly … yearly, every) give, in a group that has
            one on the good side of the limit.
        ladder: the steps in their order; the first that fits a checkpoint that nothing keeps.
        max_fraction: of a group's and of a root's checkpoints, by count and by bytes, over `window_seconds`; what would take
            away more is held.
        total_bytes: what the checkpoints of one root may take; None without a budget.
        free_bytes: what is to stay free on a root's file system; None without a floor.
        time_zone: name of the zone in which hours, days, weeks … begin.
    """

    keep_last: int = 3
    keep_best: int = 3
    best_by: tuple[str, ...] = ()
    directions: Mapping[str, Direction] = field(default_factory=dict)
    keep_within_seconds: float = 30 * 86400.0
    keep_hourly: int = 0
    keep_daily: int = 0
    keep_weekly: int = 0
    keep_monthly: int = 0
    keep_yearly: int = 0
    keep_every_epochs: int = 0
    keep_every_steps: int = 0
    keep_tags: tuple[str, ...] = ()
    min_age_seconds: float = 86400.0
    below: Mapping[str, float] = field(default_factory=dict)
    ladder: tuple[Action, ...] = (Action.ARCHIVE,)
    max_fraction: float = 0.25
    window_seconds: float = 7 * 86400.0
    total_bytes: int | None = None
    free_bytes: int | None = None
    time_zone: str = "UTC"
