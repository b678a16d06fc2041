"""Look at the room: on the disk of each root, of the state directory and of the archives."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from ckptd.jobs.checks import Check, Patient, bad, good
from ckptd.model import Severity
from ckptd.text import format_size

#: Less than this, and the index, a sidecar or a lock will soon not be written.
LEAST_FREE_BYTES = 256 << 20
#: Fewer files than this can be made, although there is room for their bytes.
LEAST_FREE_FILES = 1_000


def check_space(patient: Patient) -> Iterator[Check]:
    """Say which disks are nearly full; one that several places lie on is named once, with all of them."""
    disks: dict[int, list[tuple[str, Path]]] = {}
    for what, path in _find_places(patient):
        try:
            disks.setdefault(path.stat().st_dev, []).append((what, path))
        except OSError:
            continue  # what is not there is said elsewhere
    for places in disks.values():
        yield from _check_disk(", ".join(dict.fromkeys(f"{what} {path}" for what, path in places)), places[0][1])


def _find_places(patient: Patient) -> Iterator[tuple[str, Path]]:
    for root in patient.settings.roots:
        yield "root", root
    yield "state directory", patient.state_dir
    directory = patient.settings.archive.directory
    if directory is not None:
        yield "archives", directory


def _check_disk(name: str, path: Path) -> Iterator[Check]:
    disk = os.statvfs(path)
    free, total = disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize
    name = f"disk of {name}"
    if disk.f_flag & os.ST_RDONLY:
        yield bad(name, "it is mounted read-only", "mount it writable; the kernel's log says whether an error made it so")
    if free < LEAST_FREE_BYTES:
        cure = "make room; `ckptd report` says what takes it, `ckptd plan` what could go"
        yield bad(name, f"{format_size(free)} of {format_size(total)} is free", cure, Severity.WARNING)
    elif disk.f_files and disk.f_favail < LEAST_FREE_FILES:
        cure = "remove files that nobody needs: each takes an inode, however small"
        yield bad(name, f"only {disk.f_favail} more files can be made there", cure, Severity.WARNING)
    else:
        yield good(name, f"{format_size(free)} of {format_size(total)} is free")
