"""A warm pool of confined workers, driven by the caller's selector: nothing here blocks and nothing runs in a thread.

The caller submits tasks, calls `key.data()` for each ready key whose data is callable, calls `tick` no later than
`next_deadline`, and takes results off `results`.  Each task gets exactly one result, in any order, until `close`.

A worker answers in order, so only its first task can be to blame when it ends, hangs or lies: that one gets an error, and
those behind it go to another worker.  Any oddity ends the worker; one that answered is only as good as what it read.
"""

from __future__ import annotations

import os
import selectors
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from ckptd.errors import WorkerError
from ckptd.model import Json
from ckptd.sandbox.channel import ChannelClosedError, decode
from ckptd.sandbox.child import Child, Entry, State, Task, start
from ckptd.sandbox.confine import Layers
from ckptd.sandbox.limits import Limits
from ckptd.sandbox.protocol import Answered, Progressed, read_first, read_message, write_request
from ckptd.sandbox.spread import fair_share, pick, take_batch

__all__ = ["Pool", "Result", "Task"]

#: Answers after which a worker makes room for a fresh one.
MAX_TASKS = 1000

#: A worker that closed its channel gets this long to end by itself, so that its exit status can be told.
_GRACE_SECONDS = 1.0
#: A killed worker that is still there after this long is held by the kernel; its task waits no longer.
_GIVE_UP_SECONDS = 2.0
#: Looking for ended workers where the kernel has no descriptor that tells.
_POLL_SECONDS = 0.02
#: Failed starts in a row before waiting tasks are given up, and the waits between tries.
_START_TRIES = 3
_BACK_OFF_SECONDS = (0.1, 0.5, 2.0, 10.0, 30.0)
#: Workers that could not be ended, for each that may run; with more, none is started.
_STUCK = 3


class Result(NamedTuple):
    """What became of one task.

    Attributes:
        id: of the task.
        answer: what `read` made of the worker's answer, or None.
        error: why there is no answer, or None.
        layers: the walls that stood around the worker.
    """

    id: int
    answer: Any
    error: WorkerError | None
    layers: Layers


def _as_it_is(answer: dict[str, Json]) -> Any:
    return answer


class Pool:
    """Workers that are started when there is work and ended when there is none.

    Args:
        selector: the caller's; the pool registers descriptors with a callable as data.
        command: from `worker_command`; the limits and our process id are added.
        size: workers at most.
        limits: for each of them.
        idle_seconds: how long a worker without work stays.
        clock: seconds, monotonic.
        read: checks an answer and makes it what the caller wants; whatever it raises ends the worker.
        max_tasks: answers after which a worker is replaced.
    """

    def __init__(
        self,
        selector: selectors.BaseSelector,
        command: Sequence[str],
        *,
        size: int,
        limits: Limits,
        idle_seconds: float,
        clock: Callable[[], float] = time.monotonic,
        read: Callable[[dict[str, Json]], Any] = _as_it_is,
        max_tasks: int = MAX_TASKS,
    ) -> None:
        self.results: deque[Result] = deque()
        self._selector = selector
        self._command = tuple(command)
        self._size = size
        self._limits = limits
        self._idle_seconds = idle_seconds
        self._clock = clock
        self._read = read
        self._max_tasks = max_tasks
        self._most_dying = _STUCK * size + 1
        self._queue: deque[Entry] = deque()
        self._children: list[Child] = []
        self._dying: list[Child] = []
        self._failed_starts = 0
        self._next_start = 0.0

    @property
    def pids(self) -> list[int]:
        """Process ids of the workers that live, those being ended left out."""
        return [child.process.pid for child in self._children]

    @property
    def waiting(self) -> int:
        """Tasks that were submitted and have no result yet."""
        everyone = [*self._children, *self._dying]
        return len(self._queue) + sum(len(c.entries) + (c.blamed is not None) for c in everyone)

    def submit(self, task: Task) -> None:
        """Take a task; its descriptor belongs to the pool from here on.

        Raises:
            TypeError, ValueError: the request is no JSON; the descriptor was closed.
        """
        try:
            line = write_request(task.id, task.request)
            size = os.fstat(task.fd).st_size
        except BaseException:
            os.close(task.fd)
            raise
        self._queue.append(Entry(task, size, line))
        self._dispatch(self._clock())

    def warm(self, count: int = 1) -> None:
        """Start workers ahead of the work, up to `count` alive."""
        now = self._clock()
        while len(self._children) < min(count, self._size) and self._may_start(now):
            self._start(now)

    def next_deadline(self) -> float | None:
        """Tell when `tick` has something to do at the latest, on the pool's clock; None while it has not."""
        times = [self._due(child) for child in self._children]
        times += [child.give_up_at for child in self._dying]
        if any(child.exit_fd < 0 for child in self._dying):
            times.append(self._clock() + _POLL_SECONDS)
        if self._queue and not self._children and not self._must_wait():
            times.append(self._next_start)
        return min(times, default=None)

    def _due(self, child: Child) -> float:
        if child.state is State.STARTING:
            return child.give_up_at
        if child.entries and child.deadline is not None:
            return child.deadline.at
        return child.idle_since + self._idle_seconds

    def tick(self, now: float) -> None:
        """End what is late or idle, collect what has ended, and try again what can be."""
        for child in [*self._children]:
            if now >= self._due(child):
                self._ready(child)  # the caller may have been away for long, and what it did is here already
            if now < self._due(child) or child.state is State.DYING:
                continue
            if child.state is State.STARTING:
                self._end(child, WorkerError("a worker did not start in time"), now)
            elif child.entries and child.deadline is not None:
                if not child.deadline.extend(now):
                    self._end(child, child.deadline.late(), now)
            else:
                self._end(child, WorkerError("a worker was idle"), now)
        for child in [*self._dying]:
            self._look_at_dying(child, now)
        self._dispatch(now)

    def close(self) -> None:
        """End every worker and close every descriptor; tasks without a result get none."""
        now = self._clock()
        for child in [*self._children]:
            self._take_back(child)
            child.told = True  # an end before its start was complete is no failed start
            self._end(child, WorkerError("the pool was closed"), now)
        for child in [*self._dying]:
            child.kill()
            child.wait(_GIVE_UP_SECONDS)
            _close_all([child.blamed] if child.blamed else [])
            self._forget(child)
        _close_all(self._queue)
        self._queue.clear()

    # -- giving out work

    def _dispatch(self, now: float) -> None:
        """Give waiting tasks out, evenly: nobody gets more than a fair share of all that is unanswered."""
        while self._queue:
            share = fair_share(len(self._queue), [len(child.entries) for child in self._children], self._size)
            child = pick(self._children, self._queue[0].size_bytes, share, self._max_tasks)
            if child is None:
                break
            batch = take_batch(self._queue, child, share, self._max_tasks)
            child.push(batch, now, self._limits)
            if child.channel.broken and child.pending == len(batch):
                # It had nothing to do and died before it could be asked: no task is to blame.
                self._take_back(child)
                self._end(child, None, now)
            else:
                self._watch(child)
        starting = sum(child.state is State.STARTING for child in self._children)
        while starting < len(self._queue) and len(self._children) < self._size and self._may_start(now):
            if not self._start(now):
                break
            starting += 1

    def _take_back(self, child: Child) -> None:
        """Put what the worker has not answered in front of the queue, in its order."""
        self._queue.extendleft(reversed(child.entries))
        child.entries.clear()

    # -- a worker's life

    def _may_start(self, now: float) -> bool:
        return now >= self._next_start and not self._must_wait()

    def _must_wait(self) -> bool:
        """True until it is known how a start failed, and while too many workers can't be ended."""
        return len(self._dying) >= self._most_dying or any(not child.told for child in self._dying)

    def _start(self, now: float) -> bool:
        try:
            child = start(self._command, self._limits, now)
        except WorkerError as error:
            self._start_failed(error, now)
            return False
        self._children.append(child)
        self._watch(child)
        return True

    def _start_failed(self, error: WorkerError, now: float) -> None:
        """Wait before the next try; after some tries, tell everyone who waits."""
        self._next_start = now + _BACK_OFF_SECONDS[min(self._failed_starts, len(_BACK_OFF_SECONDS) - 1)]
        self._failed_starts += 1
        if (self._failed_starts >= _START_TRIES or error.permanent) and not self._children:
            while self._queue:
                self._finish(self._queue.popleft(), None, error, Layers())

    def _watch(self, child: Child) -> None:
        """Register for what this worker's channel waits for."""
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if child.channel.wants_write else 0)
        if events == child.events:
            return
        if child.events:
            self._selector.modify(child.channel, events, lambda: self._ready(child))
        else:
            self._selector.register(child.channel, events, lambda: self._ready(child))
        child.events = events

    def _ready(self, child: Child) -> None:
        """Read and write what can be, then give out more work."""
        if child.state is State.DYING:  # ended by a callback before this one, in the same round of the caller's loop
            return
        now = self._clock()
        try:
            for line in child.channel.receive():
                self._take(child, decode(line), now)
            child.channel.flush()
            self._watch(child)
        except ChannelClosedError:
            self._end(child, None, now)
        except WorkerError as error:
            self._end(child, error, now)
        if child.state is State.READY and not child.entries and child.served >= self._max_tasks:
            self._end(child, WorkerError("a worker was replaced"), now)
        self._dispatch(now)

    def _take(self, child: Child, message: dict[str, Json], now: float) -> None:
        """Take one line of a worker."""
        if child.state is State.STARTING:
            child.layers = read_first(message)
            child.state = State.READY
            child.told = True
            child.idle_since = now
            self._failed_starts = 0
            return
        match read_message(message, child.entries[0].task.id if child.entries else None):
            case Answered(answer):
                value = self._check(answer)
                self._finish(child.pop(now, self._limits), value, None, child.layers)
            case Progressed(done_bytes) if child.deadline is not None:
                child.deadline.note_progress(done_bytes, now)

    def _check(self, answer: dict[str, Json]) -> Any:
        try:
            return self._read(answer)
        except WorkerError:
            raise
        except Exception as error:
            raise WorkerError("a worker's answer was refused", why=type(error).__name__) from error

    def _end(self, child: Child, error: WorkerError | None, now: float) -> None:
        """Let go of a worker; `error` None means that it went by itself, and its exit status will say why."""
        if child.state is State.DYING:
            return
        child.state = State.DYING
        child.error = error
        self._children.remove(child)
        self._dying.append(child)
        if child.events:
            self._selector.unregister(child.channel)
        child.channel.close()
        if child.entries:
            child.blamed = child.entries.popleft()
            self._take_back(child)
        if error is None:
            child.give_up_at = now + _GRACE_SECONDS
        else:
            child.kill()
            child.give_up_at = now + _GIVE_UP_SECONDS
        if child.exit_fd >= 0:
            self._selector.register(child.exit_fd, selectors.EVENT_READ, lambda: self.tick(self._clock()))
        self._look_at_dying(child, now)

    def _look_at_dying(self, child: Child, now: float) -> None:
        """Collect a worker that has ended, and tell what became of its task."""
        if child.ended():
            self._tell(child, now)
            self._forget(child)
        elif now >= child.give_up_at:
            child.give_up_at = now + _GIVE_UP_SECONDS
            if child.killed:
                self._tell(child, now)
            else:
                child.kill()

    def _tell(self, child: Child, now: float) -> None:
        error = child.error or child.describe_end()
        if child.blamed is not None:
            self._finish(child.blamed, None, error, child.layers)
            child.blamed = None
        if not child.told:
            child.told = True
            self._start_failed(error, now)

    def _forget(self, child: Child) -> None:
        if child.exit_fd >= 0:
            self._selector.unregister(child.exit_fd)
        child.close()
        self._dying.remove(child)

    def _finish(self, entry: Entry, answer: Any, error: WorkerError | None, layers: Layers) -> None:
        os.close(entry.task.fd)
        self.results.append(Result(entry.task.id, answer, error, layers))


def _close_all(entries: Iterable[Entry]) -> None:
    for entry in entries:
        os.close(entry.task.fd)
