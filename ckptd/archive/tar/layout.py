"""Where each member lies in the tar: one folder, in it the manifest, the sums and, in a folder of their own, the members."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from ckptd.archive.interface import MANIFEST_NAME, SUMS_NAME, Entry, Manifest
from ckptd.archive.manifest import encode_name
from ckptd.archive.tar.headers import Header, padding_of, render_header
from ckptd.archive.tar.sums import render_sums

#: Members lie in a folder below that of the archive, so that none can be taken for the manifest or the sums, and
#: `tar --strip-components=2` puts them back in place.
FILES = b"files"
_MANIFEST, _SUMS = MANIFEST_NAME.encode(), SUMS_NAME.encode()
_OWN_MODE = 0o644


class Placed(NamedTuple):
    """A member and the bytes before it."""

    header: Header
    head: bytes

    @property
    def total_bytes(self) -> int:
        """Give what it takes in the tar, zeros at its end included."""
        return len(self.head) + self.header.size + padding_of(self.header.size)


class Own(NamedTuple):
    """A file of the archive itself: manifest or sums."""

    placed: Placed
    content: bytes


def render_own(top: bytes, manifest: Manifest, rendered: bytes) -> tuple[Own, Own]:
    """Give manifest and sums, in their order."""
    sums = sums_of(manifest, rendered)
    return _own(top, _MANIFEST, rendered, manifest), _own(top, _SUMS, sums, manifest)


def sums_of(manifest: Manifest, rendered: bytes) -> bytes:
    """Give the content of SHA256SUMS, in which the manifest is the first."""
    files = [(FILES + b"/" + encode_name(entry.name), entry.sha256) for entry in manifest.entries]
    return render_sums([(_MANIFEST, hashlib.sha256(rendered).hexdigest()), *files])


def place_entry(top: bytes, entry: Entry) -> Placed:
    """Give what stands before a member."""
    path = b"/".join((top, FILES, encode_name(entry.name)))
    return _place(Header(path, entry.size_bytes, entry.mode & 0o777, entry.mtime_ns // 1_000_000_000))


def find_place(top: bytes, manifest: Manifest, rendered: bytes, wanted: Entry) -> int:
    """Give where the header of a member begins in the tar."""
    place = sum(own.placed.total_bytes for own in render_own(top, manifest, rendered))
    for entry in manifest.entries:
        if entry is wanted:
            return place
        place += place_entry(top, entry).total_bytes
    raise ValueError(wanted.name)


def expected_files(manifest: Manifest) -> dict[bytes, Entry]:
    """Give the entries by the names that they have in the folder of the archive."""
    return {FILES + b"/" + encode_name(entry.name): entry for entry in manifest.entries}


def name_of(path: bytes) -> tuple[bytes, bytes]:
    """Take the path of a tar member apart: the folder of the archive, and the name in it."""
    top, _, name = path.partition(b"/")
    return top, name


def _own(top: bytes, name: bytes, content: bytes, manifest: Manifest) -> Own:
    header = Header(b"/".join((top, name)), len(content), _OWN_MODE, int(manifest.created_at))
    return Own(_place(header), content)


def _place(header: Header) -> Placed:
    return Placed(header, render_header(header))
