"""What a kill left and what somebody removed: hidden files of ours are swept, missing sidecars are found."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

import structlog

from ckptd.errors import StorageError
from ckptd.jobs.roots import WatchedRoot
from ckptd.metadata.names import full_name, own_name, stem_name
from ckptd.storage.beneath import open_beneath
from ckptd.storage.leftovers import Swept, sweep_leftovers

_log = structlog.get_logger()

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def sweep(root: WatchedRoot, directories: Iterable[str], older_than: float) -> int:
    """Sweep the hidden files of ours out of some directories, and say what could not be solved; how many went.

    Args:
        root: without an incident.
        directories: relative to it.
        older_than: seconds since the epoch; what changed later may be in use.
    """
    removed = 0
    for directory in sorted(directories):
        try:
            swept = _sweep_one(root, directory, older_than)
        except (OSError, StorageError) as error:
            _log.debug("watch.degraded", root=root.path, path=directory, code="leftovers", reason=str(error))
            continue
        removed += len(swept.removed)
        for finding in swept.findings:
            _log.warning("sidecar.kept", root=root.path, path=directory, reason=finding.message)
    return removed


def find_undescribed(root: WatchedRoot, checkpoints: Iterable[str]) -> Iterator[str]:
    """Find the checkpoints that have no sidecar under any of its names; each directory is listed once.

    Args:
        root: without an incident.
        checkpoints: relative paths.
    """
    directories: dict[str, list[str]] = {}
    for path in checkpoints:
        directory, _, name = path.rpartition("/")
        directories.setdefault(directory, []).append(name)
    for directory, names in directories.items():
        try:
            present = _list(root, directory)
        except OSError:
            continue
        prefix = directory + "/" if directory else ""
        for name in names:
            if stem_name(name) not in present and full_name(name) not in present and own_name(name) not in present:
                yield prefix + name


def _sweep_one(root: WatchedRoot, directory: str, older_than: float) -> Swept:
    fd = _open(root, directory)
    try:
        return sweep_leftovers(fd, older_than)
    finally:
        os.close(fd)


def _list(root: WatchedRoot, directory: str) -> set[str]:
    fd = _open(root, directory)
    try:
        return set(os.listdir(fd))
    finally:
        os.close(fd)


def _open(root: WatchedRoot, directory: str) -> int:
    return open_beneath(root.handle.fd, directory, _DIRECTORY) if directory else os.open(".", _DIRECTORY, dir_fd=root.handle.fd)
