"""Save an object so that a reader sees the old file or the new one, never half of it."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from pathlib import Path
from typing import Any

import torch

from ckptd.errors import StorageError
from ckptd.model import Identity


def save_file(obj: object, path: str | os.PathLike[str], **options: Any) -> Identity:
    """Write `obj` by torch.save to a temporary name beside `path`, make it durable, and rename it over.

    A file of that name is replaced, as torch.save replaces it, and hands on its permission bits.

    Args:
        obj: what torch.save takes.
        path: where it shall lie; the directory must exist.
        **options: handed to torch.save (`pickle_protocol`).

    Returns:
        The identity of the new file.

    Raises:
        StorageError: the disk is full, read-only, or says no; the old file is still there.
    """
    target = Path(os.path.realpath(path))  # a link stays a link, as with torch.save
    # The name is hidden and ends in .tmp: a daemon that watches the directory passes it over.
    temporary = target.with_name(f".{os.fsdecode(os.fsencode(target.name)[:200])}.{secrets.token_hex(6)}.tmp")
    try:
        _refuse_special(target)
        return _write(obj, temporary, target, options)
    except (OSError, RuntimeError) as error:
        cause = _disk_error(error)
        if cause is None:
            raise
        raise StorageError("cannot save", path=path, why=cause.strerror or str(cause)) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def _refuse_special(target: Path) -> None:
    """Refuse to put a file in the place of something else: torch.save writes into /dev/null, a rename would replace it."""
    with contextlib.suppress(FileNotFoundError):
        mode = target.stat().st_mode
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):  # of a directory the rename itself complains
            raise StorageError("cannot save", path=target, why="there is something that is no regular file")


def _disk_error(error: BaseException | None) -> OSError | None:
    """Find what the disk said: torch closes its zip after a failed write and raises a RuntimeError over the OSError."""
    while error is not None and not isinstance(error, OSError):
        error = error.__context__
    return error


def _write(obj: object, temporary: Path, target: Path, options: dict[str, Any]) -> Identity:
    with temporary.open("xb") as file:
        torch.save(obj, file, **options)
        file.flush()
        with contextlib.suppress(FileNotFoundError):
            os.fchmod(file.fileno(), target.stat().st_mode & 0o777)
        os.fsync(file.fileno())
        temporary.replace(target)
        # Taken from the descriptor: whoever replaces the file in the meantime has saved something else.
        identity = Identity.of(os.fstat(file.fileno()))
    directory = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
    return identity
