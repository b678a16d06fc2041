"""What comes after what in a group: by run, within a run by step or epoch, and where those can't be compared by age.

Steps are compared with steps and epochs with epochs, never one with the other.  What lacks the number (a `final.pth` among
epochs, a file without a date among dated ones) is put in by age, so that the numbered ones stay in their own order and the
whole is one line.  An age errs to one side only: a copy or a `touch` makes a file look younger, nothing makes it look older.
So a numbered checkpoint is taken to be at least as old as each one that follows it by number.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from operator import attrgetter
from typing import Any

from ckptd.policy.retention.draft import is_good
from ckptd.policy.retention.facts import Fact

#: No run is taken to last longer: a file whose time lies further behind its date was copied, and the date counts.
LONGEST_RUN_SECONDS = 30 * 86400.0

_DIGITS = re.compile("([0-9]+)")


_step, _epoch = attrgetter("step"), attrgetter("epoch")


def find_saved_at(fact: Fact) -> float:
    """Say when it was saved, as well as it is known: seconds since the epoch.

    That is another question than its age.  First-seen is the day on which ckptd came to an old directory, and a slimmed file
    is a new one; in the order and in the windows such a day would put a year of training in one place.
    """
    dated_at = fact.dated_at
    if dated_at is not None and fact.modified_at - dated_at > LONGEST_RUN_SECONDS:
        return dated_at
    return fact.modified_at


def order_group(facts: Iterable[Fact]) -> list[Fact]:
    """Put the checkpoints of one group in order, the newest last.

    What is not good has its seat among the others, and no say in their order: a broken file must not make a good one older.
    """
    line = _order(facts)
    good = [fact for fact in line if is_good(fact)]
    if len(good) == len(line):
        return line
    others = iter(_order(good))
    return [next(others) if is_good(fact) else fact for fact in line]


def _order(facts: Iterable[Fact]) -> list[Fact]:
    runs: dict[str, list[Fact]] = {}
    for fact in facts:
        runs.setdefault(fact.run, []).append(fact)
    without = _order_run(runs.pop("", []))
    if not runs:
        return without
    named = [fact for run in sorted(runs, key=_split_numbers) for fact in _order_run(runs[run])]
    return _merge_by_age(without, named)


def _order_run(facts: list[Fact]) -> list[Fact]:
    if len(facts) == 1:
        return facts
    stepped: list[Fact] = []
    counted: list[Fact] = []
    bare: list[Fact] = []
    for fact in facts:
        (stepped if fact.step is not None else counted if fact.epoch is not None else bare).append(fact)
    if counted and all(fact.epoch is not None for fact in stepped):  # each that has a number has an epoch
        stepped, counted = [], stepped + counted
    bare.sort(key=_by_age)
    # The number alone is quick, and enough where none is twice.
    stepped.sort(key=_step if len(set(map(_step, stepped))) == len(stepped) else _by_step)
    counted.sort(key=_epoch if len(set(map(_epoch, counted))) == len(counted) else _by_epoch)
    return _merge_by_age(bare, counted, stepped)


def _by_age(fact: Fact) -> tuple[Any, ...]:
    return find_saved_at(fact), fact.first_seen_at, fact.path, fact.id


def _by_step(fact: Fact) -> tuple[Any, ...]:
    return fact.step, find_saved_at(fact), fact.first_seen_at, fact.path, fact.id


def _by_epoch(fact: Fact) -> tuple[Any, ...]:
    # Without a step it was saved at the end of its epoch, after those in the midst of it.
    step = math.inf if fact.step is None else fact.step
    return fact.epoch, step, find_saved_at(fact), fact.first_seen_at, fact.path, fact.id


def _merge_by_age(*lines: Sequence[Fact]) -> list[Fact]:
    """Make one line of several, each of which stays in its order; where ages are equal the first line's come first."""
    filled = [line for line in lines if line]
    if len(filled) <= 1:
        return list(filled[0]) if filled else []
    aged: list[tuple[float, Fact]] = []
    for line in filled:
        at, backwards = math.inf, []
        for fact in reversed(line):
            at = min(at, find_saved_at(fact))
            backwards.append((at, fact))
        aged += reversed(backwards)
    aged.sort(key=lambda pair: pair[0])
    return [fact for _, fact in aged]


@lru_cache(maxsize=4096)  # most runs are dates, and many groups have the same ones
def _split_numbers(run: str) -> tuple[list[Any], str]:
    """Compare the numbers in names of runs as numbers: run_9 is before run_10."""
    parts: list[Any] = _DIGITS.split(run)
    for position in range(1, len(parts), 2):
        digits = parts[position].lstrip("0")
        parts[position] = (len(digits), digits)  # as int() would, of any length
    return parts, run
