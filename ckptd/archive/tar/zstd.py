"""Frames of Zstandard in its seekable format: `zstd -d` reads them as one, and the table at the end is a frame that it skips.

Before the table stands another frame to be skipped, which holds: a CRC-32 of the entries of the table, and the manifest as a
frame of its own.  It is listed in the table as the last one, with nothing in it.

Source: RFC 8878, 3.1.1 (frames) and 3.1.2 (frames to be skipped); "Zstandard Seekable Format" 0.1.0 in
contrib/seekable_format of github.com/facebook/zstd.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from struct import Struct

import zstandard
from isal.isal_zlib import crc32

from ckptd.archive.manifest import MOST_MANIFEST_BYTES
from ckptd.archive.tar.format import TarFormat
from ckptd.archive.tar.frames import MOST_FRAME_BYTES, MOST_STORED_BYTES, DamageError, Tail, read_at, read_table, render_table

#: Source: docs/archives.md; on real weights 1 to 4 are equally small, and 1 is the fastest of them.
_LEVEL = 1
_MAGIC = b"\x28\xb5\x2f\xfd"
_SKIPPED_MANIFEST, _SKIPPED_TABLE = 0x184D2A5C, 0x184D2A5E
_SKIPPED = Struct("<II")
_CHECKSUM = Struct("<I")
#: Frames, what the entries hold, magic.
_FOOTER = Struct("<IBI")
_SEEKABLE = 0x8F92EAB1
_ENTRY_BYTES = 8
_MOST_TAIL_BYTES = 96 << 20
#: Bits of a frame's first byte: has a checksum; one segment, so that no window follows; what ckptd never sets.
_HAS_CHECKSUM, _ONE_SEGMENT, _NEVER = 0x04, 0x20, 0x1B
_BLOCK_HEAD_BYTES = 3
_LAST, _RUN, _RESERVED = 1, 1, 3
#: Of a frame of ours; libzstd fills blocks of 128 KiB, and cuts them in pieces now and then.
_MOST_BLOCKS = 1_000


class ZstdFrames:
    """The Zstandard codec."""

    signature = _MAGIC

    def __init__(self) -> None:
        self._of_thread = threading.local()  # a compressor must not serve two threads

    def compress(self, plain: memoryview) -> bytes:
        """Make a whole frame."""
        return self._compressor().compress(plain)

    def decompress(self, stored: bytes) -> bytes:
        """Give what is in a frame; see `Codec`."""
        return self._inflate(stored, MOST_FRAME_BYTES)

    def length_at(self, fd: int, offset: int) -> int | None:
        """Give how long the frame is that begins at a place; see `Codec`."""
        head = read_at(fd, len(_MAGIC) + 1, offset)
        if len(head) <= len(_MAGIC) or not head.startswith(_MAGIC):
            return None
        flags = head[-1]
        if flags & _NEVER or not flags & _HAS_CHECKSUM:
            return None
        is_single = bool(flags & _ONE_SEGMENT)
        length = len(head) + (not is_single) + (is_single, 2, 4, 8)[flags >> 6]
        for _ in range(_MOST_BLOCKS):
            block = int.from_bytes(read_at(fd, _BLOCK_HEAD_BYTES, offset + length), "little")
            kind, size = block >> 1 & 3, block >> 3
            length += _BLOCK_HEAD_BYTES + (1 if kind == _RUN else size)
            if kind == _RESERVED or not block or length > MOST_STORED_BYTES:  # none: behind the end of the file
                return None
            if block & _LAST:
                return length + _CHECKSUM.size
        return None

    def render_tail(self, tail: Tail) -> Iterator[bytes]:
        """Write what stands behind the last frame."""
        packed = self._compressor().compress(tail.manifest)
        skipped = _SKIPPED.size + _CHECKSUM.size + len(packed)
        entries = render_table(tail.table) + _SKIPPED.pack(skipped, 0)
        yield _SKIPPED.pack(_SKIPPED_MANIFEST, skipped - _SKIPPED.size)
        yield _CHECKSUM.pack(crc32(entries))
        yield packed
        yield _SKIPPED.pack(_SKIPPED_TABLE, len(entries) + _FOOTER.size)
        yield entries
        yield _FOOTER.pack(len(tail.table) + 1, 0, _SEEKABLE)

    def read_tail(self, fd: int, size: int) -> Tail | None:
        """Read it from the end of a file; see `Codec`."""
        footer = read_at(fd, _FOOTER.size, max(0, size - _FOOTER.size))
        if len(footer) != _FOOTER.size:
            return None
        count, kind, magic = _FOOTER.unpack(footer)
        entry_bytes = _ENTRY_BYTES * count
        table_at = size - _FOOTER.size - entry_bytes - _SKIPPED.size
        if magic != _SEEKABLE or kind or not count or entry_bytes > _MOST_TAIL_BYTES or table_at < 0:
            return None
        head = read_at(fd, _SKIPPED.size, table_at)
        entries = read_at(fd, entry_bytes, table_at + _SKIPPED.size)
        if head != _SKIPPED.pack(_SKIPPED_TABLE, entry_bytes + _FOOTER.size) or len(entries) != entry_bytes:
            return None
        (skipped, _) = _SKIPPED.unpack(entries[-_SKIPPED.size :])
        manifest = self._read_manifest(fd, table_at - skipped, skipped, crc32(entries))
        table = read_table(entries[: -_SKIPPED.size])
        return Tail(table, manifest) if manifest is not None and sum(table.stored) == table_at - skipped else None

    def _read_manifest(self, fd: int, offset: int, size: int, checksum: int) -> bytes | None:
        least = _SKIPPED.size + _CHECKSUM.size
        if not least < size <= _MOST_TAIL_BYTES or offset < 0:
            return None
        data = read_at(fd, size, offset)
        if data[:least] != _SKIPPED.pack(_SKIPPED_MANIFEST, size - _SKIPPED.size) + _CHECKSUM.pack(checksum):
            return None
        try:
            return self._inflate(data[least:], MOST_MANIFEST_BYTES)
        except DamageError:
            return None

    def _compressor(self) -> zstandard.ZstdCompressor:
        made = getattr(self._of_thread, "compressor", None)
        if made is None:
            made = self._of_thread.compressor = zstandard.ZstdCompressor(
                level=_LEVEL, write_checksum=True, write_content_size=True
            )
        return made

    def _inflate(self, stored: bytes, most: int) -> bytes:
        reader = getattr(self._of_thread, "decompressor", None)
        if reader is None:
            reader = self._of_thread.decompressor = zstandard.ZstdDecompressor()
        try:
            if not 0 <= zstandard.frame_content_size(stored) <= most:  # memory is taken by what the frame says
                raise DamageError("a Zstandard frame is damaged")
            plain: bytes = reader.decompress(stored, allow_extra_data=False)
        except zstandard.ZstdError as error:
            raise DamageError("a Zstandard frame is damaged") from error
        return plain


class ZstdTar(TarFormat):
    """`tar.zst`, which is twice as fast."""

    name = "tar.zst"
    suffix = "tar.zst"
    codec = ZstdFrames
