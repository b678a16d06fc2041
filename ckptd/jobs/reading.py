"""Files on their way through the workers: a descriptor goes out, an inspection or a failure comes back."""

from __future__ import annotations

import os
import selectors
from collections import deque
from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass
from typing import Any

from ckptd.checkpoint import worker
from ckptd.errors import WorkerError
from ckptd.model import Identity, Inspection
from ckptd.sandbox.child import Task
from ckptd.sandbox.limits import Limits
from ckptd.sandbox.pool import Pool
from ckptd.sandbox.spread import DEPTH
from ckptd.settings import InspectSettings

#: How a checkpoint is opened: no link is followed, no FIFO waited for, nothing inherited.
OPEN_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY

#: (root number, path relative to it): how the jobs name a place.
Place = tuple[int, str]


@dataclass(frozen=True, slots=True)
class Read:
    """What became of one reading.

    Attributes:
        place: which file.
        identity: of the descriptor that was handed out.
        inspection: what the worker said, or None.
        error: why there is none.
    """

    place: Place
    identity: Identity
    inspection: Inspection | None
    error: WorkerError | None


class Reading:
    """Hand files to the pool, no more at once than keep every worker busy, and collect what comes back.

    Threading: belongs to the loop that owns `selector`.
    """

    def __init__(self, selector: selectors.BaseSelector, settings: InspectSettings, clock: Callable[[], float]) -> None:
        limits = Limits(
            memory_bytes=settings.memory_bytes,
            structure_seconds=settings.structure_seconds,
            required=settings.sandbox == "required",
        )
        self._pool = Pool(
            selector,
            worker.command(),
            size=settings.workers,
            limits=limits,
            idle_seconds=settings.idle_seconds,
            clock=clock,
            read=worker.read_answer,
        )
        # Twice what the workers hold: enough that none waits while results are written, few enough descriptors.
        self._room: int = 2 * DEPTH * settings.workers
        self._flying: dict[int, tuple[Place, Identity]] = {}
        self._places: set[Place] = set()
        self._number = 0

    def __contains__(self, place: Place) -> bool:
        return place in self._places

    def __len__(self) -> int:
        return len(self._flying)

    @property
    def places(self) -> Set[Place]:
        """The files that are on their way."""
        return self._places

    @property
    def free(self) -> int:
        """Say how many more files may be started.

        Those that were answered do not count: their workers are to have the next ones before the answers are written down.
        """
        return self._room - len(self._flying) + len(self._pool.results)

    @property
    def has_room(self) -> bool:
        """Say whether a handful of files may be started; one at a time would cost as many questions to the index."""
        return self.free >= self._room // 4

    @property
    def is_crowded(self) -> bool:
        """Say whether every worker has enough to do for a while, so that nobody waits when answers are taken a moment later."""
        return len(self._flying) > self._room // 8

    def start(self, place: Place, identity: Identity, fd: int, shown: str) -> None:
        """Hand a descriptor to the workers; it belongs to them from here on."""
        self._number += 1
        self._flying[self._number] = (place, identity)
        self._places.add(place)
        self._pool.submit(Task(self._number, fd, worker.request(shown)))

    def finished(self) -> Iterator[Read]:
        """Give what came back, in the order it came."""
        results: deque[Any] = self._pool.results
        while results:
            result = results.popleft()
            place, identity = self._flying.pop(result.id)
            self._places.discard(place)
            inspection = result.answer
            if inspection is not None:
                inspection = worker.with_layers(inspection, result.layers)
            yield Read(place, identity, inspection, result.error)

    @property
    def pids(self) -> list[int]:
        """Process ids of the workers that live."""
        return self._pool.pids

    def next_deadline(self) -> float | None:
        """Say when `tick` wants to be called next."""
        return self._pool.next_deadline()

    def tick(self, now: float) -> None:
        """End what is overdue or idle."""
        self._pool.tick(now)

    def close(self) -> None:
        """End the workers; what was on its way is read again at the next start."""
        self._pool.close()
