"""Policies that can't be meant: they are refused before anything is planned."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from zoneinfo import ZoneInfo

from ckptd.errors import UsageError
from ckptd.policy.retention.plan import Action
from ckptd.policy.retention.rules import Policy

STEPS = (Action.SLIM, Action.ARCHIVE, Action.TRASH)


class PolicyError(UsageError):
    """A policy that keeps nothing, or that contradicts itself."""

    def __init__(self, why: str, cure: str) -> None:
        super().__init__("use the policy", why=why, cure=cure)


def check_policy(policy: Policy) -> None:
    """Pass a policy that keeps something and says how.

    Tags, pins, aliases and the minimum age don't count: they keep what a person marked, and what is new, but no group.

    Raises:
        PolicyError: it keeps nothing, has no ladder, names a metric without a direction, or holds a number that is none.
    """
    if not any(_find_rules(policy)):
        raise PolicyError("it keeps nothing: every keep rule is 0", "set at least one of them, such as keep_last = 3")
    if not policy.ladder:
        raise PolicyError("its ladder has no steps", 'write ladder = ["archive"], or mode = "off" to touch nothing')
    for step in policy.ladder:
        if step not in STEPS:
            raise PolicyError(f"{step.value} is no step of a ladder", f"take some of {' '.join(STEPS)}")
    for metric, limit in policy.below.items():
        if not math.isfinite(limit):
            raise PolicyError(f"the limit of {metric} in below is {limit}", "write a finite number")
        if metric not in policy.directions:
            cure = f'add directions = {{ {metric} = "max" }}, or "min"'
            raise PolicyError(f"below speaks of {metric}, and nobody says whether more of it is better", cure)
    for name, number in _find_numbers(policy):
        if not number >= 0:  # NaN too
            raise PolicyError(f"{name} is {number}", "write a number that is not negative")
    if not 0 < policy.max_fraction <= 1:
        raise PolicyError(f"max_fraction is {policy.max_fraction}", "write a share above 0 and up to 1")
    _check_zone(policy.time_zone)


def _find_rules(policy: Policy) -> Iterator[bool]:
    """Say of each keep rule whether it is on."""
    yield policy.keep_last > 0
    yield policy.keep_best > 0 and any(metric in policy.directions for metric in policy.best_by)
    yield policy.keep_within_seconds > 0
    windows = (policy.keep_hourly, policy.keep_daily, policy.keep_weekly, policy.keep_monthly, policy.keep_yearly)
    yield from (count > 0 for count in (*windows, policy.keep_every_epochs, policy.keep_every_steps))


def _find_numbers(policy: Policy) -> Iterable[tuple[str, float]]:
    for name in policy.__slots__:
        value = getattr(policy, name)
        if isinstance(value, int | float):
            yield name, value


def _check_zone(name: str) -> None:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise PolicyError(f"{name!r} is no time zone of this machine", 'write "UTC" or "Europe/Berlin"') from error
