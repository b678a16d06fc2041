"""Read the zip that torch.save writes, and nothing laxer.

torch's own reader ignores CRCs, local headers and case, and takes the last of two equal names.  Whoever is laxer than it,
or lax in another way, can be shown another file than torch loads.  So every byte of the file must belong to exactly one
thing, and each thing that is written twice must say the same twice.  What does not is a problem, and reading goes on as
torch would go on, so that what torch would run is seen.

Source for all offsets: PKWARE APPNOTE 6.3.10, sections 4.3.7 to 4.3.16; for what torch writes: caffe2/serialize/
inline_container.cc and its miniz 3.0 (bytes of a file saved by torch 2.13 are in the tests).
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

from ckptd.checkpoint.budgets import BUDGETS, Budgets
from ckptd.checkpoint.findings import Problem
from ckptd.checkpoint.source import Source
from ckptd.errors import FormatError
from ckptd.text import escape

_END = Struct("<4sHHHHIIH")
_END64 = Struct("<4sQHHIIQQQQ")
_LOCATOR = Struct("<4sIQI")
#: signature, made, needed, flags, method, time, date, crc, packed, size, name, extra, comment, disk, attributes ×2, offset
_CENTRAL = Struct("<4sHHHHHHIIIHHHHHII")
#: signature, needed, flags, method, time, date, crc, packed, size, name, extra
_LOCAL = Struct("<4sHHHHHIIIHH")

_END_MARK, _END64_MARK, _LOCATOR_MARK = b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07"
_CENTRAL_MARK, _LOCAL_MARK, _DESCRIPTOR_MARK = b"PK\x01\x02", b"PK\x03\x04", b"PK\x07\x08"

#: The first 26 bytes of every local header of torch: flags UTF-8 and "sizes follow", everything else zero.
_TORCH_LOCAL = _LOCAL_MARK + b"\x00\x00\x08\x08" + bytes(18)
_FLAG_FOLLOWS, _FLAG_UTF8 = 0x0008, 0x0800
_FULL = 0xFFFFFFFF
#: The attribute of a directory.  Source: miniz.c of torch, which then leaves the buffer of the member as it was.
_DIRECTORY = 0x10
#: (made by, needed) of zip64 end records: what torch writes, and what Python's zipfile writes.
_END64_VERSIONS = frozenset({(0x031E, 45), (45, 45), (0x032D, 45)})
_STORED, _DEFLATED = 0, 8
#: Lengths of a field of large sizes in a local header.
_WIDTHS = (b"\x08\0", b"\x10\0", b"\x18\0")

#: Members beside `data/…` that torch.save writes.  Source: torch/serialization.py, `_save`; inline_container.cc.
_KNOWN = frozenset("data.pkl version byteorder .format_version .storage_alignment .data/serialization_id .data/version".split())


class Member(NamedTuple):
    """One member.

    Attributes:
        name: without its folder.
        offset: of its bytes in the file.
        length: of its bytes in the file, packed.
        size: of its content; equal to `length` unless it is deflated.
        header: offset of its local header.
        end: offset behind it and its data descriptor.
    """

    name: str
    offset: int
    length: int
    size: int
    crc: int
    method: int
    header: int
    end: int


class ZipFile(NamedTuple):
    """A zip as its directory tells it.

    Attributes:
        members: name without folder → member; of two equal names the one torch would take, and in the case that it looks for.
        problems: what is wrong with it.
        torchscript: True when it holds a program.
    """

    members: dict[str, Member]
    problems: list[Problem]
    torchscript: bool


class _Entry(NamedTuple):
    """One entry of the central directory."""

    name: bytes
    flags: int
    method: int
    crc: int
    packed: int
    size: int
    offset: int
    zip64: bool
    numbers: bytes


class _End(NamedTuple):
    """Where the directory lies, and where the end records begin."""

    start: int
    size: int
    entries: int
    records: int


def read_zip(source: Source, budgets: Budgets = BUDGETS) -> ZipFile:
    """Read the directory of a zip and check every header against it.

    Raises:
        FormatError: it has no end, or no directory where the end says; nothing can be read then.
    """
    return _Reader(source, budgets).read()


def ends_like_a_zip(tail: bytes) -> bool:
    """Tell whether the last bytes of a file are an end record without a comment."""
    return len(tail) >= 22 and tail[-22:-18] == _END_MARK and tail[-2:] == b"\0\0"


class _Reader:
    def __init__(self, source: Source, budgets: Budgets) -> None:
        self._source = source
        self._budgets = budgets
        self._problems: list[Problem] = []
        self._unused: list[str] = []
        self._placed: dict[int, Member] = {}

    def read(self) -> ZipFile:
        end = self._find_end()
        entries = self._read_directory(end)
        folders = {entry.name.partition(b"/")[0] for entry in entries}
        torchscript = any(_is_program(entry.name.partition(b"/")[2]) for entry in entries)
        if len(folders) > 1 or b"" in folders or any(b"/" not in entry.name for entry in entries):
            self._problem("several-folders", "the zip does not hold exactly one folder")
        members = self._read_members(entries, end.start, torchscript=torchscript)
        if self._unused:
            more = f" and {len(self._unused) - 3} more places" if len(self._unused) > 3 else ""
            self._problem(
                "unused-bytes", f"bytes that no reader uses are not what torch.save writes: {'; '.join(self._unused[:3])}{more}"
            )
        return ZipFile(members, self._problems, torchscript)

    def _problem(self, code: str, message: str) -> None:
        if len(self._problems) < 50:
            self._problems.append(Problem(code, message))

    def _find_end(self) -> _End:
        size = self._source.size
        if size < 22:
            raise FormatError("the zip cannot be read", why="it breaks off in its first header")
        at = size - 22
        raw = self._source.read(at, 22)
        if raw[:4] != _END_MARK or raw[20:] != b"\0\0":
            at = self._search_end()
            raw = self._source.read(at, 22)
        _, disk, disk_of, here, entries, length, start, comment = _END.unpack(raw)
        if disk or disk_of or here != entries:
            self._problem("end-record", "the end record speaks of several disks or counts its entries twice differently")
        if at + 22 + comment > size:
            self._problem("end-record", "the end record announces a comment that is not there")
        elif comment:
            self._problem("zip-comment", f"the zip has a comment of {comment:,} bytes")
        if at + 22 + comment < size:
            self._problem("trailing-bytes", f"{size - at - 22 - comment:,} bytes follow the end of the zip")
        end = self._read_end64(at, _End(start, length, entries, at))
        if end.start + end.size != end.records:
            self._problem("end-record", "the directory does not end where the end record begins")
        if end.start + end.size > end.records:
            raise FormatError("the zip cannot be read", why="its directory reaches beyond the end record")
        return end

    def _search_end(self) -> int:
        length = min(self._source.size, self._budgets.text_tail_bytes)
        tail = self._source.read(self._source.size - length, length)
        found = tail.rfind(_END_MARK, 0, length - 18)
        if found < 0:
            raise FormatError("the zip cannot be read", why="it has no end: the file was cut off")
        return self._source.size - length + found

    def _read_end64(self, at: int, plain: _End) -> _End:
        if at < 76 or self._source.read(at - 20, 4) != _LOCATOR_MARK:
            if plain.start == _FULL or plain.size == _FULL or plain.entries == 0xFFFF:
                raise FormatError("the zip cannot be read", why="the second end record, that of large files, is missing")
            return plain
        _, disk, record, disks = _LOCATOR.unpack(self._source.read(at - 20, 20))
        if disk or disks != 1 or record != at - 76:
            self._problem("end-record", "the locator of the second end record points elsewhere")
        mark, length, made, needed, disk, disk_of, here, entries, size, start = _END64.unpack(self._source.read(at - 76, 56))
        if mark != _END64_MARK or length != 44 or disk or disk_of or here != entries or (made, needed) not in _END64_VERSIONS:
            self._problem("end-record", "the second end record is damaged")
        for small, large, full in (
            (plain.entries, entries, 0xFFFF),
            (plain.size, size, _FULL),
            (plain.start, start, _FULL),
        ):
            if small != large and (small != full or large < full):
                self._problem("end-record", "the two end records contradict each other")
        return _End(start, size, entries, at - 76)

    def _read_directory(self, end: _End) -> list[_Entry]:
        budgets = self._budgets
        if end.entries > budgets.members:
            self._problem("zip-bomb", f"the zip has {end.entries:,} members, more than {budgets.members:,}")
            raise FormatError("the zip cannot be read", why=f"it has more than {budgets.members:,} members")
        if end.size > budgets.index_bytes_per_member * max(end.entries, 1):
            raise FormatError("the zip cannot be read", why="its directory is far larger than its number of members")
        raw = self._source.read(end.start, end.size)
        entries, at = [], 0
        for _ in range(end.entries):
            entry, at = self._read_entry(raw, at)
            entries.append(entry)
        if at != len(raw):
            self._problem("end-record", "the directory is longer than its entries")
        return entries

    def _read_entry(self, raw: bytes, at: int) -> tuple[_Entry, int]:
        if len(raw) - at < 46 or raw[at : at + 4] != _CENTRAL_MARK:
            raise FormatError("the zip cannot be read", why="its directory is damaged or not where the end record says")
        (_, made, needed, flags, method, time, date, crc, packed, size, *lengths, disk, inner, outer, offset) = (
            _CENTRAL.unpack_from(raw, at)
        )
        begin = at + 46
        middle = begin + lengths[0]
        last = middle + lengths[1] + lengths[2]
        if last > len(raw):
            raise FormatError("the zip cannot be read", why="an entry of its directory reaches beyond it")
        name = raw[begin:middle]
        if lengths[2]:
            self._problem("zip-comment", f"the member {_shown(name)} has a comment")
        if disk:
            self._problem("header-mismatch", f"the member {_shown(name)} is said to lie on another disk")
        if outer & _DIRECTORY:
            self._problem("header-mismatch", f"the member {_shown(name)} is marked as a directory: torch reads nothing of it")
            outer &= ~_DIRECTORY
        if made or needed != _needed(method) or time or date or inner or outer:
            self._unused.append(f"versions, times or attributes of {_shown(name)}")
        zip64 = False
        if lengths[1]:
            packed, size, offset, zip64 = self._read_extra(name, raw[middle : middle + lengths[1]], packed, size, offset)
        return _Entry(name, flags, method, crc, packed, size, offset, zip64, raw[at + 16 : at + 20]), last

    def _read_extra(self, name: bytes, extra: bytes, packed: int, size: int, offset: int) -> tuple[int, int, int, bool]:
        zip64 = False
        for kind, body in _extra_fields(extra) or ((0, b""),):
            if kind != 1 or zip64:
                self._problem("hidden-bytes", f"an extra field of {_shown(name)} is none that torch.save writes")
                continue
            zip64 = True
            wanted = [size == _FULL, packed == _FULL, offset == _FULL]
            if len(body) != 8 * sum(wanted):
                self._problem("header-mismatch", f"the large sizes of {_shown(name)} are not as many as are announced")
                continue
            values = [int.from_bytes(body[i : i + 8], "little") for i in range(0, len(body), 8)]
            size = values.pop(0) if wanted[0] else size
            packed = values.pop(0) if wanted[1] else packed
            offset = values.pop(0) if wanted[2] else offset
        return packed, size, offset, zip64

    def _read_members(self, entries: list[_Entry], directory: int, *, torchscript: bool) -> dict[str, Member]:
        members: dict[str, Member] = {}
        lower: set[bytes] = set()
        at = 0
        for entry in sorted(entries, key=lambda entry: entry.offset):
            member = self._read_member(entry, directory)
            if entry.name.lower() in lower:
                self._problem("duplicate-member", f"two members are called {_shown(entry.name)}, or so but for their case")
            lower.add(entry.name.lower())
            if member is None:
                at = -1
                continue
            if at >= 0 and member.header != at:
                self._misplaced(member, at)
            at = member.end
            self._check_member(entry, member, torchscript=torchscript)
        if at >= 0 and at != directory:
            self._gap(at, directory)
        for entry in entries:  # in the directory's order: torch takes the last of two
            folder, slash, name = entry.name.partition(b"/")
            name = name if slash else folder
            placed = self._placed.get(entry.offset)
            if placed is not None:
                key = name.decode("utf-8", "backslashreplace")
                if not _is_known(key) and _is_known(key.lower()):
                    key = key.lower()  # torch looks for names without regard to case
                members[key] = placed._replace(name=key)
        return members

    def _misplaced(self, member: Member, at: int) -> None:
        if member.header < at:
            self._problem("overlapping-members", f"the member {escape(member.name, 80)} begins inside the one before it")
        else:
            self._gap(at, member.header)

    def _gap(self, start: int, end: int) -> None:
        if end < start:
            self._problem("overlapping-members", "the last member reaches into the directory")
        else:
            self._problem("hidden-bytes", f"{end - start:,} bytes at {start:,} belong to no member")

    def _read_member(self, entry: _Entry, directory: int) -> Member | None:
        """Read the local header and what stands behind the bytes; None when there is no header."""
        if entry.offset + 30 + len(entry.name) > directory:
            self._problem("header-mismatch", f"the header of {_shown(entry.name)} is said to lie behind the members")
            return None
        head = self._source.read(entry.offset, 30)
        if head[:4] != _LOCAL_MARK:
            self._problem("header-mismatch", f"there is no header where that of {_shown(entry.name)} should be")
            return None
        names, extras = head[26] | head[27] << 8, head[28] | head[29] << 8
        begin = entry.offset + 30 + names + extras
        if begin + entry.packed > directory:
            self._problem("truncated", f"the member {_shown(entry.name)} reaches beyond the end of the members")
            return None
        rest = self._source.read(entry.offset + 30, names + extras)
        self._compare(entry, head, rest[:names])
        wide = self._check_local_extra(entry, rest[names:], begin)
        end = self._check_descriptor(entry, begin + entry.packed, directory, wide=wide)
        shown = entry.name.decode("utf-8", "backslashreplace")
        member = Member(shown, begin, entry.packed, entry.size, entry.crc, entry.method, entry.offset, end)
        self._placed[entry.offset] = member
        return member

    def _compare(self, entry: _Entry, head: bytes, name: bytes) -> None:
        """Compare the local header with the directory's entry, bit by bit."""
        if head[:26] == _TORCH_LOCAL and name == entry.name and entry.flags == 0x0808 and entry.method == _STORED:
            return
        _, needed, flags, method, time, date, crc, packed, size, _, _ = _LOCAL.unpack(head)
        if needed != _needed(entry.method) or time or date:
            self._unused.append(f"version or times in the header of {_shown(entry.name)}")
        if entry.zip64:
            told, wanted = (crc, _FULL, _FULL), (entry.crc, _FULL, _FULL)
        else:
            told, wanted = (crc, packed, size), (entry.crc, entry.packed, entry.size)
        bits = sum((ours ^ theirs).bit_count() for ours, theirs in zip(wanted, told, strict=True))
        if (entry.flags | flags) & _FLAG_FOLLOWS:  # what follows the bytes stands for what is empty here
            bits = min(bits, sum(theirs.bit_count() for theirs in (crc, packed, size)))
        bits += (entry.flags ^ flags).bit_count() + (entry.method ^ method).bit_count() + _different_bits(entry.name, name)
        if bits:
            self._mismatch(entry, bits, "its two headers")

    def _mismatch(self, entry: _Entry, bits: int, what: str) -> None:
        # One flipped bit is what a disk or a memory does; a forger changes more, or pays with "damaged".
        if bits <= 1:
            self._problem("header-mismatch", f"{what} of {_shown(entry.name)} differ in one bit")
        else:
            self._problem("header-forged", f"{what} of {_shown(entry.name)} contradict each other")

    def _check_local_extra(self, entry: _Entry, extra: bytes, begin: int) -> bool:
        """Take the padding that torch writes ("FB" and Z's) and the large sizes; True when there are such."""
        wide = extra[:2] == b"\1\0" and extra[2:4] in _WIDTHS
        padding = extra
        if wide:
            self._check_large(entry, extra[4 : 4 + extra[2]])
            padding = extra[4 + extra[2] :]
        if not padding:
            return wide
        bits = _different_bits(_padding(len(padding)), padding)
        if bits > 1:
            self._problem("hidden-bytes", f"the padding before {_shown(entry.name)} is none that torch.save writes")
        elif bits or begin % 64 or len(padding) >= 68:
            self._unused.append(f"padding before {_shown(entry.name)}")
        return wide

    def _check_large(self, entry: _Entry, told: bytes) -> None:
        """Compare the large sizes and offset of a local header; torch leaves the packed size 0 there."""
        real = b""
        if len(told) != 8:
            packed = 0 if told[8:16] == bytes(8) else entry.packed
            real = entry.size.to_bytes(8, "little") + packed.to_bytes(8, "little")
        if len(told) != 16:
            real += entry.offset.to_bytes(8, "little")
        if real != told:
            self._mismatch(entry, _different_bits(real, told), "its large sizes and offsets")

    def _check_descriptor(self, entry: _Entry, at: int, directory: int, *, wide: bool) -> int:
        """Check the CRC and sizes behind the bytes; give the offset behind them."""
        if not entry.flags & _FLAG_FOLLOWS:
            return at
        width = 8 if wide or entry.zip64 else 4
        length = 8 + 2 * width
        if at + length > directory:
            self._problem("truncated", f"the member {_shown(entry.name)} reaches beyond the end of the members")
            return at
        told = self._source.read(at, length)
        real = _DESCRIPTOR_MARK + entry.numbers + entry.packed.to_bytes(width, "little") + entry.size.to_bytes(width, "little")
        if told != real:
            self._mismatch(entry, _different_bits(real, told), "the sizes and CRC before and behind the bytes")
        return at + length

    def _check_member(self, entry: _Entry, member: Member, *, torchscript: bool) -> None:
        name = member.name.partition("/")[2]
        if entry.flags & ~(_FLAG_FOLLOWS | _FLAG_UTF8):
            self._problem("compressed-member", f"the member {_shown(entry.name)} is encrypted or otherwise marked")
        if entry.method == _STORED:
            if entry.packed != entry.size:
                self._problem("header-mismatch", f"the member {_shown(entry.name)} has two sizes")
        elif not (torchscript and entry.method == _DEFLATED):
            self._problem("compressed-member", f"the member {_shown(entry.name)} is compressed")
        # torch's reader ends names at a zero byte, and finds nothing in a folder that has one.
        if b"\0" in entry.name or (not _is_known(name) and not torchscript):
            self._problem("unknown-member", f"torch.save writes no member like {_shown(entry.name)}")


def _needed(method: int) -> int:
    """Give the version that miniz says is needed to extract a member."""
    return 20 if method == _DEFLATED else 0


def _is_known(name: str) -> bool:
    return name in _KNOWN or (name.startswith("data/") and name.isascii() and name[5:].isalnum())


def _is_program(name: bytes) -> bool:
    return name == b"constants.pkl" or name.startswith(b"code/")


def _padding(length: int) -> bytes:
    """Give the field that torch aligns a record with: "FB", its length, and Z's."""
    return (b"FB" + max(length - 4, 0).to_bytes(2, "little")).ljust(length, b"Z")


def _extra_fields(extra: bytes) -> list[tuple[int, bytes]] | None:
    """Split an extra field; None when it does not come out even."""
    fields, at = [], 0
    while at + 4 <= len(extra):
        kind, length = extra[at] | extra[at + 1] << 8, extra[at + 2] | extra[at + 3] << 8
        if at + 4 + length > len(extra):
            return None
        fields.append((kind, extra[at + 4 : at + 4 + length]))
        at += 4 + length
    return fields if at == len(extra) else None


def _different_bits(ours: bytes, theirs: bytes) -> int:
    if ours == theirs:
        return 0
    if len(ours) != len(theirs):
        # A flipped bit in a length makes the name end elsewhere: still one bit when the shorter one is a beginning.
        short, long = sorted((ours, theirs), key=len)
        one_bit = (len(ours) ^ len(theirs)).bit_count() == 1
        return 1 if one_bit and long.startswith(short) else 99
    return (int.from_bytes(ours, "little") ^ int.from_bytes(theirs, "little")).bit_count()


def _shown(name: bytes) -> str:
    return escape(name.decode("utf-8", "backslashreplace"), 80)
