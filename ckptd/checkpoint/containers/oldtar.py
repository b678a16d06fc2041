"""Read what torch.save wrote in 2016 and 2017: a tar of four files, `sys_info`, `pickle`, `tensors` and `storages`.

Source: torch/serialization.py, `_legacy_load.legacy_load`, and `torch.save` of 0.1.12.  The tar itself is read as strictly
as a zip: POSIX.1-1988 ustar headers (field offsets: tar(5)), and of PAX only the times and owners that Python's tarfile adds.
"""

from __future__ import annotations

import re
from struct import Struct
from typing import NamedTuple

from ckptd.checkpoint.budgets import BUDGETS, Budgets
from ckptd.checkpoint.containers.legacy import read_machine
from ckptd.checkpoint.containers.pickled import note_dangerous, note_failure, read_object
from ckptd.checkpoint.contents import Contents, Span, View
from ckptd.checkpoint.globals import ITEM_BYTES
from ckptd.checkpoint.opcodes import PickleError, run
from ckptd.checkpoint.source import Source
from ckptd.checkpoint.tensors import Builder
from ckptd.checkpoint.values import Global, StorageValue, TensorValue, Value
from ckptd.errors import FormatError
from ckptd.model import Container
from ckptd.text import escape

_BLOCK = 512
#: A tar is as many of these long.  Source: tarfile.RECORDSIZE, with which torch wrote.
RECORD_BYTES = 10_240
_MEMBERS = ("sys_info", "pickle", "tensors", "storages")
_PROTOCOL = 1000
#: One description of a storage or tensor: a tuple of three small things.
_WINDOW = 4_096
#: More members than any such file has.
_MOST_HEADERS = 64
#: `length key=value\n`, for keys that say nothing about content.
_PAX = re.compile(rb"[0-9]+ (?:mtime|atime|ctime|uid|gid|uname|gname)=[^\n]*\n")
#: Classes of tensors, which stand in the list and mean nothing: the storage has the type.
_CLASSES = frozenset(f"{name}Tensor" for name in "Double Float Half Long Int Short Char Byte".split())
_INT64 = Struct("<q")


class _Member(NamedTuple):
    offset: int
    length: int


class _TarBuilder(Builder):
    """The host of the object: persistent ids are numbers of tensors and storages that were listed before."""

    def __init__(self, budgets: Budgets) -> None:
        super().__init__(budgets)
        self.listed: dict[str, StorageValue | TensorValue] = {}

    def persistent(self, key: Value) -> Value:
        """Give what the number stands for, or the class of (class, file, source)."""
        if type(key) is tuple and len(key) == 3 and type(key[0]) is Global:
            return key[0]
        found = self.listed.get(str(key)) if type(key) in {str, int} else None
        if found is None:
            raise PickleError("malformed-pickle", "the object refers to a tensor that the file does not list")
        return found


def is_tar(head: bytes) -> bool:
    """Tell whether a file begins with the header of a tar."""
    return len(head) >= _BLOCK and head[257:262] == b"ustar" and _checksum(head[:_BLOCK]) is not None


def opens_as_tar(head: bytes) -> bool:
    """Tell whether Python's tarfile, which torch asks before it reads a pickle, takes these first bytes for a tar's.

    It wants no "ustar" and reads the checksum in more ways than one, so that a pickle can be made which is a tar as well.
    Source: CPython, Lib/tarfile.py, nti, calc_chksums, TarInfo.frombuf.
    """
    if len(head) < _BLOCK:
        return False
    block = head[:_BLOCK]
    told = _lax_number(block[148:156])
    plain = sum(block) - sum(block[148:156]) + 8 * 0x20
    signed = plain - 256 * sum(byte > 0x7F for byte in block[:148] + block[156:])
    return told in (plain, signed)


def _lax_number(field: bytes) -> int | None:
    if field[0] in (0x80, 0xFF):
        return int.from_bytes(field[1:], "big") - (1 << 56 if field[0] == 0xFF else 0)
    try:
        return int(field.partition(b"\0")[0].decode("ascii").strip() or "0", 8)
    except ValueError:
        return None


def read_tar(source: Source, budgets: Budgets = BUDGETS) -> Contents:
    """Read the four files of the tar."""
    contents = Contents(Container.TAR)
    members = _read_members(source, contents)
    if not any(name in members for name in _MEMBERS):
        known = len(contents.problems)
        note_dangerous(contents, source.read(0, min(source.size, budgets.pickle_bytes)))
        if len(contents.problems) > known:  # torch unpacks members that are called otherwise here
            return contents
        contents.foreign = "a tar archive that torch.save did not write"
        return contents
    missing = [name for name in _MEMBERS if name not in members]
    if missing:
        contents.problem("member-missing", f"the tar has no {missing[0]}")
        return contents
    builder = contents.builder = _TarBuilder(budgets)
    try:
        _read_machine(contents, source, members["sys_info"], budgets)
        _read_storages(contents, source, members["storages"], budgets, builder)
        _read_tensors(source, members["tensors"], budgets, builder)
    except PickleError as error:
        note_failure(contents, error, b"")
    except FormatError as error:
        contents.problem("malformed-container", f"{error.what}: {error.why}")
    member = members["pickle"]
    if member.length > budgets.pickle_bytes:
        contents.problem("pickle-bomb", f"the pickle has {member.length:,} bytes, more than {budgets.pickle_bytes:,}")
    else:
        read_object(contents, source.read(member.offset, member.length), budgets, python2=True)
    return contents


def _checksum(header: bytes) -> int | None:
    """Give the checksum of a header when it is right, else None; it counts its own field as blanks."""
    told = _octal(header[148:156])
    real = sum(header) - sum(header[148:156]) + 8 * 0x20
    return real if told == real else None


def _octal(field: bytes) -> int | None:
    text = field.strip(b" \0")
    if not text:
        return 0
    return int(text, 8) if all(0x30 <= byte <= 0x37 for byte in text) else None


def _read_members(source: Source, contents: Contents) -> dict[str, _Member]:
    members: dict[str, _Member] = {}
    at = 0
    for _ in range(_MOST_HEADERS):
        if at + _BLOCK > source.size:
            contents.problem("truncated", "the tar ends without its end")
            return members
        header = source.read(at, _BLOCK)
        if not any(header):
            _check_end(source, contents, at)
            return members
        length = _octal(header[124:136])
        if _checksum(header) is None or length is None or header[257:262] != b"ustar":
            contents.problem("malformed-container", f"the tar's header at byte {at:,} is damaged")
            return members
        begin = at + _BLOCK
        if begin + length > source.size:
            contents.problem("truncated", "a member of the tar reaches beyond the end of the file")
            return members
        _take(source, contents, members, header, _Member(begin, length))
        at = begin + -(-length // _BLOCK) * _BLOCK
        if at <= source.size and any(source.read(begin + length, at - begin - length)):
            contents.problem("unused-bytes", "the padding behind a member of the tar is not empty")
    contents.problem("malformed-container", "the tar has more members than torch.save writes")
    return members


def _take(source: Source, contents: Contents, members: dict[str, _Member], header: bytes, member: _Member) -> None:
    name, kind = header[:100].rstrip(b"\0"), header[156:157]
    shown = escape(name.decode("utf-8", "backslashreplace"), 80)
    if kind in b"xg" and kind:
        body = source.read(member.offset, min(member.length, _WINDOW))
        if member.length > _WINDOW or _PAX.sub(b"", body):
            contents.problem("malformed-container", "a header of the tar changes more than times and owners")
    elif kind not in {b"0", b"\0"} or header[157:257].strip(b"\0") or header[345:500].strip(b"\0"):
        contents.problem("malformed-container", f"the tar's member {shown} is no plain file")
    elif name.decode("latin-1") not in _MEMBERS:
        contents.problem("unknown-member", f"torch.save writes no member like {shown}")
    elif name.decode() in members:
        contents.problem("duplicate-member", f"two members of the tar are called {shown}")
    else:
        members[name.decode()] = member


def _check_end(source: Source, contents: Contents, at: int) -> None:
    """Only zeros may follow the end; they fill the last record."""
    left = source.size - at
    if left < 2 * _BLOCK or source.size % RECORD_BYTES:
        contents.problem("truncated", "the tar ends in the middle of its last record")
    elif left >= 2 * _BLOCK + RECORD_BYTES or any(source.read(at, left)):
        contents.problem("trailing-bytes", f"{left:,} bytes follow the last member of the tar")


def _read_machine(contents: Contents, source: Source, member: _Member, budgets: Budgets) -> None:
    data = source.read(member.offset, min(member.length, _WINDOW))
    machine, end = run(data, 0, contents.builder, budgets, python2=True)
    if end != member.length:
        raise FormatError("the tar cannot be read", why="bytes follow what it says about the machine that saved it")
    contents.byteorder = read_machine(contents, machine, _PROTOCOL)


class _Reader:
    """Pickles and raw bytes in turns, inside of one member."""

    def __init__(self, source: Source, member: _Member, budgets: Budgets, builder: Builder) -> None:
        self._source, self._budgets, self._builder = source, budgets, builder
        self.at = member.offset
        self.end = member.offset + member.length

    def pickle(self, most_bytes: int = _WINDOW) -> Value:
        data = self._source.read(self.at, min(most_bytes, self.end - self.at))
        if not data:
            raise FormatError("the tar cannot be read", why="a list in it ends too early")
        value, length = run(data, 0, self._builder, self._budgets, python2=True)
        self.at += length
        return value

    def skip(self, length: int) -> int:
        """Pass over raw bytes; give the offset where they begin."""
        begin = self.at
        if length > self.end - begin:
            raise FormatError("the tar cannot be read", why="a storage reaches beyond its list")
        self.at += length
        return begin

    def numbers(self, count: int) -> tuple[int, ...]:
        """Read 8-byte integers."""
        raw = self._source.read(self.skip(8 * count), 8 * count)
        return tuple(number for (number,) in _INT64.iter_unpack(raw))

    def count(self) -> int:
        value = self.pickle()
        if type(value) is not int or not 0 <= value <= self._budgets.memo:
            raise FormatError("the tar cannot be read", why="the length of a list is no number")
        return value

    def finish(self) -> None:
        if self.at != self.end:
            raise FormatError("the tar cannot be read", why="bytes follow the end of a list")


def _read_storages(contents: Contents, source: Source, member: _Member, budgets: Budgets, builder: _TarBuilder) -> None:
    reader = _Reader(source, member, budgets, builder)
    for _ in range(reader.count()):
        described = reader.pickle()
        if type(described) is not tuple or len(described) != 3 or type(described[0]) is not int:
            raise FormatError("the tar cannot be read", why="a storage is described as torch.save never does")
        (numel,) = reader.numbers(1)
        number, location, cls = described
        key = str(number)
        if key in builder.listed:
            raise FormatError("the tar cannot be read", why=f"storage {escape(key, 40)} is listed twice")
        storage = builder.listed[key] = builder.storage(cls, key, location, numel)
        length = numel * ITEM_BYTES[storage.dtype]
        contents.spans[key] = Span(reader.skip(length), length, None)
    _read_views(contents, reader.pickle(budgets.text_bytes), builder)
    reader.finish()


def _read_views(contents: Contents, views: Value, builder: _TarBuilder) -> None:
    if type(views) is not list:
        raise FormatError("the tar cannot be read", why="its views are no list")
    for view in views:
        if type(view) is not tuple or len(view) != 4 or not all(type(part) is int and part >= 0 for part in view):
            raise FormatError("the tar cannot be read", why="a view is described as torch.save never does")
        number, root_number, offset, numel = view
        root = builder.listed.get(str(root_number))
        if not isinstance(root, StorageValue) or str(number) in builder.listed or offset + numel > root.numel:
            raise FormatError("the tar cannot be read", why="a view reaches beyond its storage or names one that is not there")
        key, width = str(number), ITEM_BYTES[root.dtype]
        builder.listed[key] = builder.storages[key] = StorageValue(key, root.dtype, numel, root.location)
        contents.views[key] = View(root.key, offset * width, numel * width)


def _read_tensors(source: Source, member: _Member, budgets: Budgets, builder: _TarBuilder) -> None:
    reader = _Reader(source, member, budgets, builder)
    make = builder.calls[builder.find_global("torch._utils", "_rebuild_tensor")]
    for _ in range(reader.count()):
        described = reader.pickle()
        if type(described) is not tuple or len(described) != 3 or type(described[0]) is not int:
            raise FormatError("the tar cannot be read", why="a tensor is described as torch.save never does")
        storage = builder.listed.get(str(described[1]))
        if not isinstance(storage, StorageValue):
            raise FormatError("the tar cannot be read", why="a tensor lies in a storage that is not there")
        rank = int.from_bytes(source.read(reader.skip(8), 8)[:4], "little")
        if rank > budgets.rank:
            raise FormatError("the tar cannot be read", why=f"a tensor has {rank:,} dimensions")
        sizes, strides, (offset,) = reader.numbers(rank), reader.numbers(rank), reader.numbers(1)
        tensor = make((storage, offset, sizes, strides))
        if str(described[0]) in builder.listed:
            raise FormatError("the tar cannot be read", why="two things in it have the same number")
        builder.listed[str(described[0])] = tensor
    reader.finish()
    for name in [name for name in builder.meanings if name.module in {"torch", "torch.cuda"} and name.name in _CLASSES]:
        del builder.meanings[name]
