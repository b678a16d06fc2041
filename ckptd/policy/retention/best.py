"""The best by a metric: each checkpoint is ranked by the most telling metric that it has, among those that it ranks with."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

from ckptd.policy.retention.codes import ReasonCode
from ckptd.policy.retention.draft import Draft
from ckptd.policy.retention.facts import Fact
from ckptd.policy.retention.plan import Reason
from ckptd.policy.retention.rules import Policy

#: Gives the metric by which a checkpoint is ranked, and its merit: the value, turned so that more is better.
Ranking = Callable[[Fact], tuple[str, float] | None]


def make_ranking(policy: Policy) -> Ranking:
    """Give what ranks a checkpoint; None for one without a finite value of a metric whose direction is known."""
    known = [metric for metric in policy.best_by if metric in policy.directions]
    # Looked up by what a checkpoint has: it has few metrics, and a policy may name many.
    places = {metric: place for place, metric in reversed(list(enumerate(known)))}
    signs = [1 if policy.directions[metric] == "max" else -1 for metric in known]
    nowhere = len(known)

    def rank(fact: Fact) -> tuple[str, float] | None:
        first = nowhere
        for metric, value in fact.scores.items():
            place = places.get(metric, nowhere)
            if place < first and math.isfinite(value):
                first = place
        return None if first == nowhere else (known[first], signs[first] * fact.scores[known[first]])

    return rank


def keep_best(good: Iterable[Draft], count: int, rank: Ranking) -> None:
    """Keep the best `count` of a group by each metric; those that equal the last of them stay too.

    Copies of one content take one place: a `best.pth` beside its `epoch_7.pth` pushes nobody out.
    """
    lines: dict[str, list[tuple[float, Draft]]] = {}
    for draft in good:
        ranked = rank(draft.fact)
        if ranked is not None:
            metric, merit = ranked
            if metric in lines:
                lines[metric].append((merit, draft))
            else:
                lines[metric] = [(merit, draft)]
    for metric, line in lines.items():
        least = _find_least(line, count)
        for merit, draft in line:
            if merit >= least:
                value = draft.fact.scores[metric]
                draft.strong += (Reason(ReasonCode.BEST, f"among the best {count:,} by {metric} ({value:.6g})"),)


def _find_least(line: list[tuple[float, Draft]], count: int) -> float:
    """Give the merit of the last that is among the best."""
    if len(line) <= count:
        return -math.inf
    least = sorted([merit for merit, _ in line], reverse=True)[count - 1]
    if len({draft.fact.sha256 for merit, draft in line if merit >= least}) >= count:
        return least  # no copies among them
    contents = set()
    for merit, draft in sorted(line, key=lambda pair: pair[0], reverse=True):
        contents.add(draft.fact.sha256)
        if len(contents) == count:
            return merit
    return -math.inf
