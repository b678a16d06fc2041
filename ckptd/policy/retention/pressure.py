"""Pressure: what only weak rules keep goes worst first while a budget or a floor needs the room, and not one more.

Fair within a root, and among roots on one file system: what may be taken is put in lines, one for each group and metric (and
one for what has no metric), worst first.  The lines give together: the next to go is the one whose line will then have given
the smallest share of its bytes.  So no group gives a larger share than the others, and the only one of a group goes last.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ckptd.policy.retention.best import Ranking
from ckptd.policy.retention.blocks import Inode, find_freed
from ckptd.policy.retention.draft import Draft, Group
from ckptd.policy.retention.facts import Fact
from ckptd.policy.retention.ladder import Ladder
from ckptd.policy.retention.needs import Need
from ckptd.policy.retention.ordering import find_saved_at
from ckptd.policy.retention.plan import Action, Reason

#: Root, group and metric.
Line = tuple[str, str, str]


@dataclass(frozen=True, slots=True, eq=False)
class Unit:
    """What goes together: one file with all of its names.

    Attributes:
        order: by which units are taken, the smallest first.
    """

    drafts: tuple[Draft, ...]
    frees_bytes: int
    order: tuple[float, float, str, str, int]


def relieve(groups: Iterable[Group], needs: Sequence[Need], find_step: Ladder, rank: Ranking) -> None:
    """Let go what the needs take, each as the ladder says."""
    if not any(need.missing_bytes > 0 for need in needs):
        return
    units = find_units(groups, find_step, rank)
    for unit, need in take_units(units, needs).items():
        for draft in unit.drafts:
            step, notes = find_step(draft.fact)
            message = f"{need.message}, and only {', '.join(reason.code for reason in draft.weak)} kept it"
            draft.wanted, draft.why = step, (Reason(need.code, message), *notes)


def take_units(units: Sequence[Unit], needs: Sequence[Need]) -> Mapping[Unit, Need]:
    """Choose what goes, and what for; without any one of them a need would not be met, or be met even less."""
    taken: dict[Unit, Need] = {}
    for need in needs:
        missing = need.missing_bytes - sum(unit.frees_bytes for unit in taken if need.is_served_by(unit.drafts[0].fact))
        for unit in units:
            if missing <= 0:
                break
            if unit not in taken and need.is_served_by(unit.drafts[0].fact):
                taken[unit] = need
                missing -= unit.frees_bytes
    _give_back(taken, needs)
    return taken


def _give_back(taken: dict[Unit, Need], needs: Sequence[Need]) -> None:
    """Leave out what a larger one that was taken later makes superfluous, the last taken first."""
    spare = [
        sum(unit.frees_bytes for unit in taken if need.is_served_by(unit.drafts[0].fact)) - need.missing_bytes for need in needs
    ]
    for unit in reversed(list(taken)):
        served = [
            place for place, need in enumerate(needs) if need.missing_bytes > 0 and need.is_served_by(unit.drafts[0].fact)
        ]
        if all(spare[place] >= unit.frees_bytes for place in served):
            del taken[unit]
            for place in served:
                spare[place] -= unit.frees_bytes


def find_units(groups: Iterable[Group], find_step: Ladder, rank: Ranking) -> list[Unit]:
    """Give all that only weak rules keep and that would free something, in the order in which it goes."""
    lines: dict[Line, list[_Member]] = {}
    linked: dict[tuple[str, Inode], list[tuple[Line, _Member]]] = {}
    going: Counter[tuple[str, Inode]] = Counter()
    for group in groups:
        for seat, draft in enumerate(group.drafts):
            fact = draft.fact
            if draft.goes and fact.links > 1:
                going[fact.root, fact.inode] += 1
            if draft.strong or not draft.weak or draft.wanted is not Action.KEEP:
                continue
            frees_bytes = _find_gain(fact, find_step)
            if frees_bytes == 0:
                continue
            metric, merit = rank(fact) or ("", 0.0)
            line = (group.root, group.name or "", metric)
            member = _Member((merit, seat), (draft,), frees_bytes)
            if fact.links > 1:
                linked.setdefault((fact.root, fact.inode), []).append((line, member))
            else:
                lines.setdefault(line, []).append(member)
    for file, names in linked.items():
        if len(names) + going[file] == names[0][1].drafts[0].fact.links:
            line, last = names[-1]  # it is worth what its most valuable name is
            every = tuple(draft for _, member in names for draft in member.drafts)
            lines.setdefault(line, []).append(last._replace(drafts=every))
    return sorted((unit for line in lines.values() for unit in _share_out(line)), key=lambda unit: unit.order)


class _Member(NamedTuple):
    """One of a line; `worth` is smallest for the worst."""

    worth: tuple[float, int]
    drafts: tuple[Draft, ...]
    frees_bytes: int


def _find_gain(fact: Fact, find_step: Ladder) -> int:
    step, _ = find_step(fact)
    return 0 if step is Action.KEEP else find_freed(fact, step)


def _share_out(line: list[_Member]) -> Iterable[Unit]:
    """Give each its order: how much of its line is gone when it is, then the oldest first."""
    total, given = sum(member.frees_bytes for member in line), 0
    for member in sorted(line, key=lambda member: member.worth):
        given += member.frees_bytes
        fact = member.drafts[0].fact
        yield Unit(member.drafts, member.frees_bytes, (given / total, find_saved_at(fact), fact.root, fact.path, fact.id))
