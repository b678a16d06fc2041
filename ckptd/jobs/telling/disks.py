"""What is free where something of ours lies: measured by a thread for each place, since a dead share holds who asks for it."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import NamedTuple

from ckptd.health.surveying import Surveyor
from ckptd.jobs.telling.states import Disk
from ckptd.notify.message import bounded

#: Rounds after which an answer is old, and what a busy machine may add to that, seconds.
_OLD_ROUNDS, _OLD_SECONDS = 3, 10.0


class Room(NamedTuple):
    """What one place said: the number of its device, and what is free there."""

    device: int
    free_bytes: int


class Measured(NamedTuple):
    """What is known just now.

    Attributes:
        disks: each once, by the first of the places that lies there.
        silent: places of which nothing is known, as they are named in an alert.
    """

    disks: list[Disk]
    silent: list[str]


def measure_room(place: str) -> Room | None:
    """Ask the file system of a place; None where there is nothing to ask."""
    try:
        room = os.statvfs(place)
        return Room(os.stat(place).st_dev, room.f_bavail * room.f_frsize)
    except OSError:
        return None


class DiskWatch:
    """Know what is free, without waiting for it.

    Threading: everything but the measuring belongs to the loop.

    Args:
        places: absolute paths, in the order in which they name a disk.
        seconds: between two answers of a place.
        monotonic: seconds that nobody sets.
        measure: asks one place, and may wait.
    """

    def __init__(
        self,
        places: Sequence[str],
        seconds: float,
        monotonic: Callable[[], float],
        measure: Callable[[str], Room | None] = measure_room,
    ) -> None:
        self._old = _OLD_ROUNDS * seconds + _OLD_SECONDS
        self._monotonic = monotonic
        self._measure = measure
        self._answers: dict[str, tuple[float, Room | None]] = {}
        self._places = list(dict.fromkeys(places))
        self._surveyors = [Surveyor(partial(self._ask, place), seconds, _tell_nobody) for place in self._places]
        for surveyor in self._surveyors:
            surveyor.start()

    def find(self, but: Collection[str] = ()) -> Measured:
        """Give what is free on each disk once, and the places of which nothing is known.

        Args:
            but: places whose answers do not count, such as a root that is gone: another disk lies there.
        """
        disks: dict[int, Disk] = {}
        silent = []
        for place in self._places:
            at, room = self._answers.get(place, (-math.inf, None))
            if room is None or place in but or self._monotonic() - at > self._old:
                silent.append(bounded(place))  # what is wrong with one that is not there is another alert
            else:
                disks.setdefault(room.device, Disk(bounded(place), room.free_bytes))
        return Measured(list(disks.values()), silent)

    def close(self) -> None:
        """End the threads; one that waits for a dead share is left to the end of the process."""
        for surveyor in self._surveyors:
            surveyor.end()

    def _ask(self, place: str) -> None:
        room = self._measure(place)
        self._answers[place] = self._monotonic(), room


def _tell_nobody(_trouble: str | None) -> None:
    """Say nothing: a place that does not answer is no news here."""
