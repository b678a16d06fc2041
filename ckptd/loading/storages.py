"""Read the bytes of storages into memory that tensors share: each storage once, checked against its CRC while it passes.

A storage is placed on a device as torch does it, by its saved location and `map_location`.  One thing is kinder: a file saved
on a device that this machine does not have loads to the CPU with a warning when no `map_location` was given.
"""

from __future__ import annotations

import mmap as mapping
import os
import sys
import warnings
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import torch
from isal.isal_zlib import crc32

from ckptd.checkpoint.reader import Structure
from ckptd.checkpoint.values import StorageValue
from ckptd.errors import FormatError, StorageError
from ckptd.text import escape

#: Read and check so much at a time: the CRC then finds the bytes in the cache.
_CHUNK = 1 << 20

#: What torch.load takes as `map_location`.
MapLocation: TypeAlias = str | torch.device | Mapping[str, str] | Callable[[Any, str], Any] | None


class Storages:
    """The storages of one open file.

    Attributes:
        meta: True when everything goes to the meta device and no byte is read.
    """

    def __init__(self, fd: int, structure: Structure, map_location: MapLocation, *, mmap: bool = False) -> None:
        self._fd = fd
        self._structure = structure
        self._place = placement(map_location)
        self._mapped = map_file(fd) if mmap else None
        self._held: dict[str, Any] = {}
        self._typed: dict[str, Any] = {}
        self._swap = structure.byteorder not in ("", sys.byteorder)
        self.meta = map_location is not None and str(map_location) == "meta"

    def untyped(self, value: StorageValue) -> torch.UntypedStorage:
        """Give the bytes of a storage, the same object each time."""
        held = self._held.get(value.key)
        if held is None:
            held = self._held[value.key] = self._load(value)
        return held

    def typed(self, value: StorageValue) -> Any:
        """Give a storage as torch.load gives one that stands alone."""
        held = self._typed.get(value.key)
        if held is None:
            bare = torch.storage.TypedStorage
            held = self._typed[value.key] = bare(
                wrap_storage=self.untyped(value), dtype=getattr(torch, value.dtype), _internal=True
            )
        return held

    def _load(self, value: StorageValue) -> torch.UntypedStorage:
        view = self._structure.views.get(value.key)
        if view is not None:
            whole = self.untyped(StorageValue(view.root, value.dtype, 0, value.location))
            return whole[view.offset : view.offset + view.length]
        span = self._structure.storages[value.key]
        if self.meta:
            return torch.UntypedStorage(span.length, device="meta")
        if self._mapped is not None and span.length:
            bare = self._mapped[span.offset : span.offset + span.length]
        else:
            bare = torch.empty(span.length, dtype=torch.uint8).untyped_storage()
            self._fill(bare, span.offset, span.length, span.crc, value.key)
        if self._swap:
            bare.byteswap(getattr(torch, value.dtype))
        return self._place(bare, value.location)

    def _fill(self, bare: torch.UntypedStorage, offset: int, length: int, crc: int | None, key: str) -> None:
        if not length:
            return
        view = memoryview(torch.empty(0, dtype=torch.uint8).set_(bare).numpy())
        found = done = 0
        while done < length:
            part = view[done : done + _CHUNK]
            got = os.preadv(self._fd, [part], offset + done)
            if got <= 0:
                raise StorageError("the file ended while it was read", why="it was cut short by another process")
            if crc is not None:
                found = crc32(part[:got], found)
            done += got
        if crc is not None and found != crc:
            raise FormatError("the file is damaged", why=f"the bytes of storage {escape(key)} do not match their CRC-32")


def map_file(fd: int) -> torch.UntypedStorage:
    """Map a whole file, privately."""
    # ACCESS_COPY is a private mapping: what is written to a tensor never reaches the file.
    return torch.frombuffer(mapping.mmap(fd, 0, access=mapping.ACCESS_COPY), dtype=torch.uint8).untyped_storage()


def placement(map_location: MapLocation) -> Callable[[torch.UntypedStorage, str], torch.UntypedStorage]:
    """Turn what torch.load takes as `map_location` into a function: (bytes, where they were) → the bytes in their place."""
    restore = torch.serialization.default_restore_location
    if map_location is None:
        return _AtHome()
    if isinstance(map_location, Mapping):
        return lambda bare, location: restore(bare, map_location.get(location, location))
    if isinstance(map_location, (str, torch.device)):
        return lambda bare, _location: restore(bare, str(map_location))
    if not callable(map_location):
        raise TypeError(f"map_location is a str, device, dict or callable, not {type(map_location).__name__}")

    def ask(bare: torch.UntypedStorage, location: str) -> torch.UntypedStorage:
        placed = map_location(bare, location)
        return restore(bare, location) if placed is None else placed

    return ask


class _AtHome:
    """Put each storage where it was saved, or on the CPU where this machine has no such device; say so once."""

    def __init__(self) -> None:
        self._missing: set[str] = set()

    def __call__(self, bare: torch.UntypedStorage, location: str) -> torch.UntypedStorage:
        if location == "cpu":
            return bare
        if _is_here(location):
            return torch.serialization.default_restore_location(bare, location)
        if location not in self._missing:
            self._missing.add(location)
            message = f"saved on {escape(location, 40)}, which this machine does not have: loaded to the CPU"
            warnings.warn(f'{message} (say map_location="cpu" to silence this)', UserWarning, stacklevel=2)
        return bare


def _is_here(location: str) -> bool:
    kind = location.partition(":")[0]
    if kind == "mps":
        return bool(torch.backends.mps.is_available())
    if kind in ("cuda", "xpu", "hpu", "mtia"):
        backend = getattr(torch, kind, None)
        return backend is not None and bool(backend.is_available())
    return kind == "meta" or kind == torch._C._get_privateuse1_backend_name()  # noqa: SLF001 — torch asks the same way
