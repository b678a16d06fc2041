"""How likely each archive is to be drilled: the longer ago it was, the likelier, and no archive is ever out of the question."""

from __future__ import annotations

from collections.abc import Sequence

#: What an archive weighs that was drilled just now, in seconds of waiting.
_LEAST = 3_600.0


def weigh_archives(drilled_at: Sequence[float | None], now: float) -> list[float]:
    """Give the weight of each archive in the draw.

    One that was never drilled weighs as much as the one that waited longest, and an hour more.  A drill of the future, written
    under a clock that was ahead, proves nothing and counts as none.

    Args:
        drilled_at: seconds since the epoch; None for never.
        now: likewise.
    """
    waited = [None if at is None or at > now else now - at for at in drilled_at]
    longest = max((seconds for seconds in waited if seconds is not None), default=0.0)
    return [_LEAST + (longest + _LEAST if seconds is None else seconds) for seconds in waited]
