"""The way of a file: hint → settle → inspect → sidecar → index.  Start reading at `Ingest.step`.

Each stage can be repeated without harm: a sidecar that is ours and right stays as it is, a record is written under its
digest.  So a kill at any moment costs a repetition and nothing else.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace

import structlog

from ckptd.errors import WorkerError
from ckptd.index.store import Store
from ckptd.jobs.describing import Describing
from ckptd.jobs.reading import Place, Read, Reading
from ckptd.jobs.recording import Recording
from ckptd.jobs.roots import WatchedRoot
from ckptd.jobs.settling import Arrived, Gone, Settling, Unreadable
from ckptd.metadata.sidecar import Action, SidecarResult
from ckptd.model import INSPECTOR_VERSION, Finding, Identity, Inspection, Severity, Status
from ckptd.policy.retry import find_next_try
from ckptd.watch.scanner import Absent, Directory, Problem, RegularFile, observe, scan

_log = structlog.get_logger()

#: A file that is gone is marked missing after this long, when it has not turned up under another name: both halves of a
#: rename can come in two batches of events.
GRACE_SECONDS = 0.3
#: More losses at once than this are no matter of single files: the full picture is looked at, with its brakes.
MOST_LOSSES = 8
#: Files looked at in one step, so that results are written and signals seen in between.
MOST_LOOKS = 64

_SIDECAR_ENDINGS = ("_metadata.json", ".ckptd.json")
_SIDECAR_EVENTS = {
    Action.WRITTEN: ("info", "sidecar.written"),
    Action.REGENERATED: ("info", "sidecar.written"),
    Action.UPDATED: ("info", "sidecar.updated"),
    Action.KEPT: ("info", "sidecar.kept"),
    Action.BROKEN: ("warning", "sidecar.kept"),
    Action.FAILED: ("warning", "sidecar.failed"),
}


@dataclass(slots=True)
class Counts:
    """What was done since the start."""

    read: int = 0
    recalled: int = 0
    rejected: int = 0
    failed: int = 0


class Ingest:
    """Carry files from a hint to a record.

    Threading: belongs to the loop.

    Args:
        roots: by number.
        now: monotonic seconds, for waiting.
        wall: seconds since the epoch, for what is written down.
        want_rescan: asks for the full picture of a root.
    """

    def __init__(
        self,
        roots: list[WatchedRoot],
        store: Store,
        settling: Settling,
        reading: Reading,
        recording: Recording,
        describing: Describing,
        *,
        now: Callable[[], float],
        wall: Callable[[], float],
        want_rescan: Callable[[int, str], None],
    ) -> None:
        self.counts = Counts()
        self._roots = roots
        self._store = store
        self._settling = settling
        self._reading = reading
        self._recording = recording
        self._describing = describing
        self._now = now
        self._wall = wall
        self._want_rescan = want_rescan
        self._lost: dict[Place, float] = {}
        self._failures: dict[Place, int] = {}
        self._again: set[Place] = set()
        self._undescribed: dict[Place, tuple[float, int]] = {}

    # — what comes in —

    def hint(self, place: Place, *, closed: bool) -> None:
        """Look at a place because something happened there."""
        root = self._roots[place[0]]
        if root.incident is not None:
            return
        match observe(root.handle.fd, place[1], root.wanted):
            case RegularFile():
                self.expect(place, closed=closed)
            case Directory():
                self.expect_below(place)
            case Problem() as problem:
                self.report(place[0], problem)
            case Absent():
                self._miss(place)
            case _:
                pass  # a link inside of the root: its target is looked at under its own name

    def expect(self, place: Place, *, closed: bool = False) -> None:
        """Wait for a file and read it when it is written."""
        if place in self._reading:
            self._again.add(place)
        else:
            self._settling.expect(place, self._now(), closed=closed)

    def expect_below(self, place: Place) -> None:
        """Look at everything below a directory that came, or went."""
        number, path = place
        root = self._roots[number]
        found = scan(root.handle.fd, root.wanted, path)
        known = self._store.load_places(root.path, below=path) if found.files else {}
        for name, identity in found.files.items():
            before = known.get(name)
            if before is None or before.identity != identity or not before.is_settled:
                self.expect((number, name))
        for problem in found.problems:
            self.report(number, problem)

    def expect_move(self, source: Place, target: Place) -> None:
        """Take in that a known file lies at another place now."""
        self._lost[source] = self._now() + GRACE_SECONDS
        self.expect(target)

    def report(self, number: int, problem: Problem) -> None:
        """Write down something that is no file and bears the name of one."""
        if problem.identity is None or not self._roots[number].wanted.wants_path(problem.path):
            _log.warning("watch.degraded", path=problem.path, reason=problem.finding.message)
            return
        status = Status.UNREADABLE if problem.finding.code == "unreadable" else Status.NOT_A_CHECKPOINT
        self._reject((number, problem.path), problem.identity, status, problem.finding)

    def _miss(self, place: Place) -> None:
        self._settling.forget(place)
        if place[1].endswith(_SIDECAR_ENDINGS):
            self._expect_described(place)
        else:
            self._lost.setdefault(place, self._now() + GRACE_SECONDS)

    def _expect_described(self, place: Place) -> None:
        """Look at the checkpoint of a sidecar that a person changed or removed."""
        for path in self._store.find_places_by_stem(self._roots[place[0]].path, place[1]):
            self._undescribed.setdefault((place[0], path), (self._now() + GRACE_SECONDS, 0))

    # — the loop —

    def step(self) -> None:
        """Do what is due, without waiting for anything."""
        now = self._now()
        self._take_settled(now)
        for read in self._reading.finished():
            self._take_read(read)
        self._give_up_lost(now)
        self._describe_again(now)
        self._reading.tick(now)
        self._recording.flush_if_due(now, idle=len(self._reading) == 0)

    def next_due(self) -> float | None:
        """Say when `step` has something to do, if nothing happens before."""
        blocked = not (self._reading.has_room and self._recording.has_room)
        candidates = [
            None if blocked else self._settling.next_due(),
            self._reading.next_deadline(),
            self._recording.next_due(),
            min(self._lost.values(), default=None),
            min((at for at, _ in self._undescribed.values()), default=None),
        ]
        return min((at for at in candidates if at is not None), default=None)

    @property
    def is_idle(self) -> bool:
        """Say whether nothing is on its way but files whose writers are waited for."""
        return not (len(self._reading) or len(self._recording) or self._lost or len(self._settling))

    @property
    def waiting(self) -> int:
        """Count the files that are on their way."""
        return len(self._settling) + len(self._reading)

    @property
    def unfinished(self) -> int:
        """Count the files whose writers are waited for."""
        return len(self._settling)

    @property
    def is_patient(self) -> bool:
        """Say whether all that is left are files that were looked at and have no end, or are open."""
        return not (len(self._reading) or len(self._recording) or self._lost) and self._settling.all_unfinished()

    def hand_over_abandoned(self, wall: float) -> int:
        """Stop waiting for files without an end that nobody has touched for long, by their own times; how many."""
        return self._settling.hand_over_abandoned(wall)

    def close(self) -> None:
        """Write down what is known before the end."""
        for read in self._reading.finished():
            self._take_read(read)
        self._recording.flush(self._now())

    # — settle → inspect —

    def _take_settled(self, now: float) -> None:
        arrived = []
        for outcome in self._settling.due(now):
            match outcome:
                case Arrived():
                    arrived.append(outcome)
                case Unreadable(place, identity, why):
                    finding = Finding("unreadable", Severity.ERROR, f"it cannot be opened: {why} (let the daemon's user read it)")
                    self._reject(place, identity, Status.UNREADABLE, finding)
                case Gone(place):
                    self._miss(place)
            if len(arrived) >= MOST_LOOKS or not self._recording.has_room or len(self._reading) + len(arrived) >= self._reading.room:
                break
        if not arrived:
            return
        known = self._store.find_contents([file.identity for file in arrived])
        for file in arrived:
            self._lost.pop(file.place, None)
            before = known.get(file.identity)
            if before is not None and before.inspector_version == INSPECTOR_VERSION:
                os.close(file.fd)
                self._recall(file.place, file.identity, before)
            else:
                self._reading.start(file.place, file.identity, file.fd, os.path.join(self._roots[file.place[0]].path, file.place[1]))  # noqa: PTH118

    def _take_read(self, read: Read) -> None:
        hinted = read.place in self._again
        self._again.discard(read.place)
        if self._is_stale(read, hinted=hinted):
            self._settling.expect(read.place, self._now(), closed=False)
            return
        if read.error is not None or read.inspection is None:
            self._fail(read.place, read.identity, read.error)
            return
        self._failures.pop(read.place, None)
        self.counts.read += 1
        self._record(read.place, read.identity, replace(read.inspection, path=read.place[1]), recalled=False)

    def _is_stale(self, read: Read, *, hinted: bool) -> bool:
        """Say whether the file has changed since it was handed out; then what was read is of no use."""
        root = self._roots[read.place[0]]
        match observe(root.handle.fd, read.place[1], root.wanted):
            case RegularFile(identity):
                told = read.inspection.identity if read.inspection is not None else None
                if identity[:4] != read.identity[:4] or (told is not None and told[:4] != identity[:4]):
                    return True
                return hinted and identity != read.identity
            case _:
                return True

    def _recall(self, place: Place, identity: Identity, inspection: Inspection) -> None:
        """Record a file whose content is known: a rename, a hard link, a restart."""
        self.counts.recalled += 1
        self._record(place, identity, replace(inspection, path=place[1], identity=identity), recalled=True)

    # — inspect → sidecar → index —

    def _record(self, place: Place, identity: Identity, inspection: Inspection, *, recalled: bool) -> None:
        root, wall = self._roots[place[0]], self._wall()
        described = self._describing.describe(root, place[1], inspection, now=wall)
        self._note_sidecar(place, described.sidecar)
        final = described.inspection
        source = self._find_source(place, identity) if recalled else None
        values = {"root": root.path, "path": place[1], "digest": final.sha256, "status": final.status.value}
        if source is not None:
            self._recording.write(lambda batch: batch.record_moved(root.path, source, place[1], identity, now=wall), self._now())
            self._recording.tell("info", "checkpoint.moved", **values, source=source)
            self._recording.remember({"event": "moved", "root": root.path, "path": place[1], "source": source, "at": wall})
        self._recording.write(lambda batch: batch.record_ready(root.path, place[1], identity, final, now=wall), self._now())
        self._recording.remember({"event": "seen", "root": root.path, "path": place[1], "sha256": final.sha256, "at": wall})
        if source is None:
            self._tell_recorded(final, values, recalled=recalled)

    def _tell_recorded(self, inspection: Inspection, values: dict[str, str | None], *, recalled: bool) -> None:
        findings = [finding.code for finding in inspection.findings if finding.severity is not Severity.INFO]
        if recalled:
            self._recording.tell("info", "checkpoint.recalled", **values)
        elif inspection.status in (Status.OK, Status.NEEDS_CODE):
            self._recording.tell("info", "checkpoint.indexed", **values, kind=inspection.kind, findings=findings)
        else:
            self.counts.rejected += 1
            reason = next((finding.message for finding in inspection.findings if finding.severity is Severity.ERROR), "")
            self._recording.tell("warning", "checkpoint.rejected", **values, findings=findings, reason=reason)

    def _find_source(self, place: Place, identity: Identity) -> str | None:
        """Find the lost place that this file was moved from."""
        for lost in self._lost:
            if lost[0] == place[0]:
                known = self._store.find_place(self._roots[lost[0]].path, lost[1])
                if known is not None and known.identity[:4] == identity[:4]:
                    del self._lost[lost]
                    return lost[1]
        return None

    def _note_sidecar(self, place: Place, result: SidecarResult) -> None:
        if result.action is Action.FAILED:
            failures = self._undescribed.get(place, (0.0, 0))[1] + 1
            at = find_next_try(failures, self._now())
            if at is not None:
                self._undescribed[place] = (at, failures)
        else:
            self._undescribed.pop(place, None)
        if result.sha256 is not None and result.name is not None:
            root = self._roots[place[0]].path
            name = os.path.join(os.path.dirname(place[1]), result.name)  # noqa: PTH118, PTH120 — a relative path that may be no UTF-8
            digest = result.sha256
            self._recording.write(lambda batch: batch.record_output(root, name, digest, "sidecar", now=self._wall()), self._now())
            self._recording.remember({"event": "output", "root": root, "path": name, "sha256": digest})
        if result.action in _SIDECAR_EVENTS:
            level, event = _SIDECAR_EVENTS[result.action]
            reason = "; ".join(finding.message for finding in result.findings)
            values = {"path": place[1], "sidecar": result.name, "reason": reason or result.action.value}
            self._recording.tell(level, event, **values)

    # — what goes wrong —

    def _fail(self, place: Place, identity: Identity, error: WorkerError | None) -> None:
        failures = self._failures.get(place, 0) + 1
        self._failures[place] = failures
        self.counts.failed += 1
        again = find_next_try(failures, self._now())
        _log.warning("worker.failed", path=place[1], reason=str(error), failures=failures, again=again is not None)
        finding = Finding("inspection-failed", Severity.ERROR, f"it could not be inspected: {error}")
        self._reject(place, identity, Status.FAILED, finding)
        if again is not None:
            self._settling.expect(place, self._now(), closed=False, delay=again - self._now())

    def _reject(self, place: Place, identity: Identity, status: Status, finding: Finding) -> None:
        inspection = Inspection(place[1], status, size_bytes=identity.size_bytes, findings=(finding,), identity=identity)
        root, wall = self._roots[place[0]].path, self._wall()
        self.counts.rejected += 1
        self._lost.pop(place, None)
        self._recording.write(lambda batch: batch.record_ready(root, place[1], identity, inspection, now=wall), self._now())
        self._recording.tell(
            "warning", "checkpoint.rejected", root=root, path=place[1], digest=None, status=status.value, reason=finding.message
        )

    def _give_up_lost(self, now: float) -> None:
        due = [place for place, at in self._lost.items() if at <= now]
        if len(due) > MOST_LOSSES:
            for number in {place[0] for place in due}:
                self._want_rescan(number, "losses")
            due_set = set(due)
            self._lost = {place: at for place, at in self._lost.items() if place not in due_set}
            return
        for place in due:
            del self._lost[place]
            self.mark_missing(place)

    def mark_missing(self, place: Place) -> None:
        """Write down that a known file is gone, if it is and its root can be believed; its metadata stays."""
        root, wall = self._roots[place[0]], self._wall()
        if root.freezes_place(place[1]) or isinstance(observe(root.handle.fd, place[1], root.wanted), RegularFile):
            return
        known = self._store.find_place(root.path, place[1])
        if known is None or known.is_missing:
            return
        self._recording.write(lambda batch: batch.record_missing(root.path, place[1], now=wall), self._now())
        self._recording.tell("info", "checkpoint.vanished", root=root.path, path=place[1], digest=known.sha256)

    def _describe_again(self, now: float) -> None:
        for place in [place for place, (at, _) in self._undescribed.items() if at <= now]:
            at, failures = self._undescribed[place]
            self._undescribed[place] = (float("inf"), failures)
            record = self._store.find_record(self._roots[place[0]].path, place[1])
            if record is None or record.inspection is None or place in self._settling or place in self._reading:
                del self._undescribed[place]
                continue
            self._record_description(place, record.inspection, record.identity)
            if self._undescribed.get(place, (0.0, 0))[0] == float("inf"):
                del self._undescribed[place]

    def _record_description(self, place: Place, inspection: Inspection, identity: Identity) -> None:
        root, wall = self._roots[place[0]], self._wall()
        described = self._describing.describe(root, place[1], inspection, now=wall)
        self._note_sidecar(place, described.sidecar)
        final = described.inspection
        if final != inspection:
            self._recording.write(lambda batch: batch.record_ready(root.path, place[1], identity, final, now=wall), self._now())
