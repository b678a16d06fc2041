"""Read an archive file: of its two copies of the table the first that is whole."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple, TypeVar

from ckptd.archive.interface import Manifest
from ckptd.archive.manifest import ManifestError, parse_manifest
from ckptd.archive.pack.sizes import MOST_TABLE_BYTES
from ckptd.archive.pack.table import HEAD_BYTES, MAGIC, Table, length_of_block, parse_block
from ckptd.archive.pack.trouble import DamageError
from ckptd.archive.placing import open_to_read
from ckptd.storage.temporary import TEMPORARY_NAME

FORMAT_NAME = "pack"

T = TypeVar("T")


class Opened(NamedTuple):
    """What an archive file holds; the manifest has as many entries as the table has recipes, in the same order."""

    table: Table
    manifest: Manifest


@contextmanager
def opened_file(directory: int, name: str) -> Iterator[int]:
    """Open a plain file of the directory, without following links.

    Raises:
        ArchiveError: it can't be opened, or is no plain file.
    """
    fd = open_to_read(directory, name)
    try:
        yield fd
    finally:
        os.close(fd)


def read_table(fd: int) -> Table:
    """Give the table of an archive; the manifest in it is not looked at.

    Raises:
        DamageError: neither copy can be read.
        OSError: the disk says no.
    """
    return _read_first_or_second(fd, lambda table: table)[0]


def read_archive(fd: int) -> Opened:
    """Give what an archive file holds.

    Raises:
        DamageError: neither copy can be read.
        OSError: the disk says no.
    """
    return _read_first_or_second(fd, _with_manifest)[0]


def read_both(fd: int) -> tuple[Opened, str]:
    """Give what an archive file holds and what is wrong with the other copy; "" for nothing.

    Raises:
        DamageError: neither copy can be read.
        OSError: the disk says no.
    """
    found, why = _read_first_or_second(fd, _with_manifest)
    if why:
        return found, f"the first copy of its table is damaged, the second one is used: {why}"
    size = os.fstat(fd).st_size
    length = _length_of_first(fd, size)
    try:
        _copy_at(fd, length, length)
    except DamageError as error:
        return found, f"the second copy of its table is damaged, the first one is used: {error.why}"
    return found, "" if size == 2 * length else "bytes follow its end"


def is_archive(directory: int, name: str) -> bool:
    """Say whether a file is an archive of this format, by its ending or, whatever it is called, by its first bytes.

    A link that is called like an archive may stand for one.

    Raises:
        ArchiveError: it is a file, and can't be looked at.
        OSError: it is gone.
    """
    mode = os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode
    if TEMPORARY_NAME.fullmatch(name) or not (stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
        return False
    if name.endswith(f".{FORMAT_NAME}"):
        return True
    if stat.S_ISLNK(mode):
        return False
    with opened_file(directory, name) as fd:
        return os.pread(fd, len(MAGIC), 0) == MAGIC


def _read_first_or_second(fd: int, take: Callable[[Table], T]) -> tuple[T, str]:
    size = os.fstat(fd).st_size
    try:
        return take(_copy_at(fd, 0, _length_of_first(fd, size))), ""
    except DamageError as error:
        first = error
    try:
        return take(_copy_at(fd, size // 2, size // 2)), first.why
    except DamageError:
        raise first from None


def _length_of_first(fd: int, size: int) -> int:
    """Give the length that the first copy says it has; where it says nothing sensible, half of the file."""
    return length_of_block(os.pread(fd, HEAD_BYTES, 0)) or size // 2


def _copy_at(fd: int, offset: int, length: int) -> Table:
    if length > MOST_TABLE_BYTES:
        raise DamageError(f"it is longer than the {MOST_TABLE_BYTES >> 20} MiB that a table takes")
    return parse_block(memoryview(_read(fd, offset, length)), length)


def _with_manifest(table: Table) -> Opened:
    try:
        manifest = parse_manifest(table.manifest)
    except ManifestError as error:
        raise DamageError(f"its manifest can't be read: {error.why}") from error
    if manifest.format != FORMAT_NAME or len(manifest.entries) != len(table.recipes):
        raise DamageError("its manifest is that of another archive")
    return Opened(table, manifest)


def _read(fd: int, offset: int, length: int) -> bytes:
    parts, got = [], 0
    while got < length:
        data = os.pread(fd, length - got, offset + got)
        if not data:
            break
        parts.append(data)
        got += len(data)
    return b"".join(parts)
