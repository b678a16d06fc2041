"""Write weights as a safetensors file, streaming: what stands where is known before the first byte is written.

`plan_file` is the whole content of a file but the bytes of its tensors; the writer follows it, and so does the checker.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from ckptd.errors import FormatError, StorageError
from ckptd.export.encodings import Encoding, Part
from ckptd.export.refusal import TargetError
from ckptd.export.weights import Weights
from ckptd.loading.safetensors_header import WORDS, Entry, make_header
from ckptd.model import Json
from ckptd.text import escape

#: Keys of the metadata that are not names of tied weights.  "format" is what `safetensors.torch` and transformers look for.
RESERVED = frozenset({"format", "ckptd"})
#: Bytes that are copied at a time, through one buffer.  Measured on ext4, 500 MB: 256 KiB and 1 MiB are as fast as `cp`, 4 MiB
#: take 1.4 times as long, and so does copy_file_range, since a header of any length leaves no page where it was.
_COPY_BYTES = 1 << 20
_PAGE_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Plan:
    """What a file will hold.

    Attributes:
        parts: in the order of their bytes; `entries` are the same for the format.
        header: the bytes in front of those of the tensors.
    """

    parts: tuple[Part, ...]
    entries: tuple[Entry, ...]
    metadata: Mapping[str, str]
    header: bytes

    @property
    def size_bytes(self) -> int:
        """Bytes of the whole file."""
        return len(self.header) + (self.entries[-1].end if self.entries else 0)


def plan_file(weights: Weights, encoding: Encoding) -> Plan:
    """Lay out a file: large elements first, so that each tensor begins at a multiple of its element's size.

    A name whose tensor is that of another name stands in the metadata, as `safetensors.torch.save_model` has it.

    Raises:
        TargetError: the format can't hold these tensors or their names.
    """
    parts = encoding.parts(_keep_reserved(weights))
    parts.sort(key=lambda part: -WORDS[part.word].item_bytes)
    entries, at = [], 0
    for part in parts:
        length = WORDS[part.word].item_bytes
        for size in part.shape:
            length *= size
        entries.append(Entry(part.name, part.word, part.shape, at, at + length))
        at += length
    tied = {other: kept for other, kept in weights.tied.items() if other not in RESERVED}
    metadata = {**tied, **encoding.metadata(), "format": "pt"}
    try:
        header = make_header(entries, metadata)
    except FormatError as error:
        raise TargetError(f"a safetensors file cannot hold it: {error.why}") from error
    return Plan(tuple(parts), tuple(entries), metadata, header)


def write_file(weights: Weights, fd: int, encoding: Encoding) -> dict[str, Json]:
    """Write a safetensors file to an empty file; give the notes of the target.

    The CRCs of the checkpoint are not looked at here: the checker, another process, reads each of its bytes again, compares
    them with what was written, and finds a flipped bit by the CRC at the same time.

    Raises:
        TargetError: the format can't hold these tensors.
        StorageError: the checkpoint became shorter.
        OSError: the disk says no.
    """
    plan = plan_file(weights, encoding)
    _write(fd, plan.header, 0)
    buffer = memoryview(bytearray(_COPY_BYTES))
    for part, entry in zip(plan.parts, plan.entries, strict=True):
        at = len(plan.header) + entry.begin
        if part.is_copy:
            _copy(weights.fd, part.source.start + part.source.offset, fd, at, entry.end - entry.begin, buffer)
            continue
        for piece in part.pieces(None):
            _write(fd, piece.data.reshape(-1).view(np.uint8).data, at)
            at += piece.data.nbytes
    notes: dict[str, Json] = {"tensors": len(weights.tensors), "tied": len(weights.tied), "weights_bytes": weights.nbytes}
    findings = encoding.findings()
    return {**notes, "findings": [*findings]} if findings else notes


def _keep_reserved(weights: Weights) -> Weights:
    """Give tied weights that are called like a key of the metadata a tensor of their own."""
    found = []
    for tensor in weights.tensors:
        clashing = [name for name in tensor.others if name in RESERVED]
        found.append(tensor)
        found += [replace(tensor, name=name, others=()) for name in clashing]
    for tensor in found:
        if tensor.name == "__metadata__":
            raise TargetError(f"a tensor is called {escape(tensor.name)}, which no safetensors file can hold")
    return replace(weights, tensors=tuple(found))


def _copy(source: int, offset: int, target: int, at: int, length: int, buffer: memoryview) -> None:
    """Copy a run of bytes, whole pages of the target at a time."""
    done = 0
    while done < length:
        want = min(length - done, len(buffer) - (at + done) % _PAGE_BYTES)
        got = os.preadv(source, [buffer[:want]], offset + done)
        if not got:
            raise StorageError("the file ended while it was read", why="it was cut short by another process")
        _write(target, buffer[:got], at + done)
        done += got


def _write(fd: int, data: bytes | memoryview, at: int) -> None:
    view, done = memoryview(data), 0
    while done < len(view):
        done += os.pwrite(fd, view[done:], at + done)
