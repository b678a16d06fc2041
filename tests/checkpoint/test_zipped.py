"""The strict zip: nothing to say about what torch writes, and one file for each rule."""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest

from ckptd.checkpoint.budgets import BUDGETS, Budgets
from ckptd.checkpoint.containers.zipped import ZipFile, ends_like_a_zip, read_zip
from ckptd.checkpoint.source import Source
from ckptd.errors import FormatError
from tests.corpus import asm, objects, savers, zips
from tests.corpus.zips import Layout, Member, make_zip

PICKLE = asm.program(asm.state_dict())


def members() -> list[Member]:
    return zips.records(PICKLE)


def read(data: bytes, budgets: Budgets = BUDGETS) -> ZipFile:
    fd = os.memfd_create("zip")
    try:
        os.write(fd, data)
        return read_zip(Source(fd, len(data), budgets.whole_bytes), budgets)
    finally:
        os.close(fd)


def codes(data: bytes, budgets: Budgets = BUDGETS) -> set[str]:
    return {problem.code for problem in read(data, budgets).problems}


def torch_bytes(tmp_path: Path) -> bytes:
    import torch

    path = tmp_path / "x.pth"
    torch.save({"conv6.weight": torch.arange(6.0).reshape(2, 3), "fc.bias": torch.ones(3), "epoch": 3}, path)
    return path.read_bytes()


# What torch writes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(objects.SHAPES))
def test_what_torch_writes_has_no_problem(name, tmp_path):
    """Every shape of a real object, saved by torch: members in place, and nothing to say."""
    path = tmp_path / "x.pth"
    savers.save_zip(objects.SHAPES[name].make(), path)
    found = read(path.read_bytes())
    assert not found.problems
    assert not found.torchscript
    assert {"data.pkl", "version", "byteorder", ".format_version", ".data/serialization_id"} <= set(found.members)


@pytest.mark.parametrize(
    "save",
    [
        savers.save_without_crc,
        savers.save_to_stream,
        savers.save_like_1_6,
        savers.save_big_endian,
        *[partial(savers.save_zip, protocol=protocol) for protocol in (3, 4, 5)],
    ],
)
def test_every_way_of_saving_has_no_problem(save, tmp_path):
    """Without CRCs, to a stream, as older torch, at every protocol."""
    path = tmp_path / "x.pth"
    save(objects.cnn_state_dict(), path)
    assert not read(path.read_bytes()).problems


@pytest.mark.parametrize("save", [savers.save_scripted, savers.save_traced])
def test_a_program_is_told_by_its_records(save, tmp_path):
    """TorchScript has code and constants, some of them deflated, and nothing to say about them."""
    path = tmp_path / "x.pth"
    save(path)
    found = read(path.read_bytes())
    assert found.torchscript
    assert not found.problems


def test_offsets_lead_to_the_bytes(tmp_path):
    """What a member says is where its bytes are; all of them and their headers fill the file up to the directory."""
    data = torch_bytes(tmp_path)
    found = read(data).members
    assert data[found["version"].offset :][: found["version"].length] == b"3\n"
    assert struct.unpack_from("<6f", data, found["data/0"].offset) == (0, 1, 2, 3, 4, 5)
    placed = sorted(found.values(), key=lambda member: member.header)
    assert placed[0].header == 0
    assert all(before.end == after.header for before, after in pairwise(placed))


def test_a_large_file_is_read_from_the_descriptor(tmp_path):
    """A file that is not held in memory gives the same."""
    data = torch_bytes(tmp_path)
    assert read(data, replace(BUDGETS, whole_bytes=0)) == read(data)


def test_more_than_four_gigabytes(tmp_path):
    """Large sizes and offsets stand in fields of their own, in both headers and in a second end record."""
    found = _read_large(tmp_path / "x.pth")
    assert not found.problems
    assert found.members["data/9"].size == 2**32 + 100
    assert found.members["version"].header > 2**32


def _read_large(path: Path, changes: Mapping[int, bytes] | None = None) -> ZipFile:
    zips.write_large(path)
    with path.open("r+b") as file:
        for at, raw in (changes or {}).items():
            file.seek(at, os.SEEK_END if at < 0 else os.SEEK_SET)
            file.write(raw)
        file.seek(0, os.SEEK_END)
        return read_zip(Source(file.fileno(), file.tell(), BUDGETS.whole_bytes))


def test_large_sizes_are_compared_in_both_headers(tmp_path):
    """Every bit of every large size and offset, in the local fields, the directory, the end record and its locator."""
    path = tmp_path / "x.pth"
    zips.write_large(path)
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(1024)
        file.seek(2**32)
        tail = file.read()
    begin = head.index(b"archive/data/9") + len(b"archive/data/9")
    spots = {begin + at: head[begin + at] for at in range(4, 20)}
    starts = [
        2**32 + at
        for at in _places(tail, b"archive/data/0\x01\x00\x08\x00") + _places(tail, b"archive/version\x01\x00\x08\x00")
    ]
    for start in starts:
        name = tail.index(b"\x01\x00\x08\x00", start - 2**32)
        spots |= {2**32 + at: tail[at] for at in range(name + 4, name + 12)}
    nine = tail.index(b"archive/data/9") + len(b"archive/data/9")
    spots |= {2**32 + at: tail[at] for at in range(nine, nine + 20)}
    second = tail.index(b"PK\x06\x06")
    spots |= {2**32 + at: tail[at] for at in range(second, len(tail))}
    assert size == 2**32 + len(tail)
    assert len(spots) > 150
    passed = []
    with path.open("r+b", buffering=0) as file:
        source = Source(file.fileno(), size, BUDGETS.whole_bytes)
        for at, byte in spots.items():
            for bit in range(8):
                os.pwrite(file.fileno(), bytes([byte ^ 1 << bit]), at)
                try:
                    if not read_zip(source).problems:
                        passed.append((at, bit))
                except FormatError:
                    pass
            os.pwrite(file.fileno(), bytes([byte]), at)
        assert not read_zip(source).problems
    assert not passed


def _places(data: bytes, what: bytes) -> list[int]:
    found, at = [], data.find(what)
    while at >= 0:
        found.append(at)
        at = data.find(what, at + 1)
    return found


# Rules ----------------------------------------------------------------------------------------------------------------


def _with(*more: Member) -> bytes:
    return make_zip([*members(), *more])


def _changed(which: str, **fields: object) -> bytes:
    return make_zip(zips.changed(members(), which, **fields))


def _end(**fields: object) -> bytes:
    return make_zip(members(), Layout(**fields))


def _follows(*, crc: int | None = None, size: int = 16) -> bytes:
    """A member whose CRC and sizes follow its bytes, as torch writes them."""
    real = zips.crc32(zips.FOUR_FLOATS)
    told = b"PK\x07\x08" + struct.pack("<III", real if crc is None else crc, size, size)
    return make_zip(
        zips.changed(
            members(),
            "data/0",
            flags=8,
            local={"crc": 0, "size": 0, "packed": 0},
            packed=zips.FOUR_FLOATS + told,
            central={"packed": 16},
        )
    )


#: Rule: (a file that breaks it, the codes that say so).
RULES: dict[str, tuple[bytes, set[str]]] = {
    "nothing wrong": (make_zip(members()), set()),
    "sizes that follow": (_follows(), set()),
    # the end
    "trailing bytes": (_end(suffix=b"x"), {"trailing-bytes"}),
    "trailing zeros": (_end(suffix=bytes(64)), {"trailing-bytes"}),
    "a comment that is not there": (make_zip(members())[:-2] + b"\5\0", {"end-record"}),
    "a comment": (_end(comment=b"hello"), {"zip-comment"}),
    "another disk": (_end(disk=1), {"end-record"}),
    "a directory that is longer than said": (_end(entries=3), {"end-record", "hidden-bytes"}),
    "a gap before the directory": (_end(gap=b"x" * 9), {"hidden-bytes"}),
    # the second end record
    "two end records that agree": (_end(zip64={}), set()),
    "other entries": (_end(zip64={"entries": 3}), {"end-record", "hidden-bytes"}),
    "another locator": (_end(zip64={"locator": 7}), {"end-record"}),
    "two disks in the locator": (_end(zip64={"disks": 2}), {"end-record"}),
    "another length of the record": (_end(zip64={"record_size": 45}), {"end-record"}),
    # names
    "two of a name": (_with(Member(b"archive/data/0", b"")), {"duplicate-member"}),
    "two but for the case": (_with(Member(b"archive/DATA.PKL", b"")), {"duplicate-member", "unknown-member"}),
    "two folders": (_with(Member(b"other/version", b"3\n")), {"several-folders"}),
    "no folder": (_with(Member(b"version", b"3\n")), {"several-folders", "unknown-member"}),
    "no folder at all": (make_zip([Member(b"version", b"3\n")]), {"several-folders", "unknown-member"}),
    "a folder without a name": (make_zip([replace(m, name=m.name[len("archive") :]) for m in members()]), {"several-folders"}),
    "an absolute name": (_with(Member(b"/version", b"3\n")), {"several-folders"}),
    "an unknown member": (_with(Member(b"archive/evil.sh", b"x")), {"unknown-member"}),
    "a directory as member": (_with(Member(b"archive/", b"")), {"unknown-member"}),
    "a storage that climbs": (_with(Member(b"archive/data/../x", b"x")), {"unknown-member"}),
    "a storage without a key": (_with(Member(b"archive/data/", b"x")), {"unknown-member"}),
    "a key beyond ASCII": (_with(Member("archive/data/²".encode(), b"x")), {"unknown-member"}),
    "a NUL in a name": (_with(Member(b"archive/version\0.x", b"x")), {"unknown-member"}),
    # members
    "a deflated member": (_changed("data.pkl", method=8), {"compressed-member", "unused-bytes"}),
    "a program compressed otherwise": (
        make_zip([*members(), Member(b"archive/code/x.py", b"x", method=12)]),
        {"compressed-member"},
    ),
    "a deflated program": (make_zip([*members(), Member(b"archive/code/x.py", b"x", method=8)]), {"unused-bytes"}),
    "an encrypted member": (_changed("data.pkl", flags=1), {"compressed-member"}),
    "masked headers": (_changed("data.pkl", flags=0x2000), {"compressed-member"}),
    "two sizes": (_changed("data/0", local={"size": 8}, central={"size": 8}), {"header-mismatch"}),
    "beyond the members": (_changed("data/0", local={"packed": 2**20}, central={"packed": 2**20}), {"truncated"}),
    "a header beyond the members": (_changed("version", central={"offset": 2**20}), {"header-mismatch"}),
    "no header there": (_changed("version", central={"offset": 1}), {"header-mismatch", "hidden-bytes"}),
    "another disk of a member": (_changed("version", central={"disk": 1}), {"header-mismatch"}),
    "a comment of a member": (_changed("version", central={"comment": b"x"}), {"zip-comment"}),
    "shared bytes": (_changed("byteorder", central={"offset": 0}), {"header-forged", "overlapping-members", "hidden-bytes"}),
    # two headers
    "another name": (_changed("version", local={"name": b"archive/evil.py"}), {"header-forged"}),
    "one bit of a name": (_changed("version", local={"name": b"archive/versinn"}), {"header-mismatch"}),
    "a longer name": (_changed("version", local={"name": b"archive/version.py"}), {"header-forged"}),
    "another CRC": (_changed("version", local={"crc": 7}), {"header-forged"}),
    "another size": (_changed("version", local={"size": 0x7FFF}), {"header-forged"}),
    "another packed size": (_changed("version", local={"packed": 0x7FFF}), {"header-forged"}),
    "one bit of a size": (_changed("version", local={"size": 3}), {"header-mismatch"}),
    "another method": (_changed("version", local={"method": 99}), {"header-forged"}),
    "other flags": (_changed("version", local={"flags": 0x41}), {"header-forged"}),
    "one bit of the flags": (_changed("version", local={"flags": 1}), {"header-mismatch"}),
    "another CRC behind the bytes": (_follows(crc=1), {"header-forged"}),
    "another size behind the bytes": (_follows(size=0x7FFF), {"header-forged"}),
    "nothing behind the bytes": (
        _changed("data/0", flags=8, local={"crc": 0, "size": 0, "packed": 0}),
        {"header-forged", "overlapping-members"},
    ),
    "one size before, another behind": (
        _changed("data/0", flags=8, local={"crc": 7, "size": 0, "packed": 0}),
        {"header-forged", "overlapping-members"},
    ),
    # extra fields
    "a foreign field in the directory": (_changed("version", central={"extra": b"UT\x02\0ab"}), {"hidden-bytes"}),
    "a field that overruns": (_changed("version", central={"extra": b"\x99\x99\xff\xff"}), {"hidden-bytes"}),
    "large sizes that are not wanted": (
        _changed("version", central={"extra": b"\1\0\x08\0" + bytes(8)}),
        {"header-mismatch"},
    ),
    "large sizes twice": (
        _changed("version", central={"size": 0xFFFFFFFF, "extra": (b"\1\0\x08\0" + struct.pack("<Q", 2)) * 2}),
        {"hidden-bytes"},
    ),
    "something in the padding": (_changed("version", local={"extra": b"FB\x06\0ZZevil"}), {"hidden-bytes"}),
    "a foreign field before the bytes": (_changed("version", local={"extra": b"UT\x04\0evil"}), {"hidden-bytes"}),
    "other large sizes before the bytes": (
        _changed("version", local={"extra": b"\1\0\x10\0" + struct.pack("<QQ", 2**33 - 1, 2)}),
        {"header-forged"},
    ),
    "a directory by attribute": (_changed("data/0", central={"attributes": 0x10}), {"header-mismatch"}),
    "an attribute": (_changed("version", central={"attributes": 1}), {"unused-bytes"}),
}  # fmt: skip


@pytest.mark.parametrize("name", RULES)
def test_a_broken_rule_has_its_code(name):
    """Each rule has a file that breaks it, and the codes are just those of the rule."""
    data, expected = RULES[name]
    assert codes(data) == expected


def _overrunning() -> bytes:
    data = bytearray(make_zip(members()))
    data[data.rindex(b"PK\x01\x02") + 28] += 5
    return bytes(data)


UNREADABLE: dict[str, bytes] = {
    "empty": b"",
    "21 bytes": b"PK\x05\x06" + bytes(17),
    "no end": make_zip(members())[:-22],
    "half an end": make_zip(members())[:-10],
    "a directory beyond the end": _end(directory_offset=2**31),
    "a directory too large": _end(directory_size=2**31),
    "a directory elsewhere": _end(directory_offset=0),
    "more entries than there are": _end(entries=5),
    "bytes in front": b"junk" + make_zip(members()),
    "zip64 announced and missing": _end(directory_offset=0xFFFFFFFF),
    "zip64 entries announced and missing": _end(entries=0xFFFF),
    "zip64 offset beyond": _end(zip64={"offset": 2**62}, directory_offset=0xFFFFFFFF),
    "zip64 size beyond": _end(zip64={"size": 2**50}, directory_size=0xFFFFFFFF),
    "zip64 entries without end": _end(zip64={"entries": 2**62}, entries=0xFFFF),
    "an entry that overruns": _overrunning(),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_cannot_be_read_is_refused(name):
    """Without a directory there is nothing to say but that."""
    with pytest.raises(FormatError, match="missing" if "missing" in name else "cannot be read"):
        read(UNREADABLE[name])


def test_members_have_a_limit():
    """More members, or a directory larger than its members account for, is no checkpoint."""
    small = replace(BUDGETS, members=4)
    assert not read(make_zip(members()[:4]), small).problems
    with pytest.raises(FormatError):
        read(make_zip([*members(), Member(b"archive/data/7", b"")]), small)
    with pytest.raises(FormatError):
        read(make_zip(members()), replace(BUDGETS, index_bytes_per_member=46))


def test_the_end_is_looked_for_in_the_tail_only():
    """A comment has at most 65,535 bytes: an end record further in front is none."""
    data = _end(suffix=bytes(100))
    assert "trailing-bytes" in codes(data)
    with pytest.raises(FormatError, match="cut off"):
        read(data, replace(BUDGETS, text_tail_bytes=50))


def test_of_two_names_the_last_one_counts():
    """As torch, the reader takes the last of two equal names, and says so."""
    found = read(make_zip([*members(), Member(b"archive/version", b"99\n")]))
    assert found.members["version"].length == 3
    assert [problem.code for problem in found.problems] == ["duplicate-member"]


def test_torch_looks_for_names_in_any_case():
    """A record in upper case is none that torch writes, and is found where torch would find it."""
    found = read(make_zip(zips.changed(members(), "data.pkl", name=b"archive/DATA.pkl")))
    assert "data.pkl" in found.members
    assert [problem.code for problem in found.problems] == ["unknown-member"]


def test_names_are_harmless():
    """Messages show names escaped, and keys of members are text whatever the bytes."""
    found = read(_with(Member(b"archive/\x1b[2J\xff\n", b"x")))
    assert "\x1b[2J\\xff\n" in found.members
    assert all(problem.message.isprintable() for problem in found.problems)


def test_problems_are_few():
    """A zip of a thousand lies says the first fifty."""
    many = [Member(f"archive/evil{i}".encode(), b"") for i in range(1000)]
    assert len(read(make_zip([*members(), *many])).problems) == 50


@pytest.mark.parametrize(
    ("tail", "expected"),
    [
        (make_zip([])[-22:], True),
        (make_zip(members())[-22:], True),
        (b"x" * 40 + make_zip([]), True),
        (make_zip([], Layout(comment=b"hello")), False),
        (make_zip([]) + b"\0", False),
        (b"", False),
        (b"PK\x05\x06", False),
    ],
)
def test_a_whole_zip_is_told_by_its_tail(tail, expected):
    """What the settle rule asks: is the end record there, and is it the end."""
    assert ends_like_a_zip(tail) is expected


# Every bit ------------------------------------------------------------------------------------------------------------


def _regions(data: bytes) -> tuple[set[int], set[tuple[int, int]]]:
    """Give the positions inside members' bytes, and the bits of padding, versions, times and attributes."""
    found = read(data).members.values()
    inside = {at for member in found for at in range(member.offset, member.offset + member.length)}
    unread: set[int] = set()
    for member in found:
        names = struct.unpack_from("<H", data, member.header + 26)[0]
        unread |= {*range(member.header + 4, member.header + 6), *range(member.header + 10, member.header + 14)}
        unread |= set(range(member.header + 30 + names, member.offset))
    at = max(member.end for member in found)
    bits = {(spot, bit) for spot in unread for bit in range(8)}
    while data[at : at + 4] == b"PK\x01\x02":
        spots = (*range(at + 4, at + 8), *range(at + 12, at + 16), *range(at + 36, at + 42))
        bits |= {(spot, bit) for spot in spots for bit in range(8)} - {(at + 38, 4)}  # the mark of a directory is read
        at += 46 + sum(struct.unpack_from("<HHH", data, at + 28))
    return inside, bits


def _told(data: bytes) -> Sequence[str]:
    try:
        return [problem.code for problem in read(data).problems]
    except FormatError:
        return ["unreadable"]


@pytest.mark.parametrize("way", ["torch", "hand", "second end record"])
def test_every_bit_of_every_header_counts(way, tmp_path):
    """A flipped bit outside the members' bytes is a problem; in bytes that no reader uses it is at least mentioned."""
    layout = Layout(zip64={}) if way == "second end record" else zips.PLAIN
    data = torch_bytes(tmp_path) if way == "torch" else make_zip(members(), layout)
    inside, unread = _regions(data)
    silent, mild, forged = [], [], []
    for at in sorted(set(range(len(data))) - inside):
        for bit in range(8):
            flipped = bytearray(data)
            flipped[at] ^= 1 << bit
            told = _told(bytes(flipped))
            if not told:
                silent.append((at, bit))
            if (set(told) == {"unused-bytes"}) is not ((at, bit) in unread):
                mild.append((at, bit))
            if set(told) == {"header-forged"}:
                forged.append((at, bit))
    assert not silent
    assert not mild
    assert not forged, "one flipped bit is damage and no deceit"


def test_no_beginning_is_a_whole_zip(tmp_path):
    """Cut anywhere, a zip has no end."""
    data = torch_bytes(tmp_path)
    assert [end for end in range(len(data)) if not _told(data[:end])] == []
