"""The 512-byte headers of tar members, in GNU tar's own format: names are bytes there, of any length, and sizes have no end.

Written and read by ourselves: what is read comes from strangers, and only plain files as we write them are wanted.
Source: "Basic Tar Format" and "Extensions to the Archive Format" in the manual of GNU tar; tar.h of GNU tar.
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

BLOCK_BYTES = 512
#: An archive ends with two blocks of zeros.
END = bytes(2 * BLOCK_BYTES)

#: Longest name that is read, bytes: that of a member and of the folder above it.
_MOST_NAME_BYTES = 8192
#: name, mode, uid, gid, size, mtime, checksum, type, target of a link, magic, user, group, numbers of a device
_HEADER = Struct("100s8s8s8s12s12s8s1s100s8s32s32s8s8s167x")
_CHECKSUM_AT, _CHECKSUM_BYTES = 148, 8
_MAGIC = b"ustar  \0"
_FILE, _LONG_NAME = b"0", b"L"
#: Name of the pseudo-member whose content is the name of the next one.
_LONG_NAME_LABEL = b"././@LongLink"
#: First bytes of numbers that are no octal digits but big-endian, in two's complement.
_POSITIVE, _NEGATIVE = 0x80, 0xFF


class Header(NamedTuple):
    """What precedes a member.

    Attributes:
        path: its name, as bytes.
        mtime: seconds since the epoch.
        is_file: a plain file; anything else is nothing that ckptd writes.
    """

    path: bytes
    size: int
    mode: int
    mtime: int
    is_file: bool = True


def padding_of(size: int) -> int:
    """Give how many zeros follow `size` bytes of a member."""
    return -size % BLOCK_BYTES


def render_header(header: Header) -> bytes:
    """Write the header of a plain file; one or more blocks."""
    path, before = header.path, b""
    if len(path) > 100:
        label = _block(_LONG_NAME_LABEL, len(path) + 1, 0o644, 0, _LONG_NAME)
        before = label + path + bytes(1 + padding_of(len(path) + 1))
    return before + _block(path[:100], header.size, header.mode & 0o777, header.mtime, _FILE)


def parse_block(block: bytes) -> tuple[bytes, Header] | None:
    """Read one block as a header: the type and the rest; None when it is none (a checksum, a number that is none)."""
    name, mode, _, _, size, mtime, checksum, kind, _, magic, *_ = _HEADER.unpack(block)
    numbers = _read_number(mode), _read_number(size), _read_number(mtime)
    if _read_number(checksum) != _checksum(block) or None in numbers or magic[:5] != _MAGIC[:5]:
        return None
    mode_, size_, mtime_ = (number or 0 for number in numbers)
    if size_ < 0:
        return None
    return kind, Header(name.partition(b"\0")[0], size_, mode_, mtime_, kind == _FILE and magic == _MAGIC)


def name_bytes(kind: bytes, header: Header) -> int:
    """Give how many bytes of name follow a block that announces a long name; 0 for any other, and for one too long."""
    is_announced = kind == _LONG_NAME and header.path == _LONG_NAME_LABEL and header.size <= _MOST_NAME_BYTES
    return header.size if is_announced else 0


def _block(name: bytes, size: int, mode: int, mtime: int, kind: bytes) -> bytes:
    # Owner and group are 0 and have no names: who unpacks it as root gets root's files, everybody else their own.
    owner = b"0000000\0"
    fields = (name, _number(mode, 8), owner, owner, _number(size, 12), _number(mtime, 12), b" " * _CHECKSUM_BYTES, kind)
    block = bytearray(_HEADER.pack(*fields, b"", _MAGIC, b"", b"", b"", b""))
    block[_CHECKSUM_AT : _CHECKSUM_AT + _CHECKSUM_BYTES] = b"%06o\0 " % _checksum(block)
    return bytes(block)


def _checksum(block: bytes | bytearray) -> int:
    own = block[_CHECKSUM_AT : _CHECKSUM_AT + _CHECKSUM_BYTES]
    return sum(block) - sum(own) + _CHECKSUM_BYTES * ord(" ")


def _number(value: int, width: int) -> bytes:
    if 0 <= value < 8 ** (width - 1):
        return b"%0*o\0" % (width - 1, value)
    first = _POSITIVE if value >= 0 else _NEGATIVE
    return bytes((first,)) + value.to_bytes(width - 1, "big", signed=True)


def _read_number(field: bytes) -> int | None:
    if field[0] in (_POSITIVE, _NEGATIVE):
        value = int.from_bytes(field[1:], "big", signed=True)
        return value if (value >= 0) == (field[0] == _POSITIVE) else None
    digits = field.partition(b"\0")[0].strip(b" ")
    if not digits.isdigit() or b"8" in digits or b"9" in digits:
        return None
    return int(digits, 8)
