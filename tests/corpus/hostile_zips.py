"""Zips built to deceive: what one reader sees is not what another loads.  Each breaks one rule of the strict reader."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import replace
from zlib import crc32

from ckptd.model import Status
from tests.corpus import asm, zips
from tests.corpus.case import DECEIT, NOT_OK, Case, late, raw
from tests.corpus.zips import Layout, Member, make_zip, records

_DAMAGED = frozenset({Status.DAMAGED})
_NONE_OF_OURS = NOT_OK | {Status.NOT_A_CHECKPOINT}


def cases() -> list[Case]:
    """Give all of them."""
    return [*_names(), *_headers(), *_surroundings(), *_ends(), *_damage(), *_counts()]


def _members() -> list[Member]:
    return records(asm.program(asm.state_dict()))


def _with(*more: Member) -> bytes:
    return make_zip([*_members(), *more])


def _without(name: str) -> bytes:
    return make_zip([m for m in _members() if not m.name.endswith(name.encode())])


def _renamed(name: str, to: bytes) -> bytes:
    return make_zip(zips.changed(_members(), name, name=to))


def _names() -> Iterator[Case]:
    """Which members there are, and what they are called."""
    other = asm.program(asm.state_dict(x=asm.integer(1)))
    files = {
        "duplicate data.pkl": _with(Member(b"archive/data.pkl", other)),
        "duplicate data.pkl, the same": _with(Member(b"archive/data.pkl", asm.program(asm.state_dict()))),
        "duplicate storage": _with(Member(b"archive/data/0", b"\0" * 16)),
        "case twin of data.pkl": _with(Member(b"archive/DATA.PKL", other)),
        "case twin of the folder": _with(Member(b"ARCHIVE/data.pkl", other)),
        "case twin of a storage": _with(Member(b"archive/DATA/0", b"\0" * 16)),
        "two folders": _with(Member(b"other/data.pkl", other)),
        "a second checkpoint in a folder": make_zip([*_members(), *records(other, folder="archive2")]),
        "data.pkl one folder down": _renamed("data.pkl", b"archive/x/data.pkl"),
        "data.pkl without a folder": make_zip([replace(m, name=m.name.partition(b"/")[2]) for m in _members()]),
        "absolute name": _with(Member(b"/etc/cron.d/x", b"x")),
        "name that climbs": _with(Member(b"archive/../../x", b"x")),
        "storage that climbs": _with(Member(b"archive/data/../0", b"x")),
        "backslash": _with(Member(b"archive\\data.pkl", other)),
        "NUL in a name": _with(Member(b"archive/data.pkl\0.txt", other)),
        "newline in a name": _with(Member(b"archive/a\nb", b"x")),
        "empty name": _with(Member(b"", b"x")),
        "unknown member": _with(Member(b"archive/run.sh", b"#!/bin/sh\n")),
        "directory entry": _with(Member(b"archive/", b"")),
        "name of 60,000 bytes": _with(Member(b"archive/" + b"x" * 60_000, b"x", padded=False)),
        "name that is not UTF-8": _with(Member(b"archive/\xff\xfe", b"x")),
        "unreferenced storage": _with(Member(b"archive/data/9", b"\0" * 16)),
        "storage missing": _without("data/0"),
        "data.pkl missing": _without("data.pkl"),
        "version unknown": make_zip(zips.changed(_members(), "version", data=b"999999\n")),
        "version no number": make_zip(zips.changed(_members(), "version", data=b"\xffevil")),
        "hidden version no number": _with(Member(b"archive/.data/version", b"x")),
        "NUL in every name": make_zip(records(asm.program(asm.state_dict()), folder="arch\0ive")),
        "byteorder unknown": make_zip(zips.changed(_members(), "byteorder", data=b"middle")),
        "data.pkl empty": make_zip(zips.changed(_members(), "data.pkl", data=b"")),
    }
    for name, data in files.items():
        yield raw(f"zip-{name}", data, _NONE_OF_OURS if "missing" in name or "folder" in name else NOT_OK, name)


def _headers() -> Iterator[Case]:
    """Local header and central entry that contradict each other, or say what a checkpoint never says."""
    evil = asm.program(asm.mapping({"w": asm.integer(1)}))
    deflated = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = deflated.compress(asm.program(asm.state_dict())) + deflated.flush()
    files: dict[str, tuple[str, dict[str, object]]] = {
        "local name": ("data.pkl", {"local": {"name": b"archive/data.pk1"}}),
        "local name, another member": ("data/0", {"local": {"name": b"archive/data/1"}}),
        "local crc": ("data/0", {"local": {"crc": 1}}),
        "local size": ("data/0", {"local": {"size": 15}}),
        "local packed size": ("data/0", {"local": {"packed": 15}}),
        "local method": ("data/0", {"local": {"method": 8}}),
        "local flags": ("data/0", {"local": {"flags": 1}}),
        "central crc": ("data/0", {"central": {"crc": 1}}),
        "central size": ("data/0", {"central": {"size": 8}}),
        "central packed size": ("data/0", {"central": {"packed": 8}}),
        "central size beyond the file": ("data/0", {"central": {"size": 2**31, "packed": 2**31}}),
        "central offset into another": ("data/0", {"central": {"offset": 1}}),
        "central offset beyond the file": ("data/0", {"central": {"offset": 2**31}}),
        "central offset of data.pkl": ("data/0", {"central": {"offset": 0}}),
        "central disk": ("data/0", {"central": {"disk": 3}}),
        "central directory": ("data/0", {"central": {"attributes": 0x10}}),
        "central comment": ("data/0", {"central": {"comment": b"hello"}}),
        "compressed pickle": ("data.pkl", {"method": 8, "packed": packed}),
        "compressed method, stored bytes": ("data/0", {"method": 8}),
        "encrypted": ("data/0", {"flags": 1}),
        "strong encryption": ("data/0", {"flags": 0x41}),
        "patched data": ("data/0", {"flags": 0x20}),
        "masked headers": ("data/0", {"flags": 0x2000}),
        "descriptor missing": ("data/0", {"flags": 8, "local": {"crc": 0, "size": 0, "packed": 0}}),
        "zip64 extra lies": (
            "data/0",
            {"central": {"size": 0xFFFFFFFF, "packed": 0xFFFFFFFF, "extra": _zip64_extra(2**60, 2**60)}},
        ),
        "zip64 extra too short": ("data/0", {"central": {"size": 0xFFFFFFFF, "packed": 0xFFFFFFFF, "extra": b"\1\0\4\0abcd"}}),
        "zip64 extra missing": ("data/0", {"central": {"size": 0xFFFFFFFF, "packed": 0xFFFFFFFF}}),
        "zip64 offset lies": ("data/0", {"central": {"offset": 0xFFFFFFFF, "extra": b"\1\0\x08\0" + struct.pack("<Q", 2**62)}}),
        "extra field overruns": ("data/0", {"central": {"extra": b"\x99\x99\xff\xff"}}),
        "unicode path extra": ("data/0", {"central": {"extra": _unicode_path(b"archive/data/0", b"archive/data/7")}}),
        "local extra hides a pickle": ("data.pkl", {"local": {"extra": b"ZZ" + struct.pack("<H", len(evil)) + evil}}),
    }
    for name, (member, fields) in files.items():
        data = make_zip(zips.changed(_members(), member, **fields))
        yield raw(f"header-{name}", data, NOT_OK, name)
    descriptor = b"PK\x07\x08" + struct.pack("<III", 1, 16, 16)
    lying = Member(
        b"archive/data/0",
        zips.FOUR_FLOATS,
        flags=8,
        local={"crc": 0, "size": 0, "packed": 0},
        packed=zips.FOUR_FLOATS + descriptor,
        central={"packed": 16},
    )
    data = make_zip([lying if m.name.endswith(b"data/0") else m for m in _members()])
    yield raw("header-descriptor lies", data, NOT_OK, "the data descriptor says another CRC")


def _zip64_extra(size: int, packed: int) -> bytes:
    return b"\1\0\x10\0" + struct.pack("<QQ", size, packed)


def _unicode_path(name: bytes, other: bytes) -> bytes:
    return b"up" + struct.pack("<HBI", 5 + len(other), 1, crc32(name)) + other


def _surroundings() -> Iterator[Case]:
    """Bytes in front, between and behind."""
    members = _members()
    whole = make_zip(members)
    evil = make_zip(records(asm.program(asm.mapping({"w": asm.integer(6)})), {}))
    files = {
        "bytes in front": make_zip(members, Layout(prefix=b"#!/bin/sh\nexit\n")),
        "bytes in front, offsets from the start": b"junk" + whole,
        "a zip in front": make_zip(members, Layout(prefix=evil)),
        "bytes behind": whole + b"junk",
        "zeros behind": whole + b"\0" * 64,
        "a zip behind": whole + evil,
        "a pickle behind": whole + asm.program(asm.integer(1)),
        "a comment": make_zip(members, Layout(comment=b"hello")),
        "an end record in the comment": make_zip(members, Layout(comment=b"PK\x05\x06" + b"\0" * 18)),
        "a zip in the comment": make_zip(members, Layout(comment=evil)),
        "a gap before the directory": make_zip(members, Layout(gap=b"x" * 100)),
        "a hidden member": make_zip(members, Layout(gap=evil[:200])),
        "two end records": whole + whole[-22:],
    }
    for name, data in files.items():
        statuses = NOT_OK | {Status.NOT_A_CHECKPOINT} if "in front" in name else NOT_OK
        yield raw(f"around-{name}", data, statuses, name)
    yield raw("around-hidden between members", _hidden(), NOT_OK, "bytes between two members that no entry covers")
    yield raw("around-shared bytes", _overlapping(), NOT_OK, "two entries cover the same bytes")


def _hidden() -> bytes:
    members = _members()
    data = bytearray(make_zip([members[0], Member(b"archive/hidden", b"x" * 500), *members[1:]]))
    # Take the entry of the hidden member out of the directory, and make the end record agree.
    name = data.rindex(b"archive/hidden")
    length = 46 + len(b"archive/hidden")
    del data[name - 46 : name - 46 + length]
    end = data.rindex(b"PK\x05\x06")
    size = struct.unpack_from("<I", data, end + 12)[0] - length
    struct.pack_into("<HHI", data, end + 8, len(members), len(members), size)
    return bytes(data)


def _overlapping() -> bytes:
    two = asm.program(asm.mapping({"w": asm.tensor(), "x": asm.tensor(asm.storage("1"))}))
    members = records(two, {"0": zips.FOUR_FLOATS, "1": zips.FOUR_FLOATS})
    whole = make_zip(members)
    first = whole.index(b"archive/data/0") - 30
    return make_zip(zips.changed(members, "data/1", central={"offset": first}))


def _ends() -> Iterator[Case]:
    """End records that lie."""
    members = _members()
    layouts = {
        "one entry more": Layout(entries=len(members) + 1),
        "one entry fewer": Layout(entries=len(members) - 1),
        "no entries": Layout(entries=0),
        "65,535 entries": Layout(entries=65535),
        "directory too small": Layout(directory_size=10),
        "directory too large": Layout(directory_size=2**31),
        "directory at 0": Layout(directory_offset=0),
        "directory beyond": Layout(directory_offset=2**31),
        "another disk": Layout(disk=1),
        "zip64 offset beyond": Layout(zip64={"offset": 2**62}, directory_offset=0xFFFFFFFF),
        "zip64 offset wraps": Layout(zip64={"offset": 2**64 - 8}, directory_offset=0xFFFFFFFF),
        "zip64 entries lie": Layout(zip64={"entries": 2**40}, entries=0xFFFF),
        "zip64 size lies": Layout(zip64={"size": 2**50}, directory_size=0xFFFFFFFF),
        "zip64 locator beyond": Layout(zip64={"locator": 2**63}),
        "zip64 locator at 0": Layout(zip64={"locator": 0}),
        "zip64 record size lies": Layout(zip64={"record_size": 2**40}),
        "zip64 contradicts": Layout(zip64={"entries": 1}),
        "zip64 disks": Layout(zip64={"disks": 7}),
    }
    for name, layout in layouts.items():
        yield raw(f"end-{name}", make_zip(members, layout), NOT_OK, name)
    yield raw("end-nothing but an end record", make_zip([]), _NONE_OF_OURS, "an empty zip")
    yield raw("end-missing", make_zip(members)[:-22], NOT_OK, "the end record is missing")
    yield raw("end-half", make_zip(members)[:-10], NOT_OK, "half an end record")


def _damage() -> Iterator[Case]:
    """Plain damage, no deceit: the CRC tells."""
    for member in ("data.pkl", "data/0", "version", "byteorder"):
        broken = zips.changed(_members(), member, local={"crc": 7}, central={"crc": 7})
        yield raw(f"damage-crc of {member}", make_zip(broken), _DAMAGED, f"the CRC of {member} does not match")
    whole = make_zip(_members())
    at = whole.index(zips.FOUR_FLOATS)
    yield raw("damage-one bit of a storage", _flip(whole, at + 3), _DAMAGED, "one bit of a weight is wrong")
    yield raw("damage-cut in half", whole[: len(whole) // 2], _DAMAGED, "half a file")
    yield raw("damage-zeros", whole[:at] + b"\0" * 16 + whole[at + 16 :], _DAMAGED, "a block of zeros, as a lost page leaves")


def _flip(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :]


def _counts() -> Iterator[Case]:
    """More members than any model has."""

    def many() -> bytes:
        listed = [Member(f"archive/data/{i}".encode(), b"", padded=False) for i in range(60_000)]
        return make_zip([*_members(), *listed], Layout(entries=60_004))

    yield late("count-60,000 members", many, DECEIT | NOT_OK, "more than 50,000 members")
    crowd = b"PK\x01\x02" * 1_000_000
    yield late(
        "count-directory of nothing", lambda: b"PK\x03\x04" + crowd + make_zip([])[:], NOT_OK, "a directory of signatures"
    )
