"""Look at the index: whether it is whole, of this version, and says what the disk says."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from ckptd.errors import CkptdError
from ckptd.index.migrate import REVISIONS, OlderIndexError
from ckptd.index.store import Store
from ckptd.jobs.checks import Check, Patient, bad, good
from ckptd.jobs.reaching import is_put_into
from ckptd.model import Severity
from ckptd.policy.brakes import find_freezes
from ckptd.policy.reconcile import reconcile
from ckptd.storage.beneath import RootHandle
from ckptd.storage.lock import is_held
from ckptd.text import escape, format_size
from ckptd.watch.guard import KnownRoot, is_incident, judge, look
from ckptd.watch.scanner import scan
from ckptd.watch.wanted import compile_wanted

#: A write-ahead log of this size was not folded into the file for long: somebody reads without end.
_LARGE_LOG_BYTES = 1 << 30
_REINDEX = "`ckptd reindex` builds it anew from the files and the journal"


def check_index(patient: Patient) -> Iterator[Check]:
    """Say whether the index can be used, and hold what it knows of each root against what is there."""
    path = patient.index_file
    name = f"index {path.name}"
    if not patient.may_look:
        return  # the check of the state says so
    if not path.exists():
        yield bad(name, "there is none yet", "`ckptd run` or `ckptd scan` makes it", Severity.INFO)
        return
    try:
        store = Store.open_to_look(path)
    except OlderIndexError as error:
        why, cure, severity = error.why, error.cure, Severity.WARNING
        if not is_held(patient.state_dir):
            why = f"its schema is older than {REVISIONS[-1]}, which this program has"
            cure, severity = "nothing has to be done: the next start changes it, and keeps a copy", Severity.INFO
        yield bad(name, why, cure, severity)
        return
    except CkptdError as error:
        yield bad(name, str(error), error.cure or _REINDEX)
        return
    with closing(store):
        problem = store.check_integrity()
        if problem is not None:
            yield bad(name, problem, _REINDEX)
            return
        yield good(name, f"whole, schema {REVISIONS[-1]}, {format_size(path.stat().st_size)}{_describe_copies(path)}")
        yield from _check_log(path)
        account = patient.find_account()
        for root in patient.settings.roots:
            if os.access(root, os.R_OK | os.X_OK, effective_ids=True) or not is_put_into(root, account):
                yield from _check_known(patient, store, root)  # one in a closed home is seen by the service alone


def _describe_copies(path: Path) -> str:
    copies = sorted(path.parent.glob(f"{path.name}.*.bak"))
    size = format_size(sum(copy.stat().st_size for copy in copies))
    return f"; {len(copies)} copies of earlier schemas beside it, {size}" if copies else ""


def _check_log(path: Path) -> Iterator[Check]:
    log = path.with_name(f"{path.name}-wal")
    if log.exists() and log.stat().st_size > _LARGE_LOG_BYTES:
        why = f"what was written lately is not folded into it: {log.name} has {format_size(log.stat().st_size)}"
        yield bad(f"index {path.name}", why, f"end whatever reads it without end: fuser -v {path}", Severity.WARNING)


def _check_known(patient: Patient, store: Store, path: Path) -> Iterator[Check]:
    """Hold what is known of a root against what is there."""
    settings = patient.settings
    real = os.path.realpath(path)
    name = f"files of {path}"
    places = store.load_places(real)
    root_id, files = store.load_root(real)
    verdict = judge(KnownRoot(*_stat_of(real), root_id, files), look(real, patient.find_user()))
    if is_incident(verdict):
        why = getattr(verdict, "why", "")
        yield bad(name, f"frozen: {why}", "mount it; if it is meant to be so: `ckptd scan --believe-losses`")
        return
    with RootHandle(real) as handle:
        found = scan(handle.fd, compile_wanted(settings.suffixes, settings.ignore))
    known = {relative: place.identity for relative, place in places.items()}
    missing = {relative for relative, place in places.items() if place.is_missing}
    changes = reconcile(known, found.files, missing=missing, unread=found.unread)
    for freeze in find_freezes(changes, known, found.devices):
        cure = "bring them back; if they are meant to be gone: `ckptd scan --believe-losses`"
        yield bad(name, f"frozen: {freeze.why}", cure)
    waiting = len(changes.new) + len(changes.changed)
    yield good(name, f"{len(found.files)} there, {len(places)} known, {waiting} not indexed yet, {len(missing)} missing")
    for problem in found.problems[:20]:
        shown = escape(problem.path, 1_000)
        yield bad(name, f"{shown}: {problem.finding.message}", "rename it or give it another ending", Severity.INFO)


def _stat_of(path: str) -> tuple[int, int]:
    try:
        seen = os.stat(path)
    except OSError:
        return 0, 0
    return seen.st_dev, seen.st_ino
