"""Find the frames of an archive and decompress them side by side; what is damaged comes out as a gap in its place."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Executor, Future
from typing import NamedTuple

from ckptd.archive.tar.frames import MOST_STORED_BYTES, Codec, DamageError, Frame, read_at, thread_count

_WINDOW_BYTES = 1 << 20
#: A file whose frames were made to overlap is not read over and over: no more than so many times its size, and this.
_MOST_TIMES, _LEAST_BYTES = 4, 64 << 20
_NO_BEGINNING = "it doesn't begin as an archive of ckptd does: it is damaged there, or was packed anew"


class Piece(NamedTuple):
    """What was in one frame.

    Attributes:
        data: its contents; nothing when they can't be had.
        why: then the reason, one phrase.
    """

    data: bytes
    why: str = ""


def read_pieces(fd: int, codec: Codec, frames: Iterable[Frame], pool: Executor) -> Generator[Piece]:
    """Give what is in each frame, in order; a few are read ahead."""
    waiting: deque[Future[Piece]] = deque()
    most = thread_count() + 2
    try:
        for frame in frames:
            waiting.append(pool.submit(read_frame, fd, codec, frame))
            if len(waiting) > most:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


def read_frame(fd: int, codec: Codec, frame: Frame) -> Piece:
    """Read one frame and decompress it."""
    if not 0 < frame.stored_bytes <= MOST_STORED_BYTES:
        return Piece(b"", "a part of it is damaged" if frame.offset else _NO_BEGINNING)
    try:
        return Piece(codec.decompress(read_at(fd, frame.stored_bytes, frame.offset)))
    except DamageError as error:
        return Piece(b"", error.why)


def walk_frames(fd: int, codec: Codec, size: int) -> Iterator[Frame]:
    """Find the frames of a file of `size` bytes without its table; a frame of no bytes stands for what is none."""
    at = before = given = 0
    while at < size and given <= _MOST_TIMES * size + _LEAST_BYTES:
        length = codec.length_at(fd, at)
        if length is not None and at + length <= size:
            yield Frame(at, length)
            before, at, given = at, at + length, given + length
        else:
            # The one before may have lied about its length, so whatever lies in it may be the next one.
            yield Frame(at, 0)
            before = at = _find(fd, codec.signature, before + 1, size)


def _find(fd: int, signature: bytes, start: int, size: int) -> int:
    """Give where the next signature begins; `size` when there is none."""
    while start < size:
        found = read_at(fd, _WINDOW_BYTES, start).find(signature)
        if found >= 0:
            return start + found
        start += _WINDOW_BYTES - len(signature) + 1
    return size
