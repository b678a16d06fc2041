"""The bytes of an archive file: what it holds, of which objects each member is made, and where those lie.

The file is the same block twice, so that it survives damage to either half.  A block is a head, a manifest, the list of
object files, the list of objects, and one recipe for each member.  docs/pack.md has the layout; everything is little-endian.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from itertools import chain
from struct import Struct
from typing import NamedTuple

from ckptd.archive.manifest import MOST_ENTRIES, MOST_MANIFEST_BYTES
from ckptd.archive.pack.sizes import MOST_TABLE_BYTES, PIECE_BYTES
from ckptd.archive.pack.trouble import DamageError

MAGIC = b"CKPTPACK"
_VERSION = 1
#: magic, version, zero, bytes of the block, bytes of the manifest, object files, objects, members, zero; then a SHA-256
_HEAD = Struct("<8sIIQQIIII")
HEAD_BYTES = _HEAD.size + 32
#: An object file is known by as many random bytes.
ID_BYTES = 16
#: SHA-256, object file, offset, stored bytes, raw bytes, CRC-32 of what is stored, codec
_OBJECT = Struct("<32sIQIIIB7x")
#: objects of the skeleton, runs
_COUNTS = Struct("<II")
_NUMBER = Struct("<I")
_RUN = Struct("<II")
#: In a run that ends without an object.
NO_OBJECT = 0xFFFFFFFF
#: An object file begins with as many bytes of head.
OBJECT_FILE_HEAD_BYTES = 32


class Place(NamedTuple):
    """One object: what it is and where it lies.

    Attributes:
        sha256: of its raw bytes.
        file: number of the object file in the list of the archive.
        offset: of its stored bytes there.
        stored_bytes, raw_bytes: as it lies there, and decompressed.
        crc: CRC-32 of the stored bytes.
        codec: see `codec`.
    """

    sha256: bytes
    file: int
    offset: int
    stored_bytes: int
    raw_bytes: int
    crc: int
    codec: int


class Run(NamedTuple):
    """A part of a member: so many bytes of its skeleton, then one whole object, or NO_OBJECT."""

    skeleton_bytes: int
    number: int


class Recipe(NamedTuple):
    """How a member is put together; both lists are read while they are used, for they may be long.

    Attributes:
        skeleton: objects that, one behind the other, are all bytes of the member that lie in no object of their own.
        runs: in the order of the file.
    """

    skeleton_bytes: memoryview
    run_bytes: memoryview

    def skeleton(self) -> Iterator[int]:
        """Give the numbers of the objects of the skeleton."""
        return (number for (number,) in _NUMBER.iter_unpack(self.skeleton_bytes))

    def runs(self) -> Iterator[Run]:
        """Give the runs."""
        return map(Run._make, _RUN.iter_unpack(self.run_bytes))

    def numbers(self) -> Iterator[int]:
        """Give the number of every object that is used."""
        return chain(self.skeleton(), (number for _, number in self.runs() if number != NO_OBJECT))


class Objects:
    """The objects that an archive lists.  Their numbers are believed only when they have been checked, one by one.

    Attributes:
        files: ids of the object files.
    """

    def __init__(self, files: Sequence[bytes], packed: memoryview) -> None:
        self.files = files
        self._packed = packed

    def __len__(self) -> int:
        return len(self._packed) // _OBJECT.size

    def __getitem__(self, number: int) -> Place:
        """Give where an object lies.

        Raises:
            DamageError: there is no such object, or its numbers are none that a writer writes.
        """
        if not 0 <= number < len(self):
            raise DamageError("it uses an object that it does not list")
        place = Place._make(_OBJECT.unpack_from(self._packed, number * _OBJECT.size))
        if not 0 < place.raw_bytes <= PIECE_BYTES or not 0 < place.stored_bytes <= place.raw_bytes:
            raise DamageError("it lists an object of impossible size")
        if place.file >= len(self.files) or not OBJECT_FILE_HEAD_BYTES <= place.offset < 1 << 62:
            raise DamageError("it lists an object that lies nowhere")
        return place

    def __iter__(self) -> Iterator[Place]:
        """Give each object in order; raises as `[]` does."""
        return map(self.__getitem__, range(len(self)))

    def alone(self) -> Objects:
        """Give the same objects, without the memory of all that the archive holds beside them."""
        return Objects(self.files, memoryview(bytes(self._packed)))


class Table:
    """One block, whose digest was right.

    Attributes:
        manifest: JSON.
        objects: what it lists.
        recipes: in the order of the manifest.
    """

    def __init__(self, block: memoryview) -> None:
        """Take a block apart.

        Raises:
            DamageError: the lengths in it contradict each other.
        """
        _, _, _, _, manifest, files, objects, members, _ = _HEAD.unpack_from(block)
        begin = HEAD_BYTES + manifest
        middle = begin + ID_BYTES * files
        end = middle + _OBJECT.size * objects
        if end > len(block) or manifest > MOST_MANIFEST_BYTES:
            raise DamageError("the lists in it are longer than it is")
        if members > MOST_ENTRIES or files > objects:
            raise DamageError("it lists more than an archive has")
        self.manifest = bytes(block[HEAD_BYTES:begin])
        ids = [bytes(block[at : at + ID_BYTES]) for at in range(begin, middle, ID_BYTES)]
        self.objects = Objects(ids, block[middle:end])
        self.recipes: Sequence[Recipe] = _split_recipes(block[end:], members)


def _split_recipes(data: memoryview, members: int) -> list[Recipe]:
    if members * _COUNTS.size > len(data):
        raise DamageError("its recipes end too early")
    found, at = [], 0
    for _ in range(members):
        if at + _COUNTS.size > len(data):
            raise DamageError("its recipes end too early")
        objects, runs = _COUNTS.unpack_from(data, at)
        middle = at + _COUNTS.size + _NUMBER.size * objects
        end = middle + _RUN.size * runs
        if end > len(data):
            raise DamageError("its recipes end too early")
        found.append(Recipe(data[at + _COUNTS.size : middle], data[middle:end]))
        at = end
    if at != len(data):
        raise DamageError("bytes follow its last recipe")
    return found


def parse_block(block: memoryview, length: int) -> Table:
    """Check the head and the digest of one copy and take it apart.

    Args:
        block: what was read.
        length: how long it should be.

    Raises:
        DamageError: it is not what was written.
    """
    if len(block) < max(length, HEAD_BYTES):
        raise DamageError("it is cut short")
    magic, version, zero, told, *_, last = _HEAD.unpack_from(block)
    if magic != MAGIC:
        raise DamageError("it does not begin like an archive of this format")
    if version != _VERSION:
        raise DamageError(f"it has version {version} of the format, this program reads version {_VERSION}")
    if told != length or zero or last:
        raise DamageError("it is not as long as it says")
    if _digest(block) != block[_HEAD.size : HEAD_BYTES]:
        raise DamageError("its bytes differ from what was written")
    return Table(block)


def length_of_block(head: bytes) -> int | None:
    """Give the length that the head of a block announces, which may be anything; None when it is no head."""
    if len(head) < HEAD_BYTES or not head.startswith(MAGIC):
        return None
    length: int = _HEAD.unpack_from(head)[3]
    return length


def pack_place(place: Place) -> bytes:
    """Give the bytes that list an object."""
    return _OBJECT.pack(*place)


def pack_number(number: int) -> bytes:
    """Give the bytes that name an object of a skeleton."""
    return _NUMBER.pack(number)


def pack_run(run: Run) -> bytes:
    """Give the bytes of a run."""
    return _RUN.pack(*run)


def pack_recipe(skeleton: bytes, runs: bytes) -> bytes:
    """Give the bytes of a recipe, out of those of its numbers and runs."""
    return _COUNTS.pack(len(skeleton) // _NUMBER.size, len(runs) // _RUN.size) + skeleton + runs


def make_block(manifest: bytes, files: Sequence[bytes], places: bytes, recipes: Sequence[bytes]) -> bytes:
    """Write a block.

    Args:
        manifest: JSON.
        files: ids of the object files.
        places: of the objects, one behind the other.
        recipes: one for each member.

    Raises:
        DamageError: it would be longer than a reader takes.
    """
    body = b"".join((manifest, *files, places, *recipes))
    length = HEAD_BYTES + len(body)
    if length > MOST_TABLE_BYTES or len(manifest) > MOST_MANIFEST_BYTES:
        raise DamageError("it would list more files and tensors than one archive can: archive them in parts")
    head = _HEAD.pack(MAGIC, _VERSION, 0, length, len(manifest), len(files), len(places) // _OBJECT.size, len(recipes), 0)
    return head + hashlib.sha256(head + body).digest() + body


def _digest(block: memoryview) -> bytes:
    digest = hashlib.sha256(block[: _HEAD.size])
    digest.update(block[HEAD_BYTES:])
    return digest.digest()
