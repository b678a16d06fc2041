"""Find where the storages lie in a file, so that those which other files have too are stored once.

What a file can't be cut by is stored as it comes; a wrong cut costs space and never a byte, for what is cut is put together
again in the same order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import NamedTuple

from ckptd.archive.pack.sizes import LONGEST_STRETCH_BYTES, PIECE_BYTES, SMALLEST_OBJECT_BYTES
from ckptd.checkpoint.budgets import BUDGETS
from ckptd.checkpoint.container import read_contents
from ckptd.checkpoint.containers.legacy import is_legacy
from ckptd.checkpoint.containers.oldtar import is_tar
from ckptd.checkpoint.containers.torchzip import ZIP_HEAD
from ckptd.checkpoint.containers.zipped import read_zip
from ckptd.checkpoint.source import Source
from ckptd.loading.safetensors_header import is_safetensors, read_header

_HEAD_BYTES = 4_096
_STORED = 0
#: What is read of a file to cut it: less than an inspection reads, for memory has to stay small whatever the file is.
_BUDGETS = replace(BUDGETS, opcodes=1_000_000, memo=500_000, pickle_bytes=16 << 20)
_MOST_HEADER_BYTES = 16 << 20


class Span(NamedTuple):
    """A run of bytes of a file."""

    offset: int
    length: int


class Piece(NamedTuple):
    """What is stored as one: an object of its own, or a part of the skeleton.

    Attributes:
        length: in bytes.
        is_object: False for a part of the skeleton.
        begins: True for the first piece of a storage or stretch.
    """

    length: int
    is_object: bool
    begins: bool


def cut(fd: int | None, size: int) -> Iterator[Piece]:
    """Cut a file into pieces, from its first byte to its last.

    Args:
        fd: of the file, which is read before this returns; None cuts it by its size alone.
        size: in bytes.
    """
    return _cut_along([] if fd is None else _find_storages(fd, size), size)


def _cut_along(storages: list[Span], size: int) -> Iterator[Piece]:
    at = 0
    for span in _apart(storages, size):
        yield from _cut_stretch(span.offset - at)
        yield from _cut_span(span.length)
        at = span.offset + span.length
    yield from _cut_stretch(size - at)


def _cut_stretch(length: int) -> Iterator[Piece]:
    if length > LONGEST_STRETCH_BYTES:
        yield from _cut_span(length)
    elif length:
        yield Piece(length, is_object=False, begins=True)


def _cut_span(length: int) -> Iterator[Piece]:
    for at in range(0, length, PIECE_BYTES):
        yield Piece(min(PIECE_BYTES, length - at), is_object=True, begins=at == 0)


def _find_storages(fd: int, size: int) -> list[Span]:
    try:
        source = Source(fd, size, BUDGETS.whole_bytes)
        head = source.read(0, min(size, _HEAD_BYTES))
        if head.startswith(ZIP_HEAD):
            # Of any zip, not only torch's; the pickle in it isn't needed.
            members = read_zip(source, _BUDGETS).members.values()
            return [Span(member.offset, member.length) for member in members if member.method == _STORED]
        if is_safetensors(head, size) and int.from_bytes(head[:8], "little") <= _MOST_HEADER_BYTES:
            header = read_header(source.read, size)
            return [Span(header.data_offset + entry.begin, entry.end - entry.begin) for entry in header.entries]
        if is_legacy(head) or is_tar(head):
            return [Span(offset, length) for offset, length, _ in read_contents(source, _BUDGETS).spans.values()]
    except Exception:  # noqa: BLE001 — whatever a reader stumbles over: a file that can't be cut is stored uncut
        return []
    return []


def _apart(spans: Iterable[Span], size: int) -> Iterator[Span]:
    """Give the spans that are worth an object, in order, none of them inside of another or of what is not there."""
    end = 0
    for span in sorted(spans):
        if span.length >= SMALLEST_OBJECT_BYTES and span.offset >= end and span.offset + span.length <= size:
            end = span.offset + span.length
            yield span
