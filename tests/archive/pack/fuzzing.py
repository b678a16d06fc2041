"""Feed the readers what a hostile writer could write; run as a process of its own, with little memory: a crash is an answer.

    python -m tests.archive.pack.fuzzing {tables|objects|chunks} COUNT DIRECTORY

Prints how many mutants were refused and how many were read, and ends with 1 at the first exception that no reader may raise.
"""

from __future__ import annotations

import hashlib
import os
import random
import resource
import sys
from pathlib import Path

from isal.isal_zlib import crc32

from ckptd.archive.interface import ArchiveError
from ckptd.archive.pack import codec, table
from ckptd.archive.pack.format import collect_garbage
from ckptd.archive.pack.trouble import DamageError
from tests.archive.pack.packing import PACK, make_bytes, make_numbers, object_files, pack, restored, verify

#: More than the readers need with all their libraries, less than one mutant that is believed would take.
_MOST_MEMORY_BYTES = 1_500 << 20
_WORDS = (
    0,
    1,
    2,
    3,
    31,
    32,
    33,
    0x7F,
    0xFF,
    0xFFFF,
    0x10000,
    0x400000,
    0x400001,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFE,
    0xFFFFFFFF,
)


def mutate(rng: random.Random, data: bytearray, begin: int, end: int) -> None:
    """Change something between two offsets: bits, bytes, numbers, lengths."""
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        at = rng.randrange(begin, end)
        match rng.randrange(5):
            case 0:
                data[at] ^= 1 << rng.randrange(8)
            case 1:
                data[at] = rng.randrange(256)
            case 2:
                at = min(at, len(data) - 4)
                data[at : at + 4] = rng.choice(_WORDS).to_bytes(4, "little")
            case 3:
                at = min(at, len(data) - 8)
                data[at : at + 8] = (rng.choice(_WORDS) << rng.randrange(33)).to_bytes(9, "little")[:8]
            case 4:
                other = rng.randrange(begin, end)
                length = min(8, len(data) - max(at, other))
                data[at : at + length] = data[other : other + length]


def sign(block: bytearray) -> bytes:
    """Give a block the length and the digest that belong to it, as a hostile writer would."""
    block[16:24] = len(block).to_bytes(8, "little")
    head = bytes(block[:48])
    block[48:80] = hashlib.sha256(head + bytes(block[80:])).digest()
    return bytes(block)


def read_all(archives: int, name: str, scratch: Path) -> bool:
    """Do everything that reads; True when all was right."""
    for call in (
        lambda: PACK.read_manifest(archives, "a.pack"),
        lambda: collect_garbage(archives),
        lambda: restored(archives, "a.pack", name, scratch),
    ):
        try:
            call()
        except ArchiveError:
            continue
    return verify(archives, "a.pack").is_whole


def fuzz_tables(rng: random.Random, archives: int, home: Path, name: str, scratch: Path) -> bool:
    """Change a table, sign it, and read."""
    path = home / "a.pack"
    good = path.read_bytes()
    kept = {file: file.read_bytes() for file in object_files(home)}
    block = bytearray(good[: len(good) // 2])
    begin = rng.choice((8, 80 + block[80:].index(b"\n]}\n") + 4))  # half of them in what follows the manifest
    mutate(rng, block, begin, len(block))
    if rng.random() < 0.1:
        del block[rng.randrange(80, len(block)) :]
    path.write_bytes(sign(block) * 2)
    try:
        return read_all(archives, name, scratch)
    finally:
        path.write_bytes(good)
        for file, data in kept.items():  # what a hostile table does not use is collected, and that is right
            file.write_bytes(data)


def fuzz_objects(rng: random.Random, archives: int, home: Path, name: str, scratch: Path) -> bool:
    """Change stored bytes and let the table vouch for them."""
    path = home / "a.pack"
    good = path.read_bytes()
    (file,) = object_files(home)
    stored = file.read_bytes()
    block = bytearray(good[: len(good) // 2])
    found = table.Table(memoryview(bytes(block)))
    changed = bytearray(stored)
    places = list(found.objects)
    number = rng.randrange(len(places))
    place = places[number]
    mutate(rng, changed, place.offset, place.offset + rng.choice((48, place.stored_bytes)))
    del changed[len(stored) :]
    crc = crc32(changed[place.offset : place.offset + place.stored_bytes])
    places[number] = place._replace(crc=crc)
    recipes = [table.pack_recipe(bytes(one.skeleton_bytes), bytes(one.run_bytes)) for one in found.recipes]
    packed = b"".join(map(table.pack_place, places))
    path.write_bytes(table.make_block(found.manifest, found.objects.files, packed, recipes) * 2)
    file.write_bytes(changed)
    try:
        return read_all(archives, name, scratch)
    finally:
        path.write_bytes(good)
        file.write_bytes(stored)


def fuzz_chunks(rng: random.Random, count: int) -> tuple[int, int]:
    """Hand changed chunks to the decoder."""
    chunks = []
    for raw in (make_numbers(1, 300_000), make_numbers(2, 1_000), bytes(5_000), b"text " * 50_000):
        for way in codec._WAYS:
            stored = codec.encode(memoryview(raw), way)
            if stored.codec == codec.BLOSC2:
                chunks.append((bytes(stored.data), len(raw)))
    refused = 0
    for _ in range(count):
        data, length = rng.choice(chunks)
        changed = bytearray(data)
        mutate(rng, changed, 0, rng.choice((min(96, len(data)), len(data))))
        if rng.random() < 0.1:
            del changed[rng.randrange(len(changed)) :]
            changed[12:16] = len(changed).to_bytes(4, "little")
        try:
            codec.decode(codec.BLOSC2, memoryview(changed), memoryview(bytearray(length)))
        except DamageError:
            refused += 1
    return refused, count - refused


def main(what: str, count: int, place: Path) -> int:
    """Run so many mutants."""
    rng = random.Random(what)
    if what == "chunks":
        codec.encode(memoryview(make_numbers(1, 1_000)), codec._WAYS[0])
        _limit_memory()
        print(*fuzz_chunks(rng, count))
        return 0
    home = place / "archives"
    home.mkdir()
    files = {"a": make_numbers(1, 40_000), "b": make_bytes(1, 70_000) + make_numbers(1, 40_000), "c": b"", "d": b"text" * 500}
    for name, data in files.items():
        (place / name).write_bytes(data)
    archives = os.open(home, os.O_RDONLY)
    pack(archives, "a.pack", [place / name for name in files])
    _limit_memory()
    fuzz = {"tables": fuzz_tables, "objects": fuzz_objects}[what]
    read = sum(fuzz(rng, archives, home, rng.choice(list(files)), place / "restored") for _ in range(count))
    print(count - read, read)
    assert verify(archives, "a.pack").is_whole
    return 0


def _limit_memory() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (_MOST_MEMORY_BYTES, _MOST_MEMORY_BYTES))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])))
