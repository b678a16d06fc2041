"""The parent's side of a zygote: jobs go in, each is run in a confined process of its own, and each gets one result.

Driven by the caller's selector, as the pool is: nothing here blocks and nothing runs in a thread.  The caller submits jobs,
calls `key.data()` for each ready key whose data is callable, calls `tick` no later than `next_deadline`, and takes results off
`results`, in any order.  A result comes when the job's process is dead and collected: nothing it wrote changes any more.

The zygote tells of forks and ends, and is believed; a job is believed in nothing (`ward`).
"""

from __future__ import annotations

import json
import os
import selectors
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from ckptd.errors import WorkerError
from ckptd.sandbox.assignment import Ended, Forked, Job, read_from_zygote, write_job, write_kill
from ckptd.sandbox.channel import ChannelClosedError, decode
from ckptd.sandbox.keeper import Keeper, open_keeper
from ckptd.sandbox.ward import JobResult, Ward, open_ward

__all__ = ["Job", "JobResult", "Note", "Nursery"]

#: A job that has answered gets this long to end by itself: at the lowest priority, beside a training that leaves it a
#: hundredth of a processor, the kernel takes its time to give back gigabytes.
_GRACE_SECONDS = 30.0
#: A killed job that is still there after this long is held by the kernel, or its zygote does nothing.
_KILLED_SECONDS = 60.0
#: The same for jobs whose zygote is gone; nobody waits for them any longer.
_GIVE_UP_SECONDS = 10.0
#: Looking for the end of processes whose zygote is gone.
_POLL_SECONDS = 0.02
#: Notes that wait to be taken; more push out the oldest.
_MAX_NOTES = 1000


class Note(NamedTuple):
    """What a job is at, in its own words, escaped."""

    id: int
    text: str


class _Lost(NamedTuple):
    """A zygote that is being ended, with its jobs."""

    keeper: Keeper
    wards: dict[int, Ward]
    give_up_at: float


class Nursery:
    """One zygote at most, started when there is work, and the jobs it runs, all at once.

    Args:
        selector: the caller's; descriptors are registered in it with a callable as data.
        command: from `worker_command` or `torch_command`.
        clock: seconds, monotonic.
        start_seconds: from the start of the zygote until it says that it is ready, and from then to each fork.
        nice: of the zygote, 0 to 19; a job's jail has its own.

    Attributes:
        results: one for each job.
        notes: what jobs are at.
    """

    def __init__(
        self,
        selector: selectors.BaseSelector,
        command: Sequence[str],
        *,
        clock: Callable[[], float] = time.monotonic,
        start_seconds: float = 60.0,
        nice: int = 19,
    ) -> None:
        self.results: deque[JobResult] = deque()
        self.notes: deque[Note] = deque(maxlen=_MAX_NOTES)
        self._selector = selector
        self._command = tuple(command)
        self._clock = clock
        self._start_seconds = start_seconds
        self._nice = nice
        self._keeper: Keeper | None = None
        self._wards: dict[int, Ward] = {}
        self._lost: list[_Lost] = []

    def __len__(self) -> int:
        return len(self._wards) + sum(len(lost.wards) for lost in self._lost)

    @property
    def pids(self) -> list[int]:
        """Process ids of the zygote, when there is one, and of its jobs."""
        found = [] if self._keeper is None else [self._keeper.process.pid]
        return found + [ward.pid for ward in self._wards.values() if ward.pid]

    def submit(self, job: Job) -> None:
        """Start a job; its descriptors stay the caller's.  What can't be started gets a result that says why.

        Raises:
            TypeError, ValueError: the request is no JSON, there are too many descriptors, or a job of this number runs.
        """
        line, now = write_job(job), self._clock()
        if job.id in self._wards or any(job.id in lost.wards for lost in self._lost):
            raise ValueError(f"job {job.id} runs already")
        try:
            keeper = self._keeper or self._start(now)
            ward, fds = open_ward(job, now + self._start_seconds)
        except OSError as error:
            self._refuse(job, WorkerError("a worker could not be started", why=error.strerror or str(error)))
            return
        except WorkerError as error:
            self._refuse(job, error)
            return
        self._wards[job.id] = ward
        self._selector.register(ward.channel, selectors.EVENT_READ, lambda: self._listen(ward))
        self._selector.register(ward.words_fd, selectors.EVENT_READ, lambda: self._hear(ward))
        keeper.send(line, fds)
        self._watch(keeper)

    def count_threads(self, job: int) -> int:
        """Count the threads of a job; 0 where it has not begun or is over."""
        ward = self._wards.get(job)
        try:
            status = Path("/proc", str(ward.pid), "stat").read_bytes() if ward is not None and ward.pid else b""
        except OSError:
            return 0
        # num_threads is the twentieth field; the second is a name in parentheses, which may hold any.  Source: proc_pid_stat(5)
        fields = status.rpartition(b")")[2].split()
        return int(fields[17]) if len(fields) > 17 else 0

    def cancel(self, job: int, error: WorkerError) -> None:
        """End a job; its result bears the error, unless it has another already.  One that is over is left alone."""
        ward = self._wards.get(job)
        if ward is not None:
            self._kill(ward, error, self._clock())

    def next_deadline(self) -> float | None:
        """Tell when `tick` has something to do at the latest, on the nursery's clock; None while it has not."""
        if self._keeper is not None and not self._keeper.is_ready:
            times = [self._keeper.allowance.at]
        else:
            times = [_due(ward) for ward in self._wards.values()]
        if self._lost:
            times.append(self._clock() + _POLL_SECONDS)
        return min(times, default=None)

    def tick(self, now: float) -> None:
        """End what is late, and collect what is dead."""
        keeper = self._keeper
        if keeper is not None and self._is_late(now):
            self._receive(keeper)  # the caller may have been away for long, and what happened is here already
        if keeper is not None and keeper is self._keeper and not keeper.is_ready:
            if now >= keeper.allowance.at and not keeper.allowance.extend(now):
                self._lose(keeper, WorkerError("a worker did not start in time"), now)
        else:
            for ward in [*self._wards.values()]:
                self._look_at(ward, now)
        for lost in [*self._lost]:
            self._look_at_lost(lost, now)

    def close(self) -> None:
        """End the zygote and every job, and close every descriptor; jobs without a result get none."""
        now = self._clock()
        if self._keeper is not None:
            self._lose(self._keeper, WorkerError("the nursery was closed"), now)
        for lost in self._lost:
            lost.keeper.wait(_GIVE_UP_SECONDS)
            lost.keeper.close()
            for ward in lost.wards.values():
                ward.wait(_GIVE_UP_SECONDS)
                ward.close()
        self._lost.clear()

    # -- jobs

    def _is_late(self, now: float) -> bool:
        due = self.next_deadline()
        return due is not None and now >= due

    def _look_at(self, ward: Ward, now: float) -> None:
        """Do what its clock says."""
        if now < _due(ward) or ward.job.id not in self._wards:
            return
        if ward.killed or ward.allowance is None:
            # The zygote was asked, and does nothing.
            assert self._keeper is not None
            self._lose(self._keeper, WorkerError("a worker did not do as it was told"), now)
        elif ward.is_done():
            self._kill(ward, WorkerError("a worker was ended", why="it went on after its last word"), now)
        elif not ward.allowance.extend(now):
            why = f"it took longer than {ward.job.seconds:g} seconds"
            self._kill(ward, WorkerError("a worker was ended", why=why), now)

    def _listen(self, ward: Ward) -> None:
        if self._is_over(ward) or ward.is_done():
            return
        self.notes.extend(Note(ward.job.id, text) for text in ward.listen())
        if ward.is_done():
            self._selector.unregister(ward.channel)
            ward.give_up_at = self._clock() + _GRACE_SECONDS
            if ward.error is not None:
                self._kill(ward, ward.error, self._clock())

    def _hear(self, ward: Ward) -> None:
        if self._is_over(ward) or ward.is_silent():
            return
        ward.hear()
        if ward.is_silent():
            self._selector.unregister(ward.words_fd)

    def _is_over(self, ward: Ward) -> bool:
        """Tell whether a callback before this one, in the same round of the caller's loop, has let it go."""
        return self._wards.get(ward.job.id) is not ward

    def _kill(self, ward: Ward, error: WorkerError, now: float) -> None:
        """Have the zygote end it; it knows whether the process id is still the job's."""
        if not ward.is_done():
            self._selector.unregister(ward.channel)
        ward.fail(error)
        if not ward.killed and self._keeper is not None:
            ward.killed = True
            ward.give_up_at = now + _KILLED_SECONDS
            self._keeper.send(write_kill(ward.job.id), [])
            self._watch(self._keeper)

    def _finish(self, ward: Ward, code: int | None, peak_bytes: int | None, now: float) -> None:
        self._stop_watching(ward)
        ward.drain()
        self.results.append(ward.conclude(code, peak_bytes, now))
        ward.close()

    def _stop_watching(self, ward: Ward) -> None:
        if not ward.is_done():
            self._selector.unregister(ward.channel)
        if not ward.is_silent():
            self._selector.unregister(ward.words_fd)

    def _refuse(self, job: Job, error: WorkerError) -> None:
        self.results.append(JobResult(job.id, None, None, error, 0.0, None, ""))

    # -- the zygote

    def _start(self, now: float) -> Keeper:
        options = json.dumps({"parent": os.getpid(), "nice": self._nice})
        self._keeper = open_keeper([*self._command, options], self._start_seconds, now)
        return self._keeper

    def _watch(self, keeper: Keeper) -> None:
        """Register for what the zygote's channel waits for."""
        if keeper is not self._keeper:
            return
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if keeper.channel.wants_write else 0)
        if not keeper.events:
            self._selector.register(keeper.channel, events, lambda: self._receive(keeper))
        elif events != keeper.events:
            self._selector.modify(keeper.channel, events, lambda: self._receive(keeper))
        keeper.events = events

    def _receive(self, keeper: Keeper) -> None:
        """Read and write what can be."""
        if keeper is not self._keeper:
            return
        now = self._clock()
        try:
            keeper.flush()
            for line in keeper.channel.receive():
                self._take(keeper, line, now)
            self._watch(keeper)
        except ChannelClosedError:
            self._lose(keeper, None, now)
        except WorkerError as error:
            self._lose(keeper, error, now)

    def _take(self, keeper: Keeper, line: bytes, now: float) -> None:
        message = decode(line)
        if not keeper.is_ready:
            if message != {"ready": True}:
                raise WorkerError("a worker's answer was refused", why="it did not say that it is ready")
            keeper.is_ready = True
            for waiting in self._wards.values():
                waiting.give_up_at = now + self._start_seconds
            return
        said = read_from_zygote(message)
        ward = self._wards.get(said.job)
        match said:
            case Forked(_, pid) if ward is not None and not ward.pid and pid > 0:
                ward.begin(pid, now)
            case Ended(_, code, peak_bytes) if ward is not None:
                del self._wards[said.job]
                self._finish(ward, code, peak_bytes, now)
            case _:
                raise WorkerError("a worker's answer was refused", why="nobody asked for it")

    def _lose(self, keeper: Keeper, error: WorkerError | None, now: float) -> None:
        """End the zygote with all its jobs; the next one that is submitted starts another.

        Args:
            keeper: of the zygote.
            error: None when its exit status has to say it.
            now: on the nursery's clock.
        """
        keeper.error = error
        if keeper.events:
            self._selector.unregister(keeper.channel)
        keeper.kill()
        for ward in self._wards.values():
            self._stop_watching(ward)
        self._lost.append(_Lost(keeper, self._wards, now + _GIVE_UP_SECONDS))
        self._keeper, self._wards = None, {}

    def _look_at_lost(self, lost: _Lost, now: float) -> None:
        """Tell what became of the jobs, once nothing is left of any of them."""
        gone = lost.keeper.has_ended() and all(ward.is_gone() for ward in lost.wards.values())
        if not gone and now < lost.give_up_at:
            return
        error = lost.keeper.describe_end()
        for ward in lost.wards.values():
            ward.fail(error)
            self.results.append(ward.conclude(None, None, now))
            ward.close()
        lost.keeper.close()
        self._lost.remove(lost)


def _due(ward: Ward) -> float:
    if ward.killed or ward.is_done() or ward.allowance is None:
        return ward.give_up_at
    return ward.allowance.at
