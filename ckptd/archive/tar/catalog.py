"""What an archive says that it holds: by the manifest at its start, or by the copy of it at its end."""

from __future__ import annotations

import os
from concurrent.futures import Executor
from typing import NamedTuple

from ckptd.archive.interface import MANIFEST_NAME, Manifest
from ckptd.archive.manifest import MOST_MANIFEST_BYTES, ManifestError, parse_manifest
from ckptd.archive.tar.frames import Codec, DamageError, Tail
from ckptd.archive.tar.headers import BLOCK_BYTES
from ckptd.archive.tar.layout import name_of, place_entry
from ckptd.archive.tar.pieces import read_pieces, walk_frames
from ckptd.archive.tar.stream import TarReader

_MANIFEST = MANIFEST_NAME.encode()
#: For manifest and sums.  A reader that does not know the manifest yet reads no further.
_MOST_FIRST_BYTES = 2 * MOST_MANIFEST_BYTES


class Catalog(NamedTuple):
    """What is known of an archive before its members are read.

    Attributes:
        top: the folder in it that holds everything; empty when the manifest at its start was not there to show it.
        rendered: the manifest as it stands there.
        tail: None when it is not there or damaged.
        flaws: what is wrong so far, one phrase each.
    """

    manifest: Manifest
    top: bytes
    rendered: bytes
    tail: Tail | None
    flaws: tuple[str, ...] = ()

    @property
    def most_bytes(self) -> int:
        """Give what the tar has at most when nothing is in it but what the manifest names."""
        own = _MOST_FIRST_BYTES  # whatever stands before the members
        room = 4 * BLOCK_BYTES * len(self.manifest.entries)  # its folder may have a longer name than the one that is known
        return own + room + sum(place_entry(self.top, entry).total_bytes for entry in self.manifest.entries)


def open_reader(fd: int, codec: Codec, tail: Tail | None, pool: Executor, most_bytes: int = _MOST_FIRST_BYTES) -> TarReader:
    """Begin to read at the first frame."""
    frames = tail.table.from_first() if tail else walk_frames(fd, codec, os.fstat(fd).st_size)
    return TarReader(read_pieces(fd, codec, frames, pool), most_bytes)


def read_catalog(reader: TarReader, tail: Tail | None) -> Catalog:
    """Read what is known before the members.

    Args:
        reader: at the beginning; afterwards it stands before the next member, or somewhere in the damage.
        tail: of the file.

    Raises:
        DamageError: neither manifest can be read.
    """
    flaws = [] if tail else ["the table at its end is missing or damaged"]
    try:
        top, rendered = _read_first(reader)
        manifest = parse_manifest(rendered)
    except (DamageError, ManifestError) as error:
        if tail is None:
            raise DamageError(error.why) from error
        flaws.append(f"its manifest is not right ({error.why}); the one at its end serves")
        top, rendered = b"", tail.manifest
        manifest = _parse_last(rendered)
    if tail and tail.manifest != rendered:
        flaws.append("the manifest at its end is another one than the one at its beginning")
    catalog = Catalog(manifest, top, rendered, tail, tuple(flaws))
    reader.most_bytes = catalog.most_bytes
    return catalog


def _parse_last(rendered: bytes) -> Manifest:
    try:
        return parse_manifest(rendered)
    except ManifestError as error:
        raise DamageError(error.why) from error


def _read_first(reader: TarReader) -> tuple[bytes, bytes]:
    header = reader.next_header()
    top, name = name_of(header.path) if header else (b"", b"")
    if header is None or name != _MANIFEST or not header.is_file:
        raise DamageError("it doesn't begin with a manifest: ckptd did not write it, or it was packed anew")
    if header.size > MOST_MANIFEST_BYTES:
        raise DamageError("its manifest is too long")
    return top, b"".join(reader.body())
