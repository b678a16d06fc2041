"""A reader of packs that shares no line with ckptd: written from docs/pack.md, with the standard library, numpy and zstandard.

python reading_alone.py ARCHIVE MEMBER > FILE
"""

from __future__ import annotations

import hashlib
import json
import struct
import sys
import zlib
from pathlib import Path


def read_member(archive: Path, wanted: str) -> bytes:
    """Put a member together and check its digest."""
    block = archive.read_bytes()
    magic, version, _, _, manifest, files, objects, members, _ = struct.unpack_from("<8sIIQQIIII", block)
    assert (magic, version) == (b"CKPTPACK", 1)
    at = 80
    entries = json.loads(block[at : at + manifest])["entries"]
    at += manifest
    ids = [block[at + 16 * n : at + 16 * n + 16].hex() for n in range(files)]
    at += 16 * files
    places = [struct.unpack_from("<32sIQIIIB7x", block, at + 64 * n) for n in range(objects)]
    at += 64 * objects
    for entry in entries[:members]:
        skeletons, runs = struct.unpack_from("<II", block, at)
        numbers = struct.unpack_from(f"<{skeletons}I", block, at + 8)
        pairs = [struct.unpack_from("<II", block, at + 8 + 4 * skeletons + 8 * n) for n in range(runs)]
        at += 8 + 4 * skeletons + 8 * runs
        if entry["name"] == wanted:
            data = _join(archive.parent / "pack", ids, places, numbers, pairs)
            assert hashlib.sha256(data).hexdigest() == entry["sha256"]
            assert len(data) == entry["size_bytes"]
            return data
    raise LookupError(wanted)


def _join(directory: Path, ids: list[str], places: list[tuple], numbers: tuple, pairs: list[tuple]) -> bytes:
    skeleton = b"".join(_read_object(directory, ids, places[number]) for number in numbers)
    parts, at = [], 0
    for length, number in pairs:
        parts.append(skeleton[at : at + length])
        at += length
        if number != 0xFFFFFFFF:
            parts.append(_read_object(directory, ids, places[number]))
    assert at == len(skeleton)
    return b"".join(parts)


def _read_object(directory: Path, ids: list[str], place: tuple) -> bytes:
    import zstandard

    sha256, file, offset, stored, raw, crc, codec = place
    whole = (directory / f"{ids[file]}.objects").read_bytes()
    assert whole[:32] == b"CKPTOBJS" + struct.pack("<II", 1, 0) + bytes.fromhex(ids[file])
    data = whole[offset : offset + stored]
    assert zlib.crc32(data) == crc
    data = read_chunk(data, zstandard.ZstdDecompressor()) if codec == 1 else data
    assert len(data) == raw
    assert hashlib.sha256(data).digest() == sha256
    return data


def read_chunk(chunk: bytes, zstd) -> bytes:
    """Decompress a Blosc2 chunk as docs/pack.md describes it."""
    _, _, flags, width, length, size, packed = struct.unpack_from("<BBBBiii", chunk)
    assert packed == len(chunk)
    filter_, special = chunk[16], chunk[31]
    if special == 0x10:
        return bytes(length)
    blocks = -(-length // size)
    out = []
    for number, at in enumerate(struct.unpack_from(f"<{blocks}i", chunk, 32)):
        plain = min(size, length - number * size)
        streams = width if flags == 0x85 and plain == size else 1
        parts = []
        for _ in range(streams):
            part, at = _read_stream(chunk, at, plain // streams, zstd)  # noqa: PLW2901 — one behind the other
            parts.append(part)
        out.append(_unfilter(b"".join(parts), filter_, width))
    return b"".join(out)


def _read_stream(chunk: bytes, at: int, plain: int, zstd) -> tuple[bytes, int]:
    (length,) = struct.unpack_from("<i", chunk, at)
    at += 4
    if length == 0:
        return bytes(plain), at
    if length < 0:
        return bytes([-length]) * plain, at + 1
    data = chunk[at : at + length]
    return (data if length == plain else zstd.decompress(data, max_output_size=plain)), at + length


def _unfilter(data: bytes, filter_: int, width: int) -> bytes:
    import numpy as np

    if filter_ == 1:
        count = len(data) // width
        head = np.frombuffer(data[: count * width], "u1").reshape(width, count).T.tobytes()
        return head + data[count * width :]
    if filter_ == 2:
        count = len(data) // width // 8 * 8
        bits = np.unpackbits(np.frombuffer(data[: count * width], "u1"), bitorder="little").reshape(8 * width, count)
        head = np.packbits(bits.T, axis=None, bitorder="little").tobytes()
        return head + data[count * width :]
    return data


if __name__ == "__main__":
    sys.stdout.buffer.write(read_member(Path(sys.argv[1]), sys.argv[2]))
