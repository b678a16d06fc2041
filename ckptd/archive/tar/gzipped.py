"""Frames as members of a gzip file, which `gunzip` reads as one; their lengths, and the table at the end, in extra fields.

Each member says in its header how long it is:

    1f 8b 08 04 | mtime 0 | 0, 255 | 8 | "CK" 4 length | deflate | CRC-32, length of the contents

Behind the last one stand empty members, whose extra fields "CT" are pieces of: the table (8 bytes a frame: stored, plain), and
the manifest as gzip.  The very last, "CE", says how long that is, how many frames, how long the manifest, and a CRC-32 of it.

Source: RFC 1952, 2.2 (several members) and 2.3.1 (extra fields).
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct
from typing import cast

from isal import igzip_lib
from isal.isal_zlib import crc32

from ckptd.archive.manifest import MOST_MANIFEST_BYTES
from ckptd.archive.tar.format import TarFormat
from ckptd.archive.tar.frames import MOST_FRAME_BYTES, MOST_STORED_BYTES, DamageError, Tail, read_at, read_table, render_table

#: Source: docs/archives.md; on real weights level 0 makes files larger, 2 is slower and 0.1 % smaller, 3 half as fast.
_LEVEL = 1
#: How far back repeats are looked for, as a power of two: all that deflate knows, and next to nothing.
#: Source: docs/archives.md; repeats in weights are chance, and without them it is twice as fast at the same size.
_FAR, _NEAR = 15, 9
#: Which of the two is tried on so many bytes, where the frame has more than that many; near may be so much larger.
_SAMPLE_BYTES, _LEAST_SAMPLED_BYTES, _LARGER = 16 << 10, 256 << 10, 1.01
#: Magic, deflate, "has an extra field", no time, no hint, system unknown, bytes of the extra field, name and bytes of the part.
_HEAD = Struct("<4sIBBH2sH")
_START = b"\x1f\x8b\x08\x04"
_LENGTH = Struct("<I")
_TRAILER = Struct("<II")
_IsalError = cast("type[Exception]", igzip_lib.IsalError)
#: Bytes of the tail, frames, bytes of the manifest, CRC-32 of the tail.
_END = Struct("<IIII")
#: A deflate stream of nothing, its CRC-32 and its length.
_NOTHING = b"\x03\x00" + bytes(8)
#: What an extra field takes.  Source: RFC 1952: XLEN is 16 bits, and a part of it has a head of 4 bytes.
_PIECE_BYTES = 0xFFFF - 4
_MOST_TAIL_BYTES = 96 << 20
#: Smallest frame: its head, an empty deflate stream, its trailer.
_LEAST_BYTES = _HEAD.size + _LENGTH.size + 2 + _TRAILER.size


def _head(name: bytes, field: bytes) -> bytes:
    return _HEAD.pack(_START, 0, 0, 255, 4 + len(field), name, len(field)) + field


_SIGNATURE = _head(b"CK", bytes(_LENGTH.size))[: -_LENGTH.size]
_HEAD_BYTES = len(_SIGNATURE) + _LENGTH.size


class GzipFrames:
    """The gzip codec."""

    signature = _SIGNATURE

    def compress(self, plain: memoryview) -> bytes:
        """Make a whole frame."""
        packed = igzip_lib.compress(plain, _LEVEL, igzip_lib.COMP_GZIP_NO_HDR, hist_bits=_choose_reach(plain))
        return _head(b"CK", _LENGTH.pack(_HEAD_BYTES + len(packed))) + packed

    def decompress(self, stored: bytes) -> bytes:
        """Give what is in a frame; see `Codec`."""
        if _length_of(stored[:_HEAD_BYTES]) != len(stored):
            raise DamageError("the head of a gzip member is damaged")
        _, plain_bytes = _TRAILER.unpack_from(stored, len(stored) - _TRAILER.size)
        if plain_bytes > MOST_FRAME_BYTES:
            raise DamageError("a gzip member is larger than any that ckptd writes")
        return _inflate(memoryview(stored)[_HEAD_BYTES:], igzip_lib.DECOMP_GZIP_NO_HDR_VER, plain_bytes)

    def length_at(self, fd: int, offset: int) -> int | None:
        """Give how long the frame is that begins at a place; see `Codec`."""
        return _length_of(read_at(fd, _HEAD_BYTES, offset))

    def render_tail(self, tail: Tail) -> Iterator[bytes]:
        """Write what stands behind the last frame."""
        packed = igzip_lib.compress(tail.manifest, _LEVEL, igzip_lib.COMP_GZIP)
        blob = render_table(tail.table) + packed
        return _render_members(blob, len(tail.table), len(tail.manifest))

    def read_tail(self, fd: int, size: int) -> Tail | None:
        """Read it from the end of a file; see `Codec`."""
        last = len(_head(b"CE", bytes(_END.size))) + len(_NOTHING)
        end = read_at(fd, last, max(0, size - last))[-len(_NOTHING) - _END.size : -len(_NOTHING)]
        if len(end) != _END.size:
            return None
        blob_bytes, frames, manifest_bytes, _ = _END.unpack(end)
        pieces = -(-blob_bytes // _PIECE_BYTES)
        tail_bytes = blob_bytes + pieces * (_HEAD.size + len(_NOTHING)) + last
        if (
            blob_bytes > _MOST_TAIL_BYTES
            or tail_bytes > size
            or 8 * frames > blob_bytes
            or manifest_bytes > MOST_MANIFEST_BYTES
        ):
            return None
        raw = read_at(fd, tail_bytes, size - tail_bytes)
        blob = _join_members(raw, pieces, blob_bytes)
        if b"".join(_render_members(blob, frames, manifest_bytes)) != raw:
            return None
        try:
            manifest = _inflate(memoryview(blob)[8 * frames :], igzip_lib.DECOMP_GZIP, manifest_bytes)
        except DamageError:
            return None
        table = read_table(blob[: 8 * frames])
        is_right = len(manifest) == manifest_bytes and sum(table.stored) == size - tail_bytes
        return Tail(table, manifest) if is_right else None


class GzipTar(TarFormat):
    """`tar.gz`, which is read everywhere."""

    name = "tar.gz"
    suffix = "tar.gz"
    codec = GzipFrames


def _choose_reach(plain: memoryview) -> int:
    if len(plain) < _LEAST_SAMPLED_BYTES:
        return _FAR
    start = (len(plain) - _SAMPLE_BYTES) // 2
    sample = plain[start : start + _SAMPLE_BYTES]
    far, near = (len(igzip_lib.compress(sample, _LEVEL, hist_bits=reach)) for reach in (_FAR, _NEAR))
    return _NEAR if near <= _LARGER * far else _FAR


def _length_of(head: bytes) -> int | None:
    if len(head) < _HEAD_BYTES or not head.startswith(_SIGNATURE):
        return None
    (length,) = _LENGTH.unpack_from(head, len(_SIGNATURE))
    return int(length) if _LEAST_BYTES <= length <= MOST_STORED_BYTES else None


def _inflate(packed: memoryview, kind: int, most: int) -> bytes:
    """Inflate to no more than `most` bytes.  Memory is taken for so many at once: a guess too high costs twice the time."""
    reader = igzip_lib.IgzipDecompressor(kind)
    try:
        plain: bytes = reader.decompress(packed, most + 1)
    except _IsalError as error:
        raise DamageError("a gzip member is damaged") from error
    if not reader.eof or reader.unused_data or len(plain) > most:
        raise DamageError("a gzip member is damaged")
    return plain


def _render_members(blob: bytes, frames: int, manifest_bytes: int) -> Iterator[bytes]:
    for at in range(0, len(blob), _PIECE_BYTES):
        yield _head(b"CT", blob[at : at + _PIECE_BYTES]) + _NOTHING
    yield _head(b"CE", _END.pack(len(blob), frames, manifest_bytes, crc32(blob))) + _NOTHING


def _join_members(raw: bytes, pieces: int, blob_bytes: int) -> bytes:
    blob, at = bytearray(), 0
    for _ in range(pieces):
        count = min(_PIECE_BYTES, blob_bytes - len(blob))
        blob += raw[at + _HEAD.size : at + _HEAD.size + count]
        at += _HEAD.size + count + len(_NOTHING)
    return bytes(blob)
