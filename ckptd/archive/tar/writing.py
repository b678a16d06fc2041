"""Write an archive: one thread reads, hashes and writes, others compress, and a few frames are in memory at any time."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from ckptd.archive.interface import ArchiveError, Manifest, Member, Progress, Receipt
from ckptd.archive.manifest import ManifestError, render_manifest
from ckptd.archive.members import OpenMember
from ckptd.archive.placing import NewFile
from ckptd.archive.tar.frames import FRAME_BYTES, Codec, Table, Tail, thread_count
from ckptd.archive.tar.headers import END, padding_of
from ckptd.archive.tar.layout import Placed, place_entry, render_own
from ckptd.storage.faults import place_of


class FrameWriter:
    """Cut a tar into frames, compress them side by side, and append them in their order.

    Attributes:
        table: of the frames that were appended.
    """

    def __init__(self, file: NewFile, codec: Codec, pool: ThreadPoolExecutor) -> None:
        self.table = Table()
        self._file, self._codec, self._pool = file, codec, pool
        self._waiting: deque[tuple[Future[bytes], bytearray, int]] = deque()
        self._most_waiting = thread_count() + 2
        self._spare: list[bytearray] = []
        self._buffer, self._filled = bytearray(FRAME_BYTES), 0

    def begin(self, member: Placed) -> None:
        """Begin a member: where it doesn't fit into the rest of a frame it gets one of its own."""
        if self._filled + member.total_bytes > FRAME_BYTES:
            self.cut()
        self.add(member.head)

    def end(self, member: Placed) -> None:
        """End it; what follows one that fills more than a frame begins in a new one."""
        self.add(bytes(padding_of(member.header.size)))
        if member.total_bytes > FRAME_BYTES:
            self.cut()

    def add(self, data: bytes) -> None:
        """Add bytes."""
        left = memoryview(data)
        while left:
            part = self.room()[: len(left)]
            part[:] = left[: len(part)]
            self.filled(len(part))
            left = left[len(part) :]

    def room(self) -> memoryview:
        """Give the place for the next bytes; at least one."""
        return memoryview(self._buffer)[self._filled :]

    def filled(self, count: int) -> None:
        """Say how many bytes were put there."""
        self._filled += count
        if self._filled == FRAME_BYTES:
            self.cut()

    def cut(self) -> None:
        """End a frame, so that the next byte begins another one."""
        if not self._filled:
            return
        plain = memoryview(self._buffer)[: self._filled]
        self._waiting.append((self._pool.submit(self._codec.compress, plain), self._buffer, self._filled))
        if len(self._waiting) > self._most_waiting:
            self._append_oldest()
        self._buffer, self._filled = self._spare.pop() if self._spare else bytearray(FRAME_BYTES), 0

    def finish(self) -> None:
        """Append what is still waiting."""
        self.cut()
        while self._waiting:
            self._append_oldest()

    def _append_oldest(self) -> None:
        future, buffer, filled = self._waiting.popleft()
        stored = future.result()
        self._spare.append(buffer)
        self._file.append(stored)
        self.table.add(len(stored), filled)


def write_archive(
    codec: Codec,
    manifest: Manifest,
    members: Sequence[Member],
    directory: int,
    name: str,
    top: bytes,
    *,
    free_bytes: int,
    progress: Progress,
) -> Receipt:
    """Write an archive; see `Format.write`.

    Args:
        codec: how it is compressed.
        manifest: of the members.
        members: in the order of the manifest.
        directory: where it goes.
        name: of the file.
        top: the folder in it that holds everything.
        free_bytes: what has to stay free.
        progress: told of bytes of members.

    Raises:
        MemberChangedError: a member is not what it was; nothing is left.
        ArchiveError: nothing is left.
    """
    try:
        rendered = render_manifest(manifest)
    except ManifestError as error:
        why = f"its manifest can't be read again: {error.why}"
        raise ArchiveError("write an archive", path=place_of(directory, name), why=why, cure="archive fewer files") from error
    with NewFile(directory, name, free_bytes=free_bytes) as file:
        with ThreadPoolExecutor(thread_count()) as pool:
            frames = FrameWriter(file, codec, pool)
            like = _write_tar(frames, manifest, rendered, members, top, progress)
        for piece in codec.render_tail(Tail(frames.table, rendered)):
            file.append(piece)
        file.place(like)
        return Receipt(name, file.sha256, file.size_bytes, manifest)


def _write_tar(
    frames: FrameWriter, manifest: Manifest, rendered: bytes, members: Sequence[Member], top: bytes, progress: Progress
) -> list[os.stat_result]:
    for own in render_own(top, manifest, rendered):
        frames.begin(own.placed)
        frames.add(own.content)
        frames.end(own.placed)
    like, done = [], 0
    for entry, member in zip(manifest.entries, members, strict=True):
        placed = place_entry(top, entry)
        frames.begin(placed)
        with OpenMember(member) as source:
            like.append(source.stat)
            while source.left_bytes:
                count = source.read_into(frames.room())
                frames.filled(count)
                done += count
                progress(done)
            source.check()
        frames.end(placed)
    frames.add(END)
    frames.finish()
    return like
