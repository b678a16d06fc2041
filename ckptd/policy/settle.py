"""When a file counts as written: as soon as that is known, never on a guess, and not never.

1. Somebody has it open for writing: wait, whatever else speaks for it.
2. Its container is complete, and its writer is known to have let go (it closed it or moved it here since the last
   change, or a lease shows that nobody has it open): ready at once.
3. It has been quiet (device, inode, size and mtime the same) for `settle_seconds` and has no sign of being incomplete.
4. It is incomplete, or still open: wait until it has been quiet for `incomplete_seconds`, then hand it on as it is.  A
   writer that died leaves such a file, and a program that never closes one must not hide it for ever.

`now` is the caller's monotonic clock; times inside the file's stat are compared with each other and never with a clock,
so that a wrong clock on a file server changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from ckptd.model import Openness, RawIdentity

#: The least time between two looks, so that `settle_seconds = 0` makes no busy loop.
LEAST_PAUSE_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class SettleRules:
    """The settings of the same names, seconds."""

    settle_seconds: float = 2.0
    incomplete_seconds: float = 600.0


@dataclass(frozen=True, slots=True)
class Tracked:
    """One file that is being waited for.

    Attributes:
        identity: as last seen.
        quiet_since: when it was first seen like that, on the caller's clock.
        closed: a writer closed it or moved it here, and it has not changed since.
    """

    identity: RawIdentity
    quiet_since: float
    closed: bool


@dataclass(frozen=True, slots=True)
class Ready:
    """The file is as written as can be known: inspect it."""


@dataclass(frozen=True, slots=True)
class WaitUntil:
    """Look again at this time of the caller's clock, or sooner when a hint comes."""

    at: float


@dataclass(frozen=True, slots=True)
class Incomplete:
    """The file has no end and nobody has gone on with it for too long: inspect it, it is damaged."""

    quiet_seconds: float


Verdict = Ready | WaitUntil | Incomplete


def track(before: Tracked | None, identity: RawIdentity, now: float, *, closed: bool) -> Tracked:
    """Take in a fresh look at a file.

    Args:
        before: what the last look left, None at the first.
        identity: from a `stat` made just now.
        now: monotonic seconds.
        closed: a hint that a writer closed it or moved it here came since the last look.
    """
    if before is not None and _is_same(before.identity, identity):
        return Tracked(identity, before.quiet_since, before.closed or closed)
    return Tracked(identity, now, closed)


def settle(tracked: Tracked, *, complete: bool | None, openness: Openness, now: float, rules: SettleRules) -> Verdict:
    """Decide about a file that was looked at just now (`track` with the same `now`).

    Args:
        tracked: what `track` gave for this look.
        complete: what the container's end says; None for formats without an end mark.
        openness: asked after the look.
        now: monotonic seconds, as in `track`.
        rules: the settings.
    """
    settled_at = tracked.quiet_since + rules.settle_seconds
    given_up_at = max(tracked.quiet_since + rules.incomplete_seconds, settled_at)
    let_go = tracked.closed or openness is Openness.CLOSED
    whole = complete is not False and not _is_new_and_empty(tracked, openness)
    if whole and openness is not Openness.OPEN and ((complete is True and let_go) or now >= settled_at):
        return Ready()
    if now >= given_up_at:
        return Incomplete(now - tracked.quiet_since) if complete is False else Ready()
    return WaitUntil(min(_find_next_look(tracked.quiet_since, settled_at, now), given_up_at))


def _find_next_look(quiet_since: float, settled_at: float, now: float) -> float:
    if now < settled_at:
        return max(settled_at, now + LEAST_PAUSE_SECONDS)
    # As long again as it has been quiet: few looks at a file that nobody touches, soon enough where no hint will come.
    return now + max(now - quiet_since, LEAST_PAUSE_SECONDS)


def _is_same(before: RawIdentity, after: RawIdentity) -> bool:
    # Without ctime: a chmod or a hard link by somebody else is no writing.
    return before[:4] == after[:4]


def _is_new_and_empty(tracked: Tracked, openness: Openness) -> bool:
    """Say whether this is an empty file that its writer may just have made; only a lease shows that nobody has it."""
    return tracked.identity[2] == 0 and openness is not Openness.CLOSED
