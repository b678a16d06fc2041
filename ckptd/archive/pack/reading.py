"""Read the files that are to be put away: once, from first to last byte, hashed here and stored by other threads."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from typing import NamedTuple

from ckptd.archive.interface import Member, Progress
from ckptd.archive.members import OpenMember
from ckptd.archive.pack.buffers import new_buffer
from ckptd.archive.pack.codec import PLAIN
from ckptd.archive.pack.cutting import Piece, cut
from ckptd.archive.pack.sizes import LONGEST_STRETCH_BYTES, PIECE_BYTES, WORKERS
from ckptd.archive.pack.store import Habit, Store
from ckptd.archive.pack.table import NO_OBJECT, Run, pack_number, pack_recipe, pack_run
from ckptd.errors import CkptdError

#: One that is read into, one that collects a skeleton, and one more than there are workers, so that none waits.
_BUFFERS = WORKERS + 3
#: Pieces that lie side by side are read and hashed together, up to so much: the largest, and what may stand before it.
_BATCH_BYTES = PIECE_BYTES + LONGEST_STRETCH_BYTES


class Read(NamedTuple):
    """What reading a member gave: its recipe, as it stands in an archive, and what `stat` said of the file."""

    recipe: bytes
    seen: os.stat_result


class _Recipe:
    """A recipe that grows: what is handed to a worker has its number later."""

    def __init__(self, seen: os.stat_result) -> None:
        self.seen = seen
        self.skeleton = bytearray()
        self.runs = bytearray()
        self.left = 0

    def finish(self) -> Read:
        if self.left:
            self.runs += pack_run(Run(self.left, NO_OBJECT))
        return Read(pack_recipe(bytes(self.skeleton), bytes(self.runs)), self.seen)


class _Pending(NamedTuple):
    """Pieces with a worker; `before` is what of the skeleton precedes each of them, None for a piece of the skeleton."""

    future: Future[list[int]]
    recipe: _Recipe
    before: list[int] | None


def read_members(members: Sequence[Member], store: Store, progress: Progress) -> list[Read]:
    """Put all members into the store.

    Raises:
        MemberChangedError: one is not what the caller knew.
        ArchiveError, OSError: as the store says.
    """
    with ThreadPoolExecutor(WORKERS, "ckptd-pack") as pool:
        reader = _Reader(pool, store, progress)
        try:
            recipes = [reader.read(member) for member in members]
            reader.settle(0)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
        return [recipe.finish() for recipe in recipes]


class _Reader:
    def __init__(self, pool: ThreadPoolExecutor, store: Store, progress: Progress) -> None:
        self._pool = pool
        self._store = store
        self._progress = progress
        self._done = 0
        self._free: SimpleQueue[memoryview] = SimpleQueue()
        self._pending: deque[_Pending] = deque()
        for _ in range(_BUFFERS):
            self._free.put(new_buffer(_BATCH_BYTES))

    def read(self, member: Member) -> _Recipe:
        with OpenMember(member) as file:
            recipe = _Recipe(file.stat)
            skeleton, habits = _Skeleton(self, recipe), _Habits()
            for batch in _in_batches(_cut(member)):
                self._read_batch(file, batch, skeleton, habits)
            skeleton.finish()
            file.check()
            return recipe

    def settle(self, left: int) -> None:
        """Note the numbers of what workers have done, until no more than `left` jobs are theirs."""
        while len(self._pending) > left:
            future, recipe, before = self._pending.popleft()
            numbers = future.result()
            if before is None:
                recipe.skeleton += b"".join(map(pack_number, numbers))
            else:
                recipe.runs += b"".join(map(pack_run, map(Run, before, numbers)))

    def buffer(self) -> memoryview:
        """Wait for a buffer that may be written to."""
        return self._free.get()

    def submit(
        self, buffer: memoryview, pieces: list[tuple[memoryview, Habit]], recipe: _Recipe, before: list[int] | None
    ) -> None:
        """Have pieces stored, all of which lie in the buffer; it may be written to when they are."""
        self._pending.append(_Pending(self._pool.submit(self._put, buffer, pieces), recipe, before))
        self.settle(_BUFFERS)

    def _read_batch(self, file: OpenMember, batch: Sequence[Piece], skeleton: _Skeleton, habits: _Habits) -> None:
        buffer, length = self.buffer(), sum(piece.length for piece in batch)
        _fill(file, buffer[:length])
        objects, before, at = [], [], 0
        for piece in batch:
            view = buffer[at : at + piece.length]
            at += piece.length
            if piece.is_object:
                objects.append((view, habits.of(piece)))
                before.append(skeleton.take())
            else:
                skeleton.add(view)
        if objects:
            self.submit(buffer, objects, skeleton.recipe, before)
        else:
            self._free.put(buffer)
        self._done += length
        self._progress(self._done)

    def _put(self, buffer: memoryview, pieces: list[tuple[memoryview, Habit]]) -> list[int]:
        try:
            return [self._store.put(view, habit) for view, habit in pieces]
        finally:
            self._free.put(buffer)


class _Habits:
    """Small storages of a file are compressed like the first of them; a large one is tried by itself."""

    def __init__(self) -> None:
        self._of_small, self._latest = Habit(), Habit()

    def of(self, piece: Piece) -> Habit:
        if piece.begins:
            self._latest = self._of_small if piece.length < LONGEST_STRETCH_BYTES else Habit()
        return self._latest


class _Skeleton:
    """Collects what of a file is no object of its own."""

    def __init__(self, reader: _Reader, recipe: _Recipe) -> None:
        self.recipe = recipe
        self.has_objects = False
        self._reader = reader
        self._buffer: memoryview | None = None
        self._length = 0

    def add(self, data: memoryview) -> None:
        self.recipe.left += len(data)
        while data:
            if self._buffer is None:
                self._buffer = self._reader.buffer()
            part = data[: PIECE_BYTES - self._length]
            self._buffer[self._length : self._length + len(part)] = part
            self._length += len(part)
            data = data[len(part) :]
            if self._length == PIECE_BYTES:
                self.finish()

    def take(self) -> int:
        """Give how much was collected since the last object; another one follows."""
        self.has_objects = True
        left, self.recipe.left = self.recipe.left, 0
        return left

    def finish(self) -> None:
        """Hand over what is not yet stored."""
        if self._buffer is not None:
            buffer, self._buffer = self._buffer, None
            length, self._length = self._length, 0
            # Heads and pickles are no numbers; a small file that couldn't be cut may be anything.
            habit = Habit(PLAIN) if self.has_objects else Habit()
            self._reader.submit(buffer, [(buffer[:length], habit)], self.recipe, None)


def _in_batches(pieces: Iterator[Piece]) -> Iterator[list[Piece]]:
    batch: list[Piece] = []
    length = 0
    for piece in pieces:
        if length + piece.length > _BATCH_BYTES:
            yield batch
            batch, length = [], 0
        batch.append(piece)
        length += piece.length
    if batch:
        yield batch


def _fill(file: OpenMember, room: memoryview) -> None:
    while room:
        room = room[file.read_into(room) :]


def _cut(member: Member) -> Iterator[Piece]:
    """Cut the file; by its length alone where it can't be opened once more, which costs space and nothing else."""
    try:
        fd = member.open()
    except (OSError, CkptdError):
        return cut(None, member.size_bytes)
    try:
        return cut(fd, member.size_bytes)
    finally:
        os.close(fd)
