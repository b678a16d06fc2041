"""Give one member back: straight from its place when the table at the end leads there, else wherever it is found."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import NamedTuple

from ckptd.archive.interface import Entry
from ckptd.archive.manifest import encode_name
from ckptd.archive.tar.catalog import Catalog, open_reader, read_catalog
from ckptd.archive.tar.frames import Codec, DamageError, thread_count
from ckptd.archive.tar.headers import Header
from ckptd.archive.tar.layout import FILES, expected_files, find_place, name_of
from ckptd.archive.tar.pieces import read_pieces
from ckptd.archive.tar.stream import TarReader
from ckptd.text import format_size


class Source(NamedTuple):
    """An open archive.

    Attributes:
        top: the folder in it, if it has the name that it was written with.
    """

    fd: int
    codec: Codec
    top: bytes


def load_catalog(source: Source) -> Catalog:
    """Read what an archive says that it holds.

    Raises:
        DamageError: neither manifest can be read.
    """
    tail = source.codec.read_tail(source.fd, os.fstat(source.fd).st_size)
    with ThreadPoolExecutor(thread_count()) as pool, open_reader(source.fd, source.codec, tail, pool) as reader:
        return read_catalog(reader, tail)


def restore_member(source: Source, name: str, target: int) -> None:
    """Write a member into an empty file and check its digest.

    Raises:
        DamageError: it is not in the manifest, can't be had any more, or is larger than the disk of the target.
        OSError: the disk of the target said no.
    """
    catalog = load_catalog(source)
    entry = next((entry for entry in catalog.manifest.entries if entry.name == name), None)
    if entry is None:
        raise DamageError("the archive has no such member")
    _check_room(entry, target)
    with ThreadPoolExecutor(thread_count()) as pool:
        try:
            _restore_from_place(source, catalog, entry, target, pool)
        except DamageError:
            _restore_by_search(source, catalog, entry, target, pool)


def _check_room(entry: Entry, target: int) -> None:
    """Refuse what can't fit: an archive that says it has a petabyte may well have it, of zeros."""
    seen = os.fstatvfs(target)
    free = seen.f_bavail * seen.f_frsize
    if entry.size_bytes > free:
        raise DamageError(f"it takes {format_size(entry.size_bytes)}, and {format_size(free)} are free where it should go")


def _restore_from_place(source: Source, catalog: Catalog, entry: Entry, target: int, pool: Executor) -> None:
    if catalog.tail is None:
        raise DamageError("the table at its end is missing")
    place = find_place(catalog.top or source.top, catalog.manifest, catalog.rendered, entry)
    before, frames = catalog.tail.table.from_place(place)
    with TarReader(read_pieces(source.fd, source.codec, frames, pool), catalog.most_bytes) as reader:
        reader.skip(before)
        header = reader.next_header()
        if header is None or not _is_of(header, entry):
            raise DamageError("it is not where the table says")
        _copy(reader, entry, target)


def _restore_by_search(source: Source, catalog: Catalog, entry: Entry, target: int, pool: Executor) -> None:
    why = "its part of the archive is missing or damaged"
    with open_reader(source.fd, source.codec, catalog.tail, pool, catalog.most_bytes) as reader:
        for header in _headers(reader, expected_files(catalog.manifest)):
            if not _is_of(header, entry):
                continue
            try:
                return _copy(reader, entry, target)
            except DamageError as error:
                why = error.why
    raise DamageError(why)


def _headers(reader: TarReader, expected: Mapping[bytes, Entry]) -> Iterator[Header]:
    """Give the header of each member, over whatever is damaged."""
    while True:
        try:
            header = reader.next_header()
        except DamageError:
            header = reader.find_header(lambda found: name_of(found.path)[1] in expected)
        if header is None:
            return
        yield header


def _is_of(header: Header, entry: Entry) -> bool:
    name = FILES + b"/" + encode_name(entry.name)
    return header.is_file and header.size == entry.size_bytes and name_of(header.path)[1] == name


def _copy(reader: TarReader, entry: Entry, target: int) -> None:
    digest = hashlib.sha256()
    os.ftruncate(target, 0)
    os.lseek(target, 0, os.SEEK_SET)
    for part in reader.body():
        digest.update(part)
        left = part
        while left:
            left = left[os.write(target, left) :]
    if digest.hexdigest() != entry.sha256:
        raise DamageError("its bytes differ from the manifest: they were changed after they were written")
