"""Read a file by offset through one descriptor, small ones in a single read."""

from __future__ import annotations

import os


class ChangedError(Exception):
    """The file ended before its size: someone cut it while it was read."""


class Source:
    """The bytes of an open file.

    Attributes:
        fd: the descriptor; it stays the caller's, and its position is never used.
        size: bytes of the file when it was opened.
        whole: all bytes, for a file small enough to be held; else None.
    """

    __slots__ = ("fd", "size", "whole")

    def __init__(self, fd: int, size: int, whole_bytes: int) -> None:
        self.fd = fd
        self.size = size
        self.whole: bytes | None = None
        if size <= whole_bytes:
            self.whole = self._read(0, size)

    def read(self, offset: int, length: int) -> bytes:
        """Give `length` bytes from `offset`; the caller has checked both against `size`.

        Raises:
            ChangedError: the file has become shorter.
            OSError: the disk says no.
        """
        if self.whole is not None:
            return self.whole[offset : offset + length]
        return self._read(offset, length)

    def _read(self, offset: int, length: int) -> bytes:
        data = os.pread(self.fd, length, offset)
        if len(data) == length:
            return data
        parts = [data]
        got = len(data)
        while got < length:
            data = os.pread(self.fd, length - got, offset + got)
            if not data:
                raise ChangedError
            parts.append(data)
            got += len(data)
        return b"".join(parts)
