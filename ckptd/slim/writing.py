"""Write a smaller checkpoint, streaming: one buffer, from the first byte to the last.

A CRC-32 that was saved with a storage goes along with it and is not looked at here: the proof, another process, reads each byte
of both files and finds a flipped bit.  On a busy machine, summing up as well took half of the time.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from mmap import mmap
from typing import NamedTuple

from isal.isal_zlib import crc32

from ckptd.checkpoint.contents import Span
from ckptd.slim.container import ALIGNMENT, Slot, ZipPlan, plan_zip, serialization_id
from ckptd.slim.refusal import SlimInterruptedError
from ckptd.text import format_size

#: Bytes that are read and written at a time, whole pages of the target.  Source: measured on ext4, docs/slim.md.
_BUFFER_BYTES = 1 << 20
#: How often it is looked at what is left of the disk.
_LOOK_BYTES = 64 << 20
_ID_DIGITS = 40

#: Told how many bytes of the new file are written; what it raises ends the work.
Progress = Callable[[int], None]


class Draft(NamedTuple):
    """What a smaller checkpoint will hold.

    Attributes:
        pickle: the object.
        storages: where the bytes of each storage lie in the source; the key of each is its position.
        byteorder: "little" or "big".
    """

    pickle: bytes
    storages: Sequence[Span]
    byteorder: str

    def plan(self) -> ZipPlan:
        """Lay the file out: the records that torch.save of today writes, in its order."""
        small = self._small()
        return plan_zip(
            [
                ("data.pkl", len(self.pickle)),
                *[(name, len(raw)) for name, raw in small.items() if name != "version"],
                *[(f"data/{key}", span.length) for key, span in enumerate(self.storages)],
                ("version", len(small["version"])),
                (".data/serialization_id", _ID_DIGITS),
            ]
        )

    def _small(self) -> dict[str, bytes]:
        return {
            ".format_version": b"1",
            ".storage_alignment": str(ALIGNMENT).encode(),
            "byteorder": self.byteorder.encode(),
            "version": b"3\n",
        }

    def contents(self) -> Mapping[str, bytes | Span]:
        """Give what each record holds, the last one left out, which is made of the others."""
        spans = {f"data/{key}": span for key, span in enumerate(self.storages)}
        return {"data.pkl": self.pickle, **self._small(), **spans}


def write_draft(draft: Draft, source: int, target: int, *, free_bytes: int, progress: Progress) -> int:
    """Write the file; give its size.

    Args:
        draft: what it holds.
        source: a readable descriptor of the file that the storages lie in.
        target: a writable descriptor of an empty file.
        free_bytes: what has to stay free on the file system of the target; looked at before and while it grows.
        progress: see `Progress`.

    Raises:
        SlimInterruptedError: there is no room, or the source became shorter.
        OSError: the disk says no.
    """
    plan = draft.plan()
    writer = _Writer(source, target, plan.size, free_bytes, progress)
    contents = draft.contents()
    crcs: list[int] = []
    for slot in plan.slots:
        writer.put(slot.local_header())
        crc = _write_record(writer, slot, contents, crcs, plan)
        writer.put(slot.descriptor(crc))
        crcs.append(crc)
    writer.put(plan.ending(crcs))
    writer.flush()
    return plan.size


def _write_record(writer: _Writer, slot: Slot, contents: Mapping[str, bytes | Span], crcs: Sequence[int], plan: ZipPlan) -> int:
    content = contents.get(slot.name)
    if content is None:
        content = serialization_id([(one.name, crc) for one, crc in zip(plan.slots, crcs, strict=False)])
    if isinstance(content, bytes):
        writer.put(content)
        return int(crc32(content))
    return writer.copy(content)


class _Writer:
    def __init__(self, source: int, target: int, size: int, free_bytes: int, progress: Progress) -> None:
        self._source = source
        self._target = target
        self._size = size
        self._free_bytes = free_bytes
        self._progress = progress
        # Whole pages: the kernel copies to and from them faster than with a bytearray, which begins anywhere.
        self._buffer = memoryview(mmap(-1, _BUFFER_BYTES))
        self._filled = 0
        self._written = 0
        self._look_at = 0
        self._check_room()

    def put(self, data: bytes) -> None:
        """Write these bytes."""
        view = memoryview(data)
        while view:
            part = view[: _BUFFER_BYTES - self._filled]
            self._buffer[self._filled : self._filled + len(part)] = part
            self._advance(len(part))
            view = view[len(part) :]

    def copy(self, span: Span) -> int:
        """Write bytes of the source; give the CRC-32 that was saved with them, else that of what passes."""
        crc, left = 0, span.length
        while left:
            part = self._buffer[self._filled : min(_BUFFER_BYTES, self._filled + left)]
            got = os.preadv(self._source, [part], span.offset + span.length - left)
            if not got:
                raise SlimInterruptedError("the file ended while it was read", cure="it is looked at again when it is whole")
            if span.crc is None:
                crc = crc32(part[:got], crc)
            self._advance(got)
            left -= got
        return crc if span.crc is None else span.crc

    def flush(self) -> None:
        """Write what the buffer holds."""
        done = 0
        while done < self._filled:
            done += os.pwrite(self._target, self._buffer[done : self._filled], self._written + done)
        self._written += done
        self._filled = 0
        self._progress(self._written)

    def _advance(self, count: int) -> None:
        self._filled += count
        if self._filled < _BUFFER_BYTES:
            return
        self.flush()
        if self._written >= self._look_at:
            self._check_room()

    def _check_room(self) -> None:
        self._look_at = self._written + _LOOK_BYTES
        told = os.fstatvfs(self._target)
        left = told.f_bavail * told.f_frsize - (self._size - self._written)
        if left < self._free_bytes:
            needed = format_size(self._size)
            raise SlimInterruptedError(
                f"the smaller file would take {needed}, and {format_size(self._free_bytes)} of the disk have to stay free",
                cure="free some space on this file system; it is tried again",
            )
