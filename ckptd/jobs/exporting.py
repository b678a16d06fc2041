"""Exports over time: wanted when a checkpoint arrived and its name is quiet, made by the runner, put in place, written down.

Level, not edge: what is missing follows from the index, so that a kill costs a repetition.  An export is made again only when
the checkpoint's digest, its recipe or the target's settings changed, or when somebody asks for it by name.
"""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import structlog

from ckptd.errors import IndexUnavailableError
from ckptd.export.runner import Runner
from ckptd.export.units import Made, Unit, Wanted
from ckptd.index.store import Store
from ckptd.jobs.placing import Placing
from ckptd.jobs.planning import Planning, learn_recipe, weights_bytes
from ckptd.jobs.reading import OPEN_FLAGS, Place
from ckptd.jobs.remembering import Remembering
from ckptd.jobs.roots import WatchedRoot
from ckptd.jobs.upkeep import Upkeep
from ckptd.model import Identity, PlaceState, Record, Status
from ckptd.proof import Export, Verdict
from ckptd.settings.exporting import ExportSettings
from ckptd.storage.beneath import open_beneath
from ckptd.storage.scratch import sweep_scratch
from ckptd.watch.guard import STATE_NAME

_log = structlog.get_logger()

#: Checkpoints whose exports are planned in one step, so that files are read and signals seen in between.
MOST_AT_ONCE = 8
#: Units that may wait in the runner; each holds a descriptor.
MOST_WAITING = 64
#: Outcomes that are kept for who asks; a daemon has nobody who does.
MOST_OUTCOMES = 1_000
#: So often in a row, a second apart, the index may be unavailable before a command gives up; the daemon never does.
MOST_FAILURES = 10

#: Jobs are killed by the kernel when their daemon dies, which takes a moment, and hold their scratch until then.
_SWEEP_AGAIN_SECONDS = 5.0

_EXPORTED = frozenset((Status.OK, Status.NEEDS_CODE))
_EVENTS = {
    Verdict.VERIFIED: "export.verified",
    Verdict.UNAVAILABLE: "export.unavailable",
    Verdict.FAILED: "export.failed",
    Verdict.ERROR: "export.ended",
}
_LEVELS = {Verdict.VERIFIED: "info", Verdict.UNAVAILABLE: "info", Verdict.FAILED: "warning", Verdict.ERROR: "warning"}


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be made of one checkpoint.

    Attributes:
        targets: their names.
        force: make them again, though nothing changed.
        by_person: somebody waits for it: what was removed is made again, and the log says nothing.
    """

    targets: tuple[str, ...]
    force: bool = False
    by_person: bool = False


@dataclass(frozen=True, slots=True)
class _Order:
    """A unit's checkpoint, as it was when the unit was planned."""

    place: Place
    record: Record
    asked: Asked


class Exporting:
    """Export what arrives and what is asked for.

    Threading: belongs to the loop.

    Attributes:
        outcomes: of the last exports, whatever became of them, oldest first.
        verified: how many were made and verified since the start.
        is_paused: nothing new is begun; what runs comes to its end.
        failure: why the index has been unavailable `MOST_FAILURES` times in a row; None while it has not.

    Args:
        roots: by number.
        store: what is known.
        planning: decides what is to be made.
        remembering: writes down what was made.
        placing: puts it where it belongs.
        upkeep: brings the sidecar up to date.
        runner: makes it.
        settings: of exports.
        now: monotonic seconds.
        wall: seconds since the epoch.
    """

    def __init__(
        self,
        roots: Sequence[WatchedRoot],
        store: Store,
        planning: Planning,
        remembering: Remembering,
        placing: Placing,
        upkeep: Upkeep,
        runner: Runner,
        settings: ExportSettings,
        *,
        now: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        self.outcomes: deque[Export] = deque(maxlen=MOST_OUTCOMES)
        self.verified = 0
        self.is_paused = False
        self.failure: IndexUnavailableError | None = None
        self._failures = 0
        self._roots = roots
        self._store = store
        self._planning = planning
        self._remembering = remembering
        self._placing = placing
        self._upkeep = upkeep
        self._runner = runner
        self._settings = settings
        self._now = now
        self._wall = wall
        self._due: dict[Place, tuple[float, Asked]] = {}
        self._sweep: tuple[float, float] | None = None

    @property
    def is_idle(self) -> bool:
        """Say whether nothing waits and nothing runs."""
        return not self._due and not len(self._runner)

    @property
    def waiting(self) -> int:
        """Count what waits and what runs."""
        return len(self._due) + len(self._runner)

    def arrived(self, place: Place, status: Status) -> None:
        """Note that a checkpoint was recorded: its exports are made when its name has been quiet for a while."""
        if self._settings.targets and status in _EXPORTED:
            self._due[place] = (self._now() + self._settings.quiet_seconds, Asked(self._settings.targets))

    def ask(self, place: Place, asked: Asked) -> None:
        """Export a checkpoint at once."""
        self._due[place] = (self._now(), asked)

    def hurry(self) -> None:
        """Wait for no quiet any longer; for a single pass."""
        now = self._now()
        self._due = {place: (min(at, now), asked) for place, (at, asked) in self._due.items()}

    def look_for_missing(self, number: int) -> None:
        """Want what the index says is missing, what could not be made before, and what came of a recipe, which may be another.

        A package or a recipe may be there now, and the code of one may have changed; planning says of each whether it has.
        """
        root, targets = self._roots[number], self._settings.targets
        if not targets:
            return
        paths = self._store.find_unexported(root.path, self._planning.digests(targets))
        for path in dict.fromkeys((*paths, *self._store.find_built(root.path, targets))):
            self._due.setdefault((number, path), (self._now(), Asked(targets)))

    def sweep(self, older_than: float) -> None:
        """Remove scratch directories that a kill left, and once more in a moment: its jobs may not be dead yet.

        Args:
            older_than: seconds since the epoch; what changed later may be another process's.
        """
        for root in self._roots:
            sweep_scratch(Path(root.path, STATE_NAME), older_than)
        if self._sweep is None:
            self._sweep = self._now() + _SWEEP_AGAIN_SECONDS, older_than

    def next_due(self) -> float | None:
        """Say when `step` has something to do, if nothing happens before."""
        times = [at for at, _ in self._due.values()] if self._may_begin else []
        deadline = self.next_deadline()
        again = math.inf if self._sweep is None else self._sweep[0]
        return min((at for at in (*times, deadline, again) if at is not None and at < math.inf), default=None)

    def next_deadline(self) -> float | None:
        """Say when an exporter that runs has to be looked at, at the latest."""
        return self._runner.next_deadline()

    def step(self, now: float) -> None:
        """Do what is due, without waiting for anything."""
        self._runner.tick(now)
        while self._runner.results:
            self._finish(self._runner.results.popleft())
        if self._due and self._may_begin:
            for place in [place for place, (at, _) in self._due.items() if at <= now][:MOST_AT_ONCE]:
                _, asked = self._due.pop(place)
                self._begin(place, asked)
        if self._sweep is not None and now >= self._sweep[0]:
            _, older_than = self._sweep
            self.sweep(older_than)
            self._sweep = math.inf, older_than

    @property
    def _may_begin(self) -> bool:
        return len(self._runner) < MOST_WAITING and not self.is_paused

    def close(self) -> None:
        """End what runs; it is made at the next start."""
        self._runner.close()

    # — plan —

    def _begin(self, place: Place, asked: Asked) -> None:
        root = self._roots[place[0]]
        try:
            record = self._store.find_record(root.path, place[1], with_copies=False)
            if root.incident is not None or record is None or not _is_exportable(record):
                return
            planned = self._planning.plan(root, record, asked.targets, force=asked.force, by_person=asked.by_person)
        except IndexUnavailableError as error:
            self._count(error)
            self._due[place] = (self._now() + 1.0, asked)
            return
        if not any(one.wanted for one in planned):  # else what was made has to be written down first
            self._count(None)
        self._record(place, record, [one.refused for one in planned if one.refused is not None and one.is_news], asked)
        for one in planned:
            if one.refused is not None and not one.is_news:
                self.outcomes.append(one.refused)
            elif one.wanted is not None:
                self._submit(place, record, one.wanted, asked)
            elif one.known is not None:
                self.outcomes.append(one.known)

    def _submit(self, place: Place, record: Record, wanted: Wanted, asked: Asked) -> None:
        root = self._roots[place[0]]
        assert record.inspection is not None
        try:
            fd = open_beneath(root.handle.fd, place[1], OPEN_FLAGS)
        except OSError:  # it went away: whoever sees that says so
            return
        identity = Identity.of(os.fstat(fd))
        if identity[:4] != record.identity[:4]:
            os.close(fd)
            return
        self._runner.submit(
            Unit(
                _Order(place, record, asked),
                wanted,
                fd,
                identity,
                Path(root.path, STATE_NAME),
                weights_bytes(record),
                record.inspection.layers,
                dict(record.inspection.metadata.hyperparameters),
            )
        )

    # — take —

    def _finish(self, made: Made) -> None:
        order: _Order = made.unit.order
        try:
            if made.is_overtaken or self._is_stale(order):
                _log.debug("export.overtaken", root=order.record.root, path=order.place[1], target=made.unit.wanted.target)
                return
            export = self._export_of(made, order)
            if made.scratch is not None and made.verdict in (Verdict.VERIFIED, Verdict.FAILED):
                export = self._placing.place(made, self._roots[order.place[0]], order.place[1], export)
                made.scratch.close()  # who sees the sidecar finds nothing half done behind it
            self._record(order.place, order.record, [export], order.asked)
            learnt = learn_recipe(order.record, export, made.unit.wanted)
            if learnt is not None:
                self._remembering.recipe(*learnt, order.record.sha256, now=self._wall())
            self._count(None)
        except IndexUnavailableError as error:
            self._count(error)
            self._try_again(order, made.unit.wanted.target)
        finally:
            if made.scratch is not None:
                made.scratch.close()

    def _try_again(self, order: _Order, target: str) -> None:
        """Make one target again in a moment, beside whatever else is due there."""
        at, asked = self._due.get(order.place, (self._now() + 1.0, replace(order.asked, targets=())))
        self._due[order.place] = (at, replace(asked, targets=tuple(dict.fromkeys((*asked.targets, target)))))

    def _count(self, error: IndexUnavailableError | None) -> None:
        """Count how often in a row the index was unavailable, and log the first time."""
        if error is not None and not self._failures:
            _log.error("index.unavailable", reason=str(error), waiting=self.waiting)
        self._failures = self._failures + 1 if error is not None else 0
        self.failure = error if self._failures >= MOST_FAILURES else None

    def _is_stale(self, order: _Order) -> bool:
        """Say whether the name has another content by now; that one is exported in its turn."""
        record = self._store.find_record(order.record.root, order.place[1], with_copies=False)
        return record is None or record.sha256 != order.record.sha256 or record.state is not PlaceState.READY

    def _export_of(self, made: Made, order: _Order) -> Export:
        wanted: Wanted = made.unit.wanted
        return Export(
            target=wanted.target,
            verdict=made.verdict,
            source_sha256=order.record.sha256 or "",
            settings_digest=wanted.settings_digest,
            recipe_digest=None if wanted.recipe is None else wanted.recipe.digest,
            reason=made.reason,
            at=self._wall(),
            proof=made.proof,
        )

    def _record(self, place: Place, record: Record, exports: Sequence[Export], asked: Asked) -> None:
        if not exports:
            return
        told = () if asked.by_person else exports  # whoever waits for it is told by the command
        then = partial(self._state, place, record, told)
        self._remembering.exports(self._roots[place[0]], place[1], exports, then, now=self._wall())
        for export in exports:
            self.outcomes.append(export)
            self.verified += export.verdict is Verdict.VERIFIED

    def _state(self, place: Place, record: Record, told: Sequence[Export]) -> None:
        """Say what is committed: in the log, and then in the sidecar, so that whoever sees that one finds the other."""
        for export in told:
            _tell(record, export)
        try:
            self._upkeep.state_exports(place)
        except IndexUnavailableError:
            self._upkeep.expect(place, delay=1.0)


def _tell(record: Record, export: Export) -> None:
    values: dict[str, Any] = {"root": record.root, "path": record.path, "target": export.target, "file": export.file}
    if export.reason:
        values["reason"] = export.reason
    getattr(_log, _LEVELS[export.verdict])(_EVENTS[export.verdict], **values)


def _is_exportable(record: Record) -> bool:
    inspection = record.inspection
    return (
        record.state is PlaceState.READY
        and inspection is not None
        and inspection.status in _EXPORTED
        and record.sha256 is not None
    )
