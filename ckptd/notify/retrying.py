"""When a message that a channel did not take is sent again.  Pure."""

from __future__ import annotations

#: Seconds after the first failure, the second and so on; the last one counts for all that follow.
BACK_OFF_SECONDS = (10.0, 60.0, 300.0, 900.0, 3600.0)
#: A message that nobody took for so long is given up: it was about another week.
GIVE_UP_SECONDS = 3 * 86400.0
#: So often at least it was tried by then.  A clock that was set, or a machine that slept for a week, makes no tries.
GIVE_UP_FAILURES = len(BACK_OFF_SECONDS) + int((GIVE_UP_SECONDS - sum(BACK_OFF_SECONDS)) / BACK_OFF_SECONDS[-1])
#: Messages that wait for one channel; of more, the oldest go.  They are folded, so that this is months of trouble.
MOST_WAITING = 200


def find_next_delivery(failures: int, made_at: float, now: float) -> float | None:
    """Say when a message is sent again; None for never.

    Args:
        failures: so far, the last one included.
        made_at: when it was made, seconds since the epoch.
        now: likewise.
    """
    if now - made_at > GIVE_UP_SECONDS and failures >= GIVE_UP_FAILURES:
        return None
    return now + BACK_OFF_SECONDS[min(failures, len(BACK_OFF_SECONDS)) - 1]


def is_due(next_at: float, now: float) -> bool:
    """Say whether the time of a message has come; one that is too far off was set under a clock that was ahead."""
    return next_at <= now or next_at - now > BACK_OFF_SECONDS[-1]
