"""When a message is due: what was seen and what is so now, folded.  Pure; nothing here sends or writes anything.

An alert is told once, after a moment in which the like is gathered.  What comes after is counted, and told in one message when
`fold_seconds` have passed since the last.  A state that ends is told as resolved, once, and at once; when it comes back
soon, that waits its turn like any other repetition, so that what flickers makes two messages in that time and not thousands.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

from ckptd.notify.kinds import KINDS
from ckptd.notify.message import MOST_EXAMPLES, Happening, Message, bounded, make_id

#: Kind and subject: what makes two alerts the same one.
Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Seen:
    """Something that happened.

    Attributes:
        subject: what it is folded under, not escaped yet; bounded in number by the settings, so never a file.
        example: what happened, in one line that names the file; not escaped yet.
    """

    kind: str
    subject: str
    at: float
    example: str


@dataclass(frozen=True, slots=True)
class State:
    """Something that is so now.

    Attributes:
        subject: as in `Seen`.
        text: what is so, in one sentence; not escaped yet.
        mark: what makes it news again while it lasts: another number of bad files, another run that failed.
        examples: some of what it is about; not escaped yet.
    """

    kind: str
    subject: str
    text: str
    mark: str = ""
    examples: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Alert:
    """An alert that is open, or ended a moment ago.

    Attributes:
        count: how often it was seen since it was opened.
        untold: how often since the last message.
        text: of the state; empty for what happens.
        examples: of what was not told yet, escaped; the first ones.
        mark: of the state as it was last seen.
        told: how many messages there were.
        told_at: when the last was; None before the first.
        said: what the last one said, "raised" or "resolved"; empty before the first.
        ended_at: when the state ended; None while it lasts.
    """

    kind: str
    subject: str
    first_at: float
    last_at: float
    count: int = 1
    untold: int = 1
    text: str = ""
    examples: tuple[str, ...] = ()
    mark: str = ""
    told: int = 0
    told_at: float | None = None
    said: str = ""
    ended_at: float | None = None


@dataclass(frozen=True, slots=True)
class Rules:
    """What the settings say.

    Attributes:
        host: of the daemon, for the messages.
        off: kinds that nobody wants.
        severities: of kinds that shall have another than their own.
    """

    host: str
    gather_seconds: float
    fold_seconds: float
    off: Collection[str] = ()
    severities: Mapping[str, str] = field(default_factory=dict)

    def severity_of(self, kind: str) -> str:
        """Give the severity of a kind."""
        return self.severities.get(kind) or KINDS[kind].severity.value


@dataclass(frozen=True, slots=True)
class Folded:
    """What follows.

    Attributes:
        alerts: that are open now, or ended a moment ago.
        messages: to be sent, in order.
    """

    alerts: Mapping[Key, Alert]
    messages: tuple[Message, ...]


def fold(
    alerts: Mapping[Key, Alert],
    seen: Iterable[Seen],
    states: Mapping[str, Iterable[State]],
    rules: Rules,
    now: float,
) -> Folded:
    """Say what is open and what is to be told.

    Args:
        alerts: as they were.
        seen: what happened since then, in order.
        states: for each kind that was asked about, all that is so now; a kind that is not named was not asked about.
        rules: of the settings.
        now: seconds since the epoch.
    """
    found = {key: _believe(alert, now) for key, alert in alerts.items() if alert.kind in KINDS and alert.kind not in rules.off}
    for one in seen:
        if one.kind not in rules.off:
            key = one.kind, bounded(one.subject)
            found[key] = _add_seen(found.get(key), key[1], one)
    messages: list[Message] = []
    for kind, so in states.items():
        if kind not in rules.off:
            _take_states(found, kind, {bounded(state.subject): state for state in so}, rules, now, messages)
    for key, alert in list(found.items()):
        due = _find_due(alert, rules)
        if alert.untold and alert.ended_at is None and now >= due:
            messages.append(_tell(alert, Happening.REPEATED if alert.said == "raised" else Happening.RAISED, rules, now))
            found[key] = replace(alert, untold=0, examples=(), told=alert.told + 1, told_at=now, said="raised")
        elif _is_over(alert, rules, now):
            del found[key]
    return Folded(found, tuple(messages))


def join(written: Mapping[Key, Alert], own: Mapping[Key, Alert]) -> Mapping[Key, Alert]:
    """Give the alerts that are written down together with those that were seen before these could be read.

    What was told by who could not read them stays told; what was not is known as it is written, and is not told anew.
    """
    return {**own, **written, **{key: alert for key, alert in own.items() if alert.told}}


def find_next(alerts: Iterable[Alert], rules: Rules) -> float | None:
    """Say when the next message is due that waits for nothing but its time; seconds since the epoch."""
    return min((_find_due(alert, rules) for alert in alerts if alert.untold and alert.ended_at is None), default=None)


def _believe(alert: Alert, now: float) -> Alert:
    """Let no time be later than now: the clock was set back."""
    told_at = None if alert.told_at is None else min(alert.told_at, now)
    ended_at = None if alert.ended_at is None else min(alert.ended_at, now)
    return replace(
        alert, first_at=min(alert.first_at, now), last_at=min(alert.last_at, now), told_at=told_at, ended_at=ended_at
    )


def _add_seen(alert: Alert | None, subject: str, one: Seen) -> Alert:
    example = bounded(one.example)
    if alert is None:
        return Alert(one.kind, subject, one.at, one.at, examples=(example,))
    examples = alert.examples if len(alert.examples) >= MOST_EXAMPLES else (*alert.examples, example)
    return replace(alert, last_at=one.at, count=alert.count + 1, untold=alert.untold + 1, examples=examples)


def _take_states(
    found: dict[Key, Alert], kind: str, states: Mapping[str, State], rules: Rules, now: float, messages: list[Message]
) -> None:
    for subject, state in states.items():
        found[kind, subject] = _add_state(found.get((kind, subject)), subject, state, now)
    for key in [key for key, alert in found.items() if alert.kind == kind and alert.ended_at is None]:
        if key[1] in states:
            continue
        alert = replace(found[key], untold=0, examples=(), last_at=now, ended_at=now)
        if alert.said == "raised":
            messages.append(_tell(alert, Happening.RESOLVED, rules, now))
            alert = replace(alert, told=alert.told + 1, told_at=now, said="resolved")
        found[key] = alert


def _add_state(alert: Alert | None, subject: str, state: State, now: float) -> Alert:
    text = bounded(state.text)
    examples = tuple(bounded(example) for example in state.examples[:MOST_EXAMPLES])
    if alert is None:
        return Alert(state.kind, subject, now, now, text=text, examples=examples, mark=state.mark)
    if alert.ended_at is None and alert.mark == state.mark:
        return alert
    again = replace(alert, last_at=now, text=text, examples=examples, mark=state.mark, ended_at=None)
    return replace(again, count=alert.count + 1, untold=alert.untold + 1)


def _find_due(alert: Alert, rules: Rules) -> float:
    return alert.first_at + rules.gather_seconds if alert.told_at is None else alert.told_at + rules.fold_seconds


def _is_over(alert: Alert, rules: Rules, now: float) -> bool:
    """Say whether nothing more is to be remembered: nobody was told, or the time is over in which the like is folded."""
    if KINDS[alert.kind].lasts and alert.ended_at is None:
        return False
    return alert.untold == 0 and now >= (alert.told_at or 0.0) + rules.fold_seconds


def _tell(alert: Alert, what: Happening, rules: Rules, now: float) -> Message:
    kind = KINDS[alert.kind]
    more = f"; and {alert.untold - 1:,} more" if alert.untold > 1 else ""
    text = alert.text or "".join((*alert.examples[:1], more))
    return Message(
        id=make_id(rules.host, alert.kind, alert.subject, alert.first_at, alert.told, what.value),
        what=what,
        kind=alert.kind,
        severity=rules.severity_of(alert.kind),
        subject=alert.subject,
        title=kind.title,
        text="it is so no longer" if what is Happening.RESOLVED else text,
        cure="" if what is Happening.RESOLVED else kind.cure,
        host=bounded(rules.host),
        count=alert.count,
        new=alert.untold,
        first_at=alert.first_at,
        last_at=alert.last_at,
        at=now,
        examples=alert.examples,
    )
