"""Drive the steps of exports through confined processes, several at once by memory, and hand back what was made.

A `Unit` is one checkpoint in one target.  Its steps are written down as a generator (`steps.py`) that yields what is to run
next and is sent what came of it; `Runner` starts as many units as there is memory for, and never waits: it belongs to a loop
with a selector, as the pool of inspectors does.
"""

from __future__ import annotations

import selectors
from collections import deque
from collections.abc import Callable, Generator

from ckptd.errors import CkptdError, WorkerError
from ckptd.export.steps import run_steps
from ckptd.export.targets import find_target
from ckptd.export.units import Failed, Made, Overtaken, Step, Unit
from ckptd.export.worker import heavy_command, light_command
from ckptd.policy.exports import Need, admit
from ckptd.proof import Verdict
from ckptd.sandbox.jail import MOST_THREADS, Jail, library_paths
from ckptd.sandbox.limits import JOB_LAYERS
from ckptd.sandbox.nursery import Job, JobResult, Nursery
from ckptd.settings.exporting import ExportSettings
from ckptd.storage.scratch import free_bytes, used_bytes
from ckptd.text import escape

#: A zygote without work ends after this long: one that holds torch weighs 360 MB, and to start it takes 2 to 5 seconds.
IDLE_SECONDS = 10.0
#: How often it is looked at what a running job has written.
_LOOK_SECONDS = 0.5

#: Told of each step that begins: the unit and a few words.
Told = Callable[[Unit, str], None]


class _Running:
    """A unit on its way.

    Attributes:
        steps: what is left to do; None before the first step.
        job: number of the job that runs for it.
    """

    def __init__(self, unit: Unit, need: Need) -> None:
        self.unit = unit
        self.need = need
        self.steps: Generator[Step, JobResult, Made] = run_steps(unit)
        self.step: Step | None = None
        self.job = -1


class Runner:
    """Run units; results come in the order in which they end.

    Threading: belongs to the loop that owns `selector`.

    Attributes:
        settings: limits of what is started from now on.

    Args:
        selector: of that loop.
        settings: limits.
        clock: monotonic seconds.
        told: told of each step.
        layers: walls that are built around each step; one that is left out counts as missing.
    """

    def __init__(
        self,
        selector: selectors.BaseSelector,
        settings: ExportSettings,
        clock: Callable[[], float],
        told: Told = lambda _unit, _words: None,
        *,
        layers: tuple[str, ...] = JOB_LAYERS,
    ) -> None:
        self.results: deque[Made] = deque()
        self._selector = selector
        self.settings = settings
        self._clock = clock
        self._told = told
        self._layers = layers
        self._waiting: deque[_Running] = deque()
        self._running: dict[int, _Running] = {}
        self._nurseries: dict[tuple[str, ...], Nursery] = {}
        self._idle_since: float | None = None
        self._look_at = 0.0
        self._jobs = 0

    def __len__(self) -> int:
        return len(self._waiting) + len(self._running) + len(self.results)

    @property
    def pids(self) -> list[int]:
        """Process ids of the zygotes that live."""
        return [pid for nursery in self._nurseries.values() for pid in nursery.pids]

    def submit(self, unit: Unit) -> None:
        """Put a unit behind those that wait; its descriptor belongs to the runner from here on."""
        self._waiting.append(_Running(unit, unit.need))
        self._idle_since = None
        self._admit()

    def next_deadline(self) -> float | None:
        """Say when `tick` wants to be called next."""
        times = [at for nursery in self._nurseries.values() if (at := nursery.next_deadline()) is not None]
        if self._running:
            times.append(self._look_at)
        if self._idle_since is not None:
            times.append(self._idle_since + IDLE_SECONDS)
        return min(times, default=None)

    def tick(self, now: float) -> None:
        """Take what jobs answered, start what may start, end what is overdue, too greedy or idle."""
        for nursery in self._nurseries.values():
            nursery.tick(now)
            while nursery.notes:
                note = nursery.notes.popleft()
                if note.id in self._running:
                    self._told(self._running[note.id].unit, note.text)
        # What is taken may start the next step, in a zygote that was not there before.
        results = [nursery.results for nursery in self._nurseries.values()]
        while (full := next(filter(None, results), None)) is not None:
            self._take(full.popleft())
        if self._running and now >= self._look_at:
            self._look_at = now + _LOOK_SECONDS
            self._end_greedy()
        self._admit()
        self._end_idle(now)

    def close(self) -> None:
        """End every process; what was on its way is as if it had never begun."""
        for nursery in self._nurseries.values():
            nursery.close()
        self._nurseries.clear()
        for running in (*self._waiting, *self._running.values()):
            running.steps.close()
            running.unit.close()
        for made in self.results:
            if made.scratch is not None:
                made.scratch.close()
        self._waiting.clear()
        self._running.clear()
        self.results.clear()

    # — units —

    def _admit(self) -> None:
        running = [one.need for one in self._running.values()]
        waiting = [one.need for one in self._waiting]
        settings = self.settings
        for _ in range(admit(waiting, running, memory_bytes=settings.memory_bytes, most=settings.workers)):
            one = self._waiting.popleft()
            self._advance(one, None)

    def _take(self, result: JobResult) -> None:
        one = self._running.pop(result.id, None)
        if one is not None:
            self._advance(one, result)

    def _advance(self, one: _Running, result: JobResult | None) -> None:
        """Do the next step of a unit, or end it."""
        try:
            one.step = next(one.steps) if result is None else one.steps.send(result)
            self._start(one)
        except StopIteration as done:
            one.unit.close()
            self.results.append(done.value)
        except Failed as failed:
            self._fail(one, failed)
        except CkptdError as error:
            self._fail(one, Failed.of(error))
        except (OSError, TypeError, ValueError) as error:
            # The disk, or a request that is too long or no JSON: one export ends, and not the loop with all the others.
            self._fail(one, Failed(Verdict.ERROR, escape(f"{type(error).__name__}: {error}", 1_000)))

    def _fail(self, one: _Running, failed: Failed) -> None:
        one.steps.close()
        one.unit.close()
        overtaken = isinstance(failed, Overtaken)
        self.results.append(Made(one.unit, failed.verdict, str(failed), failed.proof, is_overtaken=overtaken))

    def _start(self, one: _Running) -> None:
        step = one.step
        assert step is not None
        self._told(one.unit, step.words)
        self._jobs += 1
        one.job = self._jobs
        if not self._running:  # else it would seem due ever since the last one ran
            self._look_at = max(self._look_at, self._clock() + _LOOK_SECONDS)
        self._running[one.job] = one
        jail = Jail(
            readable=(*library_paths(), *step.readable_paths),
            memory_bytes=one.need.memory_bytes,
            file_bytes=one.unit.file_bytes,
            required=self.settings.sandbox == "required",
            layers=self._layers,
        )
        job = Job(one.job, step.function, step.request, step.fds, step.writable, step.readable, jail, self.settings.seconds)
        try:
            self._nursery(step.zygote, one.unit).submit(job)
        except BaseException:
            del self._running[one.job]
            raise

    def _end_greedy(self) -> None:
        """End jobs whose scratch grows beyond what any export takes: a file's own limit does not bound their number.

        Files without a name, which stay open, are seen by nobody; so the disk itself is looked at too.  Nor does the kernel's
        limit on threads bind root.
        """
        for job, one in list(self._running.items()):
            step = one.step
            assert step is not None
            nursery, why = self._nursery(step.zygote, one.unit), ""
            if any(used_bytes(step.fds[index]) > one.unit.scratch_bytes for index in step.writable):
                why = f"it wrote more than {one.unit.scratch_bytes} bytes"
            elif any(free_bytes(step.fds[index]) < self.settings.min_free_bytes for index in step.writable):
                why = "the disk got fuller than export.min_free_bytes allows"
            elif nursery.count_threads(job) > MOST_THREADS:
                why = f"it started more than {MOST_THREADS} threads"
            if why:
                nursery.cancel(job, WorkerError("a worker was ended", why=why))

    # — zygotes —

    def _nursery(self, zygote: str, unit: Unit) -> Nursery:
        key = self._find_key(zygote, unit)
        nursery = self._nurseries.get(key)
        if nursery is None:
            command = light_command() if zygote == "light" else heavy_command(key[1:])
            nursery = self._nurseries[key] = Nursery(self._selector, command, clock=self._clock)
        return nursery

    def _find_key(self, zygote: str, unit: Unit) -> tuple[str, ...]:
        """Choose a zygote: one for everything that the batch needs, so that a target without packages shares it."""
        if zygote == "light":
            return ("light",)
        wanted = set(_packages(unit))
        for key in self._nurseries:
            if key[0] == "torch" and wanted <= set(key[1:]):
                return key
        for one in (*self._waiting, *self._running.values()):
            wanted |= set(_packages(one.unit))
        return ("torch", *sorted(wanted))

    def _end_idle(self, now: float) -> None:
        if self._waiting or self._running or not self._nurseries:
            self._idle_since = None
        elif self._idle_since is None:
            self._idle_since = now
        elif now - self._idle_since >= IDLE_SECONDS:
            for nursery in self._nurseries.values():
                nursery.close()
            self._nurseries.clear()
            self._idle_since = None


def _packages(unit: Unit) -> tuple[str, ...]:
    return find_target(unit.wanted.target).packages
