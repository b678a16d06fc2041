"""Memory for pieces: taken from the kernel when it is first touched, in large pages where it has them."""

from __future__ import annotations

import mmap
from contextlib import suppress


def new_buffer(length: int) -> memoryview:
    """Give writable memory of zeros.

    A bytearray would be written to once just to be empty: 4 ms for 16 MiB, more than a small member takes altogether.
    """
    memory = mmap.mmap(-1, length, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with suppress(AttributeError, OSError):  # a kernel, or a Python, without large pages
        memory.madvise(mmap.MADV_HUGEPAGE)
    return memoryview(memory)
