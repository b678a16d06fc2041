"""Look at the archives without reading them: gone, of another size, or not read for long.  `--deep` reads every byte."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ckptd.archive.pack.place import DIRECTORY_NAME
from ckptd.index.archived import VERIFIED, Archived, load_archives
from ckptd.jobs.checks import Check, Patient, bad, good, opened_index
from ckptd.model import Severity
from ckptd.text import escape

#: An archive that nobody has read for so long may be bad without anybody knowing.
OLD_SECONDS = 365 * 86_400.0
_MOST_NAMED = 20


def check_archives(patient: Patient) -> Iterator[Check]:
    """Say which archives are not what was written down of them."""
    with opened_index(patient) as store:
        archives = [] if store is None else store.ask(load_archives)
    for one in archives:
        if one.state == VERIFIED:  # the others are told with what scrub and drill found
            yield from _check_file(one)
    old = [one for one in archives if one.state == VERIFIED and patient.now - _read_at(one) > OLD_SECONDS]
    if old:
        why = f"{len(old)} were not read for more than a year, {escape(old[0].name, 200)} for one"
        yield bad("archives", why, "`ckptd archive verify`, or `ckptd doctor --deep`, reads them", Severity.WARNING)


def tell_verified(results: Mapping[str, Sequence[str]]) -> Iterator[Check]:
    """Say what a reading of all archives found: name → what is wrong, in sentences."""
    for name, problems in results.items():
        for problem in problems[:_MOST_NAMED]:
            cure = escape(f"`ckptd archives {name}` says what is lost; another copy is all that helps", 500)
            yield bad("archives read", escape(problem, 1_000), cure)
        if not problems:
            yield good("archives read", f"{escape(name, 200)}: every byte was read, and is as it was written")


def _check_file(one: Archived) -> Iterator[Check]:
    shown = escape(f"{one.directory}/{one.name}", 1_000)
    cure = escape(f"bring it back, or mount its disk; then `ckptd archive verify {one.name}`", 500)
    try:
        seen = Path(one.directory, one.name).lstat()
    except OSError as error:
        yield bad("archives", f"{shown}: {os.strerror(error.errno or 0)}", cure)
        return
    if one.format != DIRECTORY_NAME and seen.st_size != one.size_bytes:
        yield bad("archives", f"{shown} has {seen.st_size:,} bytes, and had {one.size_bytes:,} when it was read last", cure)


def _read_at(one: Archived) -> float:
    return max(one.verified_at, one.drilled_at or 0.0)
