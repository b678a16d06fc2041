"""Sidecars over time: written with the record, tried again when the disk refused, made anew when somebody removed one."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ckptd.errors import IndexUnavailableError
from ckptd.index.store import Store
from ckptd.jobs.describing import Describing
from ckptd.jobs.own_exports import OwnExports
from ckptd.jobs.reading import Place
from ckptd.jobs.recording import Recording
from ckptd.jobs.roots import WatchedRoot
from ckptd.metadata.sidecar import Action, SidecarResult
from ckptd.model import GONE_STATES, Finding, Identity, Inspection, Record, Severity, Status
from ckptd.policy.retry import find_next_try
from ckptd.storage.beneath import open_parent_beneath
from ckptd.text import escape

#: Endings of the files that hold metadata; anybody may write them.
SIDECAR_ENDINGS = ("_metadata.json", ".ckptd.json")
#: A person's editor saves in several steps; the sidecar is looked at when it has been quiet for this long.
QUIET_SECONDS = 0.3
#: Descriptions made in one step, so that files are read and signals seen in between.
MOST_AT_ONCE = 64
#: Sidecars of ours that are remembered, so that our own writing is not taken for a person's; seconds are enough, and each
#: takes 0.4 kB.  One that is forgotten too soon is looked at once for nothing.
MOST_OWN = 2_000

_EVENTS = {
    Action.WRITTEN: ("info", "sidecar.written"),
    Action.REGENERATED: ("info", "sidecar.written"),
    Action.UPDATED: ("info", "sidecar.updated"),
    Action.KEPT: ("info", "sidecar.kept"),
    Action.BROKEN: ("warning", "sidecar.kept"),
    Action.FAILED: ("warning", "sidecar.failed"),
}
_NEVER = float("inf")


def _tell_nobody(_place: Place, _status: Status) -> None:
    """Let a sidecar be looked at and nothing more."""


@dataclass(slots=True)
class _Due:
    """A checkpoint whose sidecar is to be looked at again."""

    at: float
    failures: int = 0


class Upkeep:
    """Describe checkpoints, now and again later.

    Threading: belongs to the loop.

    Attributes:
        described: told of each known checkpoint whose sidecar was looked at again: a person may have written a recipe there.

    Args:
        roots: by number.
        store: what is known.
        recording: where outputs and changed values are written down.
        describing: writes and reads sidecars.
        own_exports: knows what is to be said about exports.
        now: monotonic seconds.
        wall: seconds since the epoch.
    """

    def __init__(
        self,
        roots: list[WatchedRoot],
        store: Store,
        recording: Recording,
        describing: Describing,
        own_exports: OwnExports,
        *,
        now: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        self.described: Callable[[Place, Status], None] = _tell_nobody
        self._roots = roots
        self._store = store
        self._recording = recording
        self._describing = describing
        self._own_exports = own_exports
        self._now = now
        self._wall = wall
        self._due: dict[Place, _Due] = {}
        self._own: OrderedDict[Place, tuple[int, int, int]] = OrderedDict()
        self._troubled: set[Place] = set()

    @property
    def enabled(self) -> bool:
        """Say whether sidecars are written at all."""
        return self._describing.enabled

    def describe(self, place: Place, inspection: Inspection) -> Inspection:
        """Bring the sidecar of a checkpoint up to date and give the inspection with what people say in it."""
        try:
            exports = self._own_exports.find_stated(place, inspection.sha256)
        except IndexUnavailableError:
            exports = None
        described = self._describing.describe(self._roots[place[0]], place[1], inspection, now=self._wall(), exports=exports)
        self._note(place, described.sidecar)
        return described.inspection

    def state_exports(self, place: Place) -> None:
        """Bring the exports that the sidecar of a known checkpoint names up to date with the index.

        Where there is no sidecar that speaks of what lies there, it is written with the next description.

        Raises:
            IndexUnavailableError: it can't be read just now.
        """
        root = self._roots[place[0]]
        record = self._store.find_record(root.path, place[1], with_copies=False)
        if record is None or record.inspection is None or not self._own_exports.has_exports(place):
            return
        exports = self._own_exports.find_stated(place, record.sha256) or {}
        result = self._describing.state_exports(root, place[1], record.inspection, exports, now=self._wall())
        if result is None or result.action in (Action.KEPT, Action.FAILED):  # somebody is saving it, or the disk said no
            self.expect(place, delay=QUIET_SECONDS)
        if result is not None and result.action is not Action.FAILED:
            self._note(place, result, is_done=result.action is not Action.KEPT)

    def is_own(self, place: Place) -> bool:
        """Say whether a sidecar lies there just as it was written here: what happened to it was our own doing."""
        seen = self._own.get(place)
        return seen is not None and seen == _stamp(self._roots[place[0]], place[1])

    def hint(self, place: Place) -> None:
        """Look at the checkpoint of a sidecar that a person may have changed or removed."""
        if self.is_own(place):
            return
        for path in self._store.find_places_by_stem(self._roots[place[0]].path, place[1]):
            self.expect((place[0], path), delay=QUIET_SECONDS)

    def expect(self, place: Place, *, delay: float = 0.0) -> None:
        """Describe a known checkpoint again soon."""
        self._due.setdefault(place, _Due(_NEVER)).at = self._now() + delay

    def retry(self, number: int) -> None:
        """Try what failed once more, whatever was tried before: room was made, a share is writable again."""
        now = self._now()
        for place, due in self._due.items():
            if place[0] == number:
                due.at = min(due.at, now)

    def keep_only(self, is_there: Callable[[Place], bool]) -> None:
        """Forget what was to be said of files that are not there any more, and the trouble of directories that hold none."""
        self._due = {place: due for place, due in self._due.items() if is_there(place)}
        waiting = {(place[0], place[1].rpartition("/")[0]) for place in self._due}
        self._troubled &= waiting

    def forget_functions(self, directory: str) -> None:
        """Look at training functions anew: a JSON file of somebody changed in a directory."""
        self._describing.forget_functions(directory)

    def next_due(self) -> float | None:
        """Say when something is to be described again; while the index takes no more, nothing is."""
        if not self._recording.has_room:
            return None
        at = min((due.at for due in self._due.values()), default=_NEVER)
        return None if at == _NEVER else at

    def step(self, now: float, busy: Iterable[Place]) -> list[Place]:
        """Describe what is due; give the places that have to be read again to say what is so.

        Args:
            now: monotonic seconds.
            busy: files on their way, which are described when they arrive.
        """
        is_possible = bool(self._due) and self._recording.has_room
        due = [place for place, one in self._due.items() if one.at <= now][:MOST_AT_ONCE] if is_possible else []
        if not due:
            return []
        again, refused, on_their_way = [], set[Place](), set(busy)
        for place in due:
            directory = place[0], place[1].rpartition("/")[0]
            one = self._due.pop(place)
            if directory in refused:  # one refusal speaks for its neighbours; they need no log of their own
                self._put_off(place, one.failures)
                continue
            record = self._store.find_record(self._roots[place[0]].path, place[1], with_copies=False)
            if place in on_their_way or record is None or record.inspection is None or record.state in GONE_STATES:
                continue
            if _has_person(record.inspection):  # what a person took back can only be known from the file
                again.append(place)
                continue
            self._due[place] = _Due(_NEVER, one.failures)
            try:
                self._describe_record(place, record)
                self.described(place, record.inspection.status)
            except (ValueError, TypeError, LookupError, ArithmeticError, RecursionError) as error:
                # As in `Ingest`: one file must not end the daemon.
                finding = Finding("sidecar-not-written", Severity.WARNING, escape(f"{type(error).__name__}: {error}"))
                self._note(place, SidecarResult(Action.FAILED, findings=(finding,)))
            if place in self._due:
                refused.add(directory)
        return again

    def _describe_record(self, place: Place, record: Record) -> None:
        root, wall, before = self._roots[place[0]], self._wall(), record.inspection
        assert before is not None
        after = self.describe(place, before)
        if after != before:
            identity: Identity = record.identity
            self._recording.write(
                lambda batch: batch.record_ready(root.path, place[1], identity, after, now=wall, how="described"), self._now()
            )

    def _note(self, place: Place, result: SidecarResult, *, is_done: bool = True) -> None:
        directory = place[0], place[1].rpartition("/")[0]
        if result.action is Action.FAILED:
            due = self._due.get(place)
            self._put_off(place, 0 if due is None else due.failures)
        elif is_done:
            self._due.pop(place, None)
        if result.sha256 is not None and result.name is not None:
            self._remember_output(place, f"{directory[1]}/{result.name}".lstrip("/"), result.sha256, result.identity)
            self._troubled.discard(directory)
        self._tell(place, directory, result)

    def _tell(self, place: Place, directory: Place, result: SidecarResult) -> None:
        if result.action not in _EVENTS:
            return
        level, event = _EVENTS[result.action]
        if result.action is Action.FAILED:
            if directory in self._troubled:
                level = "debug"  # a read-only share of ten thousand files is one trouble
            self._troubled.add(directory)
        values = {"root": self._roots[place[0]].path, "path": place[1], "sidecar": result.name}
        reason = "; ".join(finding.message for finding in result.findings)
        self._recording.tell(level, event, **values, **({"reason": reason} if reason else {}))

    def _put_off(self, place: Place, failures: int) -> None:
        at = find_next_try(failures + 1, self._now())
        self._due[place] = _Due(_NEVER if at is None else at, failures + 1)

    def _remember_output(self, place: Place, sidecar: str, digest: str, identity: Identity | None) -> None:
        root, wall = self._roots[place[0]], self._wall()
        if identity is not None:
            self._own[place[0], sidecar] = (identity.ino, identity.size_bytes, identity.mtime_ns)
            if len(self._own) > MOST_OWN:
                self._own.popitem(last=False)
        self._recording.write(lambda batch: batch.record_output(root.path, sidecar, digest, "sidecar", now=wall), self._now())
        self._recording.remember({"event": "output", "root": root.path, "path": sidecar, "sha256": digest, "at": wall})


def _stamp(root: WatchedRoot, path: str) -> tuple[int, int, int] | None:
    """Give what tells one state of a sidecar from another."""
    try:
        parent, name = open_parent_beneath(root.handle.fd, path)
    except OSError:
        return None
    try:
        seen = os.stat(name, dir_fd=parent, follow_symlinks=False)
    except OSError:
        return None
    finally:
        os.close(parent)
    return seen.st_ino, seen.st_size, seen.st_mtime_ns


def _has_person(inspection: Inspection) -> bool:
    return any(source.where == "sidecar" for source in inspection.metadata.sources.values())
