"""Frames: the pieces into which an archive is cut, each compressed on its own, so that they are packed and read side by side.

A frame ends where a member ends, or is full; only a member larger than a frame goes on in the next one.  So damage to one
frame costs the members in it and no other, and what follows begins with the header of a member.
"""

from __future__ import annotations

import errno
import os
import sys
from array import array
from bisect import bisect_right
from collections.abc import Iterator
from itertools import accumulate
from typing import NamedTuple, Protocol

#: What a frame holds, before compression.  Source: docs/archives.md; from 512 KiB to 4 MiB size and speed are the same on
#: real weights, and smaller ones lose less to damage and to the cache.
FRAME_BYTES = 1 << 20
#: What a reader takes for a frame, so that memory does not depend on what an archive says.
MOST_FRAME_BYTES = 4 << 20
MOST_STORED_BYTES = MOST_FRAME_BYTES + (MOST_FRAME_BYTES >> 4)
_PAIR_BYTES = 8
_MOST_THREADS = 8


class DamageError(Exception):
    """Bytes of an archive that are not what they should be; `why` is one phrase."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class Frame(NamedTuple):
    """Where a frame lies in the file."""

    offset: int
    stored_bytes: int


class Table:
    """All frames of an archive: how long each is in the file and in the tar; 8 bytes a frame.

    Attributes:
        stored, plain: sizes, in the order of the file.
    """

    def __init__(self) -> None:
        self.stored = array("I")
        self.plain = array("I")

    def __len__(self) -> int:
        return len(self.stored)

    def add(self, stored_bytes: int, plain_bytes: int) -> None:
        """Add the next frame."""
        self.stored.append(stored_bytes)
        self.plain.append(plain_bytes)

    def from_first(self) -> Iterator[Frame]:
        """Give every frame."""
        return self._from(0, 0)

    def from_place(self, place: int) -> tuple[int, Iterator[Frame]]:
        """Give the frames from the one that holds a place of the tar, and how many bytes of the first lie before it."""
        ends = array("Q", accumulate(self.plain))
        first = bisect_right(ends, place)
        start = ends[first - 1] if first else 0
        return place - start, self._from(first, sum(self.stored[:first]))

    def _from(self, first: int, offset: int) -> Iterator[Frame]:
        for stored_bytes in self.stored[first:]:
            if stored_bytes:
                yield Frame(offset, stored_bytes)
            offset += stored_bytes


def thread_count() -> int:
    """Give how many threads work on frames: one for each core that this process may use."""
    return min(len(os.sched_getaffinity(0)), _MOST_THREADS)


def read_at(fd: int, count: int, offset: int) -> bytes:
    """Read bytes of a file; none where the disk can't read them any more, which is damage like any other.

    Raises:
        OSError: anything else.
    """
    try:
        return os.pread(fd, count, offset)
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        return b""


def render_table(table: Table) -> bytes:
    """Write a table down: two numbers of 32 bits a frame, little-endian."""
    pairs = array("I", bytes(_PAIR_BYTES * len(table)))
    pairs[0::2], pairs[1::2] = table.stored, table.plain
    return _little(pairs).tobytes()


def read_table(data: bytes) -> Table:
    """Read one; of a length that such a table can have."""
    table, pairs = Table(), array("I")
    pairs.frombytes(data)
    pairs = _little(pairs)
    table.stored, table.plain = pairs[0::2], pairs[1::2]
    return table


def _little(pairs: array[int]) -> array[int]:
    if sys.byteorder == "big":
        pairs.byteswap()
    return pairs


class Tail(NamedTuple):
    """What stands behind the last frame, where `tar` doesn't see it: where all frames lie, and the manifest once more."""

    table: Table
    manifest: bytes


class Codec(Protocol):
    """How frames are compressed and told apart.  Every function may be called by several threads at once."""

    #: Bytes that a frame begins with, whatever is in it.
    signature: bytes

    def compress(self, plain: memoryview) -> bytes:
        """Make a whole frame."""
        ...

    def decompress(self, stored: bytes) -> bytes:
        """Give what is in a frame.

        Raises:
            DamageError: a checksum, a length or anything else is not right.
        """
        ...

    def length_at(self, fd: int, offset: int) -> int | None:
        """Give how long the frame is that begins at a place of a file, which may end before it; None when none does."""
        ...

    def render_tail(self, tail: Tail) -> Iterator[bytes]:
        """Write what stands behind the last frame."""
        ...

    def read_tail(self, fd: int, size: int) -> Tail | None:
        """Read it from the end of a file of `size` bytes; None when it is not there or not right."""
        ...
