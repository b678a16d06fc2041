"""The header of a safetensors file, read as hostile and written: no torch, and no byte of a tensor.

A file is eight bytes of length, so many bytes of JSON, and the tensors one behind the other without a gap.
Source: the format's own page, huggingface.co/docs/safetensors, and safetensors/src/tensor.rs of 0.8.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any, NamedTuple

from ckptd.errors import FormatError
from ckptd.text import escape

#: Bytes of JSON.  Source: MAX_HEADER_SIZE in tensor.rs.
MOST_HEADER_BYTES = 100_000_000
_LENGTH = struct.Struct("<Q")
_METADATA = "__metadata__"
_MOST_RANK = 64


class Word(NamedTuple):
    """A dtype of the format: what torch calls it, and the bytes of one element."""

    torch: str
    item_bytes: int


#: What the format calls a dtype.  Its types of less than a byte (F4, F6) are left out: no checkpoint here is made of them.
WORDS: Mapping[str, Word] = {
    "F64": Word("float64", 8),
    "F32": Word("float32", 4),
    "F16": Word("float16", 2),
    "BF16": Word("bfloat16", 2),
    "I64": Word("int64", 8),
    "I32": Word("int32", 4),
    "I16": Word("int16", 2),
    "I8": Word("int8", 1),
    "U64": Word("uint64", 8),
    "U32": Word("uint32", 4),
    "U16": Word("uint16", 2),
    "U8": Word("uint8", 1),
    "BOOL": Word("bool", 1),
    "C64": Word("complex64", 8),
    "F8_E4M3": Word("float8_e4m3fn", 1),
    "F8_E4M3FNUZ": Word("float8_e4m3fnuz", 1),
    "F8_E5M2": Word("float8_e5m2", 1),
    "F8_E5M2FNUZ": Word("float8_e5m2fnuz", 1),
    "F8_E8M0": Word("float8_e8m0fnu", 1),
}
#: torch's name of a dtype → the format's.
WORD_OF: Mapping[str, str] = {word.torch: name for name, word in WORDS.items()}


class Entry(NamedTuple):
    """One tensor: `begin` and `end` count bytes from the first byte behind the header."""

    name: str
    word: str
    shape: tuple[int, ...]
    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says of itself.

    Attributes:
        entries: in the order of their bytes.
        metadata: texts, as whoever wrote the file put them there.
        data_offset: where the bytes of the tensors begin in the file.
    """

    entries: tuple[Entry, ...]
    metadata: Mapping[str, str] = field(default_factory=dict)
    data_offset: int = 0


def is_safetensors(head: bytes, size: int) -> bool:
    """Say whether the first nine bytes and the size of a file are those of a safetensors file."""
    return len(head) >= 9 and head[8:9] == b"{" and 2 <= _LENGTH.unpack_from(head)[0] <= min(size - 8, MOST_HEADER_BYTES)


def read_header(read: Callable[[int, int], bytes], size: int) -> Header:
    """Read and check a header, every number of it.

    Args:
        read: gives the bytes at (offset, length) of the file, which are inside of it.
        size: of the file, in bytes.

    Raises:
        FormatError: it is not what the format allows; the text says what.
    """
    if size < 8:
        raise _bad("it has fewer than eight bytes")
    (length,) = _LENGTH.unpack(read(0, 8))
    if length > MOST_HEADER_BYTES:
        raise _bad(f"its header would have {length:,} bytes; the format allows {MOST_HEADER_BYTES:,}")
    if length > size - 8:
        raise _bad("it ends inside of its header")
    described = _parse(read(8, length))
    metadata = _read_metadata(described.pop(_METADATA, {}))
    entries = [_read_entry(name, value) for name, value in described.items()]
    entries.sort(key=lambda entry: (entry.begin, entry.end))
    _check_places(entries, size - 8 - length)
    return Header(tuple(entries), metadata, 8 + length)


def make_header(entries: Sequence[Entry], metadata: Mapping[str, str]) -> bytes:
    """Give the bytes in front of the tensors: length, JSON, and spaces up to a multiple of eight.

    Raises:
        FormatError: the format does not allow so long a header, or such a name.
    """
    value: dict[str, object] = {_METADATA: dict(metadata)} if metadata else {}
    for name, word, shape, begin, end in entries:
        if name in value or name == _METADATA:
            raise _bad(f"two of its tensors would be called {escape(name, 80)}")
        value[name] = {"dtype": word, "shape": list(shape), "data_offsets": [begin, end]}
    try:
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError as error:
        raise _bad("a name in it is no Unicode text") from error
    padded = text.ljust(-(-len(text) // 8) * 8)
    if len(padded) > MOST_HEADER_BYTES:
        raise _bad(f"its header would have {len(padded):,} bytes; the format allows {MOST_HEADER_BYTES:,}")
    return _LENGTH.pack(len(padded)) + padded


def _bad(why: str) -> FormatError:
    return FormatError("not a safetensors file", why=why)


def _parse(raw: bytes) -> dict[str, Any]:
    try:
        found = json.loads(raw.decode(), object_pairs_hook=_without_doubles, parse_constant=_refuse_constant)
    except FormatError:
        raise
    except (ValueError, RecursionError) as error:  # no UTF-8, no JSON, numbers of thousands of digits
        raise _bad("its header is no JSON") from error
    if type(found) is not dict:
        raise _bad("its header is no JSON object")
    return found


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # A reader that takes the first of two and one that takes the last would see two files in one.
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _bad("its header names something twice")
    return found


def _refuse_constant(text: str) -> float:
    raise _bad(f"its header holds {text}, which JSON has not")


def _read_metadata(value: object) -> dict[str, str]:
    if type(value) is not dict or not all(type(text) is str for text in value.values()):
        raise _bad("its metadata are not texts")
    return value


def _read_entry(name: str, value: Any) -> Entry:
    shown = escape(name, 80)
    if type(value) is not dict or value.keys() != {"dtype", "shape", "data_offsets"}:
        raise _bad(f"{shown} is not described by dtype, shape and data_offsets")
    word, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if type(word) is not str or word not in WORDS:
        raise _bad(f"{shown} has the dtype {escape(str(word), 40)}, which is not known")
    if not _are_sizes(shape) or len(shape) > _MOST_RANK or not _are_sizes(offsets) or len(offsets) != 2:
        raise _bad(f"the shape or the offsets of {shown} are no plain numbers from 0 up")
    begin, end = offsets
    if prod(shape) * WORDS[word].item_bytes != end - begin:
        raise _bad(f"{shown} has another length than its shape and dtype need")
    return Entry(name, word, tuple(shape), begin, end)


def _are_sizes(value: Any) -> bool:
    return type(value) is list and all(type(size) is int and 0 <= size < 1 << 62 for size in value)


def _check_places(entries: Sequence[Entry], data_bytes: int) -> None:
    """Refuse overlaps, gaps and bytes that belong to nobody: the format has none of them."""
    at = 0
    for entry in entries:
        if entry.begin != at:
            raise _bad(f"the bytes of {escape(entry.name, 80)} do not begin where those before it end")
        at = entry.end
    if at != data_bytes:
        raise _bad(f"its tensors need {at:,} bytes and it has {data_bytes:,}")
