"""Files, archives of them, and archives that ckptd would never write."""

from __future__ import annotations

import hashlib
import os
import random
import stat
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import zstandard

from ckptd.archive.interface import Member
from ckptd.archive.manifest import manifest_of, render_manifest
from ckptd.archive.tar.frames import Codec, Table, Tail
from ckptd.archive.tar.headers import END, padding_of
from ckptd.archive.tar.layout import Placed, place_entry, render_own

NOW = 1_767_312_000.0
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY


def noise(count: int, seed: int = 0) -> bytes:
    """Give bytes that don't compress, always the same."""
    return random.Random(seed).randbytes(count)


#: What is put away in most tests: name → content.  One fills several frames, some share one.
FILES = {
    "net/best.pth": noise(2_500_000, 1),
    "net/best_metadata.json": b'{"model_name": "net"}\n' * 50,
    "empty.pth": b"",
    "small.pth": noise(700, 2),
    "one_block.pth": bytes(512),
    "last.pth": b"weights" * 100_000,
}


def ignore(_done: int) -> None:
    """Take progress."""


def lay_out(place: Path, files: dict[str, bytes]) -> list[Member]:
    """Write files below a directory and give them as members, as a caller does that knows them."""
    members = []
    for number, (name, data) in enumerate(files.items()):
        path = Path(os.fsdecode(os.fsencode(place) + b"/" + name.encode("utf-8", "surrogateescape")))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        path.chmod(0o640)
        os.utime(path, ns=(0, 1_700_000_000_123_456_789 + number))
        members.append(member_of(path, name, {"group": "net", "metrics": {"accuracy": 0.5}}))
    return members


def member_of(path: Path, name: str, facts: dict | None = None) -> Member:
    """Give one file as a member."""
    with path.open("rb") as file:
        seen, digest = path.stat(), hashlib.file_digest(file, "sha256").hexdigest()
    what = "sidecar" if name.endswith(".json") else "checkpoint"
    mode = stat.S_IMODE(seen.st_mode)
    return Member(name, what, lambda: os.open(path, os.O_RDONLY), seen.st_size, digest, seen.st_mtime_ns, mode, facts or {})


def write(made, directory: int, members: Sequence[Member], name: str | None = None, **options):
    """Write an archive with what a test doesn't care about."""
    options = {"now": NOW, "free_bytes": 0, "progress": ignore} | options
    return made.write(directory, name or f"models_archive_20260102.{made.suffix}", members, **options)


def restore(made, directory: int, name: str, member: str, place: Path) -> bytes:
    """Restore one member and give its bytes."""
    target = os.open(place, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        made.restore(directory, name, member, target)
        return place.read_bytes() if place.stat().st_size < 1 << 26 else b""
    finally:
        os.close(target)
        place.unlink()


def lists(place: Path) -> dict[str, int]:
    """Give every file below a directory with its size."""
    return {str(path.relative_to(place)): path.stat().st_size for path in place.rglob("*") if path.is_file()}


class Crafted:
    """An archive put together by hand: parts of a tar, each the start of a frame, and a manifest for them."""

    def __init__(self, codec: Codec, members: Sequence[Member], format_name: str = "tar.gz") -> None:
        self.codec = codec
        self.top = b"models_archive_20260102"
        self.manifest = manifest_of(format_name, members, NOW)
        self.rendered = render_manifest(self.manifest)
        self.members = members

    def own(self) -> bytes:
        """Give manifest and sums as they stand in a tar."""
        return b"".join(laid(own.placed, own.content) for own in render_own(self.top, self.manifest, self.rendered))

    def member(self, number: int, data: bytes | None = None) -> bytes:
        """Give one member as it stands in a tar."""
        if data is None:
            fd = self.members[number].open()
            data = os.read(fd, 1 << 30)
            os.close(fd)
        return laid(place_entry(self.top, self.manifest.entries[number]), data)

    def all(self) -> list[bytes]:
        """Give all parts that an honest archive has."""
        return [self.own(), *(self.member(number) for number in range(len(self.members))), END]

    def pack(self, parts: Iterable[bytes], *, manifest: bytes | None = None, tail: bool = True) -> bytes:
        """Make a file of the parts, each of which begins a frame."""
        table, frames = Table(), []
        for part in parts:
            for at in range(0, len(part), 1 << 20):
                plain = part[at : at + (1 << 20)]
                frames.append(self.codec.compress(memoryview(plain)))
                table.add(len(frames[-1]), len(plain))
        if tail:
            frames += self.codec.render_tail(Tail(table, self.rendered if manifest is None else manifest))
        return b"".join(frames)


def laid(placed: Placed, data: bytes) -> bytes:
    """Give a header and what follows it."""
    return placed.head + data + bytes(padding_of(len(data)))


def bomb_frame(made, count):
    """Give one frame of so many zeros."""
    if made.name == "tar.zst":
        return zstandard.ZstdCompressor(level=1, write_checksum=True).compress(bytes(count))
    packer = zlib.compressobj(1, wbits=-15)
    plain = bytes(count)
    packed = packer.compress(plain) + packer.flush()
    packed += zlib.crc32(plain).to_bytes(4, "little") + (count & 0xFFFFFFFF).to_bytes(4, "little")
    return made.codec().signature + (20 + len(packed)).to_bytes(4, "little") + packed
