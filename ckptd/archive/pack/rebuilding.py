"""Put a member together again, a stretch at a time: other threads read and decompress a few stretches ahead."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from ckptd.archive.pack.buffers import new_buffer
from ckptd.archive.pack.codec import decode
from ckptd.archive.pack.objects import ObjectReader
from ckptd.archive.pack.sizes import LONGEST_STRETCH_BYTES, PIECE_BYTES, WORKERS
from ckptd.archive.pack.table import NO_OBJECT, Objects, Place, Recipe
from ckptd.archive.pack.trouble import DamageError

#: Stretches that wait, or are being made.
_AHEAD = WORKERS + 2
#: A stretch has room for the largest object, and for what may stand before it.
_STRETCH_BYTES = PIECE_BYTES + LONGEST_STRETCH_BYTES
#: An honest stretch has 1,040, for no object but the last of a storage is small; a hostile one could have four million.
_MOST_GAPS = 4_096

#: Takes bytes of the file and the offset where they belong; called in any order, and by several threads at a time.
Write: TypeAlias = Callable[[memoryview, int], object]


class _Gap(NamedTuple):
    """Where in a stretch an object belongs."""

    start: int
    place: Place


@dataclass(slots=True)
class _Stretch:
    """Bytes that lie side by side in the file: those of the skeleton are there, those of objects are still to come.

    Attributes:
        at: offset in the file.
        buffer: where they are put together.
        length: so many of it are used.
        gaps: what is to come.
        end: offset in the file behind it.
    """

    at: int
    buffer: memoryview
    length: int = 0
    gaps: list[_Gap] = field(default_factory=list)

    @property
    def end(self) -> int:
        return self.at + self.length


class Rebuilder:
    """Rebuilds members of one archive, one after the other."""

    def __init__(self, pool: ThreadPoolExecutor, place: int | None, objects: Objects, write: Write | None = None) -> None:
        """Begin.

        Args:
            pool: its threads read and decompress.
            place: the directory of the objects; None where there is none.
            objects: that the archive lists.
            write: is given all bytes, before anybody knows whether they are right.
        """
        self._pool = pool
        self._place = place
        self._objects = objects
        self._write = write
        self._free: list[memoryview] = []
        self._of_thread = threading.local()

    def rebuild(self, recipe: Recipe, size_bytes: int) -> Iterator[memoryview]:
        """Give the bytes of a member in order: so many, and never one more.  What was given is good until the next is taken.

        Raises:
            DamageError: an object is missing or damaged, or the recipe makes another number of bytes.
            OSError: what `write` raises.
        """
        waiting: deque[tuple[_Stretch, Future[None]]] = deque()
        try:
            for stretch in self._plan(recipe, size_bytes):
                waiting.append((stretch, self._pool.submit(self._fill, stretch)))
                if len(waiting) == _AHEAD:
                    yield from self._finish(*waiting.popleft())
            while waiting:
                yield from self._finish(*waiting.popleft())
        finally:
            for _, future in waiting:
                future.cancel()

    def _finish(self, stretch: _Stretch, future: Future[None]) -> Iterator[memoryview]:
        future.result()
        yield stretch.buffer[: stretch.length]
        self._free.append(stretch.buffer)

    def _plan(self, recipe: Recipe, size_bytes: int) -> Iterator[_Stretch]:
        """Follow a recipe.  An object is decompressed once for each time that its bytes are in the file, and never more."""
        skeleton = _Skeleton(self._objects, recipe, self._make_alone)
        stretch = self._begin(0)
        for before, number in recipe.runs():
            place = None if number == NO_OBJECT else self._objects[number]
            if stretch.end + before + (place.raw_bytes if place else 0) > size_bytes:
                raise _another_number()
            for part in skeleton.take(before):
                if stretch.length + len(part) > _STRETCH_BYTES:
                    yield stretch
                    stretch = self._begin(stretch.end)
                stretch.buffer[stretch.length : stretch.length + len(part)] = part
                stretch.length += len(part)
            if place is None:
                continue
            if stretch.length + place.raw_bytes > _STRETCH_BYTES or len(stretch.gaps) == _MOST_GAPS:
                yield stretch
                stretch = self._begin(stretch.end)
            stretch.gaps.append(_Gap(stretch.length, place))
            stretch.length += place.raw_bytes
        if stretch.end != size_bytes or not skeleton.is_over():
            raise _another_number()
        yield stretch

    def _begin(self, at: int) -> _Stretch:
        return _Stretch(at, self._free.pop() if self._free else new_buffer(_STRETCH_BYTES))

    def _fill(self, stretch: _Stretch) -> None:
        """Read and decompress the objects of a stretch, and write it."""
        with ObjectReader(self._place) as reader:
            for start, place in stretch.gaps:
                self._make(reader, place, stretch.buffer[start : start + place.raw_bytes])
        if self._write is not None:
            self._write(stretch.buffer[: stretch.length], stretch.at)

    def _make(self, reader: ObjectReader, place: Place, raw: memoryview) -> None:
        """Read and decompress one object."""
        scratch: memoryview | None = getattr(self._of_thread, "scratch", None)
        if scratch is None:
            scratch = self._of_thread.scratch = new_buffer(PIECE_BYTES)
        data = reader.read(self._objects.files[place.file], place, scratch)
        decode(place.codec, data, raw)

    def _make_alone(self, place: Place) -> memoryview:
        with ObjectReader(self._place) as reader:
            raw = new_buffer(place.raw_bytes)
            self._make(reader, place, raw)
            return raw


class _Skeleton:
    """The skeleton of a member, taken in order."""

    def __init__(self, objects: Objects, recipe: Recipe, make: Callable[[Place], memoryview]) -> None:
        self._objects = objects
        self._numbers = recipe.skeleton()
        self._make = make
        self._left = memoryview(b"")

    def take(self, length: int) -> Iterator[memoryview]:
        """Give the next bytes, in as many parts as there are objects that hold them."""
        while length:
            if not self._left:
                self._left = self._next()
            part, self._left = self._left[:length], self._left[length:]
            yield part
            length -= len(part)

    def is_over(self) -> bool:
        """Say whether every byte of it was taken."""
        return not self._left and next(self._numbers, None) is None

    def _next(self) -> memoryview:
        number = next(self._numbers, None)
        if number is None:
            raise _another_number()
        return self._make(self._objects[number])


def _another_number() -> DamageError:
    return DamageError("what the archive says of it makes another number of bytes")
