"""Files, archives of them, and what comes out again."""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Callable, Iterable
from pathlib import Path

from ckptd.archive.interface import Member, Receipt
from ckptd.archive.pack.format import PackFormat

NOW = 1_767_312_000.0
PACK = PackFormat()


def nothing(done: int) -> None:
    """Progress that nobody watches."""


def member(path: Path, name: str = "", mode: int = 0o640) -> Member:
    """Make a member of a file as it lies there."""
    data = path.read_bytes()
    return Member(
        name=name or path.name,
        what="checkpoint",
        open=lambda: os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC),
        size_bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        mtime_ns=path.stat().st_mtime_ns,
        mode=mode,
        facts={"root": "here"},
    )


def pack(
    archives: int, name: str, paths: Iterable[Path], *, free_bytes: int = 0, progress: Callable[[int], None] = nothing
) -> Receipt:
    """Write an archive of files, each under its own name."""
    members = [member(path) for path in paths]
    return PACK.write(archives, name, members, now=NOW, free_bytes=free_bytes, progress=progress)


def restored(archives: int, name: str, wanted: str, scratch: Path) -> bytes:
    """Restore a member and give its bytes; ArchiveError when it can't be."""
    scratch.unlink(missing_ok=True)
    target = os.open(scratch, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        PACK.restore(archives, name, wanted, target)
        return scratch.read_bytes()
    finally:
        os.close(target)


def verify(archives: int, name: str):
    """Verify an archive that nobody watches."""
    return PACK.verify(archives, name, nothing)


def object_files(directory: Path) -> list[Path]:
    """Give the object files beside the archives."""
    return sorted((directory / "pack").glob("*.objects"))


def make_bytes(seed: int, length: int) -> bytes:
    """Make bytes that nothing compresses and no other seed has."""
    return random.Random(seed).randbytes(length)


def make_numbers(seed: int, count: int) -> bytes:
    """Make 32-bit floats like weights, which a byte shuffle compresses."""
    import numpy as np

    return np.random.default_rng(seed).normal(size=count).astype("f4").tobytes()
