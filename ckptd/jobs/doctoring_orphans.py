"""Look for what nobody needs any more, or misses: leftovers of a kill, exports that are gone, strange files under `.ckptd`."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ckptd.control.asking import SOCKET_NAME
from ckptd.index.backing_up import is_unfinished_backup
from ckptd.index.census import load_output_places
from ckptd.jobs.checks import Check, Patient, bad, good, opened_index
from ckptd.model import Severity
from ckptd.storage.lock import JOBS
from ckptd.storage.scratch import find_abandoned
from ckptd.storage.state import SCRATCH, STATE, TRASH
from ckptd.storage.temporary import SWAP_NAME, TEMPORARY_NAME
from ckptd.text import escape

_NAME = "leftovers"
#: What is younger may be in use.
_OLD_SECONDS = 86_400.0
#: Entries of all directories that are looked at; a tree of millions is left to the daemon, which sweeps as it goes.
_MOST_ENTRIES = 500_000
_SHOWN = 10
_OWN = frozenset({"journal.jsonl", "lock", JOBS, "root-id", SOCKET_NAME, SCRATCH, TRASH, "lost+found"})
_INDEX = re.compile(r"(?:\.new)?(?:-wal|-shm|-journal)?|\.[0-9a-z]{1,32}(?:\.bak)?")
_TEMPORARY = re.compile(r"\.root-id-[0-9a-f]{16}\.tmp")


def check_orphans(patient: Patient) -> Iterator[Check]:
    """Say what lies about; none of it does harm."""
    found = [*_check_leftovers(patient), *_check_scratch(patient), *_check_exports(patient), *_check_strangers(patient)]
    yield from found
    if not found:
        yield good(_NAME, "none")


def _check_leftovers(patient: Patient) -> Iterator[Check]:
    left = [path for root in patient.real_roots for path in _find_hidden(root, patient.now - _OLD_SECONDS)]
    if left:
        cure = "a start of the daemon, or `ckptd scan`, sweeps them"
        why = f"{len(left)} hidden files that a kill left, {escape(left[0], 1_000)} for one"
        yield bad(_NAME, why, cure, Severity.INFO)


def _find_hidden(root: str, older_than: float) -> Iterator[str]:
    left = _MOST_ENTRIES
    for directory, directories, files in os.walk(root):
        directories[:] = [name for name in directories if not name.startswith(".")]
        left -= len(files)
        if left < 0:
            return
        for name in files:
            if name.startswith(".ckptd-") and (TEMPORARY_NAME.fullmatch(name) or SWAP_NAME.fullmatch(name)):
                with suppress(OSError):
                    if Path(directory, name).lstat().st_ctime < older_than:
                        yield f"{directory}/{name}"


def _check_scratch(patient: Patient) -> Iterator[Check]:
    for place in _state_dirs(patient):
        names = find_abandoned(place, patient.now - _OLD_SECONDS)
        if names:
            why = f"{len(names)} directories in {place / SCRATCH} that a kill left"
            yield bad(_NAME, why, "a start of the daemon sweeps them", Severity.INFO)


def _check_exports(patient: Patient) -> Iterator[Check]:
    with opened_index(patient) as store:
        if store is None:
            return
        for root in patient.real_roots:
            gone = sorted(
                path for path in store.ask(load_output_places, root, "export") if not os.path.lexists(f"{root}/{path}")
            )
            if gone and os.path.isdir(root):
                why = f"{len(gone):,} exports that ckptd made below {root} are gone, {escape(gone[0], 1_000)} for one"
                cure = "nothing has to be done; `ckptd export NAME` makes one again"
                yield bad("exports", why, cure, Severity.INFO)


def _check_strangers(patient: Patient) -> Iterator[Check]:
    """Name what lies in a directory that is ckptd's alone and is none of its own."""
    for place in _state_dirs(patient):
        strange = []
        with suppress(OSError):
            strange = sorted(name for name in os.listdir(place) if not is_own(name, patient.index, patient.now, place))
        if strange:
            names = ", ".join(escape(name, 100) for name in strange[:_SHOWN])
            why = f"{len(strange)} things in {place} are none of ckptd's: {names}"
            yield bad(_NAME, why, "look at what it is, and move it away", Severity.INFO)


def is_own(name: str, index: str, now: float, place: Path) -> bool:
    """Say whether a name in a state directory is one that ckptd gives; a copy in the making only while it is young."""
    if name in _OWN or _TEMPORARY.fullmatch(name):
        return True
    if is_unfinished_backup(name):
        with suppress(OSError):
            return (place / name).lstat().st_mtime > now - _OLD_SECONDS
    return name.startswith(index) and _INDEX.fullmatch(name.removeprefix(index)) is not None


def _state_dirs(patient: Patient) -> Iterator[Path]:
    """Give the state directory and the `.ckptd` of each root, each once; a link or a stranger's is none of ours."""
    places = [patient.state_dir, *(Path(root, STATE) for root in patient.real_roots)]
    if not patient.may_look:
        return
    user = patient.find_user()
    for place in dict.fromkeys(places):
        with suppress(OSError):
            seen = place.lstat()
            if stat.S_ISDIR(seen.st_mode) and seen.st_uid in (user, os.geteuid()):
                yield place
