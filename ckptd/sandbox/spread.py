"""Who gets the next task: evenly, a few ahead so that no worker waits for the parent, and nothing behind a big file."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Protocol, TypeVar

#: Requests on their way to one worker.
DEPTH = 16
#: Bytes of the files that may be on their way to one worker when there is more than one: a few hundredths of a second.
DEPTH_BYTES = 16 << 20


class Sized(Protocol):
    """What a task says here: how large its file is."""

    @property
    def size_bytes(self) -> int:
        """Size of the file."""


class Worker(Protocol):
    """What a worker says here."""

    pending_bytes: int
    served: int

    @property
    def ready(self) -> bool:
        """True when it takes requests."""

    @property
    def pending(self) -> int:
        """How many requests it has not answered."""


_W = TypeVar("_W", bound=Worker)
_S = TypeVar("_S", bound=Sized)


def fair_share(queued: int, pending: Sequence[int], size: int) -> int:
    """Tell how many requests one of `size` workers may have: what all would have, those included that start just now."""
    return min(DEPTH, -(-(queued + sum(pending)) // size))


def pick(workers: Sequence[_W], next_bytes: int, share: int, max_tasks: int) -> _W | None:
    """Choose the worker with the least to do that has room for a file of `next_bytes`; None when nobody has."""
    best: _W | None = None
    for worker in workers:
        if not worker.ready or worker.served + worker.pending >= max_tasks:
            continue
        if not worker.pending:
            return worker
        room = worker.pending < share and worker.pending_bytes + next_bytes <= DEPTH_BYTES
        if room and (best is None or worker.pending < best.pending):
            best = worker
    return best


def take_batch(queue: deque[_S], worker: Worker, share: int, max_tasks: int) -> list[_S]:
    """Take what the worker that was picked gets now off the queue: one task at least."""
    room = min(share - worker.pending, max_tasks - worker.served - worker.pending)
    batch = [queue.popleft()]
    total = worker.pending_bytes + batch[0].size_bytes
    while len(batch) < room and queue and total + queue[0].size_bytes <= DEPTH_BYTES:
        total += queue[0].size_bytes
        batch.append(queue.popleft())
    return batch
