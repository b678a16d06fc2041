"""Read the end of a file that somebody else may have put there: a link, a pipe that nobody writes to, a device."""

from __future__ import annotations

import os
import stat
from pathlib import Path

_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_LOOK = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def read_tail(directory: Path, name: str, most_bytes: int) -> list[bytes]:
    """Give the last lines of a regular file, without their ends; one that began earlier is left out.

    What is anything else is never opened: a watchdog starts to run when it is.

    Args:
        directory: that it lies in, and no link.
        name: of the file, and no link either.
        most_bytes: of its end that are read.

    Raises:
        OSError: it is not there, can't be read, or is no regular file.
    """
    with os.fdopen(_open_regular(directory, name), "rb") as file:
        size = os.fstat(file.fileno()).st_size
        file.seek(max(0, size - most_bytes))
        lines = file.read(most_bytes).split(b"\n")
    return [line for line in lines[1 if size > most_bytes else 0 :] if line]


def _open_regular(directory: Path, name: str) -> int:
    above = os.open(directory, _DIRECTORY)
    try:
        seen = os.open(name, _LOOK, dir_fd=above)
    finally:
        os.close(above)
    try:
        if not stat.S_ISREG(os.fstat(seen).st_mode):
            raise OSError(f"{name} is no file")
        return os.open(f"/proc/self/fd/{seen}", _READ)  # what was looked at, whatever has that name by now
    finally:
        os.close(seen)
