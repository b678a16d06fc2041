"""Look at what scrub and drill found: checkpoints whose bytes are gone, and archives that nobody could restore from."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from pathlib import Path

from ckptd.index.archived import VERIFIED, load_archives
from ckptd.index.candidates import load_candidates
from ckptd.index.ledger import Check as Reading
from ckptd.index.ledger import load_checks
from ckptd.index.store import Store
from ckptd.jobs.checks import Check, Patient, bad, good, opened_index
from ckptd.jobs.copies import Lost, list_copies
from ckptd.model import Severity
from ckptd.policy.retention.facts import GOOD
from ckptd.policy.scrub import Outcome, Place, find_bad
from ckptd.settings import Settings
from ckptd.storage.beneath import RootHandle
from ckptd.text import escape

#: Bad checkpoints that are named.
_MOST_NAMED = 20
_GOOD = frozenset(status.value for status in GOOD)


def check_scrub(patient: Patient) -> Iterator[Check]:
    """Say which checkpoints can't be trusted any more and which were never read again, and how the archives are."""
    with opened_index(patient) as store:
        if store is not None:
            yield from tell_scrub(patient.settings, store)


def tell_scrub(settings: Settings, store: Store) -> Iterator[Check]:
    """Say the same of an open index."""
    contents = {
        (root, one.path): one.sha256
        for root in (os.path.realpath(path) for path in settings.roots)
        for one in store.ask(load_candidates, root)
        if one.sha256 is not None and one.status in _GOOD
    }
    checks = store.ask(load_checks)
    yield from _check_bad(settings, store, checks, contents)
    yield from _check_unfinished(checks, contents)
    yield from _check_read(settings, checks, contents)
    yield from _check_archives(store)


def _check_bad(settings: Settings, store: Store, checks: dict[Place, Reading], contents: dict[Place, str]) -> Iterator[Check]:
    found = find_bad(checks, contents)
    with ExitStack() as stack:
        roots = list(_open_roots(settings.roots, stack)) if found else []
        for (root, path), outcome in sorted(found.items())[:_MOST_NAMED]:
            word = "its bytes are no longer those that were saved" if outcome is Outcome.ROTTEN else "it could not be read"
            copy = next(list_copies(store, roots, Lost(root, path, contents[root, path])), None)
            cure = "no other copy of it is known: take one from a backup of your own"
            if copy is not None:
                cure = f"another copy should be in {escape(copy.shown, 1_000)}: {escape(copy.command, 4_000)}"
            yield bad("scrub", f"{escape(f'{root}/{path}', 1_000)}: {word}", cure)
    if len(found) > _MOST_NAMED:
        yield bad("scrub", f"{len(found) - _MOST_NAMED:,} more checkpoints are not good any more", "see `ckptd jobs`")


def _open_roots(paths: tuple[Path, ...], stack: ExitStack) -> Iterator[tuple[str, int]]:
    for path in paths:
        with suppress(OSError):  # a root that is not there has a line of its own
            handle = stack.enter_context(RootHandle(os.path.realpath(path)))
            yield str(handle.path), handle.fd


def _check_unfinished(checks: dict[Place, Reading], contents: dict[Place, str]) -> Iterator[Check]:
    slow = [place for place, sha256 in contents.items() if _outcome(checks, place, sha256) == Outcome.UNFINISHED]
    if slow:
        root, path = min(slow)
        message = (
            f"{len(slow):,} checkpoints take longer to read than a run may take, {escape(f'{root}/{path}', 1_000)} for one"
        )
        yield bad("scrub", message, "raise scrub.seconds", Severity.WARNING)


def _check_read(settings: Settings, checks: dict[Place, Reading], contents: dict[Place, str]) -> Iterator[Check]:
    if not contents:
        return
    read = [checks[place].at for place, sha256 in contents.items() if _outcome(checks, place, sha256) is not None]
    if not settings.schedule.scrub:
        yield bad("scrub", "no scrub is scheduled: rot stays unseen", 'set schedule.scrub = "0 2 * * *"', Severity.WARNING)
    elif len(read) < len(contents):
        yield good("scrub", f"{len(contents) - len(read):,} of {len(contents):,} checkpoints were not read again yet")
    else:
        yield good("scrub", f"all {len(contents):,} checkpoints were read again, the first of them on {_day(min(read))}")


def _outcome(checks: dict[Place, Reading], place: Place, sha256: str) -> str | None:
    check = checks.get(place)
    return check.outcome if check is not None and check.sha256 == sha256 else None


def _check_archives(store: Store) -> Iterator[Check]:
    archives = store.ask(load_archives)
    for one in archives:
        if one.state != VERIFIED:
            cure = f"`ckptd archives {one.name}` says what is lost; `ckptd archive verify {one.name}` reads it again"
            yield bad("archives", f"{escape(f'{one.directory}/{one.name}', 1_000)} is {one.state}", escape(cure, 500))
    if archives:
        drilled = [one.drilled_at for one in archives if one.drilled_at is not None]
        last = f"the last drill was on {_day(max(drilled))}" if drilled else "none was drilled yet"
        yield good("archives", f"{len(archives):,}, {len(drilled):,} of them drilled; {last}")


def _day(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d}"
