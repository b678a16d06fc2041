"""What a process finds on its standard input, as a file in memory: a pipe would make us wait for one that is slow to read."""

from __future__ import annotations

import os
import tempfile
from typing import IO


def open_words(data: bytes) -> IO[bytes]:
    """Give an open file that holds some bytes, at its beginning; it is closed on exec but for the standard input."""
    file = _open_memory()
    file.write(data)
    file.seek(0)
    return file


def _open_memory() -> IO[bytes]:
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("ckptd-words", os.MFD_CLOEXEC), "w+b", buffering=0)
    return tempfile.TemporaryFile(buffering=0)
