"""When something that failed is tried again."""

from __future__ import annotations

#: Seconds to wait after the first, second and third failure.  Three tries, spread over what a restart of a file server
#: or a worker under memory pressure takes; after that only a change of the file or a newer inspector helps.
BACK_OFF_SECONDS = (5.0, 60.0, 600.0)


def find_next_try(failures: int, now: float) -> float | None:
    """Say when to try again after `failures` failures in a row; None when trying again is over.

    Args:
        failures: how often it failed, this time included; at least 1.
        now: seconds on any clock; the answer is on the same one.
    """
    if failures > len(BACK_OFF_SECONDS):
        return None
    return now + BACK_OFF_SECONDS[failures - 1]
