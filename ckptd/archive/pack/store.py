"""Put objects away, each content once: what an archive has already, or an earlier one, is not stored again."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from threading import Lock

from ckptd.archive.pack.codec import Way, choose_way, decode, encode
from ckptd.archive.pack.known import Known
from ckptd.archive.pack.objects import ObjectReader, ObjectWriter
from ckptd.archive.pack.table import Place, pack_place
from ckptd.archive.pack.trouble import DamageError


@dataclass(slots=True)
class Habit:
    """How the pieces of one storage are compressed: as its first one, which was tried."""

    way: Way | None = None


class Store:
    """The objects of one archive.

    Threading: `put` may be called by several threads at a time; everything else when they are done.
    """

    def __init__(self, place: int, known: Known, writer: ObjectWriter) -> None:
        """Begin.

        Args:
            place: the directory of the objects.
            known: what earlier archives have.
            writer: of new objects.
        """
        self._place = place
        self._known = known
        self._writer = writer
        self._lock = Lock()
        self._numbers: dict[bytes, int] = {}
        self._files: dict[bytes, int] = {}
        self._places: list[bytes] = []

    @property
    def files(self) -> list[bytes]:
        """The ids of the object files that the archive uses."""
        return list(self._files)

    @property
    def places(self) -> bytes:
        """The list of the objects, as it stands in an archive."""
        return b"".join(self._places)

    def put(self, raw: memoryview, habit: Habit) -> int:
        """Give the number of the object with these bytes, which is stored now if it was not.

        Raises:
            ArchiveError: there is no room.
            OSError: the disk says no.
        """
        sha256 = hashlib.sha256(raw).digest()
        with self._lock:
            number = self._numbers.get(sha256)
            if number is not None:
                return number
            number = self._numbers[sha256] = len(self._places)
            self._places.append(b"")
        file_id, place = self._find_again(sha256, raw) or self._store(sha256, raw, habit)
        with self._lock:
            file = self._files.setdefault(file_id, len(self._files))
            self._places[number] = pack_place(place._replace(file=file))
        return number

    def _find_again(self, sha256: bytes, raw: memoryview) -> tuple[bytes, Place] | None:
        """Give the object of an earlier archive, if it holds these very bytes still; what rotted there is stored again."""
        found = self._known.find(sha256)
        if found is None:
            return None
        file_id, place = found
        again = memoryview(bytearray(len(raw)))
        try:
            with ObjectReader(self._place) as reader:
                data = reader.read(file_id, place, memoryview(bytearray(place.stored_bytes)))
            decode(place.codec, data, again)
        except DamageError:
            return None
        return found if again == raw else None

    def _store(self, sha256: bytes, raw: memoryview, habit: Habit) -> tuple[bytes, Place]:
        if habit.way is None:
            habit.way = choose_way(raw)
        stored = encode(raw, habit.way)
        put = self._writer.put(stored.data)
        return put.file_id, Place(sha256, 0, put.offset, len(stored.data), len(raw), put.crc, stored.codec)
