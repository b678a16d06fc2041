"""The way of a file: hint → settle → inspect → sidecar → index.  Start reading at `Ingest.step`.

Each stage can be repeated without harm: a sidecar that is ours and right stays as it is, a record is written under its
digest.  So a kill at any moment costs a repetition and nothing else.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Container, Set
from dataclasses import dataclass, replace

import structlog

from ckptd.errors import IndexUnavailableError, WorkerError
from ckptd.index.batch import Batch
from ckptd.index.store import Recalled, Store
from ckptd.jobs.losses import Losses, is_gone
from ckptd.jobs.own_exports import OwnExports
from ckptd.jobs.reading import Place, Read, Reading
from ckptd.jobs.recalling import Recalling, word_of
from ckptd.jobs.recording import Recording
from ckptd.jobs.remembering import Remembering
from ckptd.jobs.roots import WatchedRoot
from ckptd.jobs.settling import Arrived, Gone, Settling, Unreadable
from ckptd.jobs.upkeep import SIDECAR_ENDINGS, Upkeep
from ckptd.model import Finding, Identity, Inspection, Severity, Status
from ckptd.policy.reconcile import lies_below
from ckptd.text import escape
from ckptd.watch.scanner import Absent, Directory, Problem, RegularFile, observe, scan

_log = structlog.get_logger()

#: Files looked at in one step, so that results are written and signals seen in between.
MOST_LOOKS = 64

#: What is tried again at each start and doubt, though the file is as it was: a worker may have died of something else.
TRIED_AGAIN = (Status.FAILED, Status.UNREADABLE)
#: Codes of an inspection that failed for good, and of one that is tried again in a moment: of that nobody was told yet.
_FAILED, _UNFINISHED = "inspection-failed", "inspection-unfinished"

#: Says when a failed inspection is tried again: failures so far, this one included, and now → time, or None for never.
NextTry = Callable[[int, float], float | None]
#: Told where a checkpoint was recorded, and what its inspection concluded.
Recorded = Callable[[Place, Status], None]


def _breathe_not() -> None:
    """Let a walk go on: nobody waits for this process."""


def _tell_nobody(_place: Place, _status: Status) -> None:
    """Let a checkpoint be recorded and nothing more."""


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
        store: what is known.
        settling, reading, upkeep, losses, recording: the stages.
        own_exports: what is passed over.
        now: monotonic seconds, for waiting.
        wall: seconds since the epoch, for what is written down.
        next_try: for inspections that failed.
        recorded: told of each checkpoint that was written down.
    """

    def __init__(
        self,
        roots: list[WatchedRoot],
        store: Store,
        settling: Settling,
        reading: Reading,
        upkeep: Upkeep,
        losses: Losses,
        recording: Recording,
        own_exports: OwnExports,
        *,
        now: Callable[[], float],
        wall: Callable[[], float],
        next_try: NextTry,
        recorded: Recorded = _tell_nobody,
    ) -> None:
        self.counts = Counts()
        self.is_paused = False
        self.breathe: Callable[[], None] = _breathe_not
        self.losses = losses
        self.upkeep = upkeep
        self.own_exports = own_exports
        self.remembering = Remembering(recording, own_exports, now=now)
        self._roots = roots
        self._store = store
        self._settling = settling
        self._reading = reading
        self._recording = recording
        self._recalling = Recalling(roots, store, losses)
        self._now = now
        self._wall = wall
        self._next_try = next_try
        self._recorded = recorded
        self._failures: dict[Place, tuple[Identity, int, bool]] = {}  # which file, how often, whether people know of it
        self._hinted: set[Place] = set()

    # — what comes in —

    def hint(self, place: Place, *, closed: bool) -> None:
        """Look at a place because something happened there."""
        root = self._roots[place[0]]
        if root.incident is not None or self.upkeep.is_own(place):
            return
        match observe(root.handle.fd, place[1], root.wanted):
            case RegularFile(identity):
                if not self.own_exports.is_own(place, identity):
                    self.expect(place, closed=closed)
            case Directory():
                self.expect_below(place)
            case Problem() as problem if self._recording.has_room:
                self.report(place[0], problem)
            case Problem():
                self.losses.put_off(place[0])
            case Absent():
                self._look_at_absent(place)
            case _:
                pass  # a link inside of the root: its target is looked at under its own name

    def expect(self, place: Place, *, closed: bool = False) -> None:
        """Wait for a file and read it when it is written."""
        if place in self._reading:
            self._hinted.add(place)
            return
        if place not in self._settling:
            _log.debug("checkpoint.seen", root=self._roots[place[0]].path, path=place[1])
        self._settling.expect(place, self._now(), closed=closed)

    def expect_below(self, place: Place) -> None:
        """Look at everything below a directory that came."""
        number, path = place
        root = self._roots[number]
        found = scan(root.handle.fd, root.wanted, path, breathe=self.breathe)
        self.own_exports.pass_over(number, found.files)
        known = self._store.load_places(root.path, below=path) if found.files else {}
        for name, identity in found.files.items():
            before = known.get(name)
            if before is None or before.identity != identity or not before.is_settled:
                self.expect((number, name))
        for problem in found.problems:
            self.report(number, problem)

    def keep_only(self, number: int, paths: Container[str], unread: Collection[str]) -> None:
        """Have every stage forget what it noted of files of a root that are not there any more.

        Args:
            number: of the root.
            paths: all that the full picture of it has.
            unread: directories that could not be looked into ("" is the root); what lies there is not known.
        """

        def is_there(place: Place) -> bool:
            return place[0] != number or place[1] in paths or lies_below(place[1], unread)

        self._failures = {place: failed for place, failed in self._failures.items() if is_there(place)}
        self._recalling.keep_only(is_there)
        self.losses.keep_only(is_there)
        self.upkeep.keep_only(is_there)

    def read_again(self, place: Place) -> None:
        """Read a file whatever is known of it."""
        self._recalling.disbelieve(place)
        self.expect(place)

    def report(self, number: int, problem: Problem) -> None:
        """Write down something that is no file and bears the name of one."""
        root = self._roots[number]
        if problem.identity is None or not root.wanted.wants_path(problem.path):
            if root.is_news(problem):
                values = {"root": root.path, "path": problem.path, "code": problem.finding.code}
                _log.warning("watch.degraded", **values, reason=problem.finding.message)
            return
        status = Status.UNREADABLE if problem.finding.code == "file-unreadable" else Status.NOT_A_CHECKPOINT
        self._reject((number, problem.path), problem.identity, status, problem.finding)

    def _look_at_absent(self, place: Place) -> None:
        """Nothing that is wanted lies there: a file that went, a sidecar, a directory that went, or somebody's other file."""
        root, (_, path) = self._roots[place[0]], place
        if root.wanted.wants_path(path):
            self._settling.forget(place)
            self.losses.miss(place)
        elif path.endswith(SIDECAR_ENDINGS):
            self.upkeep.hint(place)
        elif path.endswith(".json"):
            directory = path.rpartition("/")[0]
            self.upkeep.forget_functions(f"{root.path}/{directory}" if directory else root.path)
        elif is_gone(root, path):
            self.losses.miss_below(place)

    # — the loop —

    def step(self) -> None:
        """Do what is due, without waiting for anything."""
        now = self._now()
        self._take_settled(now)
        for read in self._reading.finished():
            self._take_read(read)
        self.losses.step(now)
        for place in self.upkeep.step(now, self._reading.places):
            self.read_again(place)
        self._reading.tick(now)
        self._recording.flush_if_due(now, idle=len(self._reading) == 0)

    def next_due(self) -> float | None:
        """Say when `step` has something to do, if nothing happens before."""
        candidates = [
            self._settling.next_due() if self._may_take else None,
            self._reading.next_deadline(),
            self._recording.next_due(),
            self.losses.next_due(),
            self.upkeep.next_due(),
        ]
        return min((at for at in candidates if at is not None), default=None)

    @property
    def _may_take(self) -> bool:
        """Say whether files are taken on now: a handful at a time, so that the index is asked once for all of them."""
        return self._reading.has_room and self._recording.has_room and not self.is_paused

    @property
    def is_idle(self) -> bool:
        """Say whether nothing is on its way."""
        return not (len(self._reading) or len(self._recording) or len(self.losses) or len(self._settling))

    @property
    def waiting(self) -> int:
        """Count the files that are on their way."""
        return len(self._settling) + len(self._reading)

    @property
    def places(self) -> Set[Place]:
        """The files that are on their way."""
        return self._settling.places | self._reading.places

    @property
    def unwritten(self) -> int:
        """Count what waits because the index can't be written just now; 0 in good times."""
        return len(self._recording) if self._recording.is_in_trouble else 0

    @property
    def unfinished(self) -> int:
        """Count the files whose writers are waited for."""
        return len(self._settling)

    @property
    def is_patient(self) -> bool:
        """Say whether all that is left are files that were looked at and have no end, or are open."""
        return not (len(self._reading) or len(self._recording) or len(self.losses)) and self._settling.all_unfinished()

    def hand_over_abandoned(self, wall: float) -> int:
        """Stop waiting for files without an end that nobody has touched for long, by their own times; how many."""
        return self._settling.hand_over_abandoned(wall)

    def close(self) -> None:
        """Write down what is known before the end; a second call does nothing, and nothing is tried that failed just now.

        What is not written down is read again after the next start.
        """
        for read in self._reading.finished():
            self._take_read(read)
        if not self._recording.is_in_trouble:
            self._recording.flush(self._now())

    # — settle → inspect —

    def _take_settled(self, now: float) -> None:
        arrived = []
        room = min(MOST_LOOKS, self._reading.free) if self._may_take else 0
        for outcome in self._settling.due(now) if room > 0 else ():
            match outcome:
                case Arrived():
                    arrived.append(outcome)
                case Unreadable(place, identity, why):
                    message = f"it cannot be opened: {why} (let the daemon's user read it)"
                    self._reject(place, identity, Status.UNREADABLE, Finding("unreadable", Severity.ERROR, message))
                case Gone(place):
                    self.losses.miss(place)
            room -= 1
            if not room:
                break
        unknown = (file.place for file in arrived if not self.own_exports.is_own(file.place, file.identity))
        self.own_exports.look_up(unknown)
        known = self._recalling.find_known(arrived)
        for file in arrived:
            self._take_arrived(file, known.get(file.identity, []))

    def _take_arrived(self, file: Arrived, candidates: list[Recalled]) -> None:
        place = file.place
        if self.own_exports.is_own(place, file.identity):  # it was waited for before it was known as ours
            os.close(file.fd)
            return
        known = self._recalling.choose(file, candidates)
        if known is not None:
            os.close(file.fd)
            self.counts.recalled += 1
            inspection = replace(known.inspection, path=place[1], identity=file.identity)
            how = "recalled" if known.source is None else "moved"
            self._record(place, file.identity, inspection, how, source=known.source)
            return
        failed = self._failures.get(place)
        if failed is not None and failed[0] == file.identity:
            _log.info("inspection.retried", root=self._roots[place[0]].path, path=place[1], failures=failed[1])
        shown = os.path.join(self._roots[place[0]].path, place[1])
        self._reading.start(place, file.identity, file.fd, shown)

    def _take_read(self, read: Read) -> None:
        hinted = read.place in self._hinted
        self._hinted.discard(read.place)
        before = self._recalling.pop_word(read.place)
        if self._is_stale(read, hinted=hinted):
            self._settling.expect(read.place, self._now(), closed=False)
            return
        if read.error is not None or read.inspection is None:
            self._fail(read.place, read.identity, read.error)
            return
        self.counts.read += 1
        if self._is_own_content(read.place, read.inspection.sha256):
            root, digest = self._roots[read.place[0]], read.inspection.sha256 or ""
            self.remembering.output(root, read.place[1], digest, read.identity, now=self._wall())
            return
        how = "described" if before == word_of(read.inspection) else ""
        self._record(read.place, read.identity, replace(read.inspection, path=read.place[1]), how)

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

    def _is_own_content(self, place: Place, sha256: str | None) -> bool:
        """Say whether a newcomer is an export of ours that was copied, moved or restored; what was indexed stays indexed."""
        if not self.own_exports.is_content(sha256):
            return False
        known = self._store.find_place(self._roots[place[0]].path, place[1])
        return known is None or known.is_missing

    # — inspect → sidecar → index —

    def _record(self, place: Place, identity: Identity, inspection: Inspection, how: str, *, source: str | None = None) -> None:
        try:
            self._describe_and_write(place, identity, inspection, how, source)
            self._failures.pop(place, None)
        except (ValueError, TypeError, LookupError, ArithmeticError, RecursionError) as error:
            # A mistake of ours that one file brings to light must not end the daemon, at each of its starts anew.
            self._fail(place, identity, WorkerError("it could not be recorded", why=f"{type(error).__name__}: {error}"))

    def _describe_and_write(
        self, place: Place, identity: Identity, inspection: Inspection, how: str, source: str | None
    ) -> None:
        root, wall = self._roots[place[0]], self._wall()
        before = self._store.find_place(root.path, place[1]) if how == "recalled" else None
        final = self.upkeep.describe(place, inspection)
        if not how and self._is_known_trouble(place, identity, final):
            how = "retried"
        values = {"root": root.path, "path": place[1], "digest": final.sha256, "status": final.status.value}
        if source is not None:
            self._write(lambda batch: batch.record_moved(root.path, source, place[1], identity, now=wall))
            self._recording.remember({"event": "moved", "root": root.path, "path": place[1], "source": source, "at": wall})
        self._write(lambda batch: batch.record_ready(root.path, place[1], identity, final, now=wall, how=how))
        self._recording.remember({"event": "seen", "root": root.path, "path": place[1], "sha256": final.sha256, "at": wall})
        self._recording.then(lambda: self._recorded(place, final.status))
        if source is not None:
            self._recording.tell("info", "checkpoint.moved", **values, source=source)
        elif how == "recalled":
            back = before is not None and before.is_missing
            self._recording.tell("info", "checkpoint.returned" if back else "checkpoint.recalled", **values)
        elif how != "retried":
            self._tell_read(final, values)

    def _tell_read(self, inspection: Inspection, values: dict[str, str | None]) -> None:
        findings = [finding.code for finding in inspection.findings if finding.severity is not Severity.INFO]
        if inspection.status in (Status.OK, Status.NEEDS_CODE):
            self._recording.tell("info", "checkpoint.indexed", **values, kind=inspection.kind, findings=findings)
            return
        self.counts.rejected += 1
        reason = next((finding.message for finding in inspection.findings if finding.severity is Severity.ERROR), "")
        self._recording.tell("warning", "checkpoint.rejected", **values, findings=findings, reason=reason)

    def _write(self, write: Callable[[Batch], None]) -> None:
        self._recording.write(write, self._now())

    # — what goes wrong —

    def _fail(self, place: Place, identity: Identity, error: WorkerError | None) -> None:
        before, message = self._failures.get(place), f"it could not be inspected: {escape(str(error), 500)}"
        finding = Finding(_FAILED, Severity.ERROR, message)
        if before is not None and before[0] == identity:
            failures, is_known = 1 + before[1], before[2]
        else:
            failed = Inspection(place[1], Status.FAILED, findings=(finding,))
            failures, is_known = 1, self._is_known_trouble(place, identity, failed)
        self.counts.failed += 1
        again = self._next_try(failures, self._now())
        self._failures[place] = (identity, failures, is_known or again is None)
        if again is not None and not is_known:  # after a kill it is seen by that that nobody was told yet
            finding = replace(finding, code=_UNFINISHED)
        root = self._roots[place[0]].path
        _log.warning("worker.failed", root=root, path=place[1], reason=str(error), failures=failures, again=again is not None)
        self._reject(place, identity, Status.FAILED, finding, told=again is not None or is_known)
        if again is not None:
            self._settling.expect(place, self._now(), closed=False, delay=again - self._now())

    def _is_known_trouble(self, place: Place, identity: Identity, inspection: Inspection) -> bool:
        """Say whether this very file is known to be in this trouble: it is tried again at each start, which is no news.

        The number of its device does not count: it changes with a mount or a boot.
        """
        if inspection.status not in TRIED_AGAIN:
            return False
        try:
            record = self._store.find_record(self._roots[place[0]].path, place[1], with_copies=False)
        except IndexUnavailableError:
            return False
        known = None if record is None else record.inspection
        if (
            known is None
            or known.identity is None
            or known.identity[1:] != identity[1:]
            or known.status is not inspection.status
        ):
            return False
        return {finding.code for finding in known.findings} == {finding.code for finding in inspection.findings}

    def _reject(self, place: Place, identity: Identity, status: Status, finding: Finding, *, told: bool = False) -> None:
        inspection = Inspection(place[1], status, size_bytes=identity.size_bytes, findings=(finding,), identity=identity)
        root, wall = self._roots[place[0]].path, self._wall()
        told = told or self._is_known_trouble(place, identity, inspection)
        how = "retried" if told else ""
        self._write(lambda batch: batch.record_ready(root, place[1], identity, inspection, now=wall, how=how))
        if told:
            return
        self.counts.rejected += 1
        values = {"root": root, "path": place[1], "digest": None, "status": status.value}
        self._recording.tell("warning", "checkpoint.rejected", **values, findings=[finding.code], reason=finding.message)
