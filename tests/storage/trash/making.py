"""Roots with checkpoints in them, and orders to take those away."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

from ckptd.model import Identity
from ckptd.storage.trash import Companion, Removal, Replaced, Replacement, exchange, replacement_file

NOW = 1_795_000_000.0
DAY = 86_400.0
DATA = b"the weights of a year of training " * 300


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def write(root: Path, path: str, data: bytes = DATA, mtime: int = 1_700_000_000) -> Path:
    """Write a file of a certain age."""
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)
    os.utime(file, (mtime, mtime))
    return file


def companion(root: Path, path: str, what: str = "sidecar") -> Companion:
    return Companion(path, Identity.of((root / path).lstat()), what)


def removal(root: Path, path: str, companions: Iterable[str] = (), *, at: float = NOW) -> Removal:
    """Order what lies there now to be taken away."""
    file = root / path
    return Removal(
        path=path,
        identity=Identity.of(file.lstat()),
        sha256=digest(file.read_bytes()),
        removed_at=at,
        reasons=("not among the last 3", "not among the best 3 by accuracy"),
        job="retention",
        run="run-17",
        group="BiLSTM · ECG",
        companions=tuple(companion(root, path) for path in companions),
    )


def exchange_for(root_fd: int, order: Removal, data: bytes) -> Replaced:
    """Write a smaller file and let it and a checkpoint change places."""
    with replacement_file(root_fd) as fd:
        os.write(fd, data)
        return exchange(root_fd, order, Replacement(fd, digest(data)))


def trash_of(root: Path) -> Path:
    return root / ".ckptd" / "trash"


def tree(root: Path) -> dict[str, bytes]:
    """Give every file below the root but what is ckptd's, with its bytes."""
    return {
        str(file.relative_to(root)): file.read_bytes()
        for file in root.rglob("*")
        if file.is_file() and not file.is_symlink() and ".ckptd" not in file.relative_to(root).parts
    }


def trashed(root: Path) -> dict[str, bytes]:
    """Give every file in the trash but manifests, by entry and name."""
    found = {str(file.relative_to(trash_of(root))): file.read_bytes() for file in trash_of(root).rglob("*") if file.is_file()}
    return {name: data for name, data in found.items() if not name.endswith(".json") or "_metadata" in name}
