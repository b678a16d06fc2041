"""Rules that look at one checkpoint and at no other: what people said of it, its state, its age, its epoch and step."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ckptd.model import Openness
from ckptd.policy.retention.codes import ReasonCode
from ckptd.policy.retention.draft import Draft
from ckptd.policy.retention.facts import Fact
from ckptd.policy.retention.phrases import say_names, say_span
from ckptd.policy.retention.plan import Reason
from ckptd.policy.retention.rules import Policy

#: A younger one of which nobody can say whether it is open is taken to be.
DOUBT_SECONDS = 86400.0

_UNKNOWN_GROUP = Reason(ReasonCode.UNKNOWN_GROUP, "what it is a checkpoint of is not known surely enough")
_NO_DIGEST = Reason(ReasonCode.NOT_GOOD, "it was never read to its end")
_OPEN = Reason(ReasonCode.OPEN, "a process has it open")
_MAYBE_OPEN = Reason(ReasonCode.MAYBE_OPEN, "a process may have it open, and it is younger than a day")


def find_age(fact: Fact, now: float) -> float:
    """Give the seconds since the youngest of mtime, first-seen and the date of a checkpoint; negative before it."""
    dated_at = fact.dated_at
    born_at = max(fact.modified_at, fact.first_seen_at)
    return now - (born_at if dated_at is None or dated_at < born_at else dated_at)


def make_single_rules(policy: Policy, now: float) -> Callable[[Iterable[Draft]], None]:
    """Give what adds to drafts all reasons that each has by itself."""
    tags, any_tag = frozenset(policy.keep_tags), "*" in policy.keep_tags
    least, within = policy.min_age_seconds, policy.keep_within_seconds
    epochs, steps = policy.keep_every_epochs, policy.keep_every_steps
    young = (Reason(ReasonCode.YOUNG, f"younger than {say_span(least)}"),)
    young_again = (Reason(ReasonCode.YOUNG, f"slimmed less than {say_span(least)} ago"),)
    kept_within = (Reason(ReasonCode.WITHIN, f"younger than {say_span(within)}"),)
    every_epoch = (Reason(ReasonCode.EVERY_EPOCHS, f"its epoch is a multiple of {epochs:,}"),)
    every_step = (Reason(ReasonCode.EVERY_STEPS, f"its step is a multiple of {steps:,}"),)

    def add(drafts: Iterable[Draft]) -> None:
        for draft in drafts:
            fact = draft.fact
            if fact.pins or fact.tags or fact.aliases:
                draft.strong = _read_marks(fact, tags, any_tag=any_tag)
            if fact.group is None:
                draft.strong += (_UNKNOWN_GROUP,)
            if not draft.good:
                draft.strong += (_say_not_good(fact),)
            age, slimmed_at = find_age(fact, now), fact.slimmed_at
            since = age if slimmed_at is None else min(age, now - slimmed_at)
            if fact.openness is not Openness.CLOSED or fact.holds:
                draft.strong += _read_state(fact, since)
            # Turned round, so that a time that is no number counts as young; so does one to come, whatever the minimum.
            if not age >= least:
                draft.strong += young
            elif not since >= least:
                draft.strong += young_again
            if age < within and within > 0:
                draft.weak = kept_within
            if epochs and fact.epoch is not None and fact.epoch % epochs == 0:
                draft.weak += every_epoch
            if steps and fact.step is not None and fact.step % steps == 0:
                draft.weak += every_step

    return add


def _read_marks(fact: Fact, tags: frozenset[str], *, any_tag: bool) -> tuple[Reason, ...]:
    found = []
    if fact.pins:
        found.append(Reason(ReasonCode.PIN, "; ".join(fact.pins)))
    keeping = [tag for tag in fact.tags if any_tag or tag in tags]
    if keeping:
        found.append(Reason(ReasonCode.TAG, f"tagged {say_names(keeping)}"))
    if fact.aliases:
        found.append(Reason(ReasonCode.ALIAS, f"known as {say_names(fact.aliases)}"))
    return tuple(found)


def _say_not_good(fact: Fact) -> Reason:
    if fact.is_good:
        return _NO_DIGEST
    return Reason(ReasonCode.NOT_GOOD, f"it is {fact.status.value.replace('_', ' ')}: a person decides")


def _read_state(fact: Fact, age: float) -> tuple[Reason, ...]:
    found: tuple[Reason, ...] = ()
    if fact.openness is Openness.OPEN:
        found = (_OPEN,)
    elif fact.openness is Openness.UNKNOWN and not age >= DOUBT_SECONDS:
        found = (_MAYBE_OPEN,)
    return (*found, Reason(ReasonCode.BUSY, "; ".join(fact.holds))) if fact.holds else found
