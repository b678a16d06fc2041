"""The zip that torch.save writes: where each record lies, and the bytes around it.

Pure: `plan_zip` says where everything goes before the first byte is written, so that the size of the file is known.
Source: caffe2/serialize/inline_container.cc and its miniz 3.0, as of torch 2.13; PKWARE APPNOTE 6.3.10, sections 4.3.7 to
4.3.16 and 4.5.3.  A test holds every byte against files that torch.save wrote.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from struct import Struct
from typing import NamedTuple

#: Each record begins at a multiple of this.  Source: torch/serialization.py, `_get_storage_alignment`.
ALIGNMENT = 64
#: What torch calls the folder when it writes to a stream.
_FOLDER = "archive/"

_FULL = 0xFFFFFFFF
_MOST_ENTRIES = 0xFFFF
#: Flags: names are UTF-8; CRC and sizes follow the bytes.
_UTF8, _FOLLOWS = 0x0800, 0x0008
#: signature, needed, flags, method, time, date, crc, packed, size, name, extra
_LOCAL = Struct("<4sHHHHHIIIHH")
#: signature, made, needed, flags, method, time, date, crc, packed, size, name, extra, comment, disk, attributes ×2, offset
_CENTRAL = Struct("<4sHHHHHHIIIHHHHHII")
_END64 = Struct("<4sQHHIIQQQQ")
_LOCATOR = Struct("<4sIQI")
_END = Struct("<4sHHHHIIH")


class Slot(NamedTuple):
    """Where one record goes.

    Attributes:
        name: in the folder ("data/0").
        header: offset of its local header.
        offset: of its bytes.
        size: of its bytes.
        end: offset behind it and its data descriptor.
    """

    name: str
    header: int
    offset: int
    size: int
    end: int

    @property
    def path(self) -> bytes:
        """The name with its folder."""
        return (_FOLDER + self.name).encode()

    @property
    def _is_wide(self) -> bool:
        return self.size >= _FULL or self.header >= _FULL

    @property
    def _flags(self) -> int:
        return _UTF8 | (_FOLLOWS if self.size else 0)  # nothing follows a record without bytes

    def local_header(self) -> bytes:
        """Give what stands before the bytes: nothing is known of them yet, and the last field aligns them."""
        path, extra = self.path, _large_before(self.size, self.header)
        padding = self.offset - self.header - _LOCAL.size - len(path) - len(extra) - 4
        extra += b"FB" + padding.to_bytes(2, "little") + b"Z" * padding
        return _LOCAL.pack(b"PK\3\4", 0, self._flags, 0, 0, 0, 0, 0, 0, len(path), len(extra)) + path + extra

    def descriptor(self, crc: int) -> bytes:
        """Give what stands behind the bytes."""
        if not self.size:
            return b""
        width = 8 if self._is_wide else 4
        size = self.size.to_bytes(width, "little")
        return b"PK\7\x08" + crc.to_bytes(4, "little") + size + size

    def central_entry(self, crc: int) -> bytes:
        """Give its entry in the directory."""
        path = self.path
        large = [self.size, self.size] if self.size >= _FULL else []
        extra = _field([*large, *([self.header] if self.header >= _FULL else [])])
        size, header = min(self.size, _FULL), min(self.header, _FULL)
        numbers = (crc, size, size, len(path), len(extra), 0, 0, 0, 0, header)
        return _CENTRAL.pack(b"PK\1\2", 0, 0, self._flags, 0, 0, 0, *numbers) + path + extra


class ZipPlan(NamedTuple):
    """Where all records go.

    Attributes:
        directory: offset of the directory.
        size: of the whole file.
    """

    slots: tuple[Slot, ...]
    directory: int
    size: int

    def ending(self, crcs: Sequence[int]) -> bytes:
        """Give the directory and the end records; the CRCs are those of the slots, in their order."""
        entries = b"".join([slot.central_entry(crc) for slot, crc in zip(self.slots, crcs, strict=True)])
        count, start, end = len(self.slots), self.directory, self.directory + len(entries)
        few = min(count, _MOST_ENTRIES)
        return b"".join(
            (
                entries,
                _END64.pack(b"PK\6\6", _END64.size - 12, 0x031E, 45, 0, 0, count, count, len(entries), start),
                _LOCATOR.pack(b"PK\6\7", 0, end, 1),
                _END.pack(b"PK\5\6", 0, 0, few, few, min(len(entries), _FULL), min(start, _FULL), 0),
            )
        )


def plan_zip(records: Iterable[tuple[str, int]]) -> ZipPlan:
    """Lay out a file of records: names without their folder, and sizes."""
    slots, at = [], 0
    for name, size in records:
        start = at + _LOCAL.size + len(_FOLDER) + len(name) + len(_large_before(size, at)) + 4
        offset = start + -start % ALIGNMENT
        slot = Slot(name, at, offset, size, offset + size)
        slots.append(slot._replace(end=slot.end + len(slot.descriptor(0))))
        at = slots[-1].end
    plan = ZipPlan(tuple(slots), at, 0)
    return plan._replace(size=at + len(plan.ending([0] * len(slots))))


def serialization_id(contents: Iterable[tuple[str, int]]) -> bytes:
    """Make the 40 digits by which torch tells files apart: of names and CRCs, so that the same content has the same.

    Torch takes the hash that its C++ library happens to have; nobody computes it again.
    """
    digest = hashlib.sha256("".join([f"{name}\0{crc}\n" for name, crc in contents]).encode()).hexdigest()
    return f"{int(digest, 16) % 10**40:040}".encode()


def _large_before(size: int, header: int) -> bytes:
    """Give the field of large numbers in a local header; the packed size stays 0 there."""
    return _field([*([size, 0] if size >= _FULL else []), *([header] if header >= _FULL else [])])


def _field(numbers: Sequence[int]) -> bytes:
    if not numbers:
        return b""
    return b"\1\0" + (8 * len(numbers)).to_bytes(2, "little") + b"".join([n.to_bytes(8, "little") for n in numbers])
