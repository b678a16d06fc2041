"""Give parts of a file back to the file system and keep everything else where it is (fallocate with a hole)."""

from __future__ import annotations

import ctypes
import errno
import functools
import os
from typing import Any

#: Source: include/uapi/linux/falloc.h.
_KEEP_SIZE, _PUNCH_HOLE = 0x01, 0x02
#: What fallocate answers where there are no holes.  Source: fallocate(2); NFS before 4.2, FAT, some FUSE.
_NO_HOLES = frozenset((errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL))


def punch(fd: int, offset: int, length: int) -> bool:
    """Give a part of a file back; it reads as zeros afterwards.  False where the file system has no holes.

    Raises:
        OSError: the disk says no.
    """
    while _fallocate()(fd, _KEEP_SIZE | _PUNCH_HOLE, offset, length) != 0:
        code = ctypes.get_errno()
        if code in _NO_HOLES:
            return False
        if code != errno.EINTR:
            raise OSError(code, os.strerror(code))
    return True


@functools.cache
def _fallocate() -> Any:
    library = ctypes.CDLL(None, use_errno=True)
    # On 32-bit machines the plain name takes short offsets.
    function = library["fallocate64"] if hasattr(library, "fallocate64") else library["fallocate"]
    function.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
    function.restype = ctypes.c_int
    return function
