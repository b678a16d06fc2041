"""A zip writer that lies on request: every field of every header can be set apart from what is true."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from zlib import crc32

from tests.corpus import asm

#: The values of the smallest state dict: four float32.
FOUR_FLOATS = struct.pack("<4f", 1.0, 2.0, 3.0, 4.0)


@dataclass(frozen=True, slots=True)
class Member:
    """One member; what is None is told truly.

    Attributes:
        local: overrides for the local header only (name, crc, size, packed, flags, method).
        central: overrides for the central entry only (the same, and offset, extra, comment).
    """

    name: bytes
    data: bytes
    local: Mapping[str, object] | None = None
    central: Mapping[str, object] | None = None
    method: int = 0
    flags: int = 0
    packed: bytes | None = None
    padded: bool = True


@dataclass(frozen=True, slots=True)
class Layout:
    """What stands around the members; None is the truth."""

    prefix: bytes = b""
    gap: bytes = b""
    suffix: bytes = b""
    comment: bytes = b""
    entries: int | None = None
    directory_size: int | None = None
    directory_offset: int | None = None
    disk: int = 0
    zip64: Mapping[str, int] | None = None


PLAIN = Layout()
_FULL = 0xFFFFFFFF


def make_zip(members: Sequence[Member], layout: Layout = PLAIN) -> bytes:
    """Write the members, the central directory and the end record."""
    out = bytearray(layout.prefix)
    central = bytearray()
    for member in members:
        offset = len(out)
        out += _local(member, offset)
        central += _central(member, offset)
    out += layout.gap
    start = len(out)
    out += central
    if layout.zip64 is not None:
        out += _zip64_end(layout.zip64, len(members), len(central), start)
    count = len(members) if layout.entries is None else layout.entries
    out += b"PK\x05\x06" + struct.pack(
        "<HHHHIIH",
        layout.disk,
        layout.disk,
        count & 0xFFFF,
        count & 0xFFFF,
        len(central) if layout.directory_size is None else layout.directory_size,
        start if layout.directory_offset is None else layout.directory_offset,
        len(layout.comment),
    )
    return bytes(out + layout.comment + layout.suffix)


def write_large(path: Path, length: int = 2**32 + 100) -> None:
    """Write a checkpoint whose storage of zeros has more than 4 GiB, as torch does and with a hole in it.

    Its CRCs are wrong.  Source: bytes of a file of that size by torch 2.13.
    """
    pickled = asm.program(asm.state_dict(big=asm.tensor(asm.storage("9", length, "ByteStorage"), size=(length,), stride=(1,))))
    sizes = {"data.pkl": len(pickled), "data/9": length, "data/0": 16, "version": 2}
    small = {"data.pkl": pickled, "data/0": FOUR_FLOATS, "version": b"3\n"}
    central = b""
    with path.open("wb") as file:
        for short, size in sizes.items():
            name, offset = f"archive/{short}".encode(), file.tell()
            wide = (struct.pack("<QQ", size, 0) if size > _FULL else b"") + (
                struct.pack("<Q", offset) if offset > _FULL else b""
            )
            extra = struct.pack("<HH", 1, len(wide)) + wide if wide else b""
            pad = -(offset + 30 + len(name) + len(extra) + 4) % 64
            extra += b"FB" + struct.pack("<H", pad) + b"Z" * pad
            file.write(b"PK\x03\x04" + struct.pack("<HHHHHIIIHH", 0, 0x808, 0, 0, 0, 0, 0, 0, len(name), len(extra)))
            file.write(name + extra + small.get(short, b""))
            file.seek(size - len(small.get(short, b"")), 1)
            file.write(b"PK\x07\x08" + struct.pack("<IQQ" if wide else "<III", 7, size, size))
            large = (struct.pack("<QQ", size, size) if size > _FULL else b"") + (
                struct.pack("<Q", offset) if offset > _FULL else b""
            )
            more = struct.pack("<HH", 1, len(large)) + large if large else b""
            told = (min(size, _FULL), min(size, _FULL), len(name), len(more), 0, 0, 0, 0, min(offset, _FULL))
            central += b"PK\x01\x02" + struct.pack("<HHHHHHIIIHHHHHII", 0, 0, 0x808, 0, 0, 0, 7, *told) + name + more
        start = file.tell()
        record = b"PK\x06\x06" + struct.pack("<QHHIIQQQQ", 44, 0x31E, 45, 0, 0, len(sizes), len(sizes), len(central), start)
        locator = b"PK\x06\x07" + struct.pack("<IQI", 0, start + len(central), 1)
        end = b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, len(sizes), len(sizes), len(central), _FULL, 0)
        file.write(central + record + locator + end)


def _told(member: Member, overrides: Mapping[str, object] | None) -> dict[str, object]:
    packed = member.data if member.packed is None else member.packed
    truth: dict[str, object] = {
        "name": member.name,
        "crc": crc32(member.data),
        "size": len(member.data),
        "packed": len(packed),
        "flags": member.flags,
        "method": member.method,
        "extra": b"",
        "comment": b"",
    }
    return truth | dict(overrides or {})


def _local(member: Member, offset: int) -> bytes:
    told = _told(member, member.local)
    name, extra = told["name"], told["extra"]
    if member.padded and not extra:
        # torch aligns each record to 64 bytes with an "FB" field of its own
        pad = -(offset + 30 + len(name) + 4) % 64
        extra = b"FB" + struct.pack("<H", pad) + b"Z" * pad
    head = struct.pack(
        "<HHHHHIIIHH", 0, told["flags"], told["method"], 0, 0, told["crc"], told["packed"], told["size"], len(name), len(extra)
    )
    return b"PK\x03\x04" + head + name + extra + (member.data if member.packed is None else member.packed)


def _central(member: Member, offset: int) -> bytes:
    told = _told(member, member.central)
    name, extra, comment = told["name"], told["extra"], told["comment"]
    head = struct.pack(
        "<HHHHHHIIIHHHHHII",
        0,
        0,
        told["flags"],
        told["method"],
        0,
        0,
        told["crc"],
        told["packed"],
        told["size"],
        len(name),
        len(extra),
        len(comment),
        told.get("disk", 0),
        0,
        told.get("attributes", 0),
        told.get("offset", offset),
    )
    return b"PK\x01\x02" + head + name + extra + comment


def _zip64_end(lies: Mapping[str, int], count: int, size: int, start: int) -> bytes:
    """The zip64 end record and its locator, which stand between the directory and the end record."""
    record = b"PK\x06\x06" + struct.pack(
        "<QHHIIQQQQ",
        lies.get("record_size", 44),
        45,
        45,
        0,
        0,
        lies.get("entries", count),
        lies.get("entries", count),
        lies.get("size", size),
        lies.get("offset", start),
    )
    locator = b"PK\x06\x07" + struct.pack("<IQI", 0, lies.get("locator", start + size), lies.get("disks", 1))
    return record + locator


def records(
    pickled: bytes,
    storages: Mapping[str, bytes] | None = None,
    *,
    folder: str = "archive",
    extra: Mapping[str, bytes] | None = None,
    byteorder: bytes | None = b"little",
) -> list[Member]:
    """Give the members that torch.save would write for this pickle and these storages."""
    held = {"0": FOUR_FLOATS} if storages is None else storages
    named = {"data.pkl": pickled}
    if byteorder is not None:
        named["byteorder"] = byteorder
    named |= {f"data/{key}": raw for key, raw in held.items()}
    named |= {"version": b"3\n", **(extra or {})}
    return [Member(f"{folder}/{name}".encode(), raw) for name, raw in named.items()]


def checkpoint(pickled: bytes, storages: Mapping[str, bytes] | None = None, layout: Layout = PLAIN) -> bytes:
    """Give a whole zip checkpoint around one pickle."""
    return make_zip(records(pickled, storages), layout)


def changed(members: Sequence[Member], which: str, /, **fields: object) -> list[Member]:
    """Give the members with some fields of one of them replaced; `which` is its name without the folder."""
    found = [replace(m, **fields) if m.name.endswith(b"/" + which.encode()) else m for m in members]
    assert found != list(members), f"no member {which}"
    return found
