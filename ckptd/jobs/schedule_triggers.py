"""When APScheduler announces something; imported where its thread is started, and nowhere else.

Its own cron trigger counts weekdays from Monday, wants both the day of the month and that of the week to fit, and fires twice
on the day when the clocks go back.  Its own interval trigger lists every time that passed: on a machine that starts in 1970
and is then told the year, five seconds are 350 million of them.
"""

from __future__ import annotations

import datetime as dt

from apscheduler.triggers.base import BaseTrigger

from ckptd.jobs.timetable import Timetable


class TimetableTrigger(BaseTrigger):  # type: ignore[misc]  # the library has no types
    """Fire at the times of a timetable; of those that passed unseen only the last counts."""

    def __init__(self, timetable: Timetable) -> None:
        self._timetable = timetable

    def get_next_fire_time(self, previous: dt.datetime | None, now: dt.datetime) -> dt.datetime | None:
        """Give the next time after now, and after the one that was announced last."""
        after = now if previous is None else max(previous, now)
        at = self._timetable.next_after(after.timestamp())
        return None if at is None else dt.datetime.fromtimestamp(at, dt.UTC)


class SteadyTrigger(BaseTrigger):  # type: ignore[misc]  # APScheduler is untyped
    """Fire again and again, with so many seconds between; what passed unseen is not made up for."""

    def __init__(self, seconds: float) -> None:
        self._pause = dt.timedelta(seconds=seconds)

    def get_next_fire_time(self, previous: dt.datetime | None, now: dt.datetime) -> dt.datetime:
        """Give the next time after now."""
        at = (previous or now) + self._pause
        return at if at > now else now + self._pause
