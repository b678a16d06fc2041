"""Load a safetensors file: tensors as they are stored, ties tied again, and ckptd's 8-bit integers turned back into floats."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from ckptd.errors import FormatError, StorageError
from ckptd.loading.safetensors_header import WORDS, Entry, Header, is_safetensors, read_header
from ckptd.loading.storages import MapLocation, map_file, placement
from ckptd.text import escape

#: Bytes of one read: a signal can end the process between two of them.
_READ_BYTES = 64 << 20
#: Keys of the metadata that never name a tied tensor.  Source: `ckptd.export.safetensors_file`, which writes none of them.
_RESERVED = frozenset({"format", "ckptd"})
_SCHEMES = frozenset({"float16", "bfloat16", "int8"})
_FLOATS = frozenset({"float64", "float32", "float16", "bfloat16"})


def opens_as_safetensors(fd: int) -> bool:
    """Say whether an open file begins as a safetensors file does."""
    return is_safetensors(os.pread(fd, 9, 0), os.fstat(fd).st_size)


def load_safetensors(fd: int, map_location: MapLocation, *, mmap: bool = False) -> dict[str, torch.Tensor]:
    """Give the tensors of an open file by name.

    Tied tensors are one object under each of their names; an int8 export of ckptd comes in the dtypes of its checkpoint.

    Args:
        fd: stays the caller's.
        map_location: as for torch.load; a safetensors file says of no tensor where it was, so that is "cpu".
        mmap: map the file instead of reading it, as `ckptd.load` does.

    Raises:
        FormatError: it is not what the format allows.
        StorageError: it became shorter.
    """
    header = read_header(lambda offset, length: _read(fd, offset, length), os.fstat(fd).st_size)
    scheme = _Scheme.of(header)
    tensors = _Tensors(fd, header, map_location, mmap=mmap)
    loaded = {}
    for entry in header.entries:
        if entry.name in scheme.scales:
            continue
        dtype = scheme.dtypes.get(entry.name)
        if dtype is None:
            loaded[entry.name] = tensors.load(entry)
        else:
            loaded[entry.name] = tensors.dequantize(entry, scheme.scale_of(entry.name), dtype)
    for other, kept in header.metadata.items():
        if kept in loaded and other not in loaded and other not in _RESERVED:
            loaded[other] = loaded[kept]
    return loaded


@dataclass(frozen=True, slots=True)
class _Scheme:
    """What ckptd did to the values of a file.

    Attributes:
        dtypes: name of a quantized tensor → its dtype before.
        scales: name of an entry that holds scales → the entry.
    """

    suffix: str = ""
    dtypes: Mapping[str, torch.dtype] = field(default_factory=dict)
    scales: Mapping[str, Entry] = field(default_factory=dict)

    @classmethod
    def of(cls, header: Header) -> _Scheme:
        """Read it out of the metadata, and check it against the entries."""
        text = header.metadata.get("ckptd")
        if text is None:
            return cls()
        try:
            stated: Any = json.loads(text)
        except (ValueError, RecursionError):
            stated = None
        scheme = stated.get("scheme") if type(stated) is dict else None
        if type(scheme) is not str or scheme not in _SCHEMES:
            raise _bad("its values are stored in a way that this version does not know")
        if scheme != "int8":
            return cls()
        suffix, dtypes = stated.get("suffix"), stated.get("dtypes")
        if type(suffix) is not str or not suffix or stated.get("axis") != 0 or type(dtypes) is not dict:
            raise _bad("it does not say where its scales are")
        return cls._of_int8(header, suffix, dtypes)

    @classmethod
    def _of_int8(cls, header: Header, suffix: str, dtypes: dict[str, Any]) -> _Scheme:
        entries = {entry.name: entry for entry in header.entries}
        scales = {}
        for name, dtype in dtypes.items():
            coded, scale = entries.get(name), entries.get(name + suffix)
            if coded is None or scale is None or type(dtype) is not str or dtype not in _FLOATS:
                raise _bad(f"{escape(name, 80)} has no scales")
            if coded.word != "I8" or not coded.shape or scale.word != "F32" or scale.shape != coded.shape[:1]:
                raise _bad(f"the scales of {escape(name, 80)} do not fit")
            scales[scale.name] = scale
        if scales.keys() & dtypes.keys():
            raise _bad("a tensor in it is the scales of another")
        return cls(suffix, {name: getattr(torch, dtype) for name, dtype in dtypes.items()}, scales)

    def scale_of(self, name: str) -> Entry:
        return self.scales[name + self.suffix]


class _Tensors:
    """The tensors of one open file."""

    def __init__(self, fd: int, header: Header, map_location: MapLocation, *, mmap: bool) -> None:
        self._fd = fd
        self._start = header.data_offset
        self._place = placement(map_location)
        self._mapped = map_file(fd) if mmap else None
        self._is_meta = map_location is not None and str(map_location) == "meta"

    def load(self, entry: Entry) -> torch.Tensor:
        """Give a tensor as it is stored, where the caller wants it."""
        dtype = _dtype(entry)
        if self._is_meta:
            return torch.empty(entry.shape, dtype=dtype, device="meta")
        bare = self._place(self._bytes(entry), "cpu")
        return torch.empty(0, dtype=dtype, device=bare.device).set_(bare, 0, entry.shape, _contiguous(entry.shape))

    def dequantize(self, entry: Entry, scale: Entry, dtype: torch.dtype) -> torch.Tensor:
        """Give a quantized tensor as floats of the dtype it had."""
        if self._is_meta:
            return torch.empty(entry.shape, dtype=dtype, device="meta")
        column = self.load(scale).reshape(-1, *[1] * (len(entry.shape) - 1))
        return (self.load(entry).to(torch.float32) * column).to(dtype)

    def _bytes(self, entry: Entry) -> torch.UntypedStorage:
        length, at = entry.end - entry.begin, self._start + entry.begin
        if self._mapped is not None and length:
            # Tensors that are not aligned to their elements are slow and, on some machines, a fault: such a one is copied.
            bare = self._mapped[at : at + length]
            return bare if at % WORDS[entry.word].item_bytes == 0 else bare.clone()
        bare = torch.empty(length, dtype=torch.uint8).untyped_storage()
        if length:
            _fill(self._fd, memoryview(torch.empty(0, dtype=torch.uint8).set_(bare).numpy()), at)
        if sys.byteorder == "big" and length:
            bare.byteswap(_dtype(entry))
        return bare


def _dtype(entry: Entry) -> torch.dtype:
    found = getattr(torch, WORDS[entry.word].torch, None)
    if not isinstance(found, torch.dtype):
        raise _bad(f"this torch has no dtype for {entry.word}")
    return found


def _contiguous(shape: tuple[int, ...]) -> tuple[int, ...]:
    stride, step = [], 1
    for size in reversed(shape):
        stride.append(step)
        step *= max(1, size)
    return tuple(reversed(stride))


def _read(fd: int, offset: int, length: int) -> bytes:
    data = bytearray(length)
    _fill(fd, memoryview(data), offset)
    return bytes(data)


def _fill(fd: int, view: memoryview, offset: int) -> None:
    done = 0
    while done < len(view):
        got = os.preadv(fd, [view[done : done + _READ_BYTES]], offset + done)
        if got <= 0:
            raise StorageError("the file ended while it was read", why="it was cut short by another process")
        done += got


def _bad(why: str) -> FormatError:
    return FormatError("cannot load", why=why)
