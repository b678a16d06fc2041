"""The names of archives: `models_archive_20260102.tar.gz`, and `models_archive_20260102_2.tar.gz` for the second of a day."""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from datetime import date

from ckptd.archive.faults import translated

_NAME = re.compile(r"models_archive_(?P<day>[0-9]{8})(?:_(?P<number>[0-9]{1,9}))?\.(?P<suffix>[a-z0-9.]+)")


def is_archive_name(name: str) -> bool:
    """Say whether a file is named as ckptd names its archives, of whatever format."""
    return _NAME.fullmatch(name) is not None


def next_name(directory: int, suffix: str, day: date, known: Collection[str] = ()) -> str:
    """Give the name of the next archive of a day, which no entry of the directory has, and none that was ever written there.

    Archives of all formats are counted together: what comes out of two of them never lies in one folder, and the number says
    which was the later one.

    Args:
        directory: a readable descriptor of the directory that holds the archives.
        suffix: of the format, without the dot.
        day: in the zone of the schedule.
        known: names that were given before, whether or not they are in the directory just now.

    Raises:
        ArchiveError: the directory can't be read.
    """
    stem = f"models_archive_{day:%Y%m%d}"
    with translated("list the archives", directory, "."):
        names = [*os.listdir(directory), *known]
    taken = [int(match["number"] or 1) for match in map(_NAME.fullmatch, names) if match and match["day"] == stem[-8:]]
    if not taken:
        return f"{stem}.{suffix}"
    return f"{stem}_{max(taken) + 1}.{suffix}"
