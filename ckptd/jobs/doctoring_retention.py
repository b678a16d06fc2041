"""Look at the policy and the trash."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from ckptd.errors import CkptdError
from ckptd.index.ledger import load_freezes
from ckptd.index.store import Store
from ckptd.jobs.checks import Check, Patient, bad, good, opened_index
from ckptd.jobs.gathering import make_policy
from ckptd.model import Severity
from ckptd.policy.retention.validate import check_policy
from ckptd.settings import Settings
from ckptd.storage.beneath import RootHandle
from ckptd.storage.scratch import free_bytes
from ckptd.storage.trash import list_entries
from ckptd.text import escape, format_size


def check_retention(patient: Patient) -> Iterator[Check]:
    """Check what the policy stands on; what needs the index is left out where there is none yet."""
    yield from _check_policy(patient.settings)
    for root in patient.settings.roots if patient.may_look else ():
        yield from _check_trash(patient.settings, root, patient.find_user())
    with opened_index(patient) as store:
        if store is not None:
            yield from _check_index(store)


def _check_policy(settings: Settings) -> Iterator[Check]:
    mode = settings.policy.mode
    try:
        check_policy(make_policy(settings.policy, settings.schedule.time_zone))
    except CkptdError as error:
        yield bad("policy", str(error), "correct [policy] in the settings")
        return
    words = {"off": "off: nothing is planned", "plan": "only says what it would do", "apply": "does what it says by itself"}
    yield good("policy", words[mode])


def _check_trash(settings: Settings, root: Path, owner: int) -> Iterator[Check]:
    name = f"trash of {root}"
    try:
        with RootHandle(os.path.realpath(root)) as handle:
            entries, free = list_entries(handle.fd, owner), free_bytes(handle.fd)
    except OSError:
        return  # the check of the root says so
    except CkptdError as error:
        yield bad(name, str(error), error.cure or "look at what lies there")
        return
    for entry in entries:
        if entry.problem:
            cure = "look at it; `ckptd trash restore` brings back what is whole"
            yield bad(name, f"{escape(entry.name, 100)}: {escape(entry.problem, 300)}", cure, Severity.WARNING)
    size = sum(entry.allocated_bytes for entry in entries)
    floor = settings.policy.free_bytes
    if floor is not None and free < floor:
        cure = "`ckptd trash purge --all` gives back what lies in the trash; `ckptd plan` says what else could go"
        why = f"{format_size(free)} is free, less than policy.free_bytes; {format_size(size)} lies in the trash"
        yield bad(name, why, cure, Severity.WARNING)
    elif entries:
        yield good(name, f"{len(entries):,} entries, {format_size(size)}")


def _check_index(store: Store) -> Iterator[Check]:
    for why in store.ask(load_freezes).values():
        cure = "`ckptd plan` shows the plan, `ckptd apply --confirm` with its number lifts it"
        yield bad("policy", why, cure, Severity.WARNING)
